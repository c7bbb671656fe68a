"""``jitemu img compare``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.output import Advance, progress
from jitemu.cli.options import Parsed, flag, value
from jitemu.devices.block.chain import COPY_BYTES, extent_in_chain
from jitemu.devices.block.image import BlockImage, Extent
from jitemu.messages import UserError, fail

STRICT = flag("s", "strict: sizes and block states must be equal too")
SOURCE_CACHE = common.cache_row("T", "source ", "writeback", status=2)
SECOND_FORMAT = value("F", "fmt", "the second image's format", "", str)
SECTOR = 512
DIFFERENT = 1
TROUBLE = 2


class _Different(Exception):
    """The line that says where."""


def _state(found: Extent) -> tuple[bool, bool, bool]:
    return found.data, found.zero, found.allocated


def _difference(left: bytes | bytearray, right: bytes | bytearray) -> int:
    """The first sector that differs; -1 if none does."""
    if left == right:
        return -1
    size = len(left)
    low = 0
    while size > SECTOR:  # halve to where it starts
        half = size // 2 // SECTOR * SECTOR or SECTOR
        if left[low : low + half] == right[low : low + half]:
            low += half
            size -= half
        else:
            size = half
    return low


def _compare_common(
    left: BlockImage, right: BlockImage, end: int, strict: bool, advance: Advance
) -> None:
    offset = 0
    buffers = bytearray(COPY_BYTES), bytearray(COPY_BYTES)
    while offset < end:
        one, _ = extent_in_chain(left, offset, min(COPY_BYTES, end - offset))
        other, _ = extent_in_chain(right, offset, one.length)
        length = other.length
        if strict and _state(one) != _state(other):
            raise _Different(f"Strict mode: Offset {offset} block status mismatch!")
        if not (_reads_zero(one) and _reads_zero(other)):
            if length != len(buffers[0]):
                buffers = bytearray(length), bytearray(length)
            left.readv(offset, [memoryview(buffers[0])])
            right.readv(offset, [memoryview(buffers[1])])
            at = _difference(*buffers)
            if at >= 0:
                raise _Different(f"Content mismatch at offset {offset + at}!")
        offset += length
        advance(length)


def _reads_zero(found: Extent) -> bool:
    return found.zero or not found.data


def _compare_rest(image: BlockImage, start: int, advance: Advance) -> None:
    """What only the longer image has must be zeros."""
    offset = start
    while offset < image.size:
        found, _ = extent_in_chain(image, offset, min(COPY_BYTES, image.size - offset))
        if not _reads_zero(found):
            at = _difference(image.read(offset, found.length), bytes(found.length))
            if at >= 0:
                raise _Different(f"Content mismatch at offset {offset + at}!")
        offset += found.length
        advance(found.length)


def run(parsed: Parsed) -> int:
    """Compare two disks; the exit status says whether they are the same."""
    if len(parsed.rest) != 2:
        fail("Expecting two image file names; 'jitemu img --help' has more information")
    try:
        return _run(parsed, *parsed.rest)
    except UserError as error:
        raise UserError(str(error), TROUBLE) from None
    except OSError as error:
        fail(f"compare: {error.strerror or error}", TROUBLE)


def _run(parsed: Parsed, first: str, second: str) -> int:
    quiet = parsed[common.QUIET]
    with common.open_parsed(parsed, first, read_only=True) as left:
        format = parsed[SECOND_FORMAT]
        with common.open_parsed(parsed, second, format, read_only=True) as right:
            try:
                _compare(parsed, left, right, quiet)
            except _Different as difference:
                if not quiet:
                    print(difference)
                return DIFFERENT
    if not quiet:
        print("Images are identical.")
    return 0


def _compare(parsed: Parsed, left: BlockImage, right: BlockImage, quiet: bool) -> None:
    strict = parsed[STRICT]
    if strict and left.size != right.size:
        raise _Different("Strict mode: Image size mismatch!")
    with progress(parsed[common.PROGRESS], max(left.size, right.size)) as advance:
        end = min(left.size, right.size)
        _compare_common(left, right, end, strict, advance)
        if left.size != right.size:
            if not quiet:
                print("Warning: Image size mismatch!")
            _compare_rest(max(left, right, key=lambda image: image.size), end, advance)


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        SECOND_FORMAT,
        SOURCE_CACHE,
        common.PROGRESS,
        common.QUIET,
        STRICT,
        common.FORCE_SHARE,
    ),
    "filename1 filename2",
    run,
)
