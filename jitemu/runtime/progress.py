"""A progress bar on a terminal, one line elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from jitemu.messages import note


@contextmanager
def building(what: str) -> Generator[Callable[[int, int], None]]:
    """Show progress of some work on standard error: call the result with (done, total)."""
    if not sys.stderr.isatty():
        note(what)
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)
