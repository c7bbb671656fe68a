"""The ``jitemu cache`` command: what is kept of translated code between runs."""

from __future__ import annotations

import os

from jitemu import cachedir
from jitemu.backend_llvm import upkeep
from jitemu.backend_llvm.packs import count_entries
from jitemu.cli.common_options import HELP
from jitemu.cli.options import SIZE_SUFFIXES, Option, Shown, parse, size, table
from jitemu.messages import fail
from jitemu.runtime import installed
from jitemu.runtime.guests import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OPTIONS: tuple[Option[Any], ...] = (HELP,)
ACTIONS = {
    "show": "print what the cache holds (also without an argument)",
    "limit [size]": "print how large the cache may become, or change it (suffix K, M, G or T)",
    "clear": "remove all stencils and regions",
}


def help_text() -> str:
    """What ``jitemu cache -help`` prints."""
    lines = [f"  {name:<16} {about}" for name, about in ACTIONS.items()]
    return "\n".join(
        [
            "usage: jitemu cache [action]",
            "",
            "Actions:",
            *lines,
            "",
            "Stencils (what code is translated with) and regions (hot code of guests, compiled)",
            "are kept between runs.  What was used last stays when the limit is reached.",
            "-no-cache or JITEMU_NO_CACHE=1 runs a guest without regions of earlier runs and",
            "keeps nothing of the run; stencils that are there are used all the same.  Those that",
            "were made when jitemu was installed are copied from there, and stay there.",
            "",
            table(OPTIONS),
        ]
    )


def shown_size(count: int) -> str:
    """Bytes with a suffix, as ``limit`` takes them."""
    step = 0
    value = float(count)
    while value >= 1024 and step + 1 < len(SIZE_SUFFIXES):
        value /= 1024
        step += 1
    digits = f"{value:.1f}".removesuffix(".0")
    return digits + (SIZE_SUFFIXES[step].upper() if step else "")


def show() -> str:
    """The folder, entries and bytes by kind, the limit, and what the installation has."""
    lines = [f"folder  {cachedir.folder()}", f"{'kind':<10} {'entries':>8} {'bytes':>10}"]
    total = 0
    units = upkeep.units()
    for kind in cachedir.KINDS:
        of_kind = [unit for unit in units if unit.kind == kind]
        entries = len(of_kind)
        if kind == cachedir.REGIONS:
            entries = sum(count_entries(unit.path) for unit in of_kind)
        taken = sum(unit.bytes for unit in of_kind)
        total += taken
        lines.append(f"{kind:<10} {entries:>8} {shown_size(taken):>10}")
    lines.append(f"{shown_size(total)} of at most {shown_size(upkeep.limit())}")
    usable = installed.usable()
    taken = sum(map(os.path.getsize, usable))
    lines.append(
        f"installed: stencils of {len(usable)} of {len(NAMES)} guests for this processor, "
        f"{shown_size(taken)}, in {installed.FOLDER}"
    )
    return "\n".join(lines)


def _set_limit(text: str) -> None:
    try:
        wanted = size(text)
    except ValueError as error:
        fail(f"limit {text}: {error}")
    if not upkeep.set_limit(wanted):
        fail(f"{cachedir.folder()}: cannot be written; it must be a folder only you can write")
    upkeep.trim(wanted)


def main(words: Sequence[str]) -> int:
    """Do what the words say; the exit status."""
    parsed = parse(OPTIONS, words, {})
    if parsed[HELP]:
        raise Shown(help_text())
    match parsed.rest:
        case [] | ["show"]:
            raise Shown(show())
        case ["limit"]:
            raise Shown(shown_size(upkeep.limit()))
        case ["limit", text]:
            _set_limit(text)
        case ["clear"]:
            upkeep.clear()
        case _:
            fail(f"cache {' '.join(parsed.rest)}: unknown action; jitemu help cache lists them")
    return 0
