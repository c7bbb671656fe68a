"""What a disk image can do: the interface between image formats and those who use them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

ZERO_CHUNK = bytes(1 << 20)


@dataclass(slots=True)
class Extent:
    """A range of an image whose bytes are stored in one way (what ``map`` prints)."""

    length: int
    data: bool
    """Read from a file; False: zeros, or nothing allocated."""
    zero: bool
    """Reads as zeros."""
    allocated: bool
    """This image's own layer decides; False: its backing image does."""
    offset: int | None = None
    """Where the bytes are in ``file``; None if they have no place (zeros, compressed)."""
    file: str = ""
    compressed: bool = False


class BlockImage:
    """A disk: ``size`` bytes with positions from 0.

    Offsets and lengths are bytes and need no alignment.  A range beyond ``size`` raises
    ValueError; what the host refuses raises OSError with its errno (ENOSPC, EIO, EROFS).
    One thread at a time uses an image, and of a chain of images one thread as well; reads
    and writes of the host let other threads of Python run.
    """

    format = ""
    """The name as -f takes it."""
    name = ""
    """What it was opened by, for messages."""
    size = 0
    read_only = False
    grows = False
    """Whether a write behind the end makes it longer, and a read there gives zeros."""

    def readv(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill the buffers, one after the other, from ``offset`` on."""
        raise NotImplementedError

    def writev(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Write the buffers' bytes, one after the other; durable after ``flush``."""
        raise NotImplementedError

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        """Make a range read as zeros; with ``unmap`` space may be given back."""
        raise NotImplementedError

    def discard(self, offset: int, length: int) -> None:
        """The range's contents are no longer needed: a hint, so parts may be kept."""
        raise NotImplementedError

    def flush(self) -> None:
        """Return when everything written before is on stable storage."""
        raise NotImplementedError

    def resize(self, size: int) -> None:
        """Grow (the new part reads as zeros) or shrink to ``size`` bytes."""
        raise NotImplementedError

    def close(self) -> None:
        """Flush, release the lock and the files; closing again does nothing."""
        raise NotImplementedError

    def extent(self, offset: int, length: int) -> Extent:
        """How the bytes at ``offset`` are stored, for at most ``length`` bytes (not 0)."""
        raise NotImplementedError

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range."""
        buffer = bytearray(length)
        self.readv(offset, [memoryview(buffer)])
        return bytes(buffer)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write one piece of data."""
        self.writev(offset, [memoryview(data).cast("B")])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def check_range(image: BlockImage, offset: int, length: int) -> None:
    """Raise ValueError unless the image has the range."""
    if offset < 0 or length < 0 or offset + length > image.size:
        raise ValueError(f"{image.name}: {length} bytes at {offset} are beyond {image.size}")
