"""The server of 9P2000.L for one guest: fids, and a method for each message."""

from __future__ import annotations

import errno
import os
import stat

from jitemu.devices.p9 import messages
from jitemu.devices.p9.folder import refuse
from jitemu.devices.p9.messages import directory_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.devices.p9.folder import Folder, Place
    from jitemu.devices.p9.messages import Qid

VERSION = b"9P2000.L"
MIN_MESSAGE = 4096
MAX_FIDS = 65536
MAX_OPEN = 512  # host descriptors that one guest may hold
MAX_XATTR = 65536
MAGIC = 0x0102_1997
NOBODY = 65534
NO_ID = 0xFFFF_FFFF
QT_DIR, QT_SYMLINK, QT_FILE = 0x80, 0x02, 0
GETATTR_BASIC = 0x7FF
MODE, UID, GID, SIZE, ATIME, MTIME, ATIME_SET, MTIME_SET = (
    1 << n for n in (0, 1, 2, 3, 4, 5, 7, 8)
)
REMOVE_FOLDER = 0x200
UNLOCKED = 2
LOCK_SUCCESS = 0
CHANGING = frozenset(
    "lcreate symlink mknod rename setattr xattrcreate link mkdir renameat unlinkat remove".split()
)


class Fid:
    """A guest's handle: a place, and when it is open a descriptor or an attribute's value."""

    __slots__ = ("entries", "fd", "place", "uid", "xattr", "xattr_wanted")

    def __init__(self, place: Place, uid: int) -> None:
        self.place = place
        self.uid = uid
        self.fd = -1
        self.entries: list[tuple[bytes, int, int]] = []
        """Of an open folder: name, inode and type, as they were when reading began."""
        self.xattr: bytearray | None = None
        self.xattr_wanted: tuple[bytes, int, int] | None = None
        """Name, size and flags of an attribute that is being written."""


