"""What building jitemu does besides copying its modules: it makes the stencils."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).parent
STENCILS = Path("jitemu", "stencils")


class BuildPy(build_py):
    """Has the package's stencils made in the source tree, and copies them where it is built."""

    def run(self) -> None:
        super().run()
        made = subprocess.run(
            [sys.executable, "-m", "jitemu.runtime.installed"],
            cwd=TOP,
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TOP), *_inherited()))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            why = (made.stderr.strip().splitlines() or [f"status {made.returncode}"])[-1]
            self.warn(f"no stencils, they will be made when jitemu is first used: {why}")
        if not self.editable_mode:
            target = Path(self.build_lib, STENCILS)
            shutil.rmtree(target, ignore_errors=True)
            if (TOP / STENCILS).is_dir():
                shutil.copytree(TOP / STENCILS, target)


def _inherited() -> list[str]:
    path = os.environ.get("PYTHONPATH")
    return [path] if path else []


setup(cmdclass={"build_py": BuildPy})
