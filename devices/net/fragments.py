"""Puts IPv4 fragments together (RFC 791) before libslirp sees them: version 4.7 writes through
a wild pointer when a datagram's first fragment is not the first to come."""

from __future__ import annotations

from jitemu.devices.net.checksum import ones_sum
from jitemu.devices.net.netdev import ETHERNET_HEADER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Frame

IPV4 = b"\x08\x00"
AT = ETHERNET_HEADER
LENGTH, FRAGMENT, CHECKSUM = AT + 2, AT + 6, AT + 10  # fields of the IP header
SHORTEST, LONGEST = 20, 65535
MORE, OFFSET = 0x2000, 0x1FFF
MOST = 16  # datagrams that are incomplete at a time


def is_fragment(frame: Frame) -> bool:
    """Whether it carries part of a datagram (or pretends to)."""
    return (
        len(frame) >= AT + SHORTEST
        and frame[12:14] == IPV4
        and bool(frame[FRAGMENT] & 0x3F or frame[FRAGMENT + 1])
    )


class Reassembler:
    """Guests send fragments in order, over a wire that keeps it; others are dropped."""

    def __init__(self) -> None:
        self._parts: dict[bytes, bytearray] = {}

    def add(self, frame: Frame) -> bytes | None:
        """Take a fragment; the whole datagram in a frame when it is the last one."""
        data = bytes(frame)
        header = (data[AT] & 15) * 4
        total = int.from_bytes(data[LENGTH : LENGTH + 2], "big")
        if header < SHORTEST or not header < total <= len(data) - AT:
            return None
        field = int.from_bytes(data[FRAGMENT : FRAGMENT + 2], "big")
        offset, payload = (field & OFFSET) * 8, data[AT + header : AT + total]
        key = data[AT + 12 : AT + 20] + data[AT + 9 : AT + 10] + data[AT + 4 : AT + 6]
        if offset == 0:
            self._parts.pop(key, None)
            while len(self._parts) >= MOST:
                del self._parts[next(iter(self._parts))]  # the oldest
            self._parts[key] = bytearray(data[: AT + header])
        whole = self._parts.get(key)
        if whole is None:
            return None
        length = len(whole) - AT - (whole[AT] & 15) * 4
        if length != offset or len(whole) - AT + len(payload) > LONGEST:
            del self._parts[key]
            return None
        whole += payload
        if field & MORE:
            return None
        return _finished(self._parts.pop(key))


def _finished(whole: bytearray) -> bytes:
    """With a header that speaks of no fragments."""
    end = AT + (whole[AT] & 15) * 4
    whole[LENGTH : LENGTH + 2] = (len(whole) - AT).to_bytes(2, "big")
    whole[FRAGMENT : FRAGMENT + 2] = whole[CHECKSUM : CHECKSUM + 2] = bytes(2)
    total = ~ones_sum(memoryview(whole)[AT:end]) & 0xFFFF
    whole[CHECKSUM : CHECKSUM + 2] = total.to_bytes(2, "big")
    return bytes(whole)
