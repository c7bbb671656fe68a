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
    load8,
    load16,
    load32,
    load64,
    native,
    store8,
    store32,
    store64,
)
from jitemu.ir.state import TLB_ENTRIES, RuntimeState
from jitemu.runtime.codetable import (
    BlockRecord,
    Control,
    ExitRecord,
    Node,
    page_entry,
    page_note,
    pool_take,
    table_insert,
)

LEAF = 0x8000_0000
PAGE = 4096
MAX_OPERANDS = 7


class Insn:
    """Byte offsets in an instruction's table entry; operands follow."""

    COUNT = 0x00
    FLAGS = 0x04
    CHOICE = 0x08
    """Index of its first entry in the choice table."""
    RELATIVE = 0x0C
    """Operand that is added to the pc; NONE if there is none."""
    PREDICATE = 0x10
    """Lowest bit of its predicate; NONE if it has none."""
    OPERANDS = 0x18
    LENGTH = 0x18 + MAX_OPERANDS * 0x38


class Operand:
    """Byte offsets in an operand's description."""

    KIND = 0x00
    SIGN = 0x04
    """Bits, if it is to be sign-extended."""
    PIECES = 0x08
    SLOT = 0x0C
    """State offset of the class's register 0."""
    FUNCTION = 0x10
    """Place among the native functions of the one that makes the value; NONE if there is none."""
    SCALE = 0x14
    """Of a register: log2 of the bytes from one to the next."""
    PLUS = 0x18
    """What is added last."""
    FIRST = 0x20
    """Pieces: low | width << 8 | dest << 16."""
    LENGTH = 0x38


NONE = 0xFFFF_FFFF
KIND_IMMEDIATE, KIND_PINNED, KIND_STATE, KIND_PINNED_RESULT = 0, 1, 2, 3
ENDS, FALLS, JUMPS, STEPS = 1, 2, 4, 8
"""STEPS: it stands for several; CHOICE is the place of the function that gives their words."""

# Symbols of relocations; below them, the operands' numbers.
SYMBOL_PC, SYMBOL_NPC, SYMBOL_TARGET = range(MAX_OPERANDS, MAX_OPERANDS + 3)
SYMBOL_TLB, SYMBOL_MODE = SYMBOL_TARGET + 1, SYMBOL_TARGET + 2
SYMBOL_NEXT, SYMBOL_COLD, SYMBOL_TAKEN = range(SYMBOL_MODE + 1, SYMBOL_MODE + 4)
SYMBOL_SITE, SYMBOL_DELTA, SYMBOL_ENTRY = range(SYMBOL_TAKEN + 1, SYMBOL_TAKEN + 4)
SYMBOL_AFTER = SYMBOL_ENTRY + 1
"""Host address behind all pieces of the instruction."""
KIND_64, KIND_32, KIND_8, KIND_RELATIVE = 0, 1, 2, 3

SPECIAL_LINK, SPECIAL_FAR, SPECIAL_GUARD, SPECIAL_SPILL = 0, 1, 2, 3


class Context:
    """Byte offsets in a translation context's table; an index for each instruction follows:
    of the definition that takes its place, or its own."""

    TLB = 0x00
    MODE = 0x08
    FETCH = 0x10
    """State index of the first word of the fetches' TLB."""
    TREE = 0x18
    """Number of the decoder's tree for 32-bit words."""
    SHORT_TREE = 0x20
    """For 16-bit words; 0 where the table of short words is used.  With RULE_WORDS: for words
    without a predicate, whose upper 4 bits are 1111."""
    FETCH_RULE = 0x28
    """How long words are: see ``word_length``."""
    PREDICATES = 0x30
    """Table index of the first of the definitions that skip an instruction, one for each
    predicate up to ALWAYS; NONE where instructions have no predicates and no pc register."""
    PC_REGISTER = 0x38
    """Number of the register that reads as the address of the instruction."""
    READ_PC = 0x40
    """Table index of the definition that brings it up to date."""
    WRITE_PC = 0x48
    """Table index of the definition that jumps to what was written to it."""
    INSTEAD = 0x50


