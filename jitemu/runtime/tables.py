"""The tables that the native block translator reads (runtime/translate.py), as bytes.

Made once from the instruction definitions and the stencil set, and kept on disk.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence

from jitemu.backend_llvm.objects import Relocation, patch
from jitemu.backend_llvm.stencils import (
    UNBUILT,
    Key,
    Shape,
    Stencil,
    Target,
    parse_key,
    specials,
)
from jitemu.backend_llvm.stencilset import StencilSet, general_of
from jitemu.isa import Decoder, Instruction, Isa, Node
from jitemu.runtime.translator_layouts import (
    ENDS,
    FALLS,
    JUMPS,
    KIND_8,
    KIND_32,
    KIND_64,
    KIND_IMMEDIATE,
    KIND_PINNED,
    KIND_PINNED_RESULT,
    KIND_RELATIVE,
    KIND_STATE,
    LEAF,
    MAX_OPERANDS,
    NONE,
    STEPS,
    SYMBOL_AFTER,
    SYMBOL_COLD,
    SYMBOL_DELTA,
    SYMBOL_ENTRY,
    SYMBOL_MODE,
    SYMBOL_NEXT,
    SYMBOL_NPC,
    SYMBOL_PC,
    SYMBOL_SITE,
    SYMBOL_TAKEN,
    SYMBOL_TARGET,
    SYMBOL_TLB,
    Insn,
    Operand,
)

_KINDS = {"8": KIND_64, "4": KIND_32, "1": KIND_8, "r": KIND_RELATIVE}
_SYMBOLS = {
    "pc": SYMBOL_PC,
    "npc": SYMBOL_NPC,
    "target": SYMBOL_TARGET,
    "tlb": SYMBOL_TLB,
    "mode": SYMBOL_MODE,
    "next": SYMBOL_NEXT,
    "cold": SYMBOL_COLD,
    "taken": SYMBOL_TAKEN,
    "site": SYMBOL_SITE,
    "delta": SYMBOL_DELTA,
    "entry": SYMBOL_ENTRY,
    "after": SYMBOL_AFTER,
}


def place_bytes(target: Target) -> bytes:
    """The zero register's number (8 bytes), then the place of each pinned-class register:
    0 in the state, 1 zero, 2 and more pinned."""
    kind = target.classes[target.pinned_class]
    places = bytearray(kind.count)
    if kind.zero is not None:
        places[kind.zero] = 1
    for number, register in enumerate(target.pinned):
        places[register] = 2 + number
    zero = kind.count if kind.zero is None else kind.zero
    return struct.pack("<Q", zero) + bytes(places)


# Decoder


def tree_bytes(decoder: Decoder, illegal: int) -> bytes:
    """The decoder: ``illegal``, the trees' roots, then nodes and leaves."""
    roots = decoder.native_trees
    out = bytearray(struct.pack(f"<{1 + len(roots)}I", illegal, *roots))

    def leaf(insns: Sequence[Instruction]) -> int:
        at = len(out)
        ranked = sorted(insns, key=lambda i: (-i.rank, -i.index))
        for insn in ranked:
            out.extend(struct.pack("<III", insn.mask, insn.match, insn.index))
        out.extend(struct.pack("<III", 0, 0, NONE))
        return at | LEAF

    def add(node: Node | list[Instruction]) -> int:
        if isinstance(node, list):
            return leaf(node)
        at = len(out)
        out.extend(struct.pack("<II", node.shift, node.mask))
        out.extend(bytes(4 * (node.mask + 1)))
        for key, child in node.children.items():
            struct.pack_into("<I", out, at + 8 + 4 * key, add(child))
        return at

    for number, name in enumerate(roots, 1):
        struct.pack_into("<I", out, 4 * number, add(decoder.trees[name]))
    return bytes(out)


def short_bytes(decoder: Decoder) -> bytes:
    """For each 16-bit word the 32-bit word that it stands for, or 0."""
    if decoder.native_trees != (32,):  # 16-bit words have trees of their own
        return bytes(8)
    words = [0] * 65536
    for word, long in decoder.expansions():
        words[word] = long
    return struct.pack("<65536I", *words)


# Instructions