class Server:
    """``call`` answers one message; the data of reads and writes goes by ``read_into`` and
    ``write_from``, straight between files and the guest's buffers."""

    def __init__(self, folder: Folder, read_only: bool) -> None:
        self._folder = folder
        self._read_only = read_only
        self._fids: dict[int, Fid] = {}
        self._devices: dict[int, int] = {}
        self.message_size = messages.MAX_SIZE
        self._methods: dict[int, Callable[..., tuple[Any, ...] | None]] = {
            number: getattr(self, row.method) for number, row in messages.MESSAGES.items()
        }

    def reset(self) -> None:
        """Forget all fids."""
        for number in list(self._fids):
            self._forget(number)

    def close(self) -> None:
        self.reset()
        self._folder.close()

    def call(self, kind: int, body: bytes) -> bytes:
        """A reply's body; OSError says why there is none."""
        row = messages.MESSAGES.get(kind)
        if row is None:
            raise refuse(errno.EOPNOTSUPP)
        try:
            values = messages.decode(row.request, body)
            if self._read_only and row.method in CHANGING:
                raise refuse(errno.EROFS)
            return messages.encode(row.reply, self._methods[kind](*values) or ())
        except (ValueError, OverflowError):  # fields that are cut off, NULs in names
            raise refuse(errno.EINVAL) from None

    # Fids

    def _fid(self, number: int) -> Fid:
        fid = self._fids.get(number)
        if fid is None:
            raise refuse(errno.EBADF)
        return fid

    def _new(self, number: int, fid: Fid) -> None:
        if number in self._fids or len(self._fids) >= MAX_FIDS:
            raise refuse(errno.EBADF if number in self._fids else errno.ENFILE)
        self._fids[number] = fid

    def _forget(self, number: int) -> None:
        fid = self._fids.pop(number)
        if fid.fd >= 0:
            os.close(fid.fd)

    def _opened(self, fid: Fid, fd: int) -> None:
        if sum(other.fd >= 0 for other in self._fids.values()) >= MAX_OPEN:
            os.close(fd)
            raise refuse(errno.ENFILE)
        fid.fd = fd

    def _stat(self, place: Place) -> os.stat_result:
        with self._folder.look(place) as fd:
            return self._folder.attributes(fd)

    def _qid(self, place: Place) -> Qid:
        return self._qid_of(self._stat(place))

    def _qid_of(self, status: os.stat_result) -> Qid:
        """Inodes of other file systems below the folder are told apart by a number on top."""
        kinds = {stat.S_IFDIR: QT_DIR, stat.S_IFLNK: QT_SYMLINK}
        kind = kinds.get(stat.S_IFMT(status.st_mode), QT_FILE)
        number = self._devices.setdefault(status.st_dev, len(self._devices))
        version = (status.st_mtime_ns ^ status.st_size << 8) & 0xFFFF_FFFF
        return kind, version, status.st_ino ^ (number & 0xFF) << 56

    def _owner(self, fid: Fid, gid: int) -> tuple[int, int]:
        return (
            NOBODY if fid.uid == NO_ID else fid.uid,
            NOBODY if gid == NO_ID else gid,
        )

    # Sessions

    def version(self, size: int, version: bytes) -> tuple[int, bytes]:
        self.reset()
        if size < MIN_MESSAGE:
            raise refuse(errno.EMSGSIZE)
        self.message_size = min(size, messages.MAX_SIZE)
        return self.message_size, VERSION if version == VERSION else b"unknown"

    def attach(self, fid: int, _auth: int, _user: bytes, _tree: bytes, uid: int) -> tuple[Qid]:
        qid = self._qid(())
        self._new(fid, Fid((), uid))
        return (qid,)

    def flush(self, _tag: int) -> None:
        """Requests are answered in order, so the one meant has been."""

    def walk(self, fid: int, new: int, names: list[bytes]) -> tuple[list[Qid]]:
        start = self._fid(fid)
        if start.fd >= 0 or start.xattr is not None:
            raise refuse(errno.EBADF)
        place = start.place
        qids: list[Qid] = []
        for name in names:
            following = place[:-1] if name == b".." else (*place, _plain(name))
            try:
                qids.append(self._qid(following))
            except OSError:
                if not qids:
                    raise
                return (qids,)
            place = following
        if new == fid:
            start.place = place
        else:
            self._new(new, Fid(place, start.uid))
        return (qids,)

    def clunk(self, number: int) -> None:
        fid = self._fid(number)
        self._forget(number)
        if fid.xattr_wanted is not None and fid.xattr is not None:
            name, size, flags = fid.xattr_wanted
            if len(fid.xattr) != size:
                raise refuse(errno.EINVAL)
            self._folder.set_xattr(fid.place, name, bytes(fid.xattr), flags)

    # Files

    def lopen(self, number: int, flags: int) -> tuple[Qid, int]:
        fid = self._fid(number)
        if fid.fd >= 0 or fid.xattr is not None:
            raise refuse(errno.EBADF)
        if self._read_only and (flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC):
            raise refuse(errno.EROFS)
        self._opened(fid, self._folder.open(fid.place, flags))
        return self._qid(fid.place), 0

    def lcreate(self, number: int, name: bytes, flags: int, mode: int, gid: int) -> tuple[Qid, int]:
        fid = self._fid(number)
        if fid.fd >= 0:
            raise refuse(errno.EBADF)
        place = (*fid.place, name)
        fd = self._folder.create(place, flags, mode, self._owner(fid, gid))
        self._opened(fid, fd)
        fid.place = place
        return self._qid(place), 0

    def read(self, number: int, offset: int, size: int) -> None:
        raise refuse(errno.EOPNOTSUPP)  # its data is moved by read_into

    def write(self, number: int, offset: int, size: int) -> None:
        raise refuse(errno.EOPNOTSUPP)  # its data is moved by write_from

    def read_into(self, number: int, offset: int, buffers: list[memoryview]) -> int:
        """Fill buffers from a file or an attribute; how many bytes there were."""
        fid = self._fid(number)
        if fid.xattr is not None:
            data, done = bytes(fid.xattr[offset:]), 0
            for buffer in buffers:
                part = data[done : done + len(buffer)]
                buffer[: len(part)] = part
                done += len(part)
            return done
        if fid.fd < 0:
            raise refuse(errno.EBADF)
        try:
            return os.preadv(fid.fd, buffers, offset) if buffers else 0
        except OverflowError:
            raise refuse(errno.EINVAL) from None

    def write_from(self, number: int, offset: int, buffers: list[memoryview]) -> int:
        """Put buffers into a file or an attribute; how many bytes were taken."""
        fid = self._fid(number)
        if fid.xattr_wanted is not None and fid.xattr is not None:
            data = b"".join(buffers)
            if offset != len(fid.xattr) or offset + len(data) > fid.xattr_wanted[1]:
                raise refuse(errno.ENOSPC)
            fid.xattr += data
            return len(data)
        if fid.fd < 0:
            raise refuse(errno.EBADF)
        try:
            return os.pwritev(fid.fd, buffers, offset) if buffers else 0
        except OverflowError:
            raise refuse(errno.EFBIG) from None

    def fsync(self, number: int, data_only: int) -> None:
        fd = self._fid(number).fd
        if fd >= 0:
            (os.fdatasync if data_only else os.fsync)(fd)

    def lock(self, number: int, *_what: object) -> tuple[int]:
        """Locks are between the guest's processes, which the guest sees to."""
        self._fid(number)
        return (LOCK_SUCCESS,)

    def getlock(
        self, number: int, _kind: int, start: int, length: int, process: int, client: bytes
    ) -> tuple[int, int, int, int, bytes]:
        self._fid(number)
        return UNLOCKED, start, length, process, client

    # Folders

    def readdir(self, number: int, offset: int, size: int) -> tuple[bytes]:
        fid = self._fid(number)
        if fid.fd < 0:
            raise refuse(errno.EBADF)
        if offset == 0:
            inode = os.fstat(fid.fd).st_ino
            fid.entries = [(b".", inode, 4), (b"..", inode, 4)]
            with os.scandir(fid.fd) as entries:
                for entry in entries:
                    kind = 4 if entry.is_dir(follow_symlinks=False) else 0
                    fid.entries.append((os.fsencode(entry.name), entry.inode(), kind))
        listing = bytearray()
        most = min(size, self.message_size - messages.READ_HEADER)
        for place, (name, inode, kind) in enumerate(fid.entries[offset:], offset + 1):
            qid = (QT_DIR if kind else QT_FILE, 0, inode)
            entry = directory_entry(qid, place, kind, name)
            if len(listing) + len(entry) > most:
                break
            listing += entry
        return (bytes(listing),)

    def mkdir(self, number: int, name: bytes, mode: int, gid: int) -> tuple[Qid]:
        fid = self._fid(number)
        place = (*fid.place, name)
        self._folder.mkdir(place, mode, self._owner(fid, gid))
        return (self._qid(place),)

    def symlink(self, number: int, name: bytes, target: bytes, gid: int) -> tuple[Qid]:
        fid = self._fid(number)
        place = (*fid.place, name)
        self._folder.symlink(place, target, self._owner(fid, gid))
        return (self._qid(place),)

    def mknod(
        self, number: int, name: bytes, mode: int, major: int, minor: int, gid: int
    ) -> tuple[Qid]:
        fid = self._fid(number)
        place = (*fid.place, name)
        device = os.makedev(major & 0xFFF, minor & 0xFFFFF)
        self._folder.mknod(place, mode, device, self._owner(fid, gid))
        return (self._qid(place),)

    def link(self, folder: int, number: int, name: bytes) -> None:
        self._folder.link(self._fid(number).place, (*self._fid(folder).place, name))

    def readlink(self, number: int) -> tuple[bytes]:
        return (self._folder.readlink(self._fid(number).place),)

    def rename(self, number: int, folder: int, name: bytes) -> None:
        self._move(self._fid(number).place, (*self._fid(folder).place, name))

    def renameat(self, old: int, old_name: bytes, new: int, new_name: bytes) -> None:
        source = (*self._fid(old).place, _plain(old_name))
        self._move(source, (*self._fid(new).place, new_name))

    def _move(self, old: Place, new: Place) -> None:
        """Rename; fids stay with what they stand for."""
        self._folder.rename(old, new)
        for fid in self._fids.values():
            if fid.place[: len(old)] == old:
                fid.place = new + fid.place[len(old) :]

    def unlinkat(self, number: int, name: bytes, flags: int) -> None:
        place = (*self._fid(number).place, _plain(name))
        self._folder.remove(place, bool(flags & REMOVE_FOLDER))

    def remove(self, number: int) -> None:
        place = self._fid(number).place
        try:
            self._folder.remove(place, stat.S_ISDIR(self._stat(place).st_mode))
        finally:
            self._forget(number)

    # Attributes

    def getattr(self, number: int, _mask: int) -> tuple[Any, ...]:
        fid = self._fid(number)
        # What is open may have no name any more.
        status = self._stat(fid.place) if fid.fd < 0 else self._folder.attributes(fid.fd)
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        return (
            GETATTR_BASIC,
            self._qid_of(status),
            *(status.st_mode, status.st_uid, status.st_gid),
            *(status.st_nlink, status.st_rdev, status.st_size),
            *(status.st_blksize, status.st_blocks),
            *(part for time in times for part in divmod(time % (1 << 64), 1_000_000_000)),
            *(0, 0, 0, 0),
        )

    def setattr(
        self,
        number: int,
        valid: int,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        *times: int,
    ) -> None:
        place = self._fid(number).place
        if valid & MODE:
            self._folder.chmod(place, mode)
        if valid & (ATIME | MTIME):
            self._set_times(place, valid, times)
        if valid & (UID | GID):
            ids = (uid if valid & UID else NO_ID, gid if valid & GID else NO_ID)
            self._folder.chown(place, *(-1 if n == NO_ID else n for n in ids))
        if valid & SIZE:
            self._folder.truncate(place, size)

    def _set_times(self, place: Place, valid: int, times: tuple[int, ...]) -> None:
        import time

        status, now = self._stat(place), time.time_ns()
        access, change = status.st_atime_ns, status.st_mtime_ns
        if valid & ATIME:
            access = times[0] * 1_000_000_000 + times[1] if valid & ATIME_SET else now
        if valid & MTIME:
            change = times[2] * 1_000_000_000 + times[3] if valid & MTIME_SET else now
        self._folder.utime(place, (access, change))

    def statfs(self, number: int) -> tuple[int, ...]:
        with self._folder.look(self._fid(number).place) as fd:
            system = os.fstatvfs(fd)
        counts = (system.f_blocks, system.f_bfree, system.f_bavail, system.f_files, system.f_ffree)
        return MAGIC, system.f_bsize, *counts, 0, system.f_namemax

    def xattrwalk(self, number: int, new: int, name: bytes) -> tuple[int]:
        fid = self._fid(number)
        if name:
            value = self._folder.get_xattr(fid.place, name)
        else:
            value = b"".join(each + b"\0" for each in self._folder.xattrs(fid.place))
        attribute = Fid(fid.place, fid.uid)
        attribute.xattr = bytearray(value)
        self._new(new, attribute)
        return (len(value),)

    def xattrcreate(self, number: int, name: bytes, size: int, flags: int) -> None:
        fid = self._fid(number)
        if size > MAX_XATTR:
            raise refuse(errno.E2BIG)
        fid.xattr, fid.xattr_wanted = bytearray(), (name, size, flags)


def _plain(name: bytes) -> bytes:
    """A name of something in a folder; OSError if it cannot be one."""
    if not name or b"/" in name or name in (b".", b".."):
        raise refuse(errno.ENOENT if name else errno.EINVAL)
    return name
