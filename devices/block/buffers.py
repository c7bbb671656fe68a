"""Lists of buffers, as requests of a guest have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jitemu.devices.block.image import ZERO_CHUNK


def total(buffers: Sequence[memoryview]) -> int:
    """The bytes of all buffers."""
    if len(buffers) == 1:
        return len(buffers[0])
    return sum(map(len, buffers))


def part(buffers: Sequence[memoryview], start: int, length: int) -> list[memoryview]:
    """The same memory, from byte ``start`` of all buffers on, for ``length`` bytes."""
    found: list[memoryview] = []
    for buffer in buffers:
        size = len(buffer)
        if start >= size:
            start -= size
            continue
        piece = buffer[start : start + length]
        start = 0
        length -= len(piece)
        found.append(piece)
        if not length:
            break
    return found


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
