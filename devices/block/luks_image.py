"""A LUKS volume as a disk image: its payload, decrypted."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from jitemu.devices.block.buffers import joined, store, zeros
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage, Extent, check_range
from jitemu.devices.block.luks import Encryption, Volume, new_header
from jitemu.devices.block.luks_ciphers import Cipher
from jitemu.devices.block.raw import SECTOR, RawImage, fill_new
from jitemu.devices.buffers import part, total

_CHUNK = 1 << 20


class LuksImage(RawImage):
    """``volume`` may be locked, for looking at."""

    format = "luks"

    def __init__(self, file: BlockImage, volume: Volume, *, read_only: bool) -> None:
        super().__init__(file, read_only=read_only, offset=volume.header.bytes)
        self.volume = volume

    @property
    def _cipher(self) -> Cipher:
        if self.volume.cipher is None:
            raise OSError(errno.EACCES, f"{self.name} is not unlocked")
        return self.volume.cipher

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        check_range(self, offset, total(buffers))
        length = total(buffers)
        for at in range(0, length, _CHUNK):
            count = min(_CHUNK, length - at)
            store(part(buffers, at, count), self._plain(offset + at, count))

    def _plain(self, offset: int, length: int) -> bytes:
        start, end = offset & -SECTOR, -(-(offset + length) & -SECTOR)
        data = self._cipher.decrypt(start, self.file.read(self._offset + start, end - start))
        return data[offset - start : offset - start + length]

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        length = total(buffers)
        self._check_write(offset, length)
        for at in range(0, length, _CHUNK):
            count = min(_CHUNK, length - at)
            self._encrypt(offset + at, joined(part(buffers, at, count)))

    def _encrypt(self, offset: int, data: bytes) -> None:
        """Write some bytes, with the rest of their first and last sectors as it was."""
        end = offset + len(data)
        start = offset & -SECTOR
        if start < offset:
            data = self._plain(start, offset - start) + data
        if end % SECTOR:
            data += self._plain(end, -end % SECTOR)
        self.file.write(self._offset + start, self._cipher.encrypt(start, data))

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        self.writev(offset, list(zeros(length)))

    def discard(self, offset: int, length: int) -> None:
        """Nothing: holes would show which sectors are in use."""
        self._check_write(offset, length)

    def extent(self, offset: int, length: int) -> Extent:
        check_range(self, offset, length)
        return Extent(length, True, False, True)


def create_luks(path: str, size: int, wanted: Encryption, preallocation: str = "off") -> None:
    """Make a volume for a disk of some bytes; what is on the disk is left open."""
    header = new_header(wanted)
    with HostFile(path, read_only=False, create=True) as file:
        fill_new(file, header.bytes + -(-size // SECTOR) * SECTOR, preallocation)
        Volume(file, 0, header).create(wanted)
