"""What images do with lists of buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jitemu.devices.block.image import ZERO_CHUNK


def clear(buffers: Sequence[memoryview]) -> None:
    """Fill with zeros."""
    for buffer in buffers:
        for at in range(0, len(buffer), len(ZERO_CHUNK)):
            piece = buffer[at : at + len(ZERO_CHUNK)]
            piece[:] = ZERO_CHUNK[: len(piece)]


def store(buffers: Sequence[memoryview], data: bytes | memoryview) -> None:
    """Fill with ``data``, which is as long."""
    view = memoryview(data)
    at = 0
    for buffer in buffers:
        buffer[:] = view[at : at + len(buffer)]
        at += len(buffer)


def are_zero(buffers: Sequence[memoryview]) -> bool:
    """Whether all bytes are 0."""
    return all(bytes(buffer) == bytes(len(buffer)) for buffer in buffers)


def joined(buffers: Sequence[memoryview]) -> bytes:
    """The bytes of all buffers in one piece."""
    return b"".join(buffers)


def zeros(length: int) -> Iterator[memoryview]:
    """Buffers of zeros, ``length`` bytes in all."""
    view = memoryview(ZERO_CHUNK)
    while length > 0:
        piece = view[:length]
        yield piece
        length -= len(piece)
