"""A file or block device of the host as a disk image."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import stat
import struct
from collections.abc import Callable, Sequence

from jitemu.devices.block import locks
from jitemu.devices.block.buffers import clear, zeros
from jitemu.devices.block.image import BlockImage, Extent
from jitemu.devices.buffers import part, total
from jitemu.messages import fail

_MAX_BUFFERS = 1024  # IOV_MAX
_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_ZERO_RANGE = 16
_BLKDISCARD = 0x1277
_GET_FLAGS, _SET_FLAGS, _NOCOW = 0x80086601, 0x40086602, 0x00800000
_GET_XATTR, _SET_XATTR, _HAS_EXTENT_SIZE = 0x801C581F, 0x401C5820, 0x800
_XATTR = struct.Struct("IIIII8x")
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV)


@functools.cache
def _libc_fallocate() -> Callable[[int, int, int, int], int]:
    import ctypes

    function = ctypes.CDLL(None, use_errno=True).fallocate
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

    def call(fd: int, mode: int, offset: int, length: int) -> int:
        return ctypes.get_errno() if function(fd, mode, offset, length) else 0

    return call


def fallocate(fd: int, mode: int, offset: int, length: int) -> bool:
    """The host's fallocate; False where the file system has not got it."""
    error = _libc_fallocate()(fd, mode, offset, length)
    if error in _UNSUPPORTED:
        return False
    if error:
        raise OSError(error, os.strerror(error))
    return True


def _open(path: str, read_only: bool, create: bool) -> int:
    """A descriptor of a regular file or block device.  Others are not even opened: that
    may wait (FIFO) or do something (terminals, tapes)."""
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    if create:
        flags |= os.O_CREAT
    doing = "create" if create else "open"
    try:
        if os.path.exists(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
                fail(
                    f"Could not {doing} '{path}': 'file' driver requires '{path}' to be"
                    " a regular file or a block device"
                )
        return os.open(path, flags, 0o644)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        fail(f"Could not {doing} '{path}': {reason}")


class HostFile(BlockImage):
    """Bytes of a host file.  Reads past its end give zeros, writes there make it longer."""

    format = "file"

    def __init__(self, path: str, *, read_only: bool, create: bool = False) -> None:
        self.name = path
        self.read_only = read_only
        self.synchronous = False
        """Flush after each write (cache=writethrough)."""
        self.unsafe = False
        """Never flush (cache=unsafe)."""
        self.unmap = True
        self._fd = _open(path, read_only, create)
        self._device = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        self.grows = not self._device
        self.size = os.lseek(self._fd, 0, os.SEEK_END)

    @property
    def identity(self) -> tuple[int, int]:
        """The same for two descriptors of one file."""
        found = os.fstat(self._fd)
        return found.st_dev, found.st_ino

    def reopen(self, *, read_only: bool) -> None:
        """Open the file anew for writing, or for reading only; its locks end."""
        fd = _open(self.name, read_only, False)
        os.close(self._fd)
        self._fd = fd
        self.read_only = read_only

    def lock(self, used: tuple[int, ...], not_shared: tuple[int, ...]) -> None:
        """Take QEMU's locks for what is done with the file, and what others may not do."""
        try:
            locks.acquire(self._fd, used, not_shared)
        except locks.Locked as error:
            self.close()
            fail(
                f"Could not open '{self.name}': {error};"
                f" is another process using the image [{self.name}]?"
            )

    @property
    def allocated_bytes(self) -> int:
        """What the file takes on the host's disk."""
        return os.fstat(self._fd).st_blocks * 512

    def refresh(self) -> None:
        """See what size the file has now."""
        self.size = os.lseek(self._fd, 0, os.SEEK_END)

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        wanted = total(buffers)
        try:
            got = os.preadv(self._fd, buffers[:_MAX_BUFFERS], offset)
        except OverflowError:
            raise OSError(errno.EIO, f"{self.name}: no file is {offset} bytes long") from None
        while got < wanted:
            pieces = part(buffers, got, wanted - got)
            count = os.preadv(self._fd, pieces[:_MAX_BUFFERS], offset + got)
            if not count:
                clear(pieces)
                return
            got += count

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        wanted = total(buffers)
        try:
            put = os.pwritev(self._fd, buffers[:_MAX_BUFFERS], offset)
        except OverflowError:
            raise OSError(errno.EFBIG, f"{self.name}: no file is {offset} bytes long") from None
        while put < wanted:
            pieces = part(buffers, put, wanted - put)
            put += os.pwritev(self._fd, pieces[:_MAX_BUFFERS], offset + put)
        if offset + wanted > self.size:
            self.size = offset + wanted
        if self.synchronous:
            os.fdatasync(self._fd)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        if not length:
            return
        end = offset + length
        if not self._device:
            mode = (_PUNCH_HOLE | _KEEP_SIZE) if unmap else _ZERO_RANGE
            if fallocate(self._fd, mode, offset, length):
                if end > self.size:
                    os.ftruncate(self._fd, end)
                    self.size = end
                return
        while offset < end:
            for piece in zeros(min(end - offset, 1 << 20)):
                self.writev(offset, [piece])
                offset += len(piece)

    def discard(self, offset: int, length: int) -> None:
        length = min(offset + length, self.size) - offset
        if length <= 0:
            return
        if self._device:
            try:
                fcntl.ioctl(self._fd, _BLKDISCARD, struct.pack("QQ", offset, length))
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
        else:
            fallocate(self._fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)

    def preallocate(self, offset: int, length: int) -> None:
        """Reserve space on the host's disk."""
        try:
            os.posix_fallocate(self._fd, offset, length)
        except OSError as error:
            fail(f"Could not preallocate {length} bytes of '{self.name}': {error.strerror}")
        self.refresh()

    def set_hints(self, nocow: bool, extent_size: int) -> None:
        """Ask an empty file's file system not to copy on write, and for pieces of a size;
        most have neither."""
        with contextlib.suppress(OSError):
            if nocow:
                (flags,) = struct.unpack("I4x", fcntl.ioctl(self._fd, _GET_FLAGS, bytes(8)))
                fcntl.ioctl(self._fd, _SET_FLAGS, struct.pack("I4x", flags | _NOCOW))
        with contextlib.suppress(OSError):
            if extent_size:
                found = _XATTR.unpack(fcntl.ioctl(self._fd, _GET_XATTR, bytes(_XATTR.size)))
                asked = _XATTR.pack(found[0] | _HAS_EXTENT_SIZE, extent_size, *found[2:])
                fcntl.ioctl(self._fd, _SET_XATTR, asked)

    def flush(self) -> None:
        if not self.read_only and not self.unsafe:
            os.fdatasync(self._fd)

    def resize(self, size: int) -> None:
        if self._device:
            if size > self.size:
                raise OSError(errno.ENOSPC, "Cannot grow device files")
            return
        os.ftruncate(self._fd, size)
        self.size = size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def extent(self, offset: int, length: int) -> Extent:
        if offset >= self.size:
            return Extent(length, False, True, True, offset, self.name)
        length = min(length, self.size - offset)
        try:
            start = os.lseek(self._fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no holes known here: all is data
                return Extent(length, True, False, True, offset, self.name)
            return Extent(length, False, True, True, offset, self.name)
        if start > offset:
            return Extent(min(length, start - offset), False, True, True, offset, self.name)
        hole = os.lseek(self._fd, offset, os.SEEK_HOLE)
        return Extent(min(length, hole - offset), True, False, True, offset, self.name)
