"""``jitemu img resize``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.getopt import HINT
from jitemu.cli.img.info import host_file
from jitemu.cli.options import Parsed, flag, value
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.qcow2.create import preallocate
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

SHRINK = flag("shrink", "allow to lose what is behind the new end")
MODES = ("off", "metadata", "falloc", "full")


def _mode(text: str) -> str:
    if text not in MODES:
        fail(f"Invalid preallocation mode '{text}'")
    return text


PREALLOCATION = value("preallocation", "prealloc", "off, metadata, falloc or full", "off", _mode)


def run(parsed: Parsed) -> int:
    """Grow or shrink a disk."""
    if len(parsed.rest) != 2:
        few = len(parsed.rest) < 2
        fail(("Not enough arguments" if few else "Expecting image file name and size") + HINT)
    name, text = parsed.rest
    sign = text[:1] if text[:1] in ("+", "-") else ""
    try:
        count = parse_bytes(text.removeprefix(sign) if sign else text)
    except ValueError:
        fail(
            "Parameter 'size' expects a non-negative number below 2^64; optional suffix k, M,"
            " G, T, P or E means kilo-, mega-, giga-, tera-, peta- and exabytes, respectively."
        )
    with common.open_parsed(parsed, name, read_only=False) as image:
        before = image.size
        wanted = before + count if sign == "+" else before - count if sign == "-" else count
        if wanted <= 0:
            fail("New image size must be positive")
        if wanted < before and not parsed[SHRINK]:
            fail(
                "Use the --shrink option to perform a shrink operation; shrinking an image will"
                " delete all data beyond the shrunken image's end. Before performing such an"
                " operation, make sure there is no important data there."
            )
        mode = parsed[PREALLOCATION]
        if mode == "metadata" and not isinstance(image, Qcow2Image):
            fail("Unsupported preallocation mode: metadata")
        if wanted < before and mode != "off":
            fail("Preallocation can only be used for growing images")
        if wanted % 512 and isinstance(image, Qcow2Image):
            fail("The new size must be a multiple of 512")
        wanted = -(-wanted // 512) * 512
        image.resize(wanted)
        if isinstance(image, Qcow2Image):
            preallocate(image, before, wanted - before, mode)
        elif mode != "off":
            _preallocate_raw(host_file(image), wanted - before, mode)
        if not parsed[common.QUIET]:
            print("Image resized.")
    return 0


def _preallocate_raw(file: HostFile | None, length: int, mode: str) -> None:
    """Give the last bytes of a file their space on the host."""
    if file is None:
        fail(f"Unsupported preallocation mode: {mode}")
    start = file.size - length
    if mode == "falloc":
        file.preallocate(start, length)
        return
    for at in range(start, file.size, 1 << 20):
        file.write(at, bytes(min(1 << 20, file.size - at)))


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        PREALLOCATION,
        common.QUIET,
        SHRINK,
    ),
    "filename [+|-]size",
    run,
    last_is_operand=True,
)
