"""Where each register of a region is narrow (narrow.py).

The same register may be narrow in one place and wide in another, as compilers use it for one
thing and then for the next.  What it holds is then in one of two variables, of 32 bits and 64,
and where a way leads from where it is narrow to where it may be wide, it is extended.

What registers hold at a region's entries is not known: those that seem to be meant to be narrow
there are taken to be, which is checked at the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.narrow import fits, is_int, narrow_registers
from jitemu.backend_llvm.reaching import may_be_written
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Op, Value
from jitemu.ir.meaning import compute, has_meaning
from jitemu.ir.ops import ROWS


@dataclass
class _State:
    """What is known of the registers in one place."""

    wide: int
    """A bit for each register that may be wide there."""
    constants: dict[Register, int]
    """Registers that hold a number that is known."""


class Widths:
    """Where each of some registers is narrow."""

    def __init__(
        self,
        codes: Mapping[Place, Sequence[Op]],
        edges: Mapping[Place, Sequence[Place]],
        entries: Sequence[Place],
        registers: Iterable[Register],
        left: Mapping[Place, set[Register]],
    ) -> None:
        """``registers``: those that are written; others are taken to be wide.

        ``left``: by place, those that may still hold there what they did at an entry.
        """
        self.codes = codes
        self.edges = edges
        self.entries = entries
        self.bits = {register: 1 << n for n, register in enumerate(sorted(registers))}
        self.narrow = set[Register]()
        """The registers that are narrow at the entries, which has to be checked there."""
        self.fitting = set[tuple[Place, int]]()
        """Sets, by place and id, that make their register narrow."""
        self._at: dict[Place, int] = {}
        self._states: dict[Place, _State] = {}
        self._elsewhere = (1 << len(self.bits)) - 1
        self._left = left

    def settle(self, seen: Mapping[Register, int]) -> None:
        """Find it all.  ``seen``: what registers were seen to hold at the head."""
        narrow = self._narrow_anywhere()
        likely = {r for r in self._read_first() - narrow if is_int(seen.get(r, 0))}
        self._solve(narrow | likely)
        self._solve(narrow | self._meant(likely))

    def settle_everywhere(self) -> None:
        """The same, if a register must be as wide in one place as in any other."""
        self.narrow = self._narrow_anywhere()
        self._elsewhere = self._all_but(self.narrow)
        for place, ops in self.codes.items():
            sets = (op for op in ops if op.name == "set")
            self.fitting.update((place, id(op)) for op in sets if register_of(op) in self.narrow)

    def wide_at(self, place: Place) -> int:
        """A bit for each register that may be wide in a place."""
        return self._at.get(place, self._elsewhere)

    def _narrow_anywhere(self) -> set[Register]:
        return narrow_registers(self.codes.values()) & self.bits.keys()

    def _all_but(self, registers: Iterable[Register]) -> int:
        wide = (1 << len(self.bits)) - 1
        for register in registers:
            wide &= ~self.bits[register]
        return wide

    def _read_first(self) -> set[Register]:
        """The registers of which what they hold at an entry is read."""
        found = set[Register]()
        for place, registers in self._left.items():
            found |= registers & _reads(self.codes[place])
        return found & self.bits.keys()

    def _meant(self, likely: set[Register]) -> set[Register]:
        """Those that stay narrow at the entries, and of which one read may find what they hold
        there, or else a narrow value that the region computes."""
        wide = 0
        for place in self.entries:
            wide |= self.wide_at(place)
        likely = {r for r in likely if not self.bits[r] & wide}
        computed = may_be_written({p: self._computes(p) for p in self.codes}, self.edges)
        found = set[Register]()
        for place, others in self.edges.items():
            for other in others:
                either = computed[place] & self._left.get(other, set()) & likely
                if either:
                    found |= either & _reads(self.codes[other])
        return found

    def _computes(self, place: Place) -> set[Register]:
        """What an instruction makes narrow, other than by a constant."""
        return {
            register_of(op)
            for op in self.codes[place]
            if (place, id(op)) in self.fitting and op.args[0].const is None
        }

    def _solve(self, narrow: set[Register]) -> None:
        """By which registers are narrow at the entries.  These can only become fewer."""
        self.narrow = narrow
        entry = _State(self._all_but(narrow), {})
        for place in self.entries:
            _join(self._states.setdefault(place, _State(0, {})), entry)
        work = list(self.entries)
        while work:
            place = work.pop()
            after = self._after(place, self._states[place])
            for other in self.edges[place]:
                before = self._states.get(other)
                if before is None:
                    self._states[other] = _State(after.wide, after.constants)
                elif not _join(before, after):
                    continue
                work.append(other)
        self._at = {place: state.wide for place, state in self._states.items()}

    def _after(self, place: Place, before: _State) -> _State:
        """What is known after an instruction, wherever it goes on; notes which sets fit."""
        now = _State(before.wide, before.constants)
        skipped: list[_State] = []
        narrow: dict[int, bool] = {}
        known: dict[int, int] = {}
        for op in self.codes[place]:
            if op.name == "get":
                register = register_of(op)
                narrow[id(op)] = register in self.bits and not now.wide & self.bits[register]
                if register in now.constants:
                    known[id(op)] = now.constants[register]
            elif op.name == "skip":
                skipped.append(_State(now.wide, now.constants))
            elif op.name == "set" and register_of(op) in self.bits:
                register, value = register_of(op), op.args[0]
                constant = _constant(value, known)
                if constant is not None:
                    fit = is_int(constant)
                    now.constants = {**now.constants, register: constant}
                else:
                    fit = fits(value, lambda get: narrow[id(get)])
                    if register in now.constants:
                        now.constants = {r: c for r, c in now.constants.items() if r != register}
                bit = self.bits[register]
                if fit:
                    now.wide &= ~bit
                    self.fitting.add((place, id(op)))
                else:
                    now.wide |= bit
                    self.fitting.discard((place, id(op)))
        for state in skipped:
            _join(now, state)
        return now


def _reads(ops: Iterable[Op]) -> set[Register]:
    """The registers that an instruction reads before it writes them."""
    found, written = set[Register](), set[Register]()
    for op in ops:
        if op.name == "get":
            found |= {register_of(op)} - written
        elif op.name == "set":
            written.add(register_of(op))
    return found


def _constant(value: Value, known: Mapping[int, int]) -> int | None:
    """The number that a value is, by those of gets."""
    if value.const is not None:
        return value.const
    op = value.source
    if op is None:
        return None
    if op.name == "get":
        return known.get(id(op))
    row = ROWS[op.name]
    if not (known and op.args and has_meaning(row)):
        return None
    numbers = [number for a in op.args if (number := _constant(a, known)) is not None]
    if len(numbers) < len(op.args):
        return None
    return compute(row, op.type, op.attrs, [a.type for a in op.args], numbers)


def _join(one: _State, other: _State) -> bool:
    """Know no more than another does; whether that is less than before."""
    wide = one.wide | other.wide
    changed = wide != one.wide
    one.wide = wide
    if one.constants is not other.constants:
        kept = {r: c for r, c in one.constants.items() if other.constants.get(r) == c}
        if len(kept) != len(one.constants):
            one.constants = kept
            changed = True
    return changed
