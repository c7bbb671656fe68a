"""The Internet checksum (RFC 1071), fast enough for bulk data."""

from __future__ import annotations


def ones_sum(data: bytes | bytearray | memoryview) -> int:
    """The ones' complement sum of big-endian 16-bit words (an odd last byte gets a zero).

    The sum's end-around carry makes it the number itself modulo 65535 (2**16 is 1 there),
    and one long division is the fastest way that Python has to add this many words.
    """
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    remainder = number % 0xFFFF
    return remainder if remainder or not number else 0xFFFF


def complete(frame: bytearray, start: int, at: int) -> None:
    """Put the checksum of ``frame`` from ``start`` on into its 16 bits at ``at``, which hold
    the sum of the pseudo-header (virtio 1.2, 5.1.6.2)."""
    total = ~ones_sum(memoryview(frame)[start:]) & 0xFFFF
    # UDP's zero would mean that there is none, and TCP takes both (RFC 768).
    frame[at : at + 2] = (total or 0xFFFF).to_bytes(2, "big")
