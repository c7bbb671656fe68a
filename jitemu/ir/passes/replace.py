"""Replacing values: what passes that find equal values share."""

from __future__ import annotations

from jitemu.ir.code import Function, Value


class Replacements:
    """Values that stand for others, chains followed."""

    def __init__(self) -> None:
        self.map: dict[Value, Value] = {}

    def add(self, old: Value, new: Value) -> None:
        """From now on ``new`` stands for ``old``."""
        self.map[old] = new

    def of(self, value: Value) -> Value:
        """What stands for a value now."""
        while value in self.map:
            value = self.map[value]
        return value

    def args(self, args: tuple[Value, ...]) -> tuple[Value, ...]:
        """The same for an op's arguments."""
        if not self.map:
            return args
        return tuple(self.of(a) for a in args)

    def apply(self, function: Function) -> None:
        """Put every replacement in place: blocks may lie before what they use."""
        if self.map:
            for block in function.blocks:
                for op in block.ops:
                    op.args = self.args(op.args)
