"""Instruction sets as data: bit patterns become decoder, encoder and disassembly.

A pattern lists bits from the most significant: literal digits, ``name:width`` fields and
``name[bits]`` pieces, whose list says where each bit belongs in the field
(``imm[12|10:5]``).  Fields named ``imm*`` are signed, fields named ``r*`` hold a register,
all others are unsigned.  Behind a field's token may stand ``=function``, a native function
that makes the field's value of those bits, and ``+number``, which is added last.

A field named ``cond`` is no operand: it is the instruction's predicate, by number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from jitemu.ir.emitter import Emitter
from jitemu.ir.native import REGISTRY, NativeFunction

Fields = dict[str, int]
Body = Callable[..., None]
Expansion = Callable[..., "tuple[str, Fields] | None"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bits of a field: ``width`` bits of the word at ``low`` go to ``dest``."""

    low: int
    width: int
    dest: int


@dataclass(frozen=True)
class FieldSpec:
    """A field of a pattern."""

    name: str
    pieces: tuple[Piece, ...]
    signed: bool
    function: str = ""
    """The native function that makes the value of the bits."""
    plus: int = 0
    """Added to the value."""

    @cached_property
    def bits(self) -> int:
        """Bits of the field's value, implied low zeros included."""
        return max(p.dest + p.width for p in self.pieces)

    def extract(self, word: int) -> int:
        """The field's value in an instruction word."""
        value = 0
        for p in self.pieces:
            value |= (word >> p.low & ((1 << p.width) - 1)) << p.dest
        if self.signed and self.pieces and value >> (self.bits - 1):
            value -= 1 << self.bits
        if self.function:
            value = REGISTRY[self.function].evaluate(value)
            value -= value >> 63 << 64
        return value + self.plus

    def insert(self, value: int) -> int:
        """The word's bits for a value (of a function: for its argument); ValueError if it
        does not fit."""
        value -= 0 if self.function else self.plus
        word = 0
        covered = 0
        for p in self.pieces:
            mask = ((1 << p.width) - 1) << p.dest
            covered |= mask
            word |= (value & mask) >> p.dest << p.low
        low, high = (
            (-(1 << self.bits - 1), 1 << self.bits - 1) if self.signed else (0, 1 << self.bits)
        )
        if not low <= value < high or value & ((1 << self.bits) - 1) & ~covered:
            raise ValueError(f"{self.name}={value} does not fit")
        return word


@dataclass(eq=False)
class Instruction:
    """One definition: a body of micro-ops, or an expansion to a simpler instruction."""

    name: str
    width: int
    """Bits: 16 or 32."""
    mask: int
    match: int
    fields: tuple[FieldSpec, ...]
    asm: str
    when: str
    """The extension it belongs to."""
    body: Body | None = None
    expansion: Expansion | None = None
    index: int = 0
    operands: tuple[str, ...] = ()
    """The fields that the body takes, in its order."""
    base: str = ""
    """The definition whose other encoding this is."""
    steps: NativeFunction | None = None
    """Gives the words that are executed one after the other for a word (see ``Isa.steps``)."""

    first: bool = False
    """It counts before patterns with more literal bits."""

    @property
    def rank(self) -> int:
        """Of the patterns that match a word, which counts."""
        return self.mask.bit_count() + self.first * 64

    @property
    def stencil(self) -> str:
        """The definition that its stencils are named after."""
        return self.base or self.name

    def build(self, s: Emitter, fields: Fields) -> None:
        """Run the body with the fields' values."""
        assert self.body is not None
        self.body(s, *(fields[n] if n[0] == "r" else s.const(fields[n]) for n in self.operands))

    def build_open(self, s: Emitter) -> None:
        """Run the body with its fields left open: register names and holes."""
        assert self.body is not None
        self.body(s, *(n if n[0] == "r" else s.emit("hole", "", (), (n,)) for n in self.operands))

    def decode(self, word: int) -> Fields:
        """The fields of a word that matches."""
        return {f.name: f.extract(word) for f in self.fields}

    def encode(self, **values: int) -> int:
        """The instruction word for these field values."""
        word = self.match
        for f in self.fields:
            word |= f.insert(values.pop(f.name, 0 if f.function else f.plus))
        if values:
            raise ValueError(f"{self.name} has no field {', '.join(values)}")
        return word


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded word: the definition whose body is executed, and its fields."""

    insn: Instruction
    fields: Fields
    length: int
    """Bytes in memory (2 for a compressed form of a longer instruction)."""
    guard: Instruction | None = None
    """What skips the rest where the predicate does not hold."""
    parts: tuple[tuple[Instruction, Fields], ...] = ()
    """What is executed, where that is not just ``insn``."""

    def build(self, s: Emitter) -> None:
        """The micro-ops of all of it."""
        if self.guard is not None:
            self.guard.build(s, {})
        for insn, fields in self.parts or ((self.insn, self.fields),):
            insn.build(s, fields)
        s.finish()


_TOKEN = re.compile(r"([01]+)$|([a-z]\w*)(?::(\d+)|\[([\d:|]+)\])(?:=([a-z]\w*))?(?:\+(\d+))?$")


@dataclass(frozen=True, slots=True)
class _Token:
    """A pattern's word."""

    name: str
    ranges: tuple[tuple[int, int], ...]
    bits: str
    function: str = ""
    plus: int = 0