RULE_PARCELS, RULE_WORDS, RULE_HALFWORDS = 0, 1, 2
ALWAYS, NO_PREDICATE = 14, 15
"""Predicates: one that holds always, and one that no instruction may have."""


class Work:
    """Byte offsets in the note of a piece: a stencil and the values of its holes.  The
    symbols up to ENTRY index the words from VALUES on."""

    STENCIL = 0x00
    START = 0x08
    """Executable address of its hot code."""
    AFTER = 0x10
    FIRST = 0x18
    """1 for the first piece of a guest instruction."""
    FLAGS = 0x20
    VALUES = 0x28
    LENGTH = 0x28 + (SYMBOL_AFTER + 1) * 8


MAX_PIECES = 96
"""A block with so many pieces ends.  (records.WORK_BYTES has room for another instruction.)"""
PC_AT = Work.VALUES + 8 * SYMBOL_PC
TARGET_AT = Work.VALUES + 8 * SYMBOL_TARGET
MAX_EXITS = 64
POOL_NEED = BlockRecord.LENGTH + MAX_EXITS * ExitRecord.LENGTH + 2 * Node.LENGTH
ARENA_NEED = 64 << 10
"""Bytes that a block may take at most (checked before it is begun)."""


@native
def decode(s: RuntimeState, number: int, word: int) -> int:
    """Table entry of the instruction that a word encodes in a tree; that of ``illegal`` if
    none."""
    tree = load64(s.code + Control.TREE)
    at = load32(tree + 4 + number * 4)
    while 1:
        if at & LEAF:
            p = tree + (at & ~LEAF)
            while load32(p + 8) != NONE:
                if word & load32(p) == load32(p + 4):
                    return load32(p + 8)
                p += 12
            return load32(tree)
        shift = load32(tree + at)
        mask = load32(tree + at + 4)
        at = load32(tree + at + 8 + (word >> shift & mask) * 4)
        if at == 0:
            return load32(tree)


@native
def extract(s: RuntimeState, operand: int, word: int) -> int:
    """An operand's value."""
    value = 0
    count = load32(operand + Operand.PIECES)
    p = operand + Operand.FIRST
    while count:
        piece = load32(p)
        width = piece >> 8 & 255
        value |= (word >> (piece & 255) & (1 << width) - 1) << (piece >> 16)
        p += 4
        count -= 1
    sign = load32(operand + Operand.SIGN)
    if sign:
        value |= 0 - (value >> sign - 1 & 1) << sign
    function = load32(operand + Operand.FUNCTION)
    if function != NONE:
        value = hostcall(s.functions[function], addressof(s.exit_request), value)
    return value + load64(operand + Operand.PLUS)


@native
def copy(s: RuntimeState, to: int, source: int, size: int) -> None:
    """Copy code, eight bytes at a time (both ends have room for the excess)."""
    done = 0
    while done < size:
        store64(to + done, load64(source + done))
        done += 8


@native
def patch(s: RuntimeState, at: int, kind: int, value: int) -> None:
    """Fill a hole at an executable address."""
    writable = at + load64(s.code + Control.DELTA)
    if kind == KIND_RELATIVE:
        store32(writable, value - at)
    elif kind == KIND_64:
        store64(writable, value)
    elif kind == KIND_32:
        store32(writable, value)
    else:
        store8(writable, value)


@native
def sign32(s: RuntimeState, value: int) -> int:
    """A 32-bit number, sign-extended."""
    return (value ^ 0x8000_0000) - 0x8000_0000


# Stencils in memory: hot bytes, cold bytes, number of hot and of cold relocations (16 bits
# each), relocations (offset 16, kind 8, symbol 8, addend 32 bits), hot code, cold code,
# both padded to 8 bytes.


@native
def hot_code(s: RuntimeState, stencil: int) -> int:
    """Address of a stencil's hot code."""
    head = load64(stencil)
    return stencil + 8 + ((head >> 32 & 0xFFFF) + (head >> 48)) * 8


