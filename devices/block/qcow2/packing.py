"""Big-endian tables of the file as arrays of Python: words, and refcounts of every width."""

from __future__ import annotations

import sys
from array import array
from typing import TypeAlias

_LITTLE = sys.byteorder == "little"
_TYPES = {8: "B", 16: "H", 32: "I", 64: "Q"}
Counts: TypeAlias = "array[int]"


def words(data: bytes | bytearray | memoryview) -> array[int]:
    """64-bit words."""
    return _swapped(array("Q", bytes(data)))


def word_bytes(values: array[int]) -> bytes:
    """The file's form of 64-bit words."""
    return _swapped(values[:]).tobytes()


def _swapped(values: array[int]) -> array[int]:
    if _LITTLE:
        values.byteswap()
    return values


def zero_counts(bits: int, count: int) -> Counts:
    """``count`` refcounts of 0."""
    return array(_TYPES[max(8, bits)], bytes(count * max(8, bits) // 8))


def unpack_counts(bits: int, data: bytes) -> Counts:
    """Refcounts; those below a byte get one each, the first is in the lowest bits."""
    if bits >= 8:
        return _swapped(array(_TYPES[bits], data))
    per_byte = 8 // bits
    values = bytearray(len(data) * per_byte)
    for k in range(per_byte):
        picked = bytes(byte >> k * bits & (1 << bits) - 1 for byte in range(256))
        values[k::per_byte] = data.translate(picked)
    return array("B", bytes(values))


def pack_counts(bits: int, values: Counts) -> bytes:
    """The file's form; the number of counts fills whole bytes."""
    if bits >= 8:
        return _swapped(values[:]).tobytes()
    per_byte = 8 // bits
    plain = values.tobytes()
    packed = 0
    for k in range(per_byte):
        shifted = bytes((byte << k * bits) & 255 for byte in range(256))
        packed |= int.from_bytes(plain[k::per_byte].translate(shifted), "little")
    return packed.to_bytes(len(plain) // per_byte, "little")


class Unsaved:
    """The range of a table's items that the file does not have."""

    __slots__ = ("high", "length", "low")

    def __init__(self, length: int) -> None:
        self.length = length
        self.clean()

    def touch(self, low: int, high: int) -> None:
        """Items from ``low`` to before ``high`` have changed."""
        if low < self.low:
            self.low = low
        if high > self.high:
            self.high = high

    def clean(self) -> None:
        """The file has all."""
        self.low, self.high = self.length, 0
