"""The start of a program that a guest's execve runs.

Python is started without its site module (-S), which takes a fifth of a short program's time:
what is imported is jitemu's and the library's.  The first import of anything else makes up for it.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _LateSite:
    """The last entry of sys.meta_path."""

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """importlib's protocol."""
        import site
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        site.main()
        return PathFinder.find_spec(name, path, target)


def main() -> int:
    """Run one command line; the process's exit status."""
    from jitemu.cli.main import main as run

    sys.meta_path.append(_LateSite())
    return run()
