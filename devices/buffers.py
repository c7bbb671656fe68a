"""Lists of buffers that are one run of bytes, as requests of a guest have them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def total(buffers: Sequence[memoryview]) -> int:
    """The bytes of all buffers."""
    if len(buffers) == 1:
        return len(buffers[0])
    return sum(map(len, buffers))


def part(buffers: Sequence[memoryview], start: int, length: int) -> list[memoryview]:
    """The same memory, from byte ``start`` on, for ``length`` bytes or as many as there are."""
    found: list[memoryview] = []
    for buffer in buffers:
        size = len(buffer)
        if start >= size:
            start -= size
            continue
        if length <= 0:
            break
        piece = buffer[start : start + length] if start or length < size else buffer
        found.append(piece)
        length -= len(piece)
        start = 0
    return found
