"""The network device (virtio 1.2, section 5.1).

Frames are handled in the event loop's thread, many at a time; a notification of the driver's
only has that done soon, so the guest goes on meanwhile.
"""

from __future__ import annotations

import struct

from jitemu.devices.device import BOOL, MAC, UINT16, prop, reference
from jitemu.devices.net.checksum import complete
from jitemu.devices.net.filters import ReceiveFilter
from jitemu.devices.net.netdev import DEFAULT_MTU, LARGEST_FRAME, Netdev
from jitemu.devices.virtio.device import VERSION_1, VirtioDevice
from jitemu.devices.virtio.net_control import answer
from jitemu.devices.virtio.queue import Chain, Queue, QueueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Frame

CSUM, GUEST_CSUM, MTU, MAC_GIVEN = 1 << 0, 1 << 1, 1 << 3, 1 << 5
GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6 = 1 << 7, 1 << 8, 1 << 11, 1 << 12
MRG_RXBUF, STATUS, CTRL_VQ, CTRL_RX, CTRL_VLAN = (1 << n for n in (15, 16, 17, 18, 19))
CTRL_RX_EXTRA, CTRL_MAC_ADDR = 1 << 20, 1 << 23
RECEIVE, TRANSMIT, CONTROL = 0, 1, 2  # queue numbers
QUEUE_SIZE, CONTROL_SIZE = 256, 64
HEADER = struct.Struct("<BBHHHHH")
SENT_HEADER = struct.Struct("<BBHHHH")  # without the number of buffers
NEEDS_CSUM, DATA_VALID = 1, 2  # flags of the header
CONFIG = struct.Struct("<6sHHH")
LINK_UP = 1
BATCH = 64  # frames sent in one turn of the event loop
FIRST_MAC = 0x525400123456
LARGEST_BUFFER = HEADER.size + LARGEST_FRAME


