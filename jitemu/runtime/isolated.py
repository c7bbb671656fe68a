"""Command lines of this Python that neither the guest's folder nor its environment can change."""

from __future__ import annotations

import os
import sys

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def python_for(module: str, *options: str) -> list[str]:
    """Runs a module's ``main`` and ends with its status; ``options`` are the interpreter's."""
    start = (
        f"import sys; sys.path.insert(0, {_ROOT!r}); from {module} import main; sys.exit(main())"
    )
    return [sys.executable, "-I", *options, "-c", start]