@cache
def _token(word: str) -> _Token:
    """What a pattern's word says."""
    m = _TOKEN.match(word)
    if not m:
        raise ValueError(f"pattern word {word!r}")
    bits, name, width, where, function, plus = m.groups()
    if bits:
        return _Token("", ((len(bits) - 1, 0),), bits)
    ranges = ((int(width) - 1, 0),) if width else _ranges(where)
    return _Token(name, ranges, "", function or "", int(plus or 0))


def _ranges(where: str) -> tuple[tuple[int, int], ...]:
    parts = (r.split(":") for r in where.split("|"))
    return tuple((int(r[0]), int(r[-1])) for r in parts)


def parse_pattern(pattern: str) -> tuple[int, int, int, tuple[FieldSpec, ...]]:
    """(width, mask, match, fields) of a pattern."""
    tokens = [_token(word) for word in pattern.split()]
    total = sum(high - low + 1 for token in tokens for high, low in token.ranges)
    if total not in (16, 32):
        raise ValueError(f"pattern {pattern!r} has {total} bits")
    mask = match = 0
    at = total
    pieces: dict[str, list[Piece]] = {}
    functions: dict[str, str] = {}
    added: dict[str, int] = {}
    for token in tokens:
        name = token.name
        functions[name] = functions.get(name, "") or token.function
        added[name] = added.get(name, 0) or token.plus
        for high, low in token.ranges:
            n = high - low + 1
            at -= n
            if token.bits:
                mask |= ((1 << n) - 1) << at
                match |= int(token.bits, 2) << at
            else:
                pieces.setdefault(name, []).append(Piece(at, n, low))
    fields = tuple(
        FieldSpec(name, tuple(parts), name.startswith("imm"), functions[name], added[name])
        for name, parts in pieces.items()
    )
    return total, mask, match, fields


@dataclass
class Node:
    """A decoder tree's inner node: some bits of the word choose the child."""

    shift: int
    mask: int
    children: dict[int, Node | list[Instruction]] = field(
        default_factory=dict[int, "Node | list[Instruction]"]
    )


def build_tree(insns: list[Instruction], used: int = 0) -> Node | list[Instruction]:
    """A tree over the bits that all of these patterns fix; lists where none is left."""
    common = ~used
    for insn in insns:
        common &= insn.mask
    if len(insns) <= 1 or common <= 0:
        return insns
    shift = (common & -common).bit_length() - 1
    mask = 0
    while common >> (shift + mask.bit_length()) & 1:
        mask = mask << 1 | 1
    node = Node(shift, mask)
    groups: dict[int, list[Instruction]] = {}
    for insn in insns:
        groups.setdefault(insn.match >> shift & mask, []).append(insn)
    for key, group in groups.items():
        node.children[key] = build_tree(group, used | mask << shift)
    return node


def _complete(insn: Instruction, operands: tuple[str, ...], same: Mapping[str, str | int]) -> None:
    """Give an instruction a field for each operand, from those of its pattern."""
    own = {f.name: f for f in insn.fields}
    fields: list[FieldSpec] = []
    for operand in operands:
        given = same.get(operand, operand)
        if isinstance(given, int):
            fields.append(FieldSpec(operand, (), False, "", given))
            continue
        given, _, plus = given.partition("+")
        if given not in own:
            raise ValueError(f"{insn.name}: the pattern has no field {given}")
        spec = own[given]
        signed = operand.startswith("imm") and not spec.function
        total = spec.plus + int(plus or 0)
        fields.append(FieldSpec(operand, spec.pieces, signed, spec.function, total))
    named = {f.name for f in fields}
    insn.fields = (*fields, *(f for name, f in own.items() if name not in named))


LOW_BITS = 0x7F


