"""The block translator, native: decode, choose stencils, copy, patch, register.

A block is guest code from one address up to an unconditional jump, a limit or the end of
its page; it goes on behind conditional branches.  Its hot code comes first, the stencils'
cold forms and the stubs of its direct exits behind it.  The tables it reads are made by
runtime/tables.py.
"""

from __future__ import annotations

from jitemu.ir.native import (
    addressof,
    hostcall,
    load16,
    load32,
    load64,
    native,
    store8,
    store64,
)
from jitemu.ir.state import TLB_ENTRIES, RuntimeState
from jitemu.runtime.codetable import page_entry, page_note, pool_take, table_insert
from jitemu.runtime.layouts import BlockRecord, Control
from jitemu.runtime.pieces import (
    copy_values,
    decode,
    extract,
    finish_pieces,
    place_instruction,
    place_piece,
    place_stub,
    special,
)
from jitemu.runtime.translator_layouts import (
    ALWAYS,
    ARENA_NEED,
    ENDS,
    FALLS,
    KIND_PINNED,
    KIND_PINNED_RESULT,
    MAX_PIECES,
    NO_PREDICATE,
    NONE,
    PAGE,
    PC_AT,
    POOL_NEED,
    RULE_HALFWORDS,
    RULE_PARCELS,
    RULE_WORDS,
    SPECIAL_COUNT,
    SPECIAL_GUARD,
    STEPS,
    SYMBOL_AFTER,
    SYMBOL_DELTA,
    SYMBOL_ENTRY,
    SYMBOL_MODE,
    SYMBOL_TLB,
    TARGET_AT,
    Context,
    Insn,
    Operand,
    Work,
)


@native
def context_at(s: RuntimeState, pc: int) -> int:
    """The translation context's table for a pc word.

    Where a pc word has more than an address (bit 0: the other instruction set; bits from 32
    up: predicates of the instructions that follow), that decides.
    """
    number = s.ctx
    if load64(s.code + Control.ADDRESS_BITS) >> 32 == 0:
        number = (pc & 1) + (pc >> 32 != 0)
    return load64(load64(s.code + Control.CONTEXTS) + number * 8)


@native
def address_of(s: RuntimeState, pc: int) -> int:
    """The guest address in a pc word."""
    bits = load64(s.code + Control.ADDRESS_BITS)
    return pc & bits & ~1 if bits >> 32 == 0 else pc


@native
def word_length(s: RuntimeState, context: int, low: int) -> int:
    """Bytes of the instruction whose first 16 bits these are."""
    rule = load64(context + Context.FETCH_RULE)
    if rule == RULE_PARCELS:
        return 4 if low & 3 == 3 else 2
    if rule == RULE_WORDS:
        return 4
    return 4 if low >> 11 >= 0x1D else 2


@native
def following(s: RuntimeState, context: int, pc: int, word: int, length: int) -> int:
    """The pc word after an instruction."""
    if load64(context + Context.FETCH_RULE) != RULE_HALFWORDS:
        return pc + length
    state = pc >> 32
    after = pc + length & 0xFFFF_FFFF
    if length == 2 and word >> 8 == 0xBF and word & 15:
        return after | (word & 0xFF) << 32
    if state & 7:
        return after | (state & 0xE0 | state << 1 & 0x1F) << 32
    return after


