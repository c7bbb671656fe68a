"""What a condition compares, seen through registers that hold flags.

A processor with flags compares in one instruction and branches in another one, which reads
what the first has left: a result, a carry, an overflow.  These are ordinary registers here.
The condition is followed to the ops that wrote them, as long as those lie on the straight way
to the branch, and what they say together about two words is worked out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Op, Value

LESS, EQUAL, GREATER = 1, 2, 4
ALL = LESS | EQUAL | GREATER
COMPARISONS = {"ult": LESS, "ule": LESS | EQUAL, "slt": LESS, "sle": LESS | EQUAL}
EITHER_SIGN = (0, EQUAL, LESS | GREATER, ALL)
"""Outcomes that do not depend on how words are compared."""

Reaching = Callable[[Register], "tuple[Place, Value] | None"]
"""What a register holds at the branch: the value and the place of the op that wrote it."""


@dataclass(frozen=True)
class Comparison:
    """It holds where the comparison of two words has one of these outcomes."""

    outcomes: int
    signed: bool
    left: Value
    right: Value
    place: Place
    """Of the instruction that has these values."""

    def negated(self) -> Comparison:
        """Where it does not hold."""
        return replace(self, outcomes=ALL ^ self.outcomes)

    def swapped(self) -> Comparison:
        """The same, said of the words in the other order."""
        swapped = self.outcomes & EQUAL
        swapped |= (GREATER if self.outcomes & LESS else 0) | (
            LESS if self.outcomes & GREATER else 0
        )
        return replace(self, outcomes=swapped, left=self.right, right=self.left)


@dataclass(frozen=True)
class _Overflow:
    """The difference of two words overflows."""

    left: Value
    right: Value


_Fact = Comparison | _Overflow


class Conditions:
    """Of one branch."""

    def __init__(self, branch: Place, reaching: Reaching) -> None:
        self.branch = branch
        self.reaching = reaching

    def comparison(self, value: Value) -> Comparison | None:
        """What an i1 at the branch says, if that is the outcome of one comparison."""
        fact = self._fact(value, self.branch)
        return fact if isinstance(fact, Comparison) else None

    def _fact(self, value: Value, place: Place) -> _Fact | None:
        op = value.source
        if op is None:
            return None
        if op.name in ("and", "or", "xor") and value.width == 1:
            return self._combined(op, place)
        if op.name == "subo":
            return _Overflow(*op.args)
        if op.name in ("eq", "ne"):
            return self._equal(op, place)
        if op.name in COMPARISONS:
            return self._compared(COMPARISONS[op.name], op.name[0] == "s", op, place)
        return None

    def _compared(self, outcomes: int, signed: bool, op: Op, place: Place) -> Comparison:
        left, right = op.args
        if right.const == 0:
            left, place = self._word(left, place)
            right = Value(left.type, 0)
        return Comparison(outcomes, signed, left, right, place)

    def _equal(self, op: Op, place: Place) -> _Fact | None:
        """Of two truths, of a truth and a constant, or of words."""
        facts = [self._truth(a, place) for a in op.args]
        constants = [self._stripped(a, place)[0].const for a in op.args]
        for fact, constant in ((facts[0], constants[1]), (facts[1], constants[0])):
            if isinstance(fact, Comparison) and constant in (0, 1):
                return fact if bool(constant) == (op.name == "eq") else fact.negated()
        if all(facts):
            return _less(facts[0], facts[1], op.name == "ne")
        return self._compared(EQUAL if op.name == "eq" else LESS | GREATER, False, op, place)

    def _combined(self, op: Op, place: Place) -> _Fact | None:
        first = self._fact(op.args[0], place)
        if op.name == "xor" and op.args[1].const == 1:
            return first.negated() if isinstance(first, Comparison) else None
        second = self._fact(op.args[1], place)
        if op.name == "xor":
            return _less(first, second, True)
        if not isinstance(first, Comparison) or not isinstance(second, Comparison):
            return None
        pair = _of_same(first, second)
        if pair is None:
            return None
        first, second = pair
        together = first.outcomes & second.outcomes
        if op.name == "or":
            together = first.outcomes | second.outcomes
        signed = (second if first.outcomes in EITHER_SIGN else first).signed
        return replace(first, outcomes=together, signed=signed)

    def _truth(self, value: Value, place: Place) -> _Fact | None:
        """What a word of 0 or 1 says."""
        value, place = self._stripped(value, place)
        return self._fact(value, place) if value.width == 1 else None

    def _stripped(self, value: Value, place: Place) -> tuple[Value, Place]:
        """A truth without what makes it wider, or any word's origin."""
        value, place = self._resolved(value, place)
        while value.width > 1 and value.source and value.source.name in ("zext", "trunc"):
            value, place = self._resolved(value.source.args[0], place)
        return value, place

    def _word(self, value: Value, place: Place) -> tuple[Value, Place]:
        """The word that was extended into a register, and is read from it."""
        whole = value
        if value.source is not None and value.source.name == "trunc":
            whole = value.source.args[0]
        found, at = self._resolved(whole, place)
        extended = found.source
        if at == place or extended is None or extended.name not in ("sext", "zext"):
            return value, place
        word = extended.args[0]
        fits = word.width == value.width or (extended.name == "sext" and whole is value)
        return (word, at) if fits else (value, place)

    def _resolved(self, value: Value, place: Place) -> tuple[Value, Place]:
        op = value.source
        if place == self.branch and op is not None and op.name == "get":
            found = self.reaching(register_of(op))
            if found is not None:
                return found[1], found[0]
        return value, place


def _same(a: Value, b: Value) -> bool:
    return a is b or (a.const is not None and (a.const, a.type) == (b.const, b.type))


def _less(first: _Fact | None, second: _Fact | None, differ: bool) -> Comparison | None:
    """Less as signed numbers: the sign of a difference is not as its overflow says."""
    if isinstance(first, _Overflow):
        first, second = second, first
    if not isinstance(first, Comparison) or not isinstance(second, _Overflow):
        return None
    if first.outcomes != LESS or not first.signed or first.right.const != 0:
        return None
    left, right = first.left, first.right
    if second.right.const != 0:  # with 0 it never overflows
        op = left.source
        if op is None or op.name != "sub" or not _same(op.args[1], second.right):
            return None
        left, right = op.args
    if not _same(left, second.left):
        return None
    less = Comparison(LESS, True, left, right, first.place)
    return less if differ else less.negated()


def ways(said: Comparison) -> list[Comparison]:
    """The same in other words: a difference is 0 where two words are equal."""
    found = [said, said.swapped()]
    op = said.left.source
    if said.outcomes in EITHER_SIGN and said.right.const == 0 and op and op.name == "sub":
        of_both = replace(said, left=op.args[0], right=op.args[1])
        found += [of_both, of_both.swapped()]
    return found


def _of_same(first: Comparison, second: Comparison) -> tuple[Comparison, Comparison] | None:
    """Two comparisons of the same words, in the same order and way."""
    for a, b in product(ways(first), ways(second)):
        if a.place != b.place or not _same(a.left, b.left) or not _same(a.right, b.right):
            continue
        if a.signed == b.signed or a.outcomes in EITHER_SIGN or b.outcomes in EITHER_SIGN:
            return a, b
    return None
