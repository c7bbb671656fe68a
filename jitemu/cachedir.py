"""The user's cache folder: files that are written whole or not at all, and are nobody else's."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffer = bytes | bytearray | memoryview

KINDS = STENCILS, REGIONS, MODULES = "stencils", "regions", "modules"
"""Folders below the cache folder, of what can be made again."""
TEMPORARY = ".new"
"""Ending of files that are being written."""
_OTHERS_WRITE = 0o022


def folder() -> str:
    """The user's cache folder of jitemu."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "jitemu")


def is_private(path: str) -> bool:
    """A folder that is this user's, and that nobody else can write."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE


def trusted() -> bool:
    """The cache folder, where it exists, is the user's alone to write."""
    return is_private(folder()) or not os.path.lexists(folder())


def make_private(path: str) -> bool:
    """Make a folder below the cache folder; False if it, or one on the way, cannot be used."""
    try:
        os.makedirs(os.path.dirname(folder()), exist_ok=True)
        at = folder()
        for name in ("", *os.path.relpath(path, at).split(os.sep)):
            at = os.path.join(at, name)
            if not os.path.isdir(at):
                os.makedirs(at, 0o700, exist_ok=True)
            if not is_private(at):
                return False
    except OSError:
        return False
    return True


def write_file(path: str, pieces: "Sequence[Buffer]", stamp: int = 0) -> bool:
    """``write_whole`` of a file below the cache folder, in folders that are made."""
    return make_private(os.path.dirname(path)) and write_whole(path, pieces, stamp)


def write_whole(path: str, pieces: "Sequence[Buffer]", stamp: int = 0, mode: int = 0o600) -> bool:
    """Write a file whole or not at all; whether it is there.

    With a ``stamp``, nanoseconds, it is on the disk before it is seen, and that is its time.
    """
    temporary = f"{path}.{os.getpid()}{TEMPORARY}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        with open(fd, "wb") as file:
            file.writelines(pieces)
            if stamp:
                file.flush()
                os.fsync(fd)
                os.utime(fd, ns=(stamp, stamp))
        os.replace(temporary, path)
    except OSError:
        remove(temporary)
        return False
    return True


def remove(path: str) -> None:
    """Remove a file, if it is there and may be removed."""
    from jitemu.light import suppress

    with suppress(OSError):
        os.unlink(path)