def _operand(name: str, kind: str, insn: Instruction, target: Target, writes: bool) -> bytes:
    spec = next(f for f in insn.fields if f.name == name)
    slot = scale = 0
    code = KIND_IMMEDIATE
    if name[0] == "r" and kind:
        slot = target.layout.of(target.classes[kind].bank)
        scale = (target.classes[kind].bits // 8).bit_length() - 1
        code = KIND_STATE
        if kind == target.pinned_class:
            code = KIND_PINNED_RESULT if writes else KIND_PINNED
    pieces = [p.low | p.width << 8 | p.dest << 16 for p in spec.pieces]
    sign = spec.bits if spec.signed else 0
    function = target.functions[spec.function] if spec.function else NONE
    data = struct.pack("<6Iq", code, sign, len(pieces), slot, function, scale, spec.plus)
    return (data + struct.pack(f"<{len(pieces)}I", *pieces)).ljust(Operand.LENGTH, b"\0")


class Choices:
    """The choice table: for each instruction and combination of places its stencil."""

    def __init__(self, target: Target, offsets: dict[str, int]) -> None:
        self.target = target
        self.stencils: dict[str, list[tuple[Key, int]]] = {}
        """Of each definition the stencils, and where they are."""
        for text, offset in offsets.items():
            key = parse_key(text)
            self.stencils.setdefault(key.name, []).append((key, offset))
        self.entries = array("I", [0])
        self.known: dict[str, int] = {}
        """Where the entries of a definition begin; its other encodings share them."""

    def add(self, insn: Instruction, shape: Shape) -> int:
        """Index of an instruction's first entry."""
        if insn.stencil in self.known:
            return self.known[insn.stencil]
        first = self.known[insn.stencil] = len(self.entries)
        pinned = [kind for _, kind in shape.registers if kind == self.target.pinned_class]
        size = (len(self.target.pinned) + 2) ** len(pinned) * (1 + shape.jumps)
        self.entries.frombytes(bytes(size * self.entries.itemsize))
        for key, offset in self.stencils.get(insn.stencil, ()):
            self.entries[first + entry_number(self.target, shape, key)] = offset
        return first


def entry_number(target: Target, shape: Shape, key: Key) -> int:
    """The place of a stencil's entry among its instruction's; the general ones are the first."""
    number = 0
    for (_, kind), letter in zip(shape.registers, key.places, strict=True):
        if kind == target.pinned_class:
            place = "mz".index(letter) if letter in "mz" else 2 + int(letter)
            number = number * (len(target.pinned) + 2) + place
    return number * 2 + key.backward if shape.jumps else number


def _predicate(insn: Instruction) -> int:
    """The lowest bit of an instruction's predicate."""
    return next((f.pieces[0].low for f in insn.fields if f.name == "cond"), NONE)


def insn_bytes(stencils: StencilSet, choices: Choices) -> bytes:
    """The instruction table, by index."""
    target = stencils.target
    out = bytearray()
    for insn in stencils.isa.instructions.values():
        if insn.steps is not None:
            function = target.functions[insn.steps.name]
            data = struct.pack("<IIIII", 0, STEPS, function, NONE, _predicate(insn))
            out += data.ljust(Insn.LENGTH, b"\0")
            continue
        if insn.body is None:
            out += bytes(Insn.LENGTH)
            continue
        shape = stencils.shape(insn.stencil)
        kinds = dict(shape.registers)
        flags = ENDS * shape.ends | FALLS * shape.falls | JUMPS * shape.jumps
        relative = insn.operands.index(shape.target) if shape.target else NONE
        assert len(insn.operands) <= MAX_OPERANDS, insn.name
        first = choices.add(insn, shape)
        data = struct.pack(
            "<IIIIII", len(insn.operands), flags, first, relative, _predicate(insn), 0
        )
        for name in insn.operands:
            data += _operand(name, kinds.get(name, ""), insn, target, name in shape.written)
        out += data.ljust(Insn.LENGTH, b"\0")
    return bytes(out)


# Stencils


def _relocation(entry: tuple[int, str, str, int], operands: Sequence[str]) -> int:
    offset, kind, symbol, addend = entry
    number = operands.index(symbol) if symbol in operands else _SYMBOLS[symbol]
    return offset | _KINDS[kind] << 16 | number << 24 | (addend & 0xFFFFFFFF) << 32


def stencil_bytes(stencil: Stencil, operands: Sequence[str]) -> bytes:
    """A stencil as the native translator reads it."""
    hot, relocations, cold, cold_relocations = stencil
    head = len(hot) | len(cold) << 16 | len(relocations) << 32 | len(cold_relocations) << 48
    words = [head, *(_relocation(r, operands) for r in (*relocations, *cold_relocations))]
    code = hot.ljust((len(hot) + 7) & ~7, b"\xcc") + cold.ljust((len(cold) + 7) & ~7, b"\xcc")
    return struct.pack(f"<{len(words)}Q", *words) + code


def _unbuilt(stencil: Stencil, index: int) -> Stencil:
    """The stencil that leaves native code for the sake of an instruction."""
    code = bytearray(stencil[0])
    rest: list[Relocation] = []
    for offset, kind, symbol, addend in stencil[1]:
        if symbol == "index":
            patch(code, offset, kind, index + addend, 0)
        else:
            rest.append((offset, kind, symbol, addend))
    return bytes(code), tuple(rest), *stencil[2:]


def build_tables(stencils: StencilSet, decoder: Decoder, illegal: str) -> dict[str, bytes]:
    """All tables of a stencil set and a decoder."""
    isa: Isa = stencils.isa
    blob = bytearray(8)
    offsets: dict[str, int] = {}
    wanted = specials(stencils.target)
    for key, stencil in stencils.stencils.items():
        if key == UNBUILT:
            continue
        name = key.rpartition(":")[0]
        operands = isa.instructions[name].operands if name else ()
        offsets[key] = len(blob) // 8
        blob += stencil_bytes(stencil, operands)
    for insn in isa.instructions.values():
        if insn.body is None or insn.base:
            continue
        general = general_of(stencils.target, insn)[: 1 + stencils.shape(insn.name).jumps]
        if str(general[0]) not in offsets:
            offsets.update((str(key), len(blob) // 8) for key in general)
            blob += stencil_bytes(_unbuilt(stencils.stencils[UNBUILT], insn.index), ())
    choices = Choices(stencils.target, offsets)
    insns = insn_bytes(stencils, choices)
    return {
        "tree": tree_bytes(decoder, isa.instructions[illegal].index),
        "short": short_bytes(decoder),
        "insns": insns,
        "choices": choices.entries.tobytes(),
        "stencils": bytes(blob) + bytes(8),
        "specials": struct.pack(f"<{len(wanted)}Q", *(offsets[n] * 8 for n in wanted)),
        "places": place_bytes(stencils.target),
    }


def instead_bytes(indexes: Sequence[int]) -> bytes:
    """For each instruction the index of what is executed in its place."""
    return struct.pack(f"<{len(indexes)}I", *indexes)
