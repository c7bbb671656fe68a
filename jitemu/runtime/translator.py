"""The block translator: decode, copy stencils, patch their holes.

A block is guest code from one address up to an unconditional jump, a limit or the end of
its page; it goes on behind conditional branches.  Its hot code comes first, the stencils'
cold forms and the stubs of its direct exits behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple

from jitemu.backend_llvm.stencils import Key, Stencil, Target
from jitemu.backend_llvm.stencilset import StencilSet
from jitemu.isa import Decoded
from jitemu.runtime.arena import Arena
from jitemu.runtime.blocks import Block
from jitemu.runtime.guest import Guest
from jitemu.runtime.lookup import EXIT_LINK

MAX_INSTRUCTIONS = 48
MASK64 = (1 << 64) - 1
_POSITION = frozenset(("pc", "npc", "target", "next", "taken", "cold"))

Fix = tuple[int, str, str, int]
"""(offset, kind, symbol, addend) of a hole that depends on where the code is."""


class Piece:
    """A stencil with the holes of one instruction word filled in."""

    __slots__ = ("cold", "cold_fixes", "hot", "hot_fixes")

    def __init__(self, stencil: Stencil, holes: Mapping[str, int]) -> None:
        self.hot, self.hot_fixes = _fill(stencil[0], stencil[1], holes)
        self.cold, self.cold_fixes = _fill(stencil[2], stencil[3], holes)


class Template:
    """What an instruction word becomes: pieces in sequence."""

    __slots__ = ("ends", "falls", "length", "pieces", "relative")

    def __init__(
        self, pieces: list[Piece], length: int, relative: int | None, ends: bool, falls: bool
    ):
        self.pieces = pieces
        self.length = length
        self.relative = relative
        """What is added to the pc (the distance of a direct jump)."""
        self.ends = ends
        self.falls = falls


def _fill(
    code: bytes, relocations: tuple[Fix, ...], holes: Mapping[str, int]
) -> tuple[bytes, tuple[Fix, ...]]:
    if not relocations:
        return code, ()
    data = bytearray(code)
    rest: list[Fix] = []
    for fix in relocations:
        offset, kind, symbol, addend = fix
        if symbol in _POSITION:
            rest.append(fix)
        else:
            patch(data, offset, kind, holes[symbol] + addend)
    return bytes(data), tuple(rest)


def place_letter(target: Target, kind: str, register: int) -> str:
    """The place of a register operand, as in a stencil's key."""
    if kind != target.pinned_class:
        return "m"
    if register == target.classes[kind].zero:
        return "z"
    return str(target.pinned.index(register)) if register in target.pinned else "m"


def patch(data: bytearray, at: int, kind: str, value: int) -> None:
    """Fill a hole; relative ones get their distance."""
    if kind == "8":
        struct.pack_into("<Q", data, at, value & MASK64)
    elif kind == "1":
        data[at] = value & 0xFF
    else:
        if not -(1 << 31) <= value < 1 << 32:
            raise OverflowError(f"hole value {value:#x}")
        struct.pack_into("<I", data, at, value & 0xFFFFFFFF)


