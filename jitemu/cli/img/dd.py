"""``jitemu img dd``."""

from __future__ import annotations

import sys

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.convert import OUTPUT_FORMAT
from jitemu.cli.img.create import make, parse_size
from jitemu.cli.options import Parsed
from jitemu.devices.block.opening import FORMATS, Mode, open_named
from jitemu.messages import fail

OPERANDS = ("bs", "count", "if", "of", "skip")
_BLOCK = 512
_MAX_BLOCK = (1 << 31) - 1
_COPY = 1 << 20


def _number(given: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    if name not in given:
        return default
    count = parse_size(given[name], name)
    if not low <= count <= high:
        fail(f"Invalid {name} specified. Must be between {low} and {high}.")
    return count


def run(parsed: Parsed) -> int:
    """Copy blocks of one disk to a new image."""
    given: dict[str, str] = {}
    for word in parsed.rest:
        name, equals, text = word.partition("=")
        if name not in OPERANDS or not equals:
            fail(f"unrecognized operand {name}")
        given[name] = text
    if "if" not in given or "of" not in given:
        fail("Must specify both input and output files")
    format = parsed[OUTPUT_FORMAT]
    if format not in FORMATS:
        fail(f"Unknown file format '{format}'")
    top = (1 << 63) - 1
    block = _number(given, "bs", _BLOCK, 1, _MAX_BLOCK)
    count = _number(given, "count", -1, 0, top)
    skip = _number(given, "skip", 0, 0, top) * block
    with common.open_parsed(parsed, given["if"], read_only=True) as source:
        end = source.size if count < 0 else min(source.size, count * block)
        if skip > end:
            print(f"jitemu: {given['if']}: cannot skip to specified offset", file=sys.stderr)
            skip = end
        make(format, given["of"], {"size": str(end - skip)}, {})
        with open_named(given["of"], format, Mode(probe_warning=False)) as target:
            step = max(block, _COPY // block * block)
            for at in range(skip, end, step):
                target.write(at - skip, source.read(at, min(step, end - at)))
    return 0


COMMAND = Command(
    (common.OBJECT, common.IMAGE_OPTS, common.FORCE_SHARE, common.FORMAT, OUTPUT_FORMAT),
    "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output",
    run,
)
