"""A region's boundary: guest registers become LLVM variables at its entries, and are written
back at its exits.

A register that the region does not write has no variable: it is read from the state where it
is needed, and an exit writes back only what may have been written on a way to it.  Short
visits of a large region therefore move few registers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from jitemu.backend_llvm.banks import UNCHANGED, Banks, Unit
from jitemu.backend_llvm.convention import CC, MAX_PINNED, arguments, parameters
from jitemu.backend_llvm.lifting import Lifted
from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.narrow import Register, narrow_registers, register_of
from jitemu.backend_llvm.request import Request
from jitemu.backend_llvm.stencil_keys import Key, Target
from jitemu.backend_llvm.stencils import StencilLowering
from jitemu.ir.code import Op

_BACK = "@@WRITEBACK "
"""Line that stands for writing back, with the label of the exit."""
Written = TypeVar("Written", Register, Unit)


class BoundaryLowering(StencilLowering):
    """Lowers entries, exits and the registers' reads and writes between them."""

    def __init__(
        self,
        target: Target,
        request: Request,
        lifted: Mapping[Place, Lifted],
        edges: Mapping[Place, list[Place]],
        entries: list[int],
    ) -> None:
        super().__init__(target, Key("region", ""), (), cold=False)
        self.branches = True
        self.request = request
        self.lifted = lifted
        self.entries = entries
        codes = {place: item.code.ops for place, item in lifted.items()}
        self.banks = Banks(target, [item.code for item in lifted.values()])
        self.narrow = narrow_registers(item.code for item in lifted.values())
        sets = {p: {register_of(o) for o in ops if o.name == "set"} for p, ops in codes.items()}
        units = {
            p: {self.banks.unit_of(o)[0] for o in ops if o.name == "vset"}
            for p, ops in codes.items()
        }
        self.written = frozenset[Register]().union(*sets.values())
        self._written_before = may_be_written(sets, edges)
        self._units_before = may_be_written(units, edges)
        self._unwritten = unwritten_at(codes, sets, edges, [(0, pc) for pc in entries])
        self.place: Place = (0, request.head)
        """The instruction that is being lowered."""
        self._read_at: dict[Register, set[Place]] = {}
        self.exit_sources: dict[str, set[Place]] = {}
        """By the label of an exit: the instructions that control comes from."""
        self.settings: set[tuple[str, int]] = set()
        """(word of the state, bits that must be 0 in it)"""
        self.registers: set[Register] = set()
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

    # Registers are variables

    @staticmethod
    def _variable(kind: object, index: object) -> str:
        return f"%{kind}.{index}"

    def op_get(self, op: Op) -> str:
        register = register_of(op)
        self.registers.add(register)
        return self.read(register)

    def read(self, register: Register) -> str:
        """A register's 64-bit value, for the instruction that is being lowered."""
        self._read_at.setdefault(register, set()).add(self.place)
        return self._value(register)

    def _value(self, register: Register) -> str:
        name, tag = self._variable(*register), ""
        if not self._has_variable(register):
            name, tag = f"{name}.at", f", {UNCHANGED}"
        if not self._is_short(register):
            return self.temp(f"load i64, ptr {name}{tag}")
        half = self.temp(f"load i32, ptr {name}{tag}")
        return self.temp(f"{self._extension(register)} i32 {half} to i64")

    def _has_variable(self, register: Register) -> bool:
        return register in self.written or self.is_pinned(register)

    def _is_short(self, register: Register) -> bool:
        """Its variable has 32 bits."""
        return register in self.narrow or self._is_word(register)

    def _is_word(self, register: Register) -> bool:
        kind, index = register
        return index < self.target.classes[kind].words

    def _extension(self, register: Register) -> str:
        """How the variable becomes the register's 64 bits."""
        return "zext" if self._is_word(register) else "sext"

    def op_set(self, op: Op) -> None:
        register, value = register_of(op), self.ref(op.args[0])
        self._note(register, value)
        self.registers.add(register)
        name = self._variable(*register)
        if self._is_short(register):
            self.put(f"store i32 {self.temp(f'trunc i64 {value} to i32')}, ptr {name}")
        else:
            self.put(f"store i64 {value}, ptr {name}")

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

    def is_pinned(self, register: Register) -> bool:
        """It is in a host register outside of regions."""
        kind, index = register
        return kind == self.target.pinned_class and index in self.target.pinned

    # Exits

    def reload(self, label: str, sources: Iterable[Place]) -> None:
        """At an exit, named by its label: write the state's registers back and take the pinned
        ones for a tail call."""
        self.exit_sources.setdefault(label, set()).update(sources)
        self.put(_BACK + label)
        pinned = [self._value((self.target.pinned_class, r)) for r in self.target.pinned]
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
        lines: list[str] = []
        for register in _all(self._written_before, sources):
            if self.is_pinned(register):
                continue
            name = self._variable(*register)
            self.temps += 1
            value = f"%w{self.temps}"
            if self._is_short(register):
                lines.append(f"{value}.n = load i32, ptr {name}")
                lines.append(f"{value} = {self._extension(register)} i32 {value}.n to i64")
            else:
                lines.append(f"{value} = load i64, ptr {name}")
            lines.append(f"store i64 {value}, ptr {name}.at, !alias.scope !12, !noalias !11")
        return lines + self.banks.back(self, _all(self._units_before, sources))

    # Entries

    def entry_code(self) -> list[str]:
        """Registers into variables; narrow ones are checked; on to the entry asked for."""
        lines: list[str] = []
        checks: list[str] = []
        for register in sorted(self.registers):
            name = self._variable(*register)
            if self.is_pinned(register):
                value = f"%p{self.target.pinned.index(register[1])}"
                lines += self._noted_at_entry(name, value, register)
            else:
                offset = self.target.layout.of(*register)
                lines.append(f"{name}.at = getelementptr i8, ptr %s, i64 {offset}")
                if not self._has_variable(register):
                    continue
                lines.append(f"{name}.in = load i64, ptr {name}.at, !alias.scope !12, !noalias !11")
                value = f"{name}.in"
            narrow = self._is_short(register)
            lines.append(f"{name} = alloca {'i32' if narrow else 'i64'}")
            if narrow:
                lines.append(f"{name}.n = trunc i64 {value} to i32")
                if not self._is_word(register) and self._value_matters(register):
                    lines.append(f"{name}.s = sext i32 {name}.n to i64")
                    lines.append(f"{name}.d = xor i64 {name}.s, {value}")
                    checks.append(f"{name}.d")
                lines.append(f"store i32 {name}.n, ptr {name}")
            else:
                lines.append(f"store i64 {value}, ptr {name}")
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

    def _value_matters(self, register: Register) -> bool:
        """What a register holds at an entry may be read, or written back at an exit."""
        read = set(self._read_at.get(register, ()))
        for sources in self.exit_sources.values():
            if self.is_pinned(register) or any(
                register in self._written_before[place] for place in sources
            ):
                read |= sources
        return any(register in self._unwritten.get(place, ()) for place in read)

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


