"""What a subcommand is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitemu.cli.options import Option, Parsed, flag

HELP = flag("h", "print this help", aliases=("help",))


class Command:
    """One subcommand: option rows, operands for the help, and what runs it.

    ``last_is_operand``: the last word is none of the options, whatever it starts with.
    """

    def __init__(
        self,
        options: Sequence[Option[Any]],
        operands: str,
        run: Callable[[Parsed], int],
        last_is_operand: bool = False,
    ) -> None:
        self.options = (HELP, *options)
        self.operands = operands
        self.run = run
        self.last_is_operand = last_is_operand
