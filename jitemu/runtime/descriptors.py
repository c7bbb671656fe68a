"""File descriptors of jitemu's own in a process where the guest opens and closes files."""

from __future__ import annotations

import os

from jitemu.foreign import c_int
from jitemu.hostmemory import libc

OWN: set[int] = set()
"""Open descriptors that are not the guest's."""
_ROOM = 64
"""So many numbers below the limit are jitemu's."""
_HIGHEST = 1 << 16
_F_DUPFD_CLOEXEC = 1030  # importing fcntl takes longer than all that is done here

_F_SETPIPE_SZ = 1031


def move_up(fd: int) -> int:
    """Give a descriptor a number out of the guest's way; closed on execve."""
    limit = os.sysconf("SC_OPEN_MAX")
    limit = _HIGHEST if limit < 0 else min(limit, _HIGHEST)
    moved: int = libc.fcntl(fd, _F_DUPFD_CLOEXEC, c_int(max(limit - _ROOM, 0)))
    if moved < 0:
        moved = fd  # none is free there: then where it is
    else:
        os.close(fd)
    OWN.add(moved)
    return moved


def widen_pipe(fd: int, size: int) -> None:
    """Let a pipe hold so many bytes, where the system allows that."""
    libc.fcntl(fd, _F_SETPIPE_SZ, c_int(size))


def close(fd: int) -> None:
    """Close a descriptor that was moved up."""
    OWN.discard(fd)
    os.close(fd)