@native
def place_piece(s: RuntimeState, work: int, stencil: int) -> None:
    """Copy a stencil's hot code to the arena and note it."""
    at = load64(s.code + Control.NEXT)
    size = load64(stencil) & 0xFFFF
    copy(s, at + load64(s.code + Control.DELTA), hot_code(s, stencil), size)
    store64(s.code + Control.NEXT, at + size)
    store64(work + Work.STENCIL, stencil)
    store64(work + Work.START, at)
    store64(work + Work.AFTER, at + size)


@native
def special(s: RuntimeState, number: int) -> int:
    """A stencil that belongs to no instruction."""
    return load64(load64(s.code + Control.SPECIALS) + number * 8)


@native
def choose(s: RuntimeState, insn: int, work: int, word: int) -> int:
    """Fill a note's operand values; the index of the instruction's stencil."""
    radix = load64(s.code + Control.RADIX)
    places = load64(s.code + Control.PLACES)
    index = 0
    k = 0
    count = load32(insn + Insn.COUNT)
    while k < count:
        operand = insn + Insn.OPERANDS + k * Operand.LENGTH
        value = extract(s, operand, word)
        kind = load32(operand + Operand.KIND)
        if kind != KIND_IMMEDIATE:
            if kind != KIND_STATE:
                index = index * radix + load8(places + value)
            value = load32(operand + Operand.SLOT) + (value << load32(operand + Operand.SCALE))
        store64(work + Work.VALUES + k * 8, value)
        k += 1
    return index


@native
def copy_values(s: RuntimeState, to: int, source: int) -> None:
    """Give a note the values of another."""
    k = Work.FLAGS
    while k < Work.LENGTH:
        store64(to + k, load64(source + k))
        k += 8
    store64(to + Work.FIRST, 0)


@native
def place_general(s: RuntimeState, insn: int, work: int, word: int, index: int) -> int:
    """The stencil with all operands in the state, between moves of the pinned ones.

    Returns the last note used.
    """
    missing = s.code + Control.MISSING
    store64(missing, load64(missing) + 1)
    places = load64(s.code + Control.PLACES)
    count = load32(insn + Insn.COUNT)
    zero = load64(places - 8)
    pins = load64(s.code + Control.RADIX) - 2
    k = 0
    while k < count:
        operand = insn + Insn.OPERANDS + k * Operand.LENGTH
        kind = load32(operand + Operand.KIND)
        if kind == KIND_PINNED or kind == KIND_PINNED_RESULT:
            register = extract(s, operand, word)
            place = load8(places + register)
            if place >= 2:
                place_piece(s, work, special(s, SPECIAL_SPILL + place - 2))
                copy_values(s, work + Work.LENGTH, work)
                work += Work.LENGTH
            elif kind == KIND_PINNED_RESULT and register == zero:
                store64(work + Work.VALUES + k * 8, load64(s.code + Control.SCRATCH))
        k += 1
    place_piece(s, work, index)
    k = 0
    while k < count:
        operand = insn + Insn.OPERANDS + k * Operand.LENGTH
        if load32(operand + Operand.KIND) == KIND_PINNED_RESULT:
            place = load8(places + extract(s, operand, word))
            if place >= 2:
                copy_values(s, work + Work.LENGTH, work)
                work += Work.LENGTH
                place_piece(s, work, special(s, SPECIAL_SPILL + pins + place - 2))
        k += 1
    return work


@native
def place_instruction(s: RuntimeState, insn: int, work: int, word: int) -> int:
    """Place an instruction's pieces; the last note used.  pc and npc are set."""
    index = choose(s, insn, work, word)
    flags = load32(insn + Insn.FLAGS)
    relative = load32(insn + Insn.RELATIVE)
    back = 0
    if relative != NONE:
        distance = load64(work + Work.VALUES + relative * 8)
        target = load64(work + PC_AT) + distance
        store64(work + TARGET_AT, target & load64(s.code + Control.ADDRESS_BITS))
        if flags & JUMPS and distance - 1 >> 63:
            back = 1
    choices = load64(s.code + Control.CHOICES)
    first = load32(insn + Insn.CHOICE)
    if flags & JUMPS:
        index = index * 2 + back
    offset = load32(choices + (first + index) * 4)
    stencils = load64(s.code + Control.STENCILS)
    if offset:
        place_piece(s, work, stencils + offset * 8)
        return work
    general = load32(choices + (first + back) * 4)
    return place_general(s, insn, work, word, stencils + general * 8)


