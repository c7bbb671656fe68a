"""A host folder that nobody gets out of.

Places are tuples of names below the root.  They are walked one name at a time, each opened
relative to the one before without following symbolic links, so neither ``..`` nor a link,
whoever makes it and when, leads outside.  Only plain files and folders are ever opened.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    Place = tuple[bytes, ...]

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TAKEN_OVER = os.O_ACCMODE | os.O_TRUNC | os.O_APPEND | os.O_SYNC
SPECIAL_ALLOWED = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)


def refuse(number: int) -> OSError:
    """An error to raise."""
    return OSError(number, os.strerror(number))


def check_name(name: bytes) -> bytes:
    """A name for something new or to be looked up; OSError if it is not one."""
    if name in (b".", b".."):
        raise refuse(errno.EEXIST)
    if not name or b"/" in name or b"\0" in name:
        raise refuse(errno.ENOENT)
    return name


class Folder:
    """``security_model=none`` and ``passthrough``: attributes are the host's own.

    With ``none`` (``strict`` False) owners are set as far as the host lets us."""

    def __init__(self, path: str, strict: bool, fmode: int = 0o600, dmode: int = 0o700) -> None:
        self._root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._strict = strict
        self.fmode, self.dmode = fmode, dmode

    def close(self) -> None:
        os.close(self._root)

    # Ways to things

    @contextmanager
    def look(self, place: Place) -> Generator[int]:
        """A descriptor for the thing itself, link or not, that allows no access to it."""
        fd = os.dup(self._root)
        try:
            for name in place:
                following = os.open(name, _LOOK, dir_fd=fd)
                os.close(fd)
                fd = following
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, place: Place) -> Generator[tuple[int, bytes]]:
        """The folder that a thing is in, and its name there."""
        if not place:
            raise refuse(errno.EBUSY)
        with self.look(place[:-1]) as folder:
            yield folder, place[-1]

    # Looking

    def attributes(self, fd: int) -> os.stat_result:
        """What is told of the thing behind a descriptor."""
        return os.fstat(fd)

    def readlink(self, place: Place) -> bytes:
        with self.parent(place) as (folder, name):
            return os.readlink(name, dir_fd=folder)

    def open(self, place: Place, flags: int) -> int:
        """Open a file or folder that is there; nothing else is opened."""
        with self.look(place) as fd:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise refuse(errno.ELOOP if stat.S_ISLNK(mode) else errno.EACCES)
            # The descriptor is already the thing, so that this link of /proc is followed.
            flags = flags & _TAKEN_OVER | _OPEN & ~os.O_NOFOLLOW
            return os.open(f"/proc/self/fd/{fd}", flags)

    # Making

    def create(self, place: Place, flags: int, mode: int, owner: tuple[int, int]) -> int:
        """A new file, opened."""
        with self.parent(place) as (folder, name):
            flags = flags & _TAKEN_OVER | _OPEN | os.O_CREAT | os.O_EXCL
            fd = os.open(check_name(name), flags, self.file_mode(mode), dir_fd=folder)
            try:
                self.made(place, stat.S_IFREG | mode & 0o7777, owner)
            except OSError:
                os.close(fd)
                os.unlink(name, dir_fd=folder)
                raise
            return fd

    def mkdir(self, place: Place, mode: int, owner: tuple[int, int]) -> None:
        with self.parent(place) as (folder, name):
            os.mkdir(check_name(name), self.folder_mode(mode), dir_fd=folder)
        self.made(place, stat.S_IFDIR | mode & 0o7777, owner)

    def symlink(self, place: Place, target: bytes, owner: tuple[int, int]) -> None:
        with self.parent(place) as (folder, name):
            os.symlink(target, check_name(name), dir_fd=folder)
            self._chown(folder, name, owner)

    def mknod(self, place: Place, mode: int, device: int, owner: tuple[int, int]) -> None:
        """Pipes, sockets and empty files; nodes of host devices are nobody's to make."""
        if stat.S_IFMT(mode) not in SPECIAL_ALLOWED:
            raise refuse(errno.EPERM)
        with self.parent(place) as (folder, name):
            os.mknod(check_name(name), stat.S_IFMT(mode) | 0o600, dir_fd=folder)
        self.made(place, mode, owner)

    def file_mode(self, mode: int) -> int:
        """The host's permissions of a new file, at first."""
        return mode & 0o777

    def folder_mode(self, mode: int) -> int:
        return mode & 0o777

    def made(self, place: Place, mode: int, owner: tuple[int, int]) -> None:
        """Give what was just made its owner and mode."""
        with self.parent(place) as (folder, name):
            self._chown(folder, name, owner)
        with self.look(place) as fd:
            os.chmod(f"/proc/self/fd/{fd}", mode & 0o7777)

    def _chown(self, folder: int, name: bytes, owner: tuple[int, int]) -> None:
        try:
            os.chown(name, *owner, dir_fd=folder, follow_symlinks=False)
        except OSError:
            if self._strict:
                raise

    # Changing

    def chmod(self, place: Place, mode: int) -> None:
        with self.look(place) as fd:
            os.chmod(f"/proc/self/fd/{fd}", mode & 0o7777)

    def chown(self, place: Place, uid: int, gid: int) -> None:
        """-1 leaves one as it is."""
        with self.parent(place) as (folder, name):
            self._chown(folder, name, (uid, gid))

    def truncate(self, place: Place, size: int) -> None:
        fd = self.open(place, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def utime(self, place: Place, times: tuple[int, int]) -> None:
        """Nanoseconds of last access and change."""
        if place:
            with self.parent(place) as (folder, name):
                os.utime(name, ns=times, dir_fd=folder, follow_symlinks=False)
        else:
            os.utime(f"/proc/self/fd/{self._root}", ns=times)

    def link(self, old: Place, new: Place) -> None:
        with self.parent(old) as (from_folder, from_name), self.parent(new) as (folder, name):
            os.link(
                from_name,
                check_name(name),
                src_dir_fd=from_folder,
                dst_dir_fd=folder,
                follow_symlinks=False,
            )

    def rename(self, old: Place, new: Place) -> None:
        with self.parent(old) as (from_folder, from_name), self.parent(new) as (folder, name):
            os.rename(from_name, check_name(name), src_dir_fd=from_folder, dst_dir_fd=folder)

    def remove(self, place: Place, folder_wanted: bool) -> None:
        with self.parent(place) as (folder, name):
            if folder_wanted:
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    # Extended attributes: only the user's own kind passes

    def xattr_allowed(self, name: bytes) -> bool:
        return name.startswith(b"user.")

    def xattrs(self, place: Place) -> list[bytes]:
        with self.look(place) as fd:
            names = [os.fsencode(name) for name in os.listxattr(f"/proc/self/fd/{fd}")]
        return [name for name in names if self.xattr_allowed(name)]

    def get_xattr(self, place: Place, name: bytes) -> bytes:
        if not self.xattr_allowed(name):
            raise refuse(errno.ENODATA)
        with self.look(place) as fd:
            return os.getxattr(f"/proc/self/fd/{fd}", name)

    def set_xattr(self, place: Place, name: bytes, value: bytes, flags: int) -> None:
        """No value removes the attribute, as the protocol has it."""
        if not self.xattr_allowed(name):
            raise refuse(errno.EOPNOTSUPP)
        with self.look(place) as fd:
            if value:
                os.setxattr(f"/proc/self/fd/{fd}", name, value, flags)
            else:
                os.removexattr(f"/proc/self/fd/{fd}", name)


PREFIX = b"user.virtfs."


class MappedFolder(Folder):
    """``security_model=mapped-xattr``: owner, mode and kind of what the guest makes are in
    extended attributes; on the host all are plain files and folders of the user's."""

    def attributes(self, fd: int) -> os.stat_result:
        own = os.fstat(fd)
        fields = list(own[:10])
        path = f"/proc/self/fd/{fd}"
        rdev = own.st_rdev
        if not stat.S_ISLNK(own.st_mode):
            for index, name in ((4, b"uid"), (5, b"gid"), (0, b"mode")):
                with suppress(OSError):
                    fields[index] = int.from_bytes(os.getxattr(path, PREFIX + name), "little")
            with suppress(OSError):
                rdev = int.from_bytes(os.getxattr(path, PREFIX + b"rdev"), "little")
        extra = {name: getattr(own, name) for name in _BEYOND_TEN} | {"st_rdev": rdev}
        return os.stat_result(fields, extra)

    def _set(self, place: Place, values: dict[bytes, int]) -> None:
        with self.look(place) as fd:
            for name, value in values.items():
                size = 8 if name == b"rdev" else 4
                data = value.to_bytes(size, "little")
                os.setxattr(f"/proc/self/fd/{fd}", PREFIX + name, data)

    def _mode(self, place: Place) -> int:
        with self.look(place) as fd:
            return self.attributes(fd).st_mode

    def file_mode(self, mode: int) -> int:
        return self.fmode

    def folder_mode(self, mode: int) -> int:
        return self.dmode

    def made(self, place: Place, mode: int, owner: tuple[int, int]) -> None:
        self._set(place, {b"uid": owner[0], b"gid": owner[1], b"mode": mode})

    def mknod(self, place: Place, mode: int, device: int, owner: tuple[int, int]) -> None:
        os.close(super().create(place, os.O_WRONLY, 0, owner))
        self._set(place, {b"mode": mode, b"rdev": device})

    def symlink(self, place: Place, target: bytes, owner: tuple[int, int]) -> None:
        fd = super().create(place, os.O_WRONLY, 0, owner)
        try:
            os.write(fd, target)
        finally:
            os.close(fd)
        self._set(place, {b"mode": stat.S_IFLNK | 0o777})

    def readlink(self, place: Place) -> bytes:
        with self.look(place) as fd:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                return super().readlink(place)
            if not stat.S_ISLNK(self.attributes(fd).st_mode):
                raise refuse(errno.EINVAL)
        fd = super().open(place, os.O_RDONLY)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def open(self, place: Place, flags: int) -> int:
        if stat.S_IFMT(self._mode(place)) not in (stat.S_IFREG, stat.S_IFDIR):
            raise refuse(errno.EACCES)
        return super().open(place, flags)

    def chmod(self, place: Place, mode: int) -> None:
        self._set(place, {b"mode": stat.S_IFMT(self._mode(place)) | mode & 0o7777})

    def chown(self, place: Place, uid: int, gid: int) -> None:
        given = {b"uid": uid, b"gid": gid}
        self._set(place, {name: value for name, value in given.items() if value >= 0})

    def xattr_allowed(self, name: bytes) -> bool:
        return super().xattr_allowed(name) and not name.startswith(PREFIX)


_BEYOND_TEN = (
    *("st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns"),
    *("st_blksize", "st_blocks"),
)