@native
def place_word(s: RuntimeState, note: int, word: int) -> int:
    """Place the instruction that a word encodes; the last note used.  pc is set."""
    code = s.code
    pc = load64(note + PC_AT)
    context = context_at(s, pc)
    length = word_length(s, context, word)
    store64(note + PC_AT + 8, following(s, context, pc, word, length))
    tree = load64(context + Context.TREE)
    if length == 2:
        tree = load64(context + Context.SHORT_TREE)
        if tree == 0:
            word = load32(load64(code + Control.SHORT) + word * 4)
    elif load64(context + Context.FETCH_RULE) == RULE_WORDS and word >> 28 == NO_PREDICATE:
        tree = load64(context + Context.SHORT_TREE)
    elif load64(context + Context.FETCH_RULE) == RULE_HALFWORDS:
        word = word >> 16 | (word & 0xFFFF) << 16
    index = load32(context + Context.INSTEAD + decode(s, tree, word) * 4)
    store64(note + Work.FIRST, 1)
    store64(note + Work.VALUES + 8 * SYMBOL_TLB, load64(context + Context.TLB))
    store64(note + Work.VALUES + 8 * SYMBOL_MODE, load64(context + Context.MODE))
    if load64(code + Control.COUNTS):
        place_piece(s, note, special(s, SPECIAL_COUNT))
        note = another(s, note)
    if load64(context + Context.PREDICATES) != NONE:
        return place_predicated(s, context, note, index, word)
    insn = load64(code + Control.INSNS) + index * Insn.LENGTH
    store64(note + Work.FLAGS, load32(insn + Insn.FLAGS))
    return place_instruction(s, insn, note, word)


@native
def predicate_of(s: RuntimeState, insn: int, pc: int, word: int) -> int:
    """The number of an instruction's predicate."""
    bit = load32(insn + Insn.PREDICATE)
    if bit != NONE:
        predicate = word >> bit & 15
        return NO_PREDICATE if predicate == ALWAYS and pc & 1 else predicate
    return pc >> 36 if pc >> 32 else ALWAYS


@native
def place_predicated(s: RuntimeState, context: int, note: int, index: int, word: int) -> int:
    """Place an instruction that may be skipped, stand for several, or jump by its result."""
    insns = load64(s.code + Control.INSNS)
    insn = insns + index * Insn.LENGTH
    pc = load64(note + PC_AT)
    predicate = predicate_of(s, insn, pc, word)
    empty = 0
    if load32(insn + Insn.FLAGS) & STEPS:
        function = s.functions[load32(insn + Insn.CHOICE)]
        empty = hostcall(function, addressof(s.exit_request), word, 0) == 0
    if predicate == NO_PREDICATE or empty:
        insn = insns + load32(load64(s.code + Control.TREE)) * Insn.LENGTH
        predicate = ALWAYS
    guard = note
    if predicate < ALWAYS:
        skip = insns + (load64(context + Context.PREDICATES) + predicate) * Insn.LENGTH
        note = another(s, place_instruction(s, skip, note, 0))
    flags = load32(insn + Insn.FLAGS)
    touched = 0
    if flags & STEPS:
        number = 0
        function = s.functions[load32(insn + Insn.CHOICE)]
        step = hostcall(function, addressof(s.exit_request), word, 0)
        while step:
            if number:
                note = another(s, note)
            one = insns + decode(s, 0, step) * Insn.LENGTH
            touched |= touches(s, context, one, step)
            note = place_one(s, context, note, one, step)
            number += 1
            step = hostcall(function, addressof(s.exit_request), word, number)
        flags = 0
    else:
        touched = touches(s, context, insn, word)
        note = place_one(s, context, note, insn, word)
    if touched & 2:
        note = another(s, note)
        note = place_instruction(
            s, insns + load64(context + Context.WRITE_PC) * Insn.LENGTH, note, 0
        )
        flags |= ENDS
    if predicate < ALWAYS:
        store64(guard + Work.VALUES + 8 * SYMBOL_AFTER, load64(s.code + Control.NEXT))
        if flags & ENDS:
            flags |= FALLS
    store64(note + Work.FLAGS, flags)
    return note


@native
def another(s: RuntimeState, note: int) -> int:
    """The next note, for another piece of the same instruction."""
    copy_values(s, note + Work.LENGTH, note)
    return note + Work.LENGTH


