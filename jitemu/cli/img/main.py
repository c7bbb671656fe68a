"""Dispatch of ``jitemu img``."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from typing import Any

from jitemu.cli.common_options import version_text
from jitemu.cli.img.command import HELP, Command
from jitemu.cli.img.getopt import HINT, parse_words
from jitemu.cli.options import Option, Shown, invocation
from jitemu.devices.block.opening import FORMATS
from jitemu.messages import fail

MODULES = {
    "amend": "amend",
    "bench": "bench",
    "bitmap": "bitmap",
    "check": "check",
    "commit": "commit",
    "compare": "compare",
    "convert": "convert",
    "create": "create",
    "dd": "dd",
    "info": "info",
    "map": "map",
    "measure": "measure",
    "rebase": "rebase",
    "resize": "resize",
    "snapshot": "snapshot",
}
"""Subcommand: the module that has it as COMMAND (they are imported when used)."""


def _load(name: str) -> Command:
    return importlib.import_module(f"jitemu.cli.img.{MODULES[name]}").COMMAND


def _option_form(option: Option[Any]) -> str:
    dashes = "-" if len(option.name) == 1 else "--"
    return dashes + invocation(option)[1:]


def help_text() -> str:
    """What ``jitemu img --help`` prints: each subcommand with its options."""
    lines = ["usage: jitemu img command [command options]", "", "Command syntax:"]
    described: dict[str, str] = {}
    for name in MODULES:
        command = _load(name)
        shown = [f"[{_option_form(option)}]" for option in command.options[1:]]
        lines.append("  " + " ".join([name, *shown, command.operands]).rstrip())
        for option in command.options:
            described.setdefault(_option_form(option), option.description)
    lines += ["", "Options:"]
    for form, about in sorted(described.items(), key=lambda item: item[0].lstrip("-").lower()):
        lines.append(f"  {form:<28} {about}")
    return "\n".join([*lines, "", f"Supported formats: {' '.join(FORMATS)}"])


def main(words: Sequence[str]) -> int:
    """Run one subcommand; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names in images may be any bytes
    if not words:
        fail(f"Not enough arguments{HINT}")
    name, *rest = words
    if name in ("-h", "--help", "help"):
        raise Shown(help_text())
    if name in ("-V", "--version"):
        raise Shown(version_text())
    if name not in MODULES:
        fail(f"Command not found: {name}{HINT}")
    command = _load(name)
    try:
        last = rest[-1:] if command.last_is_operand else []
        parsed = parse_words(command.options, rest[: len(rest) - len(last)])
        parsed.rest += last
        if parsed[HELP]:
            raise Shown(help_text())
        return command.run(parsed)
    except OSError as error:
        fail(f"{name}: {error.strerror or error}")
    except RecursionError:
        fail(f"{name}: the image chain is too long")
