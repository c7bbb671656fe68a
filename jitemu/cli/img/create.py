"""``jitemu img create``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.format_options import (
    luks_options,
    one_of,
    parse_options,
    qcow2_options,
    show_help,
    summary,
)
from jitemu.cli.img.getopt import HINT
from jitemu.cli.options import Parsed, flag, on_off, size
from jitemu.devices.block.access import same_file
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.luks_image import create_luks
from jitemu.devices.block.nodes import beside
from jitemu.devices.block.opening import FORMATS, Mode, open_named
from jitemu.devices.block.qcow2.create import create as create_qcow2
from jitemu.devices.block.raw import create_raw
from jitemu.messages import UserError, fail

UNSAFE = flag("u", "do not open the backing image")
SIZE_LIMIT = (1 << 63) - 1


def parse_size(text: str, name: str = "image size") -> int:
    """Bytes; UserError in QEMU's words."""
    try:
        count = size(text)
    except ValueError:
        if text.isdigit():
            fail(f"Invalid {name} specified. Must be between 0 and {SIZE_LIMIT}.")
        fail(
            f"Invalid {name} specified. You may use k, M, G, T, P or E suffixes for"
            " kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."
        )
    if count > SIZE_LIMIT:
        fail(f"Invalid {name} specified. Must be between 0 and {SIZE_LIMIT}.")
    return count


def run(parsed: Parsed) -> int:
    """Make an image."""
    format = parsed[common.FORMAT] or "raw"
    if format in FORMATS:
        show_help(format, parsed[common.CREATE_OPTIONS], bool(parsed.rest))
    if not parsed.rest:
        fail(f"Expecting image file name{HINT}")
    name, *sizes = parsed.rest
    if len(sizes) > 1:
        fail(f"Expecting image file name and size, got one word more: {sizes[1]}{HINT}")
    if format not in FORMATS:
        fail(f"{name}: Unknown file format '{format}'")
    try:
        given = parse_options(format, parsed[common.CREATE_OPTIONS])
    except UserError as error:
        fail(f"{name}: {error}")
    if sizes and "size" in given:
        fail(f"{name}: The image size must be specified only once")
    if sizes:
        given["size"] = str(parse_size(sizes[0]))
    if parsed[common.BACKING]:
        given["backing_file"] = parsed[common.BACKING]
    if parsed[common.BACKING_FORMAT]:
        given["backing_fmt"] = parsed[common.BACKING_FORMAT]
    try:
        _look_at_backing(parsed, format, name, given)
        if "size" not in given:
            fail("Image creation needs a size parameter")
        if not parsed[common.QUIET]:
            print(summary(format, name, given), flush=True)
        make(format, name, given, parsed[common.OBJECT])
    except UserError as error:
        fail(f"{name}: {error}")
    return 0


def _look_at_backing(parsed: Parsed, format: str, name: str, given: dict[str, str]) -> None:
    """Open the backing image: it has to be one, and its size is the default."""
    backing = given.get("backing_file", "")
    if format != "qcow2" and (backing or "backing_fmt" in given):
        fail(f"Backing file not supported for file format '{format}'")
    if not backing:
        return
    path = beside(backing, name)
    if same_file(path, name):
        fail("Error: Trying to create an image with the same filename as the backing file")
    if given.get("backing_fmt"):
        common.check_format(given["backing_fmt"])
    if parsed[UNSAFE]:
        return
    mode = Mode(read_only=True, secrets=parsed[common.OBJECT])
    try:
        image = open_named(path, given.get("backing_fmt") or None, mode)
    except UserError as error:
        fail(f"{error}; could not open backing image.")
    with image:
        if "backing_fmt" not in given:
            fail(
                "Backing file specified without backing format;"
                f" detected format of {image.format} (give it by -F)"
            )
        given.setdefault("size", str(image.size))


def make(format: str, name: str, options: dict[str, str], secrets: dict[str, bytes]) -> None:
    """Make the file."""
    if "nocow" in options or "extent_size_hint" in options:
        with HostFile(name, read_only=False, create=True) as file:
            file.resize(0)
            hint = size(options.get("extent_size_hint", "0"))
            if hint >= 1 << 32:
                fail("Extent size hint is too large")
            file.set_hints(on_off(options.get("nocow", "off")), hint)
    if format == "qcow2":
        create_qcow2(name, qcow2_options(options, secrets))
        return
    count = size(options.get("size", "0"))
    mode = one_of(options, "preallocation", ("off", "falloc", "full"))
    if format == "luks":
        create_luks(name, count, luks_options(options, secrets), mode)
    else:
        create_raw(name, count, mode)


COMMAND = Command(
    (
        common.OBJECT,
        common.QUIET,
        common.FORMAT,
        common.BACKING,
        common.BACKING_FORMAT,
        UNSAFE,
        common.CREATE_OPTIONS,
    ),
    "filename [size]",
    run,
)