class VirtioNet(VirtioDevice):
    """Two queues of frames and one of commands."""

    model = "virtio-net-device"
    aliases = ("virtio-net",)
    about = "network interface"
    category = "Network"
    type_id = 1
    netdev = prop(reference("netdev"), None, "ID of a netdev to use as a backend", required=True)
    mac = prop(MAC, b"", "Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56")
    host_mtu = prop(UINT16, 0, "0: the back end's", name="host_mtu")
    csum = prop(BOOL, True)
    guest_csum = prop(BOOL, True, name="guest_csum")
    host_tso4 = prop(BOOL, True, name="host_tso4")
    host_tso6 = prop(BOOL, True, name="host_tso6")
    mrg_rxbuf = prop(BOOL, True, name="mrg_rxbuf")
    status = prop(BOOL, True)
    ctrl_vq = prop(BOOL, True, name="ctrl_vq")

    def realize(self) -> None:
        super().realize()
        netdev: Netdev = self.netdev
        self._net = netdev
        self.address = self.mac or (FIRST_MAC + netdev.index).to_bytes(6, "big")
        if self.address[0] & 1:
            raise ValueError("Property 'virtio-net-device.mac' is a multicast address")
        self._mtu = self.host_mtu or netdev.mtu
        name = self.id or f"{self.model}.{netdev.index}"
        netdev.peer = f"{name}: index=0,type=nic,model={self.model},macaddr={self.address.hex(':')}"
        netdev.on_incoming = self.receive
        netdev.on_writable = self._transmit
        self._scheduled = False
        self._unsent: list[Frame] = []
        self.filter = ReceiveFilter(self.address)

    def queue_sizes(self) -> list[int]:
        return [QUEUE_SIZE, QUEUE_SIZE, CONTROL_SIZE][: 3 if self.ctrl_vq else 2]

    def device_features(self) -> int:
        features = MAC_GIVEN | CSUM * self.csum | GUEST_CSUM * self.guest_csum
        features |= MRG_RXBUF * self.mrg_rxbuf | STATUS * self.status
        if self._mtu != DEFAULT_MTU:
            features |= MTU
        if self.csum and self._net.mtu > DEFAULT_MTU:
            # Only a back end that takes frames of any size takes what is not segmented.
            features |= HOST_TSO4 * self.host_tso4 | HOST_TSO6 * self.host_tso6
        if self.ctrl_vq:
            features |= CTRL_VQ | CTRL_RX | CTRL_VLAN | CTRL_RX_EXTRA | CTRL_MAC_ADDR
        return features

    def config(self) -> bytes:
        return CONFIG.pack(self.address, LINK_UP, 1, self._mtu)

    def driver_ready(self) -> None:
        self.filter.by_vlan = bool(self.features & CTRL_VLAN)
        self.receive()

    def reset(self) -> None:
        super().reset()
        self._unsent.clear()
        self.filter = ReceiveFilter(self.address)

    def _header_size(self) -> int:
        """Before virtio 1.0 the number of buffers was there only where it may be above 1."""
        whole = self.features & (VERSION_1 | MRG_RXBUF)
        return HEADER.size if whole else SENT_HEADER.size

    def notified(self, queue: Queue) -> None:
        if queue.index == CONTROL:
            self.guarded(lambda: self._control(queue))
        elif not self._scheduled:
            self._scheduled = True
            self._net.loop.call_soon(self._work)

    def _work(self) -> None:
        self._scheduled = False
        self._transmit()
        self.receive()

    # To the host

    def _transmit(self) -> None:
        queue = self.queues[TRANSMIT]
        if queue.ready:
            self.guarded(lambda: self._send(queue))

    def _send(self, queue: Queue) -> None:
        """Send some frames; if there are more, or the back end has no room, go on later."""
        queue.suppress()
        chains: list[Chain] = []
        frames, self._unsent = self._unsent, []
        more = True
        while len(frames) < BATCH:
            chain = queue.pop()
            if chain is None:
                more = queue.resume()
                break
            frames.append(self._frame(chain))
            chains.append(chain)
        queue.push_together([(chain, 0) for chain in chains])
        taken = self._net.send(frames) if frames else 0
        self.signal(queue)
        self._unsent = frames[taken:]
        if more and not self._unsent and not self._scheduled:
            self._scheduled = True
            self._net.loop.call_soon(self._work)

    def _frame(self, chain: Chain) -> Frame:
        """The frame, with the checksum that the driver may have left to be done."""
        if chain.read_size() > LARGEST_BUFFER:
            raise QueueError("frame longer than frames can be")
        data = b"".join(chain.readable)
        head = self._header_size()
        if len(data) < head:
            raise QueueError("frame without a header")
        flags, _, _, _, start, offset = SENT_HEADER.unpack_from(data)
        if not flags & NEEDS_CSUM or not self.features & CSUM:
            return data[head:]
        frame = bytearray(memoryview(data)[head:])
        if start + offset + 2 > len(frame):
            raise QueueError("checksum outside the frame")
        complete(frame, start, start + offset)
        return frame

    # To the guest

    def receive(self) -> None:
        """Give the guest what waits for it, as far as it has buffers."""
        queue = self.queues[RECEIVE]
        if queue.ready and self._net.incoming and not self._net.held:
            self.guarded(lambda: self._deliver(queue))

    def _deliver(self, queue: Queue) -> None:
        incoming = self._net.incoming
        queue.suppress()
        while incoming:
            frame = incoming[0]
            if self.filter.passes(frame) and not self._put(queue, frame):
                break
            incoming.popleft()
        self.signal(queue)
        self._net.took()

    def _put(self, queue: Queue, frame: Frame) -> bool:
        """Into one buffer, or as many as it takes; False while there are not enough."""
        valid = self._net.checks_sums and self.features & GUEST_CSUM
        head = self._header_size()
        size = head + len(frame)
        chains: list[Chain] = []
        room = 0
        merge = self.features & MRG_RXBUF
        while room < size and (merge or not chains):
            chain = queue.pop()
            if chain is None:
                if queue.resume():  # which tells exactly, as all were taken
                    continue
                queue.unpop(len(chains))
                return False
            length = chain.write_size()
            if length < head:
                raise QueueError("buffer too small for a header")
            chains.append(chain)
            room += length
        if room < size:  # too long for this driver's buffers: dropped
            queue.unpop(1)
            return True
        header = HEADER.pack(DATA_VALID if valid else 0, 0, 0, 0, 0, 0, len(chains))
        data = memoryview(header[:head] + frame)
        filled: list[tuple[Chain, int]] = []
        for chain in chains:
            written = chain.write(data)
            filled.append((chain, written))
            data = data[written:]
        queue.push_together(filled)
        return True

    # Commands

    def _control(self, queue: Queue) -> None:
        while queue.ready and (chain := queue.pop()) is not None:
            if not chain.writable:
                raise QueueError("command without room for its answer")
            done = answer(self.filter, chain.read(LARGEST_BUFFER))
            self.address = self.filter.mac
            queue.push(chain, chain.write(bytes((0 if done else 1,))))
        queue.resume()
        self.signal(queue)