class Translator:
    """Makes blocks.  One for each guest processor type and mode; used under one lock."""

    def __init__(self, guest: Guest, stencils: StencilSet, arena: Arena) -> None:
        self.guest = guest
        self.stencils = stencils
        self.arena = arena
        self.system = guest.target.mode == "system"
        self.limit = MAX_INSTRUCTIONS
        """Instructions in a block."""
        self.loops = True
        """A block's jumps to itself may stay inside it."""
        self._templates: dict[int, dict[int, Template]] = {}
        layout = guest.target.layout
        self._slots = {
            name: [layout.of(name, i) for i in range(kind.count)]
            for name, kind in guest.target.classes.items()
        }
        self._scratch = layout.of(guest.target.pinned_class, 32)
        self.missing: dict[str, int] = {}
        """Stencils that were wanted but not in the set, and how often."""

    # Templates

    def template(self, word: int, ctx: int) -> Template:
        """The template of an instruction word in a context."""
        templates = self._templates.get(ctx)
        if templates is None:
            templates = self._templates[ctx] = {}
        found = templates.get(word)
        if found is None:
            found = templates[word] = self._make(word, ctx)
        return found

    def _make(self, word: int, ctx: int) -> Template:
        decoded = self.guest.decoder.decode(word)
        if decoded is None:
            decoded = self._other(self.guest.illegal, 4 if word & 3 == 3 else 2)
        elif (name := self.guest.instead(decoded.insn.when, ctx)) is not None:
            decoded = self._other(name, decoded.length)
        return self._assemble(decoded, ctx)

    def _other(self, name: str, length: int) -> Decoded:
        insn = self.guest.isa.instructions[name]
        return Decoded(insn, dict.fromkeys(insn.operands, 0), length)

    def _assemble(self, decoded: Decoded, ctx: int) -> Template:
        insn, fields = decoded.insn, decoded.fields
        shape = self.stencils.shape(insn.name)
        holes: dict[str, int] = dict(self.guest.context_holes(ctx))
        places: list[str] = []
        for name, kind in shape.registers:
            places.append(place_letter(self.guest.target, kind, fields[name]))
        for name in insn.operands:
            if name[0] != "r":
                holes[name] = fields[name]
        relative = fields[shape.target] if shape.target else None
        backward = shape.jumps and fields[shape.target or ""] <= 0
        key = Key(insn.name, "".join(places), backward)
        stencil = self.stencils.stencils.get(str(key))
        if stencil is not None:
            for name, kind in shape.registers:
                if kind:
                    holes[name] = self._slots[kind][fields[name]]
            pieces = [Piece(stencil, holes)]
        else:
            pieces = self._general(decoded, key, holes)
        return Template(pieces, decoded.length, relative, shape.ends, shape.falls)

    def _general(self, decoded: Decoded, key: Key, holes: dict[str, int]) -> list[Piece]:
        """The stencil with all operands in the state, between moves of pinned ones."""
        self.missing[str(key)] = self.missing.get(str(key), 0) + 1
        shape = self.stencils.shape(key.name)
        before: list[Piece] = []
        after: list[Piece] = []
        stencils = self.stencils.stencils
        for (name, kind), place in zip(shape.registers, key.places, strict=True):
            register = decoded.fields[name]
            if place == "z" and name == "rd":
                holes[name] = self._scratch
            elif kind:
                holes[name] = self._slots[kind][register]
            if place.isdigit():
                before.append(Piece(stencils[f"spill.{place}"], {}))
                if name == "rd":
                    after.append(Piece(stencils[f"fill.{place}"], {}))
        general = Key(key.name, "m" * len(key.places), key.backward)
        return [*before, Piece(stencils[str(general)], holes), *after]

    # Blocks

    def translate(self, pc: int, tag: int, physical: int, ctx: int, code: bytes) -> Block | None:
        """Translate guest code that starts at pc.

        ``code``: guest bytes from there to the end of the page (plus two if the last
        instruction crosses it).  None if the arena is full.
        """
        return self._assembly(pc, ctx, code).finish(tag, physical)

    def positions(self, pc: int, ctx: int, code: bytes) -> dict[int, int]:
        """Guest pc -> offset of its hot code, in the block that translate would make."""
        return self._assembly(pc, ctx, code).starts

    def _assembly(self, pc: int, ctx: int, code: bytes) -> Assembly:
        work = Assembly(self, pc)
        at = 0
        while True:
            word = int.from_bytes(code[at : at + 4], "little")
            if word & 3 != 3:
                word &= 0xFFFF
            template = self.template(word, ctx)
            work.add(template)
            at += template.length
            if template.ends and not template.falls:
                break
            if at + 2 > len(code) or work.count >= self.limit:
                break
            if at + 4 > len(code) and code[at] & 3 == 3:
                break
        return work

    def stub_name(self, target: int, pc: int) -> str:
        """The stub for a direct exit: another page's mapping may change in system mode."""
        return "far" if self.system and (target ^ pc) >> 12 else "link"

    def stub(self, name: str, holes: Mapping[str, int], target: int, address: int) -> bytes:
        """The bytes of a special stencil for this place."""
        code, relocations, _, _ = self.stencils.stencils[name]
        data = bytearray(code)
        for offset, kind, symbol, addend in relocations:
            value = target if symbol == "target" else holes[symbol]
            if kind == "r":
                value -= address + offset
            patch(data, offset, kind, value + addend)
        return bytes(data)


