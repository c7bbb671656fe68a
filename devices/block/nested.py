"""An image in the place of another image's file."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from jitemu.devices.block.buffers import clear
from jitemu.devices.block.image import BlockImage, Extent
from jitemu.devices.buffers import part, total


class NestedFile(BlockImage):
    """Grows as a host file does, if the image can."""

    grows = True

    def __init__(self, file: BlockImage) -> None:
        self.file = file
        self.format = file.format
        self.name = file.name
        self.size = file.size
        self.read_only = file.read_only

    def _make_room(self, end: int) -> None:
        if end > self.size:
            try:
                self.file.resize(-(-end // 512) * 512)
            except ValueError as error:
                raise OSError(errno.ENOSPC, str(error)) from None
            self.size = self.file.size

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        length = total(buffers)
        inside = max(0, min(length, self.size - offset))
        if inside == length:
            self.file.readv(offset, buffers)
            return
        if inside:
            self.file.readv(offset, part(buffers, 0, inside))
        clear(part(buffers, inside, length - inside))

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        self._make_room(offset + total(buffers))
        self.file.writev(offset, buffers)

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self._make_room(offset + length)
        self.file.write_zeroes(offset, length, unmap)

    def discard(self, offset: int, length: int) -> None:
        length = min(offset + length, self.size) - offset
        if length > 0:
            self.file.discard(offset, length)

    def flush(self) -> None:
        self.file.flush()

    def resize(self, size: int) -> None:
        self.file.resize(-(-size // 512) * 512)
        self.size = self.file.size

    def close(self) -> None:
        self.file.close()

    def extent(self, offset: int, length: int) -> Extent:
        if offset >= self.size:
            return Extent(length, False, True, True)
        return self.file.extent(offset, min(length, self.size - offset))
