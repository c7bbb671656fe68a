"""The ``jitemu get`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jitemu import cachedir
from jitemu.cli.common_options import HELP
from jitemu.cli.options import Option, Shown, flag, parse, table, value
from jitemu.get import guests
from jitemu.get.apt import Progress, check_tools, find_mirror
from jitemu.messages import fail, note

TO = value("to", "dir", "put the guest into 'dir' (default: the user's cache folder)", "", str)
MIRROR = value("mirror", "url", "Debian archive to use (default: what apt here is set to)", "", str)
REFRESH = flag("refresh", "make the guest again from the newest packages")
OPTIONS: tuple[Option[Any], ...] = (HELP, TO, MIRROR, REFRESH)
EMBEDDED = "hello"
EMBEDDED_ABOUT = "the bare-metal guest that comes with jitemu (its path; no network)"


def help_text() -> str:
    """What ``jitemu get -help`` prints."""
    lines = [f"  {name:<16} {about}" for name, (_, about) in guests.GUESTS.items()]
    lines.append(f"  {EMBEDDED:<16} {EMBEDDED_ABOUT}")
    return "\n".join(
        ["usage: jitemu get guest [options]", "", "Guests:", *lines, "", table(OPTIONS)]
    )


def default_folder(name: str) -> Path:
    """Where a guest is kept: $XDG_CACHE_HOME/jitemu/guests/NAME."""
    return Path(cachedir.folder()) / "guests" / name


class PlainSteps:
    """A line for each step, for a log."""

    def step(self, text: str) -> Progress:
        note(text)
        return lambda _percent: None


class BarSteps:
    """One progress bar for each step, on a terminal."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None

    def step(self, text: str) -> Progress:
        self.finish()
        task = self._task = self._progress.add_task(text, total=100)
        return lambda percent: self._progress.update(task, completed=percent)

    def finish(self) -> None:
        """The last step's bar is full."""
        if self._task is not None:
            self._progress.update(self._task, completed=100)


def main(words: Sequence[str]) -> int:
    """Make a guest unless it is there, and print its folder."""
    if words and not words[0].startswith("-"):
        words = [*words[1:], words[0]]
    parsed = parse(OPTIONS, words, {})
    if parsed[HELP]:
        raise Shown(help_text())
    if parsed.rest == [EMBEDDED]:
        raise Shown(str(Path(guests.__file__).with_name("hello.bin")))
    if len(parsed.rest) != 1 or parsed.rest[0] not in guests.GUESTS:
        fail(f"jitemu get takes one of these: {', '.join([*guests.GUESTS, EMBEDDED])}")
    name = parsed.rest[0]
    target = Path(parsed[TO]).absolute() if parsed[TO] else default_folder(name)
    if not parsed[TO]:
        cachedir.make_private(str(target.parent))  # translated code is kept beside it
    if parsed[REFRESH] or not guests.is_complete(target):
        if target.exists() and not _is_ours(target):
            fail(f"{target}: not empty and not made by jitemu get; name another folder with --to")
        check_tools()
        _make(name, target, parsed[MIRROR])
    print(target)
    return 0


def _is_ours(target: Path) -> bool:
    return (target / guests.MANIFEST).exists() or not any(target.iterdir())


def _make(name: str, target: Path, mirror: str) -> None:
    def mirror_to_use() -> str:
        return mirror or find_mirror()

    if not sys.stderr.isatty():
        guests.make(name, target, mirror_to_use, PlainSteps())
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<14}"), BarColumn(), TaskProgressColumn())
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        steps = BarSteps(bars)
        guests.make(name, target, mirror_to_use, steps)
        steps.finish()