@native
def touches(s: RuntimeState, context: int, insn: int, word: int) -> int:
    """Bit 0: it reads the pc register; bit 1: it writes it."""
    found = 0
    operand = insn + Insn.OPERANDS
    count = load32(insn + Insn.COUNT)
    while count:
        kind = load32(operand + Operand.KIND)
        pinned = kind == KIND_PINNED or kind == KIND_PINNED_RESULT
        if pinned and extract(s, operand, word) == load64(context + Context.PC_REGISTER):
            found |= 1 if kind == KIND_PINNED else 2
        operand += Operand.LENGTH
        count -= 1
    return found


@native
def place_one(s: RuntimeState, context: int, note: int, insn: int, word: int) -> int:
    """Place one definition's pieces, the pc register brought up to date if it reads it."""
    if touches(s, context, insn, word) & 1:
        update = load64(s.code + Control.INSNS) + load64(context + Context.READ_PC) * Insn.LENGTH
        note = another(s, place_instruction(s, update, note, 0))
    return place_instruction(s, insn, note, word)


# Blocks


@native
def fetch_word(s: RuntimeState, context: int, host: int, offset: int, second: int) -> int:
    """The instruction word at an offset of a page (16 bits of it if those say so).

    ``second``: host address of the page behind, for a word that crosses.
    """
    low = load16(host + offset)
    if word_length(s, context, low) == 2:
        return low
    if offset + 4 <= PAGE:
        return low | load16(host + offset + 2) << 16
    return low | load16(second) << 16


@native
def room(s: RuntimeState) -> int:
    """Arena, pool and table have room for another block."""
    code = s.code
    return (
        load64(code + Control.NEXT) + ARENA_NEED < load64(code + Control.END)
        and load64(code + Control.POOL) + POOL_NEED < load64(code + Control.POOL_END)
        and load64(code + Control.BLOCKS_USED) * 4 < load64(code + Control.BLOCKS_MASK) * 3
    )


@native
def begin_record(s: RuntimeState, pc: int, tag: int, physical: int, start: int) -> int:
    """A new block's record."""
    record = pool_take(s, BlockRecord.LENGTH)
    store64(record + BlockRecord.PC, pc)
    store64(record + BlockRecord.TAG, tag)
    store64(record + BlockRecord.PHYSICAL, physical)
    store64(record + BlockRecord.CODE, start)
    store64(record + BlockRecord.ENTRY, start)
    store64(record + BlockRecord.EXITS, 0)
    store64(record + BlockRecord.EXIT_COUNT, 0)
    store64(record + BlockRecord.INCOMING, 0)
    store64(record + BlockRecord.REGION, 0)
    store64(record + BlockRecord.SECOND, 0)
    store64(record + BlockRecord.NEXT_HEAD, 0)
    store64(record + BlockRecord.IS_REGION, 0)
    return record


@native
def translate(
    s: RuntimeState, pc: int, tag: int, physical: int, host: int, second: int, behind: int
) -> int:
    """Make the block at a pc; its record.  There is room for it.

    ``host``: host address of its page; ``second``: of the page behind, if the first
    instruction crosses into it (else 0), and ``behind`` that page's physical address.
    """
    code = s.code
    context = context_at(s, pc)
    first = address_of(s, pc)
    start = load64(code + Control.NEXT) + 15 & ~15
    store64(code + Control.NEXT, start)
    record = begin_record(s, pc, tag, physical, start)
    note = load64(code + Control.WORK)
    offset = first & PAGE - 1
    count = 0
    flags = 0
    if second and s.paged:
        note = guard(s, context, note, pc)
    while 1:
        context = context_at(s, pc)
        word = fetch_word(s, context, host, offset, second)
        store64(note + PC_AT, pc)
        note = place_word(s, note, word)
        length = word_length(s, context, word)
        pc = following(s, context, pc, word, length)
        offset += length
        count += 1
        flags = load64(note + Work.FLAGS)
        if flags & (ENDS | FALLS) == ENDS or count >= load64(code + Control.LIMIT):
            break
        if offset >= PAGE or note - load64(code + Control.WORK) >= MAX_PIECES * Work.LENGTH:
            break
        if offset == PAGE - 2 and word_length(s, context, load16(host + offset)) == 4:
            break
        note += Work.LENGTH
    store64(record + BlockRecord.SIZE, address_of(s, pc) - first)
    store64(record + BlockRecord.INSNS, count)
    finish_block(s, record, note, flags & (ENDS | FALLS) == ENDS, pc)
    note_pages(s, record, offset, behind)
    store64(code + Control.MADE_BLOCKS, load64(code + Control.MADE_BLOCKS) + 1)
    store64(code + Control.MADE_INSNS, load64(code + Control.MADE_INSNS) + count)
    return record


