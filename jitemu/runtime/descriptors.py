"""File descriptors of jitemu's own in a process where the guest opens and closes files."""

from __future__ import annotations

import os

OWN: set[int] = set()
"""Open descriptors that are not the guest's."""
_ROOM = 64
"""So many numbers below the limit are jitemu's."""
_HIGHEST = 1 << 16


def move_up(fd: int) -> int:
    """Give a descriptor a number out of the guest's way; closed on execve."""
    import fcntl

    limit = os.sysconf("SC_OPEN_MAX")
    limit = _HIGHEST if limit < 0 else min(limit, _HIGHEST)
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, max(limit - _ROOM, 0))
    except OSError:
        moved = fd  # none is free there: then where it is
    else:
        os.close(fd)
    OWN.add(moved)
    return moved


def close(fd: int) -> None:
    """Close a descriptor that was moved up."""
    OWN.discard(fd)
    os.close(fd)
