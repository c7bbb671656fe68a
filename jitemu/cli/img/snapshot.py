"""``jitemu img snapshot``."""

from __future__ import annotations

import os

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.info import describe, snapshot_lines
from jitemu.cli.options import Option, Parsed
from jitemu.devices.block.qcow2 import snapshots
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

_NOTHING = ("", "")


def _action(letter: str, argument: str, about: str) -> Option[tuple[str, str]]:
    def fold(before: tuple[str, str], text: str) -> tuple[str, str]:
        if before[0]:
            fail("Cannot mix '-l', '-a', '-c', '-d'")
        return letter, text

    return Option(letter, argument, about, _NOTHING, fold, key="action")


LIST = _action("l", "", "list the snapshots")
APPLY = _action("a", "snapshot", "let the disk be as it was then")
CREATE = _action("c", "snapshot", "take a snapshot of the disk")
DELETE = _action("d", "snapshot", "forget a snapshot")


def run(parsed: Parsed) -> int:
    """List, take, apply or delete."""
    name = common.one_operand(parsed)
    action, wanted = parsed[LIST]
    with common.open_parsed(parsed, name, read_only=action in ("", "l"), no_backing=True) as image:
        if not action:
            return 0
        if action == "l":
            table = describe(image).get("snapshots", [])
            if table:
                print("\n".join(snapshot_lines(table)))
            return 0
        try:
            _change(image if isinstance(image, Qcow2Image) else None, action, wanted)
        except OSError as error:
            doing = {"a": "apply", "c": "create", "d": "delete"}[action]
            code = error.errno or 0
            fail(f"Could not {doing} snapshot '{wanted}': {-code} ({os.strerror(code)})")
    return 0


def _change(image: Qcow2Image | None, action: str, wanted: str) -> None:
    if image is None:
        raise OSError(95, "Operation not supported")
    if action == "c":
        snapshots.take(image, wanted)
        return
    found = snapshots.find(image, wanted, by_id=action == "a")
    if found is None and action == "a":
        reason = "Failed to load snapshot: No such file or directory"
        fail(f"Could not apply snapshot '{wanted}': {reason}")
    if found is None:
        fail(f"Could not delete snapshot '{wanted}': snapshot not found")
    if action == "a":
        if image.header.bitmaps:
            fail(f"Could not apply snapshot '{wanted}': Device has active dirty bitmaps")
        snapshots.apply(image, found)
    else:
        snapshots.delete(image, found)


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORCE_SHARE,
        common.QUIET,
        LIST,
        APPLY,
        CREATE,
        DELETE,
    ),
    "filename",
    run,
)
