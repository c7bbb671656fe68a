"""The block translator's parts, native: decode a word, choose its stencils, copy and patch."""

from __future__ import annotations

from jitemu.ir.native import (
    addressof,
    hostcall,
    load8,
    load32,
    load64,
    native,
    store8,
    store32,
    store64,
)
from jitemu.ir.state import RuntimeState
from jitemu.runtime.codetable import pool_take
from jitemu.runtime.layouts import BlockRecord, Control, ExitRecord
from jitemu.runtime.translator_layouts import (
    JUMPS,
    KIND_32,
    KIND_64,
    KIND_IMMEDIATE,
    KIND_PINNED,
    KIND_PINNED_RESULT,
    KIND_RELATIVE,
    KIND_STATE,
    LEAF,
    NONE,
    PC_AT,
    SPECIAL_FAR,
    SPECIAL_LINK,
    SPECIAL_SPILL,
    SYMBOL_COLD,
    SYMBOL_NEXT,
    SYMBOL_SITE,
    SYMBOL_TAKEN,
    TARGET_AT,
    Insn,
    Operand,
    Work,
)


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
