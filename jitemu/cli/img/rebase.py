"""``jitemu img rebase``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.getopt import HINT
from jitemu.cli.img.output import progress
from jitemu.cli.options import Parsed, flag
from jitemu.devices.block.chain import rebase
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nodes import beside
from jitemu.devices.block.opening import FORMATS, Mode, open_named
from jitemu.devices.block.qcow2.amend import set_backing
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import UserError, fail

UNSAFE = flag("u", "change the name only; the new backing image must read the same")


def _new_backing(image: Qcow2Image, parsed: Parsed) -> BlockImage | None:
    name = parsed[common.BACKING]
    if not name:
        return None
    mode = Mode(True, parsed[common.FORCE_SHARE], secrets=parsed[common.OBJECT])
    try:
        return open_named(
            beside(name, image.file.name), parsed[common.BACKING_FORMAT] or None, mode
        )
    except UserError as error:
        fail(f"Could not open new backing file '{name}': {error}")


def run(parsed: Parsed) -> int:
    """Give an image another backing image."""
    name = common.one_operand(parsed)
    if not parsed[UNSAFE] and not parsed.given(common.BACKING):
        fail(f"Must specify backing file (-b) or use unsafe mode (-u){HINT}")
    format = parsed[common.BACKING_FORMAT]
    if format and format not in FORMATS:
        fail(f"Invalid format name: '{format}'")
    unsafe = parsed[UNSAFE]
    opened = common.open_parsed(
        parsed, name, read_only=False, no_backing=unsafe, force_share=False
    )  # -U is for the backing images
    with opened:
        image = common.qcow2_only(
            opened,
            f"Could not change the backing file to '{parsed[common.BACKING]}':"
            " Operation not supported",
        )
        common.set_cache(image, parsed[common.CACHE])
        target = parsed[common.BACKING]
        if not unsafe:
            new = _new_backing(image, parsed)
            try:
                _check_format(target, format)
                with progress(parsed[common.PROGRESS], image.size) as advance:
                    rebase(image, new, advance=advance)
            finally:
                if new:
                    new.close()
        _check_format(target, format)
        try:
            set_backing(image, target, format if target else "")
        except UserError as error:
            fail(f"Could not change the backing file to '{target}': {error}")
    return 0


def _check_format(target: str, format: str) -> None:
    if target and not format:
        fail(f"Could not change the backing file to '{target}': backing format must be specified")


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORCE_SHARE,
        common.QUIET,
        common.FORMAT,
        common.CACHE,
        common.SOURCE_CACHE,
        common.PROGRESS,
        UNSAFE,
        common.BACKING,
        common.BACKING_FORMAT,
    ),
    "filename",
    run,
)
