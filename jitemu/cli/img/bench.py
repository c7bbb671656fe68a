"""``jitemu img bench``."""

from __future__ import annotations

import time

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.create import parse_size
from jitemu.cli.options import Parsed, flag, integer, value
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.image import BlockImage
from jitemu.messages import fail

_INT = (1 << 31) - 1


def _count(text: str) -> int:
    try:
        return integer(0, _INT)(text)
    except ValueError:
        fail("Invalid request count specified")


COUNT = value("c", "count", "requests", 75000, _count)
DEPTH = value(
    "d", "depth", "requests under way (they are done one after the other)", 64, integer(1, _INT)
)
FLUSH = value("flush-interval", "n", "flush every n requests", 0, integer(0, _INT))


def _aio(text: str) -> str:
    if text not in ("threads", "native", "io_uring"):
        fail(f"Invalid aio option: {text}")
    return text


def _pattern(text: str) -> int:
    try:
        return integer(0, 255)(text)
    except ValueError:
        fail("Invalid pattern byte specified")


AIO = value("i", "aio", "threads, native or io_uring (accepted)", "threads", _aio)
NATIVE = flag("n", "accepted: native AIO")
NO_DRAIN = flag("no-drain", "accepted: flushes never wait for others here")
OFFSET = value("o", "offset", "begin there", 0, lambda text: parse_size(text, "offset"))
PATTERN = value("pattern", "byte", "what to write", 0, _pattern)
SIZE = value("s", "buffer_size", "bytes of a request", 4096, parse_bytes)
STEP = value("S", "step_size", "from one request's start to the next one's", 0, parse_bytes)
WRITE = flag("w", "write instead of reading")


def _requests(parsed: Parsed, image: BlockImage) -> None:
    size = parsed[SIZE]
    step = parsed[STEP] or size
    buffer = [memoryview(bytearray([parsed[PATTERN]]) * size)]
    transfer = image.writev if parsed[WRITE] else image.readv
    interval = parsed[FLUSH]
    offset = parsed[OFFSET]
    end = image.size
    for number in range(1, parsed[COUNT] + 1):
        transfer(offset, buffer)
        offset += step
        if offset + size > end:
            offset = offset % end if end else 0
            if offset + size > end:
                offset = 0
        if interval and number % interval == 0:
            image.flush()


def run(parsed: Parsed) -> int:
    """Time requests to an image."""
    name = common.one_operand(parsed)
    write = parsed[WRITE]
    if parsed[FLUSH] and not write:
        fail("--flush-interval is only available in write tests")
    if 0 < parsed[FLUSH] < parsed[DEPTH]:
        fail("Flush interval can't be smaller than depth")
    direct = parsed[common.CACHE] in ("none", "directsync")
    if (parsed[NATIVE] or parsed[AIO] == "native") and not direct:
        fail(
            f"Could not open '{name}': aio=native was specified, but it requires"
            " cache.direct=on, which was not specified."
        )
    with common.open_parsed(parsed, name, read_only=not write) as image:
        common.set_cache(image, parsed[common.CACHE])
        size = parsed[SIZE]
        if not 0 < size <= _INT:
            fail(f"Invalid buffer size specified. Must be between 1 and {_INT}.")
        if parsed[OFFSET] + size > image.size:
            fail(f"{name}: {size} bytes at {parsed[OFFSET]} are beyond its end")
        kind = "write" if write else "read"
        print(
            f"Sending {parsed[COUNT]} {kind} requests, {size} bytes each,"
            f" {parsed[DEPTH]} in parallel (starting at offset {parsed[OFFSET]},"
            f" step size {parsed[STEP] or size})",
            flush=True,
        )
        if parsed[FLUSH]:
            drain = "" if not parsed[NO_DRAIN] else "(without draining) "
            print(f"Sending flush every {drain}{parsed[FLUSH]} requests", flush=True)
        start = time.monotonic()
        _requests(parsed, image)
        taken = time.monotonic() - start
    print(f"Run completed in {taken:.3f} seconds.")
    return 0


COMMAND = Command(
    (
        COUNT,
        DEPTH,
        common.FORMAT,
        FLUSH,
        AIO,
        NATIVE,
        NO_DRAIN,
        OFFSET,
        PATTERN,
        common.QUIET,
        SIZE,
        STEP,
        common.CACHE,
        WRITE,
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORCE_SHARE,
    ),
    "filename",
    run,
)
