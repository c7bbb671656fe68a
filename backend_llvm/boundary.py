"""A region's boundary: guest registers become LLVM variables at its entries, and are written
back at its exits.

What the region does not write is read from the state where it is needed, and an exit writes back
only what may have been written on a way to it.  Short visits of a large region therefore move
few registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from jitemu.backend_llvm.banks import Banks, Unit
from jitemu.backend_llvm.convention import CC, MAX_PINNED, arguments, parameters
from jitemu.backend_llvm.lifted import Lifted
from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.reaching import may_be_written
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.backend_llvm.request import Request
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.backend_llvm.variables import VariableLowering
from jitemu.ir.code import Op

_BACK = "@@WRITEBACK "
"""Line that stands for writing back, with the label of the exit."""
Written = TypeVar("Written", Register, Unit)


class BoundaryLowering(VariableLowering):
    """Lowers entries and exits."""

    def __init__(
        self,
        target: Target,
        request: Request,
        lifted: Mapping[Place, Lifted],
        ways: Mapping[Place, list[Place]],
        entries: list[int],
    ) -> None:
        super().__init__(target, lifted, ways, [(0, pc) for pc in entries])
        self.branches = True
        self.request = request
        self.entries = entries
        self.banks = Banks(target, [item.code for item in lifted.values()])
        units = {
            p: {self.banks.unit_of(o)[0] for o in ops if o.name == "vset"}
            for p, ops in self.codes.items()
        }
        self._written_before = may_be_written(self.sets, ways)
        self._units_before = may_be_written(units, ways)
        if target.mode == "system":  # any access may leave, for one place
            self.widths.settle_everywhere()
        else:
            self.widths.settle(request.seen)
        self.exit_sources: dict[str, set[Place]] = {}
        """By the label of an exit: the instructions that control comes from."""
        self._exit_wide: dict[str, int] = {}
        """By the label of an exit: what may be wide there."""
        self.settings: set[tuple[str, int]] = set()
        """(word of the state, bits that must be 0 in it)"""
        self.registers.update((target.pinned_class, pin) for pin in target.pinned)
        assert len(target.pinned) <= MAX_PINNED
        self.parameters = parameters(len(target.pinned) + 1)
        self.number = f"%p{len(target.pinned)}"
        """The last parameter: the number of the entry."""
        self.entry.append(self.number)

    def op_unusual(self, op: Op) -> str:
        """0: at the entry the state's word is checked, and nothing in a region changes it."""
        self.settings.add((str(op.attrs[0]), op.args[0].const or 0))
        return "false"

    def op_set(self, op: Op) -> None:
        self._note(register_of(op), self.ref(op.args[0]))
        super().op_set(op)

    def op_vget(self, op: Op) -> str:
        return self.banks.get(self, op)

    def op_vset(self, op: Op) -> None:
        self.banks.set(self, op)
        if self.exact:
            at = self.temp(f"getelementptr i8, ptr %s, i64 {self.banks.state_offset(op)}")
            self.put(f"store {self.typed(op.args[0])}, ptr {at}, align 1")

    # What a handler of faults sees: the registers in the state and pc, at each access

    @property
    def exact(self) -> int:
        """The state is kept up to date at each access to memory."""
        return self.request.holes.get("exact", 0)

    def _note(self, register: Register, value: str) -> None:
        """A register's value for the fault handler; pinned ones lie in ``scratch``, as the
        exit from a fault writes host registers over those of the state."""
        if self.exact:
            place = register
            if self.is_pinned(place):
                place = ("scratch", self.target.pinned.index(register[1]))
            self.put(f"store i64 {value}, ptr {self.word(*place)}")

    # Exits

    def reload(self, label: str, sources: Iterable[Place]) -> None:
        """At an exit, named by its label: write the state's registers back and take the pinned
        ones for a tail call."""
        self.exit_sources.setdefault(label, set()).update(sources)
        self._exit_wide[label] = self.wide
        self.put(_BACK + label)
        pinned = [self.value((self.target.pinned_class, r)) for r in self.target.pinned]
        self.pins = [*pinned, "undef"]

    def with_exits(self, lines: Iterable[str]) -> list[str]:
        """The lines, with what is written back at each exit."""
        body: list[str] = []
        for line in lines:
            if line.startswith(_BACK):
                body.extend(self._writeback(line.removeprefix(_BACK)))
            else:
                body.append(line)
        return body

    def _writeback(self, label: str) -> list[str]:
        sources = self.exit_sources[label]
        self.wide = self._exit_wide[label]
        lines: list[str] = []
        for register in _all(self._written_before, sources):
            if self.is_pinned(register):
                continue
            name, at = self.variable(register), self.in_state(register)
            self.temps += 1
            value = f"%w{self.temps}"
            if self.is_short(register):
                lines.append(f"{value}.n = load i32, ptr {name}")
                lines.append(f"{value} = {self.extension(register)} i32 {value}.n to i64")
            else:
                lines.append(f"{value} = load i64, ptr {name}")
            lines.append(f"store i64 {value}, ptr {at}, !alias.scope !12, !noalias !11")
        return lines + self.banks.back(self, _all(self._units_before, sources))

    # Entries

    def entry_code(self) -> list[str]:
        """Registers into variables; narrow ones are checked; on to the entry asked for."""
        lines: list[str] = []
        checks: list[str] = []
        for register in sorted(self.registers):
            at = self.in_state(register)
            if self.is_pinned(register):
                value = f"%p{self.target.pinned.index(register[1])}"
                lines += self._noted_at_entry(at, value, register)
            else:
                value = f"{at}.in"
                offset = self.target.layout.of(*register)
                lines.append(f"{at} = getelementptr i8, ptr %s, i64 {offset}")
                if not self.has_variable(register):
                    continue
                lines.append(f"{value} = load i64, ptr {at}, !alias.scope !12, !noalias !11")
            lines += self._enter(register, value, checks)
        lines += self.banks.entry()
        for number, (name, bits) in enumerate(sorted(self.settings)):
            at, word = f"%setting.{number}.at", f"%setting.{number}"
            lines.append(f"{at} = getelementptr i8, ptr %s, i64 {self.layout.of(name)}")
            lines.append(f"{word}.in = load i64, ptr {at}")
            lines.append(f"{word} = and i64 {word}.in, {bits}")
            checks.append(word)
        if checks:
            lines += self._check(checks)
        lines += self._switch("pc.0")
        return lines

    def _enter(self, register: Register, value: str, checks: list[str]) -> list[str]:
        """A register's value into its variables."""
        wide, short = (self.variable_name(register, short) for short in (False, True))
        lines: list[str] = []
        if wide in self.variables:
            lines.append(f"{wide} = alloca i64\nstore i64 {value}, ptr {wide}")
        if short not in self.variables:
            return lines
        lines.append(f"{short} = alloca i32\n{short}.n = trunc i64 {value} to i32")
        lines.append(f"store i32 {short}.n, ptr {short}")
        if register in self.widths.narrow and self._value_matters(register):
            lines.append(f"{short}.s = sext i32 {short}.n to i64")
            lines.append(f"{short}.d = xor i64 {short}.s, {value}")
            checks.append(f"{short}.d")
        return lines

    def _value_matters(self, register: Register) -> bool:
        """What a register holds at an entry may be read, or written back at an exit."""
        read = set(self.read_at.get(register, ()))
        for sources in self.exit_sources.values():
            if self.is_pinned(register) or any(
                register in self._written_before[place] for place in sources
            ):
                read |= sources
        return any(register in self.unwritten.get(place, ()) for place in read)

    def _noted_at_entry(self, name: str, value: str, register: Register) -> list[str]:
        if not self.exact:
            return []
        offset = self.target.layout.of("scratch", self.target.pinned.index(register[1]))
        return [
            f"{name}.note = getelementptr i8, ptr %s, i64 {offset}",
            f"store i64 {value}, ptr {name}.note",
        ]

    @staticmethod
    def _check(checks: list[str]) -> list[str]:
        """Go on at %begin if all of these are 0, else at the entry's baseline code."""
        lines: list[str] = []
        total = checks[0]
        for number, check in enumerate(checks[1:]):
            lines.append(f"%wide.{number} = or i64 {total}, {check}")
            total = f"%wide.{number}"
        lines.append(f"%narrow = icmp eq i64 {total}, 0")
        lines.append("br i1 %narrow, label %begin, label %wide, !prof !7")
        lines.append("begin:")
        return lines

    def _switch(self, prefix: str) -> list[str]:
        first, *others = [f"label %{prefix}.{pc:x}" for pc in self.entries]
        if not others:
            return [f"br {first}"]
        cases = " ".join(f"i64 {n}, {label}" for n, label in enumerate(others, 1))
        return [f"switch i64 {self.number}, {first} [ {cases} ]"]

    def wide_code(self) -> list[str]:
        """Where entries go whose registers do not fit: the baseline code of their block."""
        lines = ["wide:", *self._switch("wide")]
        for number, pc in enumerate(self.entries):
            lines.append(f"wide.{pc:x}:")
            lines.append(f'musttail call {CC} void @"wide.{number}"({arguments(self.entry)})')
            lines.append("ret void")
        return lines

    def entry_functions(self) -> list[str]:
        """What others call: a function for each entry."""
        lines: list[str] = []
        for number in range(len(self.entries)):
            passed = arguments([*self.entry[:-1], str(number)])
            lines += [
                f'define {CC} void @"entry.{number}"({self.parameters}) nounwind {{',
                f"musttail call {CC} void @region({passed})",
                "ret void",
                "}",
            ]
        return lines


def _all(written: Mapping[Place, set[Written]], places: Iterable[Place]) -> list[Written]:
    return sorted({w for place in places for w in written[place]})
