"""``jitemu img commit``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.convert import RATE
from jitemu.cli.img.copying import Rate
from jitemu.cli.img.output import progress
from jitemu.cli.options import Parsed, flag, value
from jitemu.devices.block.access import same_file
from jitemu.devices.block.chain import chain_of, commit
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nodes import beside
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

KEEP = flag("d", "leave the image as it is, do not empty it")
BASE = value("b", "base", "commit into this image of the backing chain", "", str)


def _base(image: Qcow2Image, name: str) -> BlockImage | None:
    if not name:
        return None
    for below in chain_of(image)[1:]:
        if (
            name == below.name
            or same_file(name, below.name)
            or same_file(beside(name, image.name), below.name)
        ):
            return below
    fail(f"Did not find '{name}' in the backing chain of '{image.name}'")


def run(parsed: Parsed) -> int:
    """Write an image's changes to its backing image."""
    name = common.one_operand(parsed)
    with common.open_parsed(parsed, name, read_only=False) as opened:
        missing = "Image does not have a backing file"
        image = common.qcow2_only(opened, missing)
        if image.backing is None:
            fail(missing)
        base = _base(image, parsed[BASE])
        for one in chain_of(image):
            common.set_cache(one, parsed[common.CACHE])
        common.allow_discard(image)
        rate = Rate(parsed[RATE])
        with progress(parsed[common.PROGRESS], image.size) as advance:

            def done(count: int) -> None:
                rate.spend(count)
                advance(count)

            commit(image, base, keep=parsed[KEEP] or base is not None, advance=done)
    if not parsed[common.QUIET]:
        print("Image committed.")
    return 0


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.QUIET,
        common.FORMAT,
        common.CACHE,
        BASE,
        RATE,
        KEEP,
        common.PROGRESS,
    ),
    "filename",
    run,
)