# Exits


@native
def place_stub(s: RuntimeState, record: int, site: int, target: int, note: int) -> None:
    """Lead a direct exit, at ``site``, to a stub of its own."""
    at = load64(s.code + Control.NEXT)
    patch(s, site, KIND_RELATIVE, at - 4)
    far = s.paged and (target ^ load64(record + BlockRecord.PC)) >> 12
    stencil = special(s, SPECIAL_FAR if far else SPECIAL_LINK)
    place_piece(s, note, stencil)
    store64(note + TARGET_AT, target)
    if far == 0:
        exit_record = pool_take(s, ExitRecord.LENGTH)
        store64(exit_record + ExitRecord.SITE, site)
        store64(exit_record + ExitRecord.TARGET, target)
        store64(exit_record + ExitRecord.STUB, at)
        store64(exit_record + ExitRecord.LINKED, 0)
        store64(note + Work.VALUES + 8 * SYMBOL_SITE, exit_record)
        if load64(record + BlockRecord.EXIT_COUNT) == 0:
            store64(record + BlockRecord.EXITS, exit_record)
        count = record + BlockRecord.EXIT_COUNT
        store64(count, load64(count) + 1)
    fill(s, record, note, note, stencil + 8, load64(stencil) >> 32 & 0xFFFF, at, 0)


@native
def inside(s: RuntimeState, target: int, note: int, last: int) -> int:
    """Host address of a guest address further on in the block being made, or 0.

    Loops go through links, even inside a block, so that a region can take them over.
    """
    if load64(s.code + Control.FLAGS):
        return 0
    while note <= last:
        if load64(note + Work.FIRST) and load64(note + PC_AT) == target:
            return load64(note + Work.START)
        note += Work.LENGTH
    return 0


@native
def fill(
    s: RuntimeState,
    record: int,
    note: int,
    last: int,
    relocation: int,
    count: int,
    base: int,
    cold: int,
) -> None:
    """Fill the holes of a stencil's hot or cold code at ``base``."""
    while count:
        entry = load64(relocation)
        at = base + (entry & 0xFFFF)
        kind = entry >> 16 & 255
        symbol = entry >> 24 & 255
        addend = sign32(s, entry >> 32)
        if symbol == SYMBOL_NEXT:
            patch(s, at, kind, load64(note + Work.AFTER) + addend)
        elif symbol == SYMBOL_COLD:
            patch(s, at, kind, cold + addend)
        elif symbol == SYMBOL_TAKEN:
            target = load64(note + TARGET_AT)
            start = inside(s, target, note, last)
            if start:
                patch(s, at, kind, start + addend)
            else:
                place_stub(s, record, at, target, last + Work.LENGTH)
        else:
            patch(s, at, kind, load64(note + Work.VALUES + symbol * 8) + addend)
        relocation += 8
        count -= 1


@native
def finish_pieces(s: RuntimeState, record: int, last: int) -> None:
    """Place the cold forms and stubs of all noted pieces, and fill all holes."""
    delta = load64(s.code + Control.DELTA)
    note = load64(s.code + Control.WORK)
    while note <= last:
        stencil = load64(note + Work.STENCIL)
        head = load64(stencil)
        hot_relocations = head >> 32 & 0xFFFF
        cold_size = head >> 16 & 0xFFFF
        cold = load64(s.code + Control.NEXT)
        if cold_size:
            code = hot_code(s, stencil) + ((head & 0xFFFF) + 7 & ~7)
            copy(s, cold + delta, code, cold_size)
            store64(s.code + Control.NEXT, cold + cold_size)
            start = stencil + 8 + hot_relocations * 8
            fill(s, record, note, last, start, head >> 48, cold, cold)
        fill(s, record, note, last, stencil + 8, hot_relocations, load64(note + Work.START), cold)
        note += Work.LENGTH


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
