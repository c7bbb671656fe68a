"""Stencils that are part of the installation, as a program's code is: made when it is installed.

``python -m jitemu.runtime.installed`` makes those that are missing, and the modules' bytecode;
setup.py runs it.  A set is named by what its sources contain, so edited sources or another
processor do not find it; a start that does keeps a copy in the cache.
"""

from __future__ import annotations

import os
import sys

from jitemu import cachedir
from jitemu.backend_llvm import cache
from jitemu.runtime.guests import NAMES, usual_guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jitemu.runtime.guest import Guest

PACKAGE = os.path.dirname(os.path.dirname(__file__))
FOLDER = os.path.join(PACKAGE, cachedir.STENCILS)
"""As trusted as the modules beside it."""
UNUSED = "JITEMU_NO_INSTALLED"
"""The environment's name of: there are none.  Tests and the bench set it."""
_MODE = 0o666


def _kind(guest: Guest) -> str:
    return f"{guest.name}-{guest.variant}-"


def path_of(guest: Guest) -> str:
    """Where the guest's set is, if the installation has one for these sources and this
    processor."""
    return os.path.join(FOLDER, _kind(guest) + cache.content_key(guest.frontend))


def usable() -> list[str]:
    """The files of sets that are for these sources and this processor."""
    return [path for path in map(path_of, map(usual_guest, NAMES)) if os.path.isfile(path)]


def load(guest: Guest, copy: str = "") -> tuple[Any, memoryview, bool] | None:
    """The guest's set, if there is one and it is whole, and whether it was copied to this path in
    the cache."""
    if os.environ.get(UNUSED):
        return None
    try:
        names = os.listdir(FOLDER)
    except OSError:
        return None
    if not any(name.startswith(_kind(guest)) for name in names):
        return None
    return cache.load_checked(path_of(guest), copy)


def update() -> None:
    """Make the sets that are missing, and remove what is of no use any more."""
    from jitemu.backend_llvm.upkeep import alone
    from jitemu.messages import fail
    from jitemu.runtime.setup import build

    os.makedirs(FOLDER, exist_ok=True)
    with alone(FOLDER, wait=True):
        guests = {path_of(guest): guest for guest in map(usual_guest, NAMES)}
        for entry in os.scandir(FOLDER):
            if entry.path not in guests:
                cachedir.remove(entry.path)
        for path, guest in guests.items():
            if cache.load_checked(path) is None:
                saved, data = build(guest, what=f"Building the stencils of {guest.name}")
                if not cache.save(path, saved, data, _write):
                    fail(f"{path}: cannot be written")


def _write(path: str, pieces: Sequence[cachedir.Buffer], stamp: int) -> bool:
    return cachedir.write_whole(path, pieces, stamp, _MODE)


def compile_modules() -> None:
    """Make the modules' bytecode, those behind links too."""
    from compileall import compile_dir

    links = [entry.path for entry in os.scandir(PACKAGE) if entry.is_symlink()]
    for folder in (PACKAGE, *links):
        compile_dir(folder, quiet=2)


def main() -> int:
    """Exit status: 0, or 1 with a line that says why there are no stencils."""
    from jitemu.messages import UserError

    compile_modules()
    try:
        update()
    except (UserError, OSError) as error:
        print(f"jitemu: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
