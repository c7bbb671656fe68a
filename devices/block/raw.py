"""The raw format: a disk's bytes as they are, or a window of another image."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from jitemu.devices.block.buffers import are_zero, joined
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage, Extent, check_range
from jitemu.devices.block.probe import PROBE_BYTES, guess_format
from jitemu.devices.buffers import part, total
from jitemu.messages import fail

SECTOR = 512


class RawImage(BlockImage):
    """``file`` from byte ``offset`` on; its size is rounded up to sectors."""

    format = "raw"

    def __init__(
        self,
        file: BlockImage,
        *,
        read_only: bool,
        probed: bool = False,
        offset: int = 0,
        size: int | None = None,
        unmap: bool = False,
    ) -> None:
        self.file = file
        self.name = file.name
        self.read_only = read_only
        self.probed = probed
        """Guessed to be raw: its first sector must go on looking like raw."""
        self.unmap = unmap
        self.detect_zeroes = ""
        self._offset = offset
        self._window = size
        room = max(0, file.size - offset)
        if size is not None and size % SECTOR:
            fail(f"Could not open '{file.name}': Specified size is not multiple of {SECTOR}")
        if size is not None and not 0 <= size <= room:
            fail(f"Could not open '{file.name}': size {size} at {offset} is not in the file")
        self.size = -(-room // SECTOR) * SECTOR if size is None else size

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        check_range(self, offset, total(buffers))
        self.file.readv(offset + self._offset, buffers)

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        length = total(buffers)
        self._check_write(offset, length)
        if self.detect_zeroes and are_zero(buffers) and not (self.probed and offset < PROBE_BYTES):
            self.write_zeroes(offset, length, self.detect_zeroes == "unmap")
            return
        if self.probed and offset < PROBE_BYTES:
            head = bytearray(self.read(0, min(PROBE_BYTES, self.size)))
            data = joined(part(buffers, 0, len(head) - offset))
            head[offset : offset + len(data)] = data
            if guess_format(head) != "raw":
                raise PermissionError(
                    errno.EPERM, "the first sector would look like another format; give 'raw'"
                )
        self.file.writev(offset + self._offset, buffers)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self._check_write(offset, length)
        self.file.write_zeroes(offset + self._offset, length, unmap and self.unmap)

    def discard(self, offset: int, length: int) -> None:
        self._check_write(offset, length)
        if self.unmap:
            self.file.discard(offset + self._offset, length)

    def _check_write(self, offset: int, length: int) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, f"{self.name} is read-only")
        check_range(self, offset, length)

    def flush(self) -> None:
        self.file.flush()

    def resize(self, size: int) -> None:
        if self._window is not None:
            raise OSError(errno.EINVAL, "Cannot resize fixed-size raw disks")
        self.file.resize(size + self._offset)
        self.size = size

    def close(self) -> None:
        self.file.close()

    def extent(self, offset: int, length: int) -> Extent:
        check_range(self, offset, length)
        return self.file.extent(offset + self._offset, length)


def fill_new(file: HostFile, size: int, preallocation: str) -> None:
    """Give a new file its size, and with ``falloc`` or ``full`` its space on the host."""
    file.resize(0)
    file.resize(size)
    if preallocation == "falloc" and size:
        file.preallocate(0, size)
    elif preallocation == "full":
        for at in range(0, size, 1 << 20):
            file.write(at, bytes(min(1 << 20, size - at)))


def create_raw(path: str, size: int, preallocation: str = "off") -> None:
    """Make a raw image of zeros."""
    with HostFile(path, read_only=False, create=True) as file:
        fill_new(file, -(-size // SECTOR) * SECTOR, preallocation)
        if size and preallocation == "off":
            file.write(0, bytes(min(size, 4096)))