class Placed(NamedTuple):
    """A piece in a block, with the guest addresses its holes may want."""

    piece: Piece
    start: int
    """Offset of its hot code."""
    end: int
    values: dict[str, int]
    """pc, npc, target."""


class Assembly:
    """A block being put together."""

    def __init__(self, translator: Translator, pc: int) -> None:
        self.translator = translator
        self.pc = pc
        self.count = 0
        self.size = 0
        """Guest bytes so far."""
        self.data = bytearray()
        self.open: list[Placed] = []
        """Pieces with holes to fill when everything has its place."""
        self.starts: dict[int, int] = {}
        """Guest pc -> offset of its hot code."""
        self.ended = False

    def add(self, template: Template) -> None:
        """Append an instruction."""
        pc = self.pc + self.size & MASK64
        self.starts[pc] = len(self.data)
        for piece in template.pieces:
            start = len(self.data)
            self.data += piece.hot
            if piece.hot_fixes:
                values = {"pc": pc, "npc": pc + template.length & MASK64}
                if template.relative is not None:
                    values["target"] = pc + template.relative & MASK64
                self.open.append(Placed(piece, start, len(self.data), values))
        self.size += template.length
        self.count += 1
        self.ended = template.ends and not template.falls

    def finish(self, tag: int, physical: int) -> Block | None:
        """Give everything its place, fill the holes, put the block into the arena."""
        arena = self.translator.arena
        block = Block(self.pc, tag, physical, self.size, arena.next_address)
        exits: list[tuple[int, int]] = []
        if not self.ended:
            self.data += b"\xe9\0\0\0\0"
            exits.append((len(self.data) - 4, self.pc + self.size & MASK64))
        for placed in self.open:
            self._fill(placed, exits)
        for at, target in exits:
            self._stub(at, target, block)
        if not arena.room(len(self.data)):
            return None
        arena.append(self.data)
        return block

    def _fill(self, placed: Placed, exits: list[tuple[int, int]]) -> None:
        """Fill a piece's holes; its cold form is put at the end of the data."""
        piece, start, end, values = placed
        data = self.data
        cold = len(data)
        data += piece.cold
        for base, fixes in ((start, piece.hot_fixes), (cold, piece.cold_fixes)):
            for offset, kind, symbol, addend in fixes:
                at = base + offset
                if symbol == "next":
                    patch(data, at, kind, end - at + addend)
                elif symbol == "cold":
                    patch(data, at, kind, cold - at + addend)
                elif symbol != "taken":
                    patch(data, at, kind, values[symbol] + addend)
                elif self.translator.loops and values["target"] in self.starts:
                    patch(data, at, kind, self.starts[values["target"]] - at + addend)
                else:
                    exits.append((at, values["target"]))

    def _stub(self, at: int, target: int, block: Block) -> None:
        """Lead a direct exit to a stub of its own."""
        tr = self.translator
        stub = len(self.data)
        holes = {"site": block.code + at, "reason": EXIT_LINK}
        name = tr.stub_name(target, self.pc)
        self.data += tr.stub(name, holes, target, block.code + stub)
        patch(self.data, at, "r", stub - at - 4)
        if name == "link":
            block.exits[block.code + at] = (target, block.code + stub)