class Isa:
    """A set of instruction definitions.

    Frontends create one and decorate their bodies with ``insn`` and their compressed
    forms with ``expand``.
    """

    def __init__(
        self,
        name: str,
        trees: Callable[[Instruction], tuple[int, ...]] = lambda insn: (insn.width,),
        crossing: bool = False,
    ) -> None:
        self.name = name
        self.crossing = crossing
        """Patterns may overlap where neither includes the other: of those that match a word
        the one with the highest rank counts, and of those the last defined."""
        self.trees_of = trees
        """The decoder trees that an encoding belongs to; others cannot overlap it."""
        self.instructions: dict[str, Instruction] = {}
        self._groups: dict[tuple[int, int], list[Instruction]] = {}
        """Definitions by width and low bits (-1 if not all fixed): see ``_rivals``."""

    def _rivals(
        self, width: int, mask: int, match: int
    ) -> tuple[list[Instruction], list[Instruction]]:
        """A pattern's own group, and all definitions that it may overlap.

        Patterns that fix all low bits differently do not, which spares most comparisons.
        """
        low = match & LOW_BITS if mask & LOW_BITS == LOW_BITS else -1
        own = self._groups.setdefault((width, low), [])
        if self.crossing:
            return own, []
        if low < 0:
            return own, [i for i in self.instructions.values() if i.width == width]
        return own, own + self._groups.get((width, -1), [])

    def _add(self, pattern: str, asm: str, when: str, function: Any, name: str) -> Instruction:
        insn = self._encoding(pattern, asm, when, name)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        own = {f.name for f in insn.fields}
        for wanted in names:
            if wanted != "s" and wanted not in own:
                raise ValueError(f"{name}: the pattern has no field {wanted}")
        return insn

    def _encoding(self, pattern: str, asm: str, when: str, name: str) -> Instruction:
        width, mask, match, fields = parse_pattern(pattern)
        insn = Instruction(name, width, mask, match, fields, asm, when)
        group, rivals = self._rivals(width, mask, match)
        for other in () if self.crossing else rivals:
            if not set(self.trees_of(insn)) & set(self.trees_of(other)):
                continue
            if (other.match ^ match) & other.mask & mask == 0:
                narrower = other.mask & mask in (other.mask, mask) and other.mask != mask
                if not narrower:
                    raise ValueError(f"{name} overlaps {other.name}")
        if name in self.instructions:
            raise ValueError(f"{name} is defined twice")
        insn.index = len(self.instructions)
        self.instructions[name] = insn
        group.append(insn)
        return insn

    def insn(
        self, pattern: str, asm: str, when: str, name: str | None = None
    ) -> Callable[[Body], Body]:
        """Define an instruction by its body ``f(s, field, ...)``."""

        def decorate(body: Body) -> Body:
            label = name or body.__name__.rstrip("_").replace("__", ".")
            code = body.__code__
            self.define(pattern, asm, when, label, code.co_varnames[1 : code.co_argcount], body)
            return body

        return decorate

    def define(
        self,
        pattern: str,
        asm: str,
        when: str,
        name: str,
        operands: tuple[str, ...],
        body: Body,
        **same: str | int,
    ) -> None:
        """As ``insn``, for a body made by a function: its operands are named here.

        ``same`` says of operands that the pattern lacks which of its fields they are
        (``"rt"``, ``"rt+1"``), or their value.
        """
        insn = self._encoding(pattern, asm, when, name)
        _complete(insn, operands, same)
        insn.body = body
        insn.operands = operands

    def action(self, body: Body) -> Body:
        """Define what no word encodes, but translation may put in an instruction's place."""
        insn = Instruction(body.__name__, 0, 0, 0, (), body.__name__, "", body)
        insn.index = len(self.instructions)
        self.instructions[insn.name] = insn
        return body

    def expand(
        self, pattern: str, asm: str, when: str, name: str | None = None
    ) -> Callable[[Expansion], Expansion]:
        """Define a form that stands for another instruction.

        The function gets the fields' values and returns (name, fields), or None where
        the encoding is reserved.
        """

        def decorate(function: Expansion) -> Expansion:
            label = name or function.__name__.rstrip("_").replace("__", ".")
            self._add(pattern, asm, when, function, label).expansion = function
            return function

        return decorate

    def alias(
        self, base: str, pattern: str, asm: str, when: str, name: str, **same: str | int
    ) -> None:
        """Another encoding of a definition; ``same`` as in ``define``."""
        meaning = self.instructions[base]
        insn = self._encoding(pattern, asm, when, name)
        _complete(insn, meaning.operands, same)
        insn.body, insn.operands, insn.base = meaning.body, meaning.operands, base

    def steps(self, pattern: str, asm: str, when: str, name: str, function: NativeFunction) -> None:
        """Define an instruction that stands for several, executed as one.

        ``function(s, word, k)`` gives the k-th word, 0 after the last; they are words of the
        decoder's first tree.  If a memory access of one faults, those before have been done:
        they must be such that all can be done again.
        """
        self._encoding(pattern, asm, when, name).steps = function

    def decoder(self, extensions: frozenset[str] | None = None) -> Decoder:
        """A decoder of the instructions of these extensions (all if None)."""
        chosen = [
            i for i in self.instructions.values() if extensions is None or i.when in extensions
        ]
        return Decoder(self, chosen)


