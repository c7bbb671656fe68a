"""Registers that are views of one bank, as variables of a region.

A bank is cut into units, each as wide as the widest access that the region makes to its
16 bytes: a bank that is used as scalars only does not become vectors.
"""

from __future__ import annotations

from collections.abc import Iterable

from jitemu.backend_llvm.lowering import Lowering, llvm_type
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.ir.code import BITS, Block, Op

Unit = tuple[str, int]
"""(bank, byte offset in it)"""

UNCHANGED = "!invariant.load !20"
"""Tag of loads of what the region does not write."""
SLOT = 16
KINDS = {4: "float", 8: "double", 16: "<2 x i64>"}
"""Types of units.  (Floats, as that is what scalars in such registers mostly are.)"""


class Banks:
    """The units of a region."""

    def __init__(self, target: Target, blocks: Iterable[Block]) -> None:
        self.target = target
        self.widest: dict[Unit, int] = {}
        """Of each 16 bytes: the widest access."""
        self.units: dict[Unit, int] = {}
        """Bytes of each unit that is accessed."""
        self.written: set[Unit] = set()
        accesses = [op for b in blocks for op in b.ops if op.name in ("vget", "vset")]
        for op in accesses:
            bank, at = self._place(op)
            slot = bank, at - at % SLOT
            self.widest[slot] = max(self.widest.get(slot, 4), BITS[op.type] // 8)
        for op in accesses:
            unit, size = self.unit_of(op)
            self.units[unit] = size
            if op.name == "vset":
                self.written.add(unit)

    def _place(self, op: Op) -> Unit:
        kind = self.target.classes[str(op.attrs[0])]
        return kind.bank, int(op.attrs[1]) * kind.bits // 8

    def unit_of(self, op: Op) -> tuple[Unit, int]:
        """The unit that an access is to, and its bytes."""
        bank, at = self._place(op)
        size = self.widest[bank, at - at % SLOT]
        return (bank, at - at % size), size

    @staticmethod
    def variable(unit: Unit) -> str:
        """LLVM's name of a unit."""
        return f"%{unit[0]}.at.{unit[1]}"

    def offset(self, unit: Unit) -> int:
        """Byte offset in the state."""
        return self.target.layout.of(unit[0]) + unit[1]

    def state_offset(self, op: Op) -> int:
        """Byte offset in the state of what an access is to."""
        return self.offset(self._place(op))

    def _parts(self, op: Op) -> tuple[str, str, str, int, str]:
        """(variable, its type, type as parts, which part, a part's type)"""
        unit, size = self.unit_of(op)
        bits = BITS[op.type]
        number = (self._place(op)[1] - unit[1]) * 8 // bits
        vector = f"<{size * 8 // bits} x i{bits}>" if size * 8 != bits else ""
        return self.variable(unit), KINDS[size], vector, number, f"i{bits}"

    def get(self, low: Lowering, op: Op) -> str:
        """The value of a vget."""
        name, kind, vector, number, part = self._parts(op)
        if self.unit_of(op)[0] in self.written:
            value = low.temp(f"load {kind}, ptr {name}")
        else:
            value = low.temp(f"load {kind}, ptr {name}.p, align 4, {UNCHANGED}")
        if vector:
            value = low.temp(f"bitcast {kind} {value} to {vector}")
            value = low.temp(f"extractelement {vector} {value}, i32 {number}")
            kind = part
        return low.temp(f"bitcast {kind} {value} to {llvm_type(op.type)}")

    def set(self, low: Lowering, op: Op) -> None:
        """Do a vset."""
        name, kind, vector, number, part = self._parts(op)
        source = low.typed(op.args[0])
        if vector:
            value = low.temp(f"bitcast {source} to {part}")
            old = low.temp(f"load {kind}, ptr {name}")
            old = low.temp(f"bitcast {kind} {old} to {vector}")
            new = low.temp(f"insertelement {vector} {old}, {part} {value}, i32 {number}")
            source = f"{vector} {new}"
        value = low.temp(f"bitcast {source} to {kind}")
        low.put(f"store {kind} {value}, ptr {name}")

    def entry(self) -> list[str]:
        """Lines that make the variables from the state."""
        lines: list[str] = []
        for unit, size in sorted(self.units.items()):
            name, kind = self.variable(unit), KINDS[size]
            lines.append(f"{name}.p = getelementptr i8, ptr %s, i64 {self.offset(unit)}")
            if unit not in self.written:
                continue
            lines += [
                f"{name} = alloca {kind}",
                f"{name}.v = load {kind}, ptr {name}.p, align 4, !alias.scope !12, !noalias !11",
                f"store {kind} {name}.v, ptr {name}",
            ]
        return lines

    def back(self, low: Lowering, units: Iterable[Unit]) -> list[str]:
        """Lines that write some of the variables back."""
        lines: list[str] = []
        for unit in units:
            name, kind = self.variable(unit), KINDS[self.units[unit]]
            low.temps += 1
            value = f"%w{low.temps}"
            lines.append(f"{value} = load {kind}, ptr {name}")
            tags = "align 4, !alias.scope !12, !noalias !11"
            lines.append(f"store {kind} {value}, ptr {name}.p, {tags}")
        return lines
