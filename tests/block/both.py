"""One command line for qemu-img and for jitemu img, each in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jitemu.cli.main import main


@dataclass
class Said:
    """What a program printed, and its exit status."""

    status: int
    out: str
    err: str


def _go_first() -> None:
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def qemu_img(folder: Path, *words: str) -> Said:
    """Run qemu-img (or qemu-io, if that is the first word)."""
    program = [] if words[0] == "qemu-io" else ["qemu-img"]
    first: Callable[[], None] | None = None
    while True:
        done = subprocess.run(
            [*program, *words], cwd=folder, capture_output=True, timeout=600, preexec_fn=first
        )
        if b"Unable to get accurate CPU usage" not in done.stderr:
            break
        first = _go_first  # it times its key derivation, which a busy machine disturbs
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


def jitemu_img(folder: Path, *words: str) -> Said:
    """Run jitemu img in this process: its start-up is not what is tested."""
    out, err = io.StringIO(), io.StringIO()
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["img", *words])
    finally:
        os.chdir(before)
    return Said(status, out.getvalue(), err.getvalue())


def plain_error(text: str) -> str:
    """An error without what the two programs say differently by intention: their names, one
    line or several, the hint to the help."""
    text = re.sub(r"(qemu-img|jitemu): ", "", text)
    text = re.sub(r"warning: |WARNING: ", "", text)
    text = text.replace("Try 'qemu-img --help' for more information", "")
    text = text.replace("; 'jitemu img --help' has more information", "")
    text = re.sub(r"(Could not open '[^']*': )\1", r"\1", text)
    return " ".join(re.sub("[;,.]", " ", text).lower().split())


def words_of(line: str) -> list[str]:
    """The words of a command line."""
    return shlex.split(line)
