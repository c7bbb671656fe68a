"""A few facts about the machine that figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.model import Guest


def describe(guest: Guest) -> dict[str, str]:
    """CPU, kernel, load, versions; nothing that names the machine."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cpu": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        "qemu": _first_line(f"qemu-{guest.name}", "--version"),
        "revision": _first_line("git", "-C", os.path.dirname(__file__), "describe", "--always"),
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        return next(names, platform.machine())


def _first_line(*command: str) -> str:
    """Empty when the command is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.partition("\n")[0] if done.returncode == 0 else ""
