"""What every network back end has: the guest's side of it, and bounded room for frames.

A frame is an Ethernet frame without its checksum (IEEE 802.3, 3.2.9), in host order of
arrival.  Nothing here runs in a thread of its own: all calls come with the machine's lock held.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.devices.net.pcap import PcapDump
    from jitemu.devices.ports import EventSource

    Frame = bytes | bytearray | memoryview

ROOM = 1024  # frames that may wait for the guest before the host's side is held up
MOST = 4096  # frames kept at all; what comes then is lost, as on a wire
ETHERNET_HEADER = 14
LARGEST_FRAME = ETHERNET_HEADER + 4 + 65535  # with a VLAN tag
DEFAULT_MTU = 1500


class Netdev:
    """A back end.  The network device takes ``incoming`` from the left when ``on_incoming`` is
    called, then calls ``took``; it hands out frames by ``send``."""

    kind = ""
    mtu = DEFAULT_MTU
    """Bytes of payload that a frame to the host may have."""
    checks_sums = False
    """Frames for the guest have been verified or made here: their checksums are right."""

    def __init__(self, name: str, loop: EventSource) -> None:
        self.id = name
        self.index = 0
        """Which of the machine's it is, from 0."""
        self.loop = loop
        self.incoming: deque[Frame] = deque()
        self.on_incoming: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        """Called when there is room again after ``send`` took less than all."""
        self.peer = ""
        """The network device, as ``info network`` shows it; empty while there is none."""
        self.captures: list[PcapDump] = []
        self.held = False
        """The machine is stopped: frames wait."""
        self.taps: list[Callable[[Frame], None]] = []
        """Called with every frame in both directions."""

    # The guest's side

    def send(self, frames: Sequence[Frame]) -> int:
        """Take frames for the host; how many were taken."""
        raise NotImplementedError

    def took(self) -> None:
        """The network device made room in ``incoming``."""

    # The host's side

    def arrived(self, frame: Frame) -> None:
        """Queue a frame for the guest; ``deliver`` tells the guest of all of them."""
        if len(self.incoming) < MOST and self.peer:
            for tap in self.taps:
                tap(frame)
            self.incoming.append(frame)

    def deliver(self) -> None:
        if self.incoming and not self.held and self.on_incoming is not None:
            self.on_incoming()

    def hold(self, held: bool) -> None:
        """Keep frames back, or let those that waited go."""
        self.held = held
        self.deliver()

    @property
    def held_up(self) -> bool:
        """The guest is so far behind that the host should wait."""
        return len(self.incoming) >= ROOM

    def sent(self, frame: Frame) -> None:
        """Note a frame that went to the host."""
        for tap in self.taps:
            tap(frame)

    def describe(self) -> str:
        """What ``info network`` shows."""
        return ""

    def close(self) -> None:
        """Let go of everything; nothing is called back any more."""
        self.on_incoming = self.on_writable = None
        self.incoming.clear()