def may_be_written(
    own: Mapping[Place, set[Written]], edges: Mapping[Place, list[Place]]
) -> dict[Place, set[Written]]:
    """By place: what its instruction writes, or another on some way to it."""
    found = {place: set(written) for place, written in own.items()}
    work = list(own)
    while work:
        place = work.pop()
        for other in edges[place]:
            if not found[place] <= found[other]:
                found[other] |= found[place]
                work.append(other)
    return found


def unwritten_at(
    codes: Mapping[Place, Sequence[Op]],
    sets: Mapping[Place, set[Register]],
    edges: Mapping[Place, list[Place]],
    entries: Iterable[Place],
) -> dict[Place, set[Register]]:
    """By place: the registers that may still hold there what they did at an entry, of those
    that are written anywhere.  Places that no entry leads to are missing."""
    found = {place: set[Register]().union(*sets.values()) for place in entries}
    work = list(found)
    while work:
        place = work.pop()
        skipped = any(op.name == "skip" for op in codes[place])
        left = found[place] if skipped else found[place] - sets[place]
        for other in edges[place]:
            if other not in found or not left <= found[other]:
                found.setdefault(other, set()).update(left)
                work.append(other)
    return found


def _all(written: Mapping[Place, set[Written]], places: Iterable[Place]) -> list[Written]:
    return sorted({w for place in places for w in written[place]})