@native
def finish_block(s: RuntimeState, record: int, note: int, ended: int, pc: int) -> None:
    """Everything behind the hot code; make the block findable."""
    code = s.code
    jump = load64(code + Control.NEXT)
    if ended == 0:
        store8(jump + load64(code + Control.DELTA), 0xE9)
        store64(code + Control.NEXT, jump + 5)
    finish_pieces(s, record, note)
    if ended == 0:
        place_stub(s, record, jump + 1, pc, note + Work.LENGTH)
    start = load64(record + BlockRecord.CODE)
    store64(record + BlockRecord.HOST_SIZE, load64(code + Control.NEXT) - start)
    table_insert(s, record)


@native
def note_pages(s: RuntimeState, record: int, offset: int, behind: int) -> None:
    """Register a block with the pages it was made from."""
    physical = load64(record + BlockRecord.PHYSICAL)
    end = offset if offset < PAGE else PAGE
    page_note(s, physical >> 12, record, physical & PAGE - 1, end)
    if offset > PAGE:
        store64(record + BlockRecord.SECOND, behind)
        page_note(s, behind >> 12, record, 0, offset - PAGE)


@native
def measure(s: RuntimeState, record: int, distance: int) -> int:
    """The pc of the instruction whose hot code is ``distance`` into a block's code.

    The notes of the block's pieces are made again, behind all code; the caller gives the
    arena's room back.
    """
    code = s.code
    pc = load64(record + BlockRecord.PC)
    physical = load64(record + BlockRecord.PHYSICAL)
    start = load64(code + Control.NEXT) + 15 & ~15
    store64(code + Control.NEXT, start)
    host = host_page(s, physical >> 12)
    offset = physical & PAGE - 1
    at = 0
    while at < load64(record + BlockRecord.SIZE):
        context = context_at(s, pc)
        word = fetch_word(s, context, host, offset + at, host_page(s, (physical >> 12) + 1))
        length = word_length(s, context, word)
        note = load64(code + Control.WORK)
        store64(note + PC_AT, pc)
        place_word(s, note, word)
        if load64(code + Control.NEXT) - start > distance:
            return pc
        at += length
        pc = following(s, context, pc, word, length)
    return pc


@native
def guard(s: RuntimeState, context: int, note: int, pc: int) -> int:
    """Begin a block whose instruction crosses a page: the second page must still be there."""
    page = pc + 2 & ~(PAGE - 1)
    entry = load64(context + Context.FETCH) + (page >> 12) % TLB_ENTRIES * 4
    store64(note + Work.FIRST, 0)
    store64(note + PC_AT, pc)
    store64(note + TARGET_AT, page)
    store64(note + Work.VALUES + 8 * SYMBOL_DELTA, s.tlb[entry + 2])
    store64(note + Work.VALUES + 8 * SYMBOL_ENTRY, entry * 8)
    place_piece(s, note, special(s, SPECIAL_GUARD))
    return note + Work.LENGTH


@native
def host_page(s: RuntimeState, number: int) -> int:
    """Host address of a page of guest code, or 0 if it is not known."""
    entry = page_entry(s, number)
    return load64(entry + 16) if load64(entry) else 0
