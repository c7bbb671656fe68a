"""The block translator, native: decode, choose stencils, copy, patch, register.

A block is guest code from one address up to an unconditional jump, a limit or the end of
its page; it goes on behind conditional branches.  Its hot code comes first, the stencils'
cold forms and the stubs of its direct exits behind it.  The tables it reads are made by
runtime/tables.py.
"""

from __future__ import annotations

from jitemu.ir.native import (
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


class Insn:
    """Byte offsets in an instruction's table entry; operands follow."""

    COUNT = 0x00
    FLAGS = 0x04
    CHOICE = 0x08
    """Index of its first entry in the choice table."""
    RELATIVE = 0x0C
    """Operand that is added to the pc; NONE if there is none."""
    OPERANDS = 0x10
    LENGTH = 0x10 + 6 * 0x28


class Operand:
    """Byte offsets in an operand's description."""

    KIND = 0x00
    SIGN = 0x04
    """Bits, if it is to be sign-extended."""
    PIECES = 0x08
    SLOT = 0x0C
    """State offset of the class's register 0."""
    FIRST = 0x10
    """Pieces: low | width << 8 | dest << 16."""
    LENGTH = 0x28


NONE = 0xFFFF_FFFF
KIND_IMMEDIATE, KIND_PINNED, KIND_STATE, KIND_PINNED_RESULT = 0, 1, 2, 3
ENDS, FALLS, JUMPS = 1, 2, 4

# Symbols of relocations; below them, the operands' numbers.
SYMBOL_PC, SYMBOL_NPC, SYMBOL_TARGET = 6, 7, 8
SYMBOL_TLB, SYMBOL_MODE = 9, 10
SYMBOL_NEXT, SYMBOL_COLD, SYMBOL_TAKEN = 11, 12, 13
SYMBOL_SITE, SYMBOL_DELTA, SYMBOL_ENTRY = 14, 15, 16
KIND_64, KIND_32, KIND_8, KIND_RELATIVE = 0, 1, 2, 3

SPECIAL_LINK, SPECIAL_FAR, SPECIAL_GUARD, SPECIAL_SPILL = 0, 1, 2, 3


class Context:
    """Byte offsets in a translation context's table; an index for each instruction follows:
    of the definition that takes its place, or its own."""

    TLB = 0x00
    MODE = 0x08
    FETCH = 0x10
    """State index of the first word of the fetches' TLB."""
    INSTEAD = 0x18


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
    LENGTH = 0x28 + 17 * 8


PC_AT = Work.VALUES + 8 * SYMBOL_PC
TARGET_AT = Work.VALUES + 8 * SYMBOL_TARGET
MAX_EXITS = 64
POOL_NEED = BlockRecord.LENGTH + MAX_EXITS * ExitRecord.LENGTH + 2 * Node.LENGTH
ARENA_NEED = 64 << 10
"""Bytes that a block may take at most (checked before it is begun)."""


@native
def decode(s: RuntimeState, word: int) -> int:
    """Table entry of the instruction that a 32-bit word encodes; that of ``illegal`` if none."""
    tree = load64(s.code + Control.TREE)
    at = load32(tree)
    while 1:
        shift = load32(tree + at)
        mask = load32(tree + at + 4)
        child = load32(tree + at + 8 + (word >> shift & mask) * 4)
        if child & LEAF:
            p = tree + (child & ~LEAF)
            while load32(p + 8) != NONE:
                if word & load32(p) == load32(p + 4):
                    return load32(p + 8)
                p += 12
            return load32(tree + 4)
        if child == 0:
            return load32(tree + 4)
        at = child


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
    return value


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
            value = load32(operand + Operand.SLOT) + value * 8
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
    result = 0
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
                if kind == KIND_PINNED_RESULT:
                    result = place
            elif kind == KIND_PINNED_RESULT and register == zero:
                store64(work + Work.VALUES + k * 8, load64(s.code + Control.SCRATCH))
        k += 1
    place_piece(s, work, index)
    if result:
        copy_values(s, work + Work.LENGTH, work)
        work += Work.LENGTH
        place_piece(s, work, special(s, SPECIAL_SPILL + pins + result - 2))
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
        store64(work + TARGET_AT, load64(work + PC_AT) + distance)
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
def place_word(s: RuntimeState, note: int, word: int) -> int:
    """Place the instruction that a word encodes; the last note used.  pc is set."""
    code = s.code
    context = load64(load64(code + Control.CONTEXTS) + s.ctx * 8)
    store64(note + PC_AT + 8, load64(note + PC_AT) + (4 if word & 3 == 3 else 2))
    if word & 3 != 3:
        word = load32(load64(code + Control.SHORT) + word * 4)
    index = load32(context + Context.INSTEAD + decode(s, word) * 4)
    insn = load64(code + Control.INSNS) + index * Insn.LENGTH
    store64(note + Work.FIRST, 1)
    store64(note + Work.FLAGS, load32(insn + Insn.FLAGS))
    store64(note + Work.VALUES + 8 * SYMBOL_TLB, load64(context + Context.TLB))
    store64(note + Work.VALUES + 8 * SYMBOL_MODE, load64(context + Context.MODE))
    return place_instruction(s, insn, note, word)


# Blocks


@native
def fetch_word(s: RuntimeState, host: int, offset: int, second: int) -> int:
    """The instruction word at an offset of a page (16 bits of it if those say so).

    ``second``: host address of the page behind, for a word that crosses.
    """
    low = load16(host + offset)
    if low & 3 != 3:
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
    context = load64(load64(code + Control.CONTEXTS) + s.ctx * 8)
    start = load64(code + Control.NEXT) + 15 & ~15
    store64(code + Control.NEXT, start)
    record = begin_record(s, pc, tag, physical, start)
    note = load64(code + Control.WORK)
    offset = pc & PAGE - 1
    count = 0
    flags = 0
    if second and s.paged:
        note = guard(s, context, note, pc)
    while 1:
        word = fetch_word(s, host, offset, second)
        store64(note + PC_AT, pc)
        note = place_word(s, note, word)
        length = 4 if word & 3 == 3 else 2
        pc += length
        offset += length
        count += 1
        flags = load64(note + Work.FLAGS)
        if flags & (ENDS | FALLS) == ENDS or count >= load64(code + Control.LIMIT):
            break
        if offset >= PAGE or (offset == PAGE - 2 and load16(host + offset) & 3 == 3):
            break
        note += Work.LENGTH
    store64(record + BlockRecord.SIZE, pc - load64(record + BlockRecord.PC))
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
    """Guest bytes before the instruction whose hot code is ``distance`` into a block's code.

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
        word = fetch_word(s, host, offset + at, host_page(s, (physical >> 12) + 1))
        length = 4
        if word & 3 != 3:
            length = 2
        note = load64(code + Control.WORK)
        store64(note + PC_AT, pc + at)
        place_word(s, note, word)
        if load64(code + Control.NEXT) - start > distance:
            return at
        at += length
    return at


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
