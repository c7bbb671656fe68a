"""A region's registers as LLVM variables, which become SSA values.

A register that the region writes, or that is pinned, has two: one of 32 bits for where it is
narrow, one of 64 for where it may be wide (widths.py).  Others have none: they are read from the
state where they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping

from jitemu.backend_llvm.banks import UNCHANGED
from jitemu.backend_llvm.lifted import Lifted
from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.reaching import unwritten_at
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.backend_llvm.stencil_keys import Key, Target
from jitemu.backend_llvm.stencils import StencilLowering
from jitemu.backend_llvm.widths import Widths
from jitemu.ir.code import Op


class VariableLowering(StencilLowering):
    """Lowers reads and writes of registers."""

    def __init__(
        self,
        target: Target,
        lifted: Mapping[Place, Lifted],
        ways: Mapping[Place, list[Place]],
        entries: list[Place],
    ) -> None:
        """``ways``: where control goes from the instructions, exits included, each as a place of
        its own."""
        super().__init__(target, Key("region", ""), (), cold=False)
        self.lifted = lifted
        self.codes = {p: lifted[p].code.ops if p in lifted else [] for p in ways}
        self.sets = {
            p: {register_of(op) for op in ops if op.name == "set"} for p, ops in self.codes.items()
        }
        self.written = frozenset[Register]().union(*self.sets.values())
        self.unwritten = unwritten_at(self.codes, self.sets, ways, entries)
        halves = (register for register in self.written if not self._is_word(register))
        self.widths = Widths(self.codes, ways, entries, halves, self.unwritten)
        self.wide = 0
        """A bit for each register that may be wide now, as in the widths."""
        self.place: Place = entries[0]
        """The instruction that is being lowered."""
        self.read_at: dict[Register, set[Place]] = {}
        self.registers: set[Register] = set()
        """Those that are read or written."""
        self.variables: set[str] = set()
        """Those that are needed."""
        self._extended: dict[tuple[str, int], str] = {}
        """Ways on which registers are extended: their labels, by that they lead to and the
        registers."""

    def begin(self, place: Place) -> None:
        """What follows is done where control has come to a place."""
        self.place = place
        self.wide = self.widths.wide_at(place)

    def op_get(self, op: Op) -> str:
        register = register_of(op)
        self.registers.add(register)
        return self.read(register)

    def read(self, register: Register) -> str:
        """A register's 64-bit value, for the instruction that is being lowered."""
        self.read_at.setdefault(register, set()).add(self.place)
        return self.value(register)

    def value(self, register: Register) -> str:
        """A register's 64-bit value."""
        name, tag = self.in_state(register), f", {UNCHANGED}"
        if self.has_variable(register):
            name, tag = self.variable(register), ""
        if not self.is_short(register):
            return self.temp(f"load i64, ptr {name}{tag}")
        half = self.temp(f"load i32, ptr {name}{tag}")
        return self.temp(f"{self.extension(register)} i32 {half} to i64")

    def op_set(self, op: Op) -> None:
        register, value = register_of(op), self.ref(op.args[0])
        self.registers.add(register)
        bit = self.widths.bits.get(register, 0)
        self.wide |= bit
        if (self.place, id(op)) in self.widths.fitting:
            self.wide &= ~bit
        name = self.variable(register)
        if self.is_short(register):
            self.put(f"store i32 {self.temp(f'trunc i64 {value} to i32')}, ptr {name}")
        else:
            self.put(f"store i64 {value}, ptr {name}")

    @staticmethod
    def in_state(register: Register) -> str:
        """The pointer to its word of the state."""
        return f"%{register[0]}.{register[1]}.at"

    def variable(self, register: Register) -> str:
        """The variable that a register's value is in now."""
        return self.variable_of(register, self.is_short(register))

    def variable_of(self, register: Register, short: bool) -> str:
        """The variable of 32 bits or 64, which is needed."""
        name = self.variable_name(register, short)
        self.variables.add(name)
        return name

    @staticmethod
    def variable_name(register: Register, short: bool) -> str:
        return f"%{register[0]}.{register[1]}.{'i32' if short else 'i64'}"

    def has_variable(self, register: Register) -> bool:
        return register in self.written or self.is_pinned(register)

    def is_pinned(self, register: Register) -> bool:
        """It is in a host register outside of regions."""
        kind, index = register
        return kind == self.target.pinned_class and index in self.target.pinned

    def is_short(self, register: Register) -> bool:
        """Its value now is in 32 bits."""
        bit = self.widths.bits.get(register)
        return self._is_word(register) if bit is None else not self.wide & bit

    def _is_word(self, register: Register) -> bool:
        kind, index = register
        return index < self.target.classes[kind].words

    def extension(self, register: Register) -> str:
        """How 32 bits become the register's 64."""
        return "zext" if self._is_word(register) else "sext"

    def way(self, label: str, place: Place) -> str:
        """The label for going from here to a place, whose label is given: what is narrow here
        and may be wide there is extended on the way."""
        short = self.widths.wide_at(place) & ~self.wide
        if not short:
            return label
        return self._extended.setdefault((label, short), f"extend.{len(self._extended)}")

    def extensions(self) -> list[str]:
        """LLVM text of the ways on which registers are extended."""
        lines: list[str] = []
        for (label, short), name in self._extended.items():
            lines.append(f"{name}:")
            for register, bit in self.widths.bits.items():
                if short & bit:
                    half = f"%{name}.{register[0]}.{register[1]}"
                    lines.append(f"{half} = load i32, ptr {self.variable_of(register, True)}")
                    lines.append(f"{half}.s = sext i32 {half} to i64")
                    lines.append(f"store i64 {half}.s, ptr {self.variable_of(register, False)}")
            lines.append(f"br label %{label}")
        return lines
