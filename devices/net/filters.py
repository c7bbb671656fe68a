"""Which frames a network device wants: addresses and VLANs (virtio 1.2, 5.1.6.5)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Frame

BROADCAST = b"\xff" * 6
ADDRESS_SIZE = 6
VLAN_TAG = b"\x81\x00"
MOST_ADDRESSES = 64  # of one table; a longer one has all frames of its kind pass


class ReceiveFilter:
    """Starts with everything passing, as a device that cannot filter."""

    def __init__(self, mac: bytes) -> None:
        self.mac = mac
        self.promiscuous = True
        self.all_multicast = False
        self.all_unicast = False
        self.no_multicast = False
        self.no_unicast = False
        self.no_broadcast = False
        self.by_vlan = False
        """Tagged frames pass for the VLANs in ``vlans`` only."""
        self.unicast: set[bytes] = set()
        self.multicast: set[bytes] = set()
        self.unicast_overflow = self.multicast_overflow = False
        self.vlans: set[int] = set()

    def passes(self, frame: Frame) -> bool:
        """Whether the guest gets it."""
        if self.by_vlan and bytes(frame[12:14]) == VLAN_TAG:
            tag = int.from_bytes(frame[14:16], "big")
            if tag & 0xFFF not in self.vlans:
                return False
        if self.promiscuous:
            return True
        to = bytes(frame[:ADDRESS_SIZE])
        if to == BROADCAST:
            return not self.no_broadcast
        if to[0] & 1:
            if self.no_multicast:
                return False
            return self.all_multicast or self.multicast_overflow or to in self.multicast
        if self.no_unicast:
            return False
        if self.all_unicast or self.unicast_overflow:
            return True
        return to == self.mac or to in self.unicast

    def set_tables(self, unicast: list[bytes], multicast: list[bytes]) -> None:
        """The addresses that pass besides the device's own."""
        self.unicast_overflow = len(unicast) > MOST_ADDRESSES
        self.multicast_overflow = len(multicast) > MOST_ADDRESSES
        self.unicast, self.multicast = set(unicast), set(multicast)
