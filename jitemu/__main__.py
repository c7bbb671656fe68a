"""``python -m jitemu``: the same as the ``jitemu`` command."""

from __future__ import annotations

import sys

from jitemu.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
