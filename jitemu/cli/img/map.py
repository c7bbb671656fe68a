"""``jitemu img map``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.create import parse_size
from jitemu.cli.options import Parsed, value
from jitemu.devices.block.chain import extent_in_chain
from jitemu.devices.block.image import BlockImage, Extent
from jitemu.messages import fail

START = value(
    "start-offset",
    "offset",
    "begin there",
    0,
    lambda text: parse_size(text, "start offset"),
    aliases=("s",),
)
LENGTH = value(
    "max-length",
    "len",
    "map at most so much",
    -1,
    lambda text: parse_size(text, "max length"),
    aliases=("l",),
)
_STEP = 1 << 30


@dataclass(slots=True)
class Entry:
    """One line: a range that is stored in one way."""

    start: int
    depth: int
    extent: Extent

    def joins(self, following: Entry) -> bool:
        """Whether the next range goes on with this one."""
        one, other = self.extent, following.extent
        offset = None if one.offset is None else one.offset + one.length
        return (self.depth, one.data, one.zero, one.allocated, one.file, offset) == (
            following.depth,
            other.data,
            other.zero,
            other.allocated,
            other.file,
            other.offset,
        )


def entries(image: BlockImage, start: int, end: int) -> Iterator[Entry]:
    """The ranges, as long as can be."""
    now: Entry | None = None
    while start < end:
        extent, depth = extent_in_chain(image, start, min(_STEP, end - start))
        entry = Entry(start, depth, extent)
        start += extent.length
        if now and now.joins(entry):
            now.extent.length += extent.length
            continue
        if now:
            yield now
        now = entry
    if now:
        yield now


def _json(entry: Entry) -> str:
    extent = entry.extent

    def word(flag: bool) -> str:
        return "true" if flag else "false"

    offset = "" if extent.offset is None else f', "offset": {extent.offset}'
    return (
        f'{{ "start": {entry.start}, "length": {extent.length}, "depth": {entry.depth},'
        f' "present": {word(extent.allocated)}, "zero": {word(extent.zero)},'
        f' "data": {word(extent.data)}{offset}}}'
    )


def _hex(number: int) -> str:
    return f"{number:#x}" if number else "0"


def run(parsed: Parsed) -> int:
    """Print where an image's data is."""
    name = common.one_operand(parsed)
    with common.open_parsed(parsed, name, read_only=True) as image:
        length = parsed[LENGTH]
        end = image.size if length < 0 else min(image.size, parsed[START] + length)
        found = entries(image, parsed[START], end)
        if parsed[common.OUTPUT] == "json":
            print("[" + ",\n".join(map(_json, found)) + "]")
            return 0
        print(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File")
        for entry in found:
            extent = entry.extent
            if not extent.data or extent.zero:
                continue
            if extent.offset is None:
                fail("File contains external, encrypted or compressed clusters.")
            numbers = (entry.start, extent.length, extent.offset)
            print("".join(f"{_hex(number):<16}" for number in numbers) + extent.file)
    return 0


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        START,
        LENGTH,
        common.OUTPUT,
        common.FORCE_SHARE,
    ),
    "filename",
    run,
)
