"""``python -m bench``: runs the rows and prints the table."""

from __future__ import annotations

import argparse
import fnmatch
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import compare, machine, measure, table
from bench.inputs import Inputs
from bench.model import CONTESTANTS, DEFAULT_CONTESTANTS, GUESTS, RISCV64, Row, contestant
from bench.results import Report, read
from bench.rows import ROWS
from bench.session import Plan, Session, installed
from jitemu.messages import UserError, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 5
THRESHOLD = 10.0


def _installed_command() -> str:
    """jitemu as its users start it."""
    script = Path(sys.executable).with_name("jitemu")
    return shlex.join([str(script)] if script.exists() else [sys.executable, "-m", "jitemu"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Run jitemu and QEMU in turn and print medians of paired ratios.",
    )
    add = parser.add_argument
    add("rows", nargs="*", help="names, groups or patterns (fnmatch); default: all")
    add("--list", action="store_true", help="list the rows and end")
    add("--rounds", type=int, help=f"measured rounds (default {ROUNDS}, with --quick 1)")
    size = parser.add_mutually_exclusive_group()
    for scale, about in (
        ("quick", "small sizes, no first unmeasured run"),
        ("long", "sizes of some 10 s and more under QEMU"),
    ):
        size.add_argument(f"--{scale}", dest="scale", action="store_const", const=scale, help=about)
    parser.set_defaults(scale="normal")
    add(
        "--sides",
        default=",".join(DEFAULT_CONTESTANTS),
        help=f"who runs, of {', '.join(CONTESTANTS)} (default: %(default)s); runs of -cold begin "
        "with an empty cache as after an installation, which is brought up to date before, those "
        "of -bare without its stencils as well",
    )
    add("--guest", choices=GUESTS, default=RISCV64.name, help="(default: %(default)s)")
    add("--cpu", action="store_true", help="compare processor time (where others use the machine)")
    add("--json", type=Path, metavar="FILE", help="save every sample and the summary")
    add("--against", type=Path, metavar="FILE", help="compare with what --json saved before")
    add(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="PERCENT",
        help="with --against: exit status 1 if a row is slower by more (default: %(default)s)",
    )
    add("--root", default="", metavar="DIR", help="the guest's sysroot (default: jitemu get)")
    add("--linux", default="", metavar="DIR", help="folder of Image and initramfs-small.cpio.gz")
    add(
        "--jitemu-cmd",
        default=_installed_command(),
        metavar="CMD",
        help="command that is run as jitemu (default: %(default)s)",
    )
    add("--timeout", type=float, default=120, metavar="S", help="for each run (default 120)")
    return parser


def choose(patterns: Sequence[str]) -> list[Row]:
    """The rows that any pattern names, by row or group; all without patterns."""
    chosen: list[Row] = []
    for pattern in patterns or ["*"]:
        found = [r for r in ROWS if pattern == r.group or fnmatch.fnmatch(r.name, pattern)]
        if not found:
            fail(f"{pattern}: no such row or group; --list shows them")
        chosen += [row for row in found if row not in chosen]
    return chosen


def _sides(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown or not names:
        fail(f"--sides {text}: not a list of {', '.join(CONTESTANTS)}")
    return names


def _complete_installation() -> None:
    """Make what an installation has and this tree may lack, as it can be edited."""
    command = [sys.executable, "-m", "jitemu.runtime.installed"]
    if subprocess.run(command, check=False).returncode:
        fail("the installation's stencils could not be made")


def _run(words: Sequence[str] | None) -> int:
    options = _parser().parse_args(words)
    rows = choose(options.rows)
    if options.list:
        for row in rows:
            print(f"{row.group:<9} {row.name:<18} {row.about}")
        return 0
    rounds = options.rounds
    if rounds is None:
        rounds = 1 if options.scale == "quick" else ROUNDS
    if rounds < 1 or options.timeout <= 0:
        fail("--rounds and --timeout must be above zero")
    if options.json and not options.json.absolute().parent.is_dir():
        fail(f"--json {options.json}: no such folder")
    before = read(options.against) if options.against else None
    guest = GUESTS[options.guest]
    sides = [contestant(name, guest) for name in _sides(options.sides)]
    plan = Plan(installed(sides, rows), rounds, options.scale, options.timeout, options.cpu)
    report = Report(
        machine.describe(guest),
        {
            "guest": guest.name,
            "rounds": rounds,
            "scale": options.scale,
            "jitemu": options.jitemu_cmd,
            "cpu": options.cpu,
        },
    )
    inputs = Inputs(shlex.split(options.jitemu_cmd), guest, options.root, options.linux)
    if any(side.cold and not side.bare for side in plan.contestants):
        _complete_installation()
    measure.adopt()
    Session(plan, inputs, report).run(rows)
    if options.json:
        report.write(options.json)
    table.show(report)
    slower = before is not None and compare.judge(before, report, options.threshold)
    return 0 if report.sound and not slower else 1


def main(words: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 1 when a row was wrong, failed or became slower (--against), 130 when
    interrupted."""
    try:
        return _run(words)
    except UserError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
