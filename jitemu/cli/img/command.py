"""What a subcommand is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitemu.cli.options import Option, Parsed, flag

HELP = flag("h", "print this help", aliases=("help",))


class Command:
    """One subcommand: option rows, operands for the help, and what runs it.

    ``error_status`` is the exit status where it cannot do its work; ``last_is_operand``: the
    last word is none of the options, whatever it starts with.
    """

    def __init__(
        self,
        options: Sequence[Option[Any]],
        operands: str,
        run: Callable[[Parsed], int],
        error_status: int = 1,
        last_is_operand: bool = False,
    ) -> None:
        self.options = (HELP, *options)
        self.operands = operands
        self.run = run
        self.error_status = error_status
        self.last_is_operand = last_is_operand
