"""Compressed clusters: where they are, and their two codecs."""

from __future__ import annotations

import errno
import io
import zlib
from dataclasses import dataclass

from jitemu.devices.block.qcow2.header import ZSTD
from jitemu.devices.block.qcow2.tables import COMPRESSED

SECTOR = 512
_WINDOW = -12  # raw deflate; a window of 4 KiB is what readers may count on
_MEMORY_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A compressed cluster's place (specification: "Compressed Clusters Descriptor")."""

    offset: int
    length: int
    """To the end of the last sector; the data may be shorter."""

    @staticmethod
    def of(entry: int, cluster_bits: int) -> Descriptor:
        """From an L2 entry."""
        shift = 62 - (cluster_bits - 8)
        offset = entry & (1 << shift) - 1
        sectors = (entry >> shift & (1 << cluster_bits - 8) - 1) + 1
        return Descriptor(offset, sectors * SECTOR - offset % SECTOR)

    @staticmethod
    def entry(offset: int, length: int, cluster_bits: int) -> int:
        """The L2 entry for ``length`` bytes at ``offset``."""
        shift = 62 - (cluster_bits - 8)
        more = (offset + length - 1) // SECTOR - offset // SECTOR
        return COMPRESSED | more << shift | offset

    def clusters(self, cluster_bits: int) -> tuple[int, int]:
        """The first host cluster and the number of those that the sectors lie in."""
        first = self.offset - self.offset % SECTOR >> cluster_bits
        last = self.offset + self.length - 1 >> cluster_bits
        return first, last - first + 1


def compress(kind: int, data: bytes) -> bytes:
    """One cluster's data, packed."""
    if kind == ZSTD:
        import zstandard

        return zstandard.ZstdCompressor().compress(data)
    packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _WINDOW, _MEMORY_LEVEL)
    return packer.compress(data) + packer.flush()


def decompress(kind: int, data: bytes, size: int) -> bytes:
    """One cluster's data; OSError (EIO) unless it is ``size`` bytes.  Never makes more."""
    try:
        if kind == ZSTD:
            import zstandard

            reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data))
            plain = reader.read(size)
        else:
            plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)
    except (zlib.error, MemoryError, ValueError) as error:
        raise OSError(errno.EIO, f"compressed cluster cannot be read: {error}") from None
    except Exception as error:
        if type(error).__name__ != "ZstdError":
            raise
        raise OSError(errno.EIO, f"compressed cluster cannot be read: {error}") from None
    if len(plain) != size:
        raise OSError(errno.EIO, f"compressed cluster has {len(plain)} bytes of {size}")
    return plain