def _arguments(function: Expansion) -> tuple[str, ...]:
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def _extracts(insn: Instruction) -> list[tuple[Callable[[int], int], int]]:
    """(value of some bits of a word, these bits) for each argument of an expansion.  The
    functions remember, as few values occur in many words."""
    assert insn.expansion is not None
    named = {f.name: f for f in insn.fields}
    chosen = [named[name] for name in _arguments(insn.expansion)]
    return [(cache(f.extract), sum((1 << p.width) - 1 << p.low for p in f.pieces)) for f in chosen]


def _inserts(insn: Instruction) -> list[tuple[str, Callable[[int], int]]]:
    """(field, word's bits for its value)."""
    return [(f.name, cache(f.insert)) for f in insn.fields]


class Decoder:
    """Decodes words of an instruction set, remembering what it saw."""

    def __init__(self, isa: Isa, insns: list[Instruction]) -> None:
        self.isa = isa
        self.trees = {
            width: build_tree([i for i in insns if i.width == width]) for width in (16, 32)
        }
        self.enabled = {i.name for i in insns}
        self.native_trees: tuple[int, ...] = (32,)
        """The trees that native code decodes by, in the order of their numbers."""
        self._seen: dict[int, Decoded | None] = {}

    def decode(self, word: int) -> Decoded | None:
        """The instruction in a word (16 bits of it if those say so); None if illegal."""
        if word & 3 != 3:
            word &= 0xFFFF
        try:
            return self._seen[word]
        except KeyError:
            found = self._seen[word] = self._decode(word)
            return found

    def decode_at(self, pc: int, code: bytes) -> Decoded | None:
        """The instruction that a pc's bytes begin with; None if illegal or cut off."""
        decoded = self.decode(int.from_bytes(code[:4], "little")) if len(code) >= 2 else None
        return None if decoded is None or decoded.length > len(code) else decoded

    def address_of(self, pc: int) -> int:
        """The guest address in a pc word."""
        return pc

    def following(self, pc: int, decoded: Decoded) -> int:
        """The pc word after an instruction that goes on with the next."""
        return pc + decoded.length & (1 << 64) - 1

    def expansions(self) -> Iterator[tuple[int, int]]:
        """(word, the 32-bit word that it stands for) of all 16-bit words that stand for one."""
        fields = cache(_extracts)
        inserts = cache(_inserts)
        for word in range(1 << 16):
            insn = self._find(word, 16) if word & 3 != 3 else None
            if insn is None or insn.expansion is None:
                continue
            values = [extract(word & mask) for extract, mask in fields(insn)]
            target = insn.expansion(*values)
            if target is None or target[0] not in self.enabled:
                continue
            base = self.isa.instructions[target[0]]
            long = base.match
            for name, insert in inserts(base):
                long |= insert(target[1].get(name, 0))
            yield word, long

    def _decode(self, word: int) -> Decoded | None:
        width = 32 if word & 3 == 3 else 16
        insn = self._find(word, width)
        if insn is None:
            return None
        fields = insn.decode(word)
        if insn.expansion is None:
            return Decoded(insn, fields, width // 8)
        target = insn.expansion(*(fields[n] for n in _arguments(insn.expansion)))
        if target is None or target[0] not in self.enabled:
            return None
        base = self.isa.instructions[target[0]]
        full = {f.name: target[1].get(f.name, 0) for f in base.fields}
        return Decoded(base, full, width // 8)

    def _find(self, word: int, width: int) -> Instruction | None:
        node = self.trees[width]
        while isinstance(node, Node):
            child = node.children.get(word >> node.shift & node.mask)
            if child is None:
                return None
            node = child
        best: Instruction | None = None
        for insn in node:
            if word & insn.mask == insn.match and (best is None or insn.rank >= best.rank):
                best = insn
        return best
