"""``jitemu img check``."""

from __future__ import annotations

import sys
from typing import Any

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.output import pretty
from jitemu.cli.options import Parsed, value
from jitemu.devices.block.qcow2.check import Result, check
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

NOT_CHECKABLE = 63
CORRUPT = 2
LEAKS = 3


def _repair(text: str) -> str:
    if text not in ("leaks", "all"):
        fail(f"Unknown option value for -r (expecting 'leaks' or 'all'): {text}")
    return text


REPAIR = value("r", "leaks|all", "repair leaks, or all inconsistencies", "", _repair)


def _members(result: Result, image: Qcow2Image) -> dict[str, Any]:
    found: dict[str, Any] = {
        "filename": image.name,
        "format": image.format,
        "check-errors": result.check_errors,
    }
    usage = result.usage
    optional = {
        "image-end-offset": result.image_end,
        "corruptions": result.corruptions,
        "leaks": result.leaks,
        "corruptions-fixed": result.corruptions_fixed,
        "leaks-fixed": result.leaks_fixed,
        "total-clusters": result.total_clusters,
        "allocated-clusters": usage.allocated if usage else 0,
        "fragmented-clusters": usage.fragmented if usage else 0,
        "compressed-clusters": usage.compressed if usage else 0,
    }
    found.update({name: count for name, count in optional.items() if count})
    return found


def _verdict(result: Result) -> str:
    lines: list[str] = []
    if not (result.corruptions or result.leaks or result.check_errors):
        lines.append("No errors were found on the image.")
    if result.corruptions:
        lines.append(
            f"\n{result.corruptions} errors were found on the image.\n"
            "Data may be corrupted, or further writes to the image may corrupt it."
        )
    if result.leaks:
        lines.append(
            f"\n{result.leaks} leaked clusters were found on the image.\n"
            "This means waste of disk space, but no harm to data."
        )
    if result.check_errors:
        lines.append(f"\n{result.check_errors} internal errors have occurred during the check.")
    usage = result.usage
    if result.total_clusters and usage and usage.allocated:
        total, used = result.total_clusters, usage.allocated
        lines.append(
            f"{used}/{total} = {used * 100 / total:.2f}% allocated,"
            f" {usage.fragmented * 100 / used:.2f}% fragmented,"
            f" {usage.compressed * 100 / used:.2f}% compressed clusters"
        )
    if result.image_end:
        lines.append(f"Image end offset: {result.image_end}")
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_line: str) -> None:
    return


def run(parsed: Parsed) -> int:
    """Check, repair, say what was found."""
    name = common.one_operand(parsed)
    repair = parsed[REPAIR]
    human = parsed[common.OUTPUT] == "human"
    with common.open_parsed(parsed, name, read_only=not repair, check=True) as opened:
        if not isinstance(opened, Qcow2Image):
            fail("This image format does not support checks", NOT_CHECKABLE)
        say = _silent if parsed[common.QUIET] or not human else _say
        result = check(opened, repair, say)
        if result.corruptions_fixed or result.leaks_fixed:
            if human and not parsed[common.QUIET]:
                print(
                    "The following inconsistencies were found and repaired:\n\n"
                    f"    {result.leaks_fixed} leaked clusters\n"
                    f"    {result.corruptions_fixed} corruptions\n\n"
                    "Double checking the fixed image now..."
                )
            fixed = result.leaks_fixed, result.corruptions_fixed
            result = check(opened, "", say)
            result.leaks_fixed, result.corruptions_fixed = fixed
        if not human:
            print(pretty(_members(result, opened)))
        elif not parsed[common.QUIET]:
            print(_verdict(result))
    if result.corruptions:
        return CORRUPT
    if result.leaks:
        return LEAKS
    return 1 if result.check_errors else 0


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.QUIET,
        common.FORMAT,
        common.OUTPUT,
        REPAIR,
        common.SOURCE_CACHE,
        common.FORCE_SHARE,
    ),
    "filename",
    run,
)
