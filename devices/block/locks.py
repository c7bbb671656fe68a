"""Locks on image files, the ones QEMU takes: two programs never write one image.

A holder read-locks byte 100 + n for each permission n it uses and byte 200 + n for each
it does not share; then nobody else may hold the other byte.  The locks belong to the open
file description (fcntl's OFD locks), so they end with its last descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

CONSISTENT_READ = 0
WRITE = 1
RESIZE = 3
NAMES = ("consistent read", "write", "write unchanged", "resize")
_USED = 100
_NOT_SHARED = 200
_FLOCK = struct.Struct("hh4xqqi4x")
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37


class Locked(Exception):
    """Somebody else holds the lock; the text names it as QEMU does."""


def _apply(fd: int, command: int, kind: int, byte: int) -> int:
    """Do one fcntl; what it left as the lock's kind."""
    request = _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
    return _FLOCK.unpack(fcntl.fcntl(fd, command, request))[0]


def acquire(fd: int, used: tuple[int, ...], not_shared: tuple[int, ...]) -> None:
    """Lock, or raise Locked.  Files that know no locks are left without."""
    try:
        for permission in used:
            _apply(fd, _F_OFD_SETLK, fcntl.F_RDLCK, _USED + permission)
        for permission in not_shared:
            _apply(fd, _F_OFD_SETLK, fcntl.F_RDLCK, _NOT_SHARED + permission)
        for permission in used:
            if _apply(fd, _F_OFD_GETLK, fcntl.F_WRLCK, _NOT_SHARED + permission) != fcntl.F_UNLCK:
                raise Locked(f'Failed to get "{NAMES[permission]}" lock')
        for permission in not_shared:
            if _apply(fd, _F_OFD_GETLK, fcntl.F_WRLCK, _USED + permission) != fcntl.F_UNLCK:
                raise Locked(f'Failed to get shared "{NAMES[permission]}" lock')
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
