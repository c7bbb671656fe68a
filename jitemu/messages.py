"""Text for people: every error, warning and note of the program goes through here."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class UserError(Exception):
    """Something the user can mend.  The text is one line: what, where, what to do.

    ``status`` is the process's exit status (QEMU's where it has one).
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def fail(text: str, status: int = 1) -> NoReturn:
    """Raise a UserError; the command line prints it as ``jitemu: text`` and exits."""
    raise UserError(text, status)


def warn(text: str) -> None:
    """One line on standard error that does not end the program."""
    print(f"jitemu: warning: {text}", file=sys.stderr, flush=True)


def note(text: str) -> None:
    """One line on standard error about what is being done (a set-up step, a path)."""
    print(f"jitemu: {text}", file=sys.stderr, flush=True)


def version() -> str:
    """The number that the installed package has; empty where none is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("jitemu")
    except PackageNotFoundError:
        return ""
