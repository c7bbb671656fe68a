"""Split virtqueues (virtio 1.2, section 2.7) as a device uses them.

All that the driver wrote is suspect: each index, length and address is checked before it is
used, read once, and what does not hold is a ``QueueError``, after which the device needs a
reset.  Buffers are views of guest RAM; nothing is copied.
"""

from __future__ import annotations

import struct
import threading

from jitemu.devices.buffers import part
from jitemu.memory.physical import MemoryFault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.devices.ports import GuestMemory

MAX_CHAIN = 1024  # descriptors; also the most buffers that readv and writev take (IOV_MAX)
DESCRIPTOR = struct.Struct("<QIHH")
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_INTERRUPT, NO_NOTIFY = 1, 1  # in the flags of the available and of the used ring
USED_ELEMENT = struct.Struct("<II")
RING_HEADER = 4  # bytes: flags and index
WORD = 0xFFFF


class QueueError(Exception):
    """The driver broke the rules of virtqueues, or of the device's requests."""


class Chain:
    """A request: buffers to read, then buffers to write, in the order of their bytes."""

    __slots__ = ("addresses", "head", "readable", "writable")

    def __init__(self, head: int) -> None:
        self.head = head
        self.readable: list[memoryview] = []
        self.writable: list[memoryview] = []
        self.addresses: list[int] = []
        """The guest address of each writable buffer."""

    def read_size(self) -> int:
        return sum(map(len, self.readable))

    def write_size(self) -> int:
        return sum(map(len, self.writable))

    def read(self, limit: int) -> bytes:
        """A copy of the first ``limit`` readable bytes, or of all if there are fewer."""
        if self.readable and len(self.readable[0]) >= limit:
            return bytes(self.readable[0][:limit])
        return b"".join(part(self.readable, 0, limit))

    def write(self, data: bytes | bytearray | memoryview, offset: int = 0) -> int:
        """Put bytes at an offset of the writable buffers; how many there was room for."""
        done = 0
        for view in part(self.writable, offset, len(data)):
            view[:] = data[done : done + len(view)]
            done += len(view)
        return done


class Queue:
    """One virtqueue.  The transport sets it up; one thread at a time takes chains from it."""

    def __init__(self, memory: GuestMemory, index: int, max_size: int) -> None:
        self._memory = memory
        self.index = index
        self.max_size = max_size
        # A store must be seen by the driver before a later load of ours (2.7.13.4.1); the
        # locked instruction of an acquisition is what Python has for it.
        self._fence = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """As at power-on: not set up."""
        self.ready = False
        self.size = self.max_size
        self.descriptors_at = self.driver_at = self.device_at = 0
        self.indirect = self.event_index = False
        self._next = 0  # of the available ring, not yet taken
        self._used = 0  # index of the used ring
        self._signalled = 0  # _used when the driver was last told

    def start(self, indirect: bool, event_index: bool) -> None:
        """Take up the rings at the addresses set; QueueError if they cannot be."""
        size = self.size
        if not 0 < size <= self.max_size or size & (size - 1):
            raise QueueError(f"queue {self.index}: size {size}")
        if self.descriptors_at & 15 or self.driver_at & 1 or self.device_at & 3:
            raise QueueError(f"queue {self.index}: unaligned rings")
        try:
            self._table = self._memory.dma_view(self.descriptors_at, size * DESCRIPTOR.size)
            available = self._memory.dma_view(self.driver_at, RING_HEADER + 2 * size + 2)
            self._ring = self._memory.dma_view(
                self.device_at, RING_HEADER + USED_ELEMENT.size * size + 2
            )
        except MemoryFault as error:
            raise QueueError(f"queue {self.index}: {error}") from None
        self._available = available.cast("H")
        self._used_words = self._ring.cast("H")
        self.indirect = indirect
        self.event_index = event_index
        self._next = self._used = self._signalled = 0
        self.ready = True

    # Taking requests

    def pop(self) -> Chain | None:
        """The next chain that the driver made available."""
        position = self._next
        waiting = (self._available[1] - position) & WORD
        if not waiting:
            return None
        size = self.size
        if waiting > size:
            raise QueueError(f"queue {self.index}: {waiting} chains in a ring of {size}")
        head = self._available[2 + position % size]
        self._next = (position + 1) & WORD
        return self._chain(head)

    def take(self) -> Chain | None:
        """The next chain of a queue that is ready; notifications are asked for if there is
        none.  For devices that answer where they are notified."""
        while self.ready:
            chain = self.pop()
            if chain is not None or not self.resume():
                return chain
        return None

    def unpop(self, count: int = 1) -> None:
        """Leave the chains that were taken last where they were."""
        self._next = (self._next - count) & WORD

    def _chain(self, head: int) -> Chain:
        """The chain's buffers.  This runs once for each piece of a disk request, so bounds
        are checked here and not by a call."""
        chain = Chain(head)
        readable, writable, addresses = chain.readable, chain.writable, chain.addresses
        ram = self._memory.ram
        base, size, view = ram.base, ram.size, ram.view
        fetch: Callable[[int], tuple[int, int, int, int]] = self._descriptor
        count, index, left, in_table = self.size, head, self.size, False
        while True:
            if index >= count or not left:
                raise QueueError(f"queue {self.index}: descriptor {index} is outside, or a loop")
            address, length, flags, following = fetch(index)
            start = address - base
            end = start + length
            if start < 0 or end > size or not length:
                raise QueueError(f"queue {self.index}: buffer {address:#x}+{length:#x}")
            if flags & INDIRECT:
                if not self.indirect or in_table or flags & NEXT or length % DESCRIPTOR.size:
                    raise QueueError(f"queue {self.index}: misplaced indirect descriptor")
                in_table = True
                table = bytes(view[start : min(end, start + MAX_CHAIN * DESCRIPTOR.size)])
                fetch = list(DESCRIPTOR.iter_unpack(table)).__getitem__
                count = left = len(table) // DESCRIPTOR.size
                index = 0
                continue
            if flags & WRITE:
                writable.append(view[start:end])
                addresses.append(address)
            elif writable:
                raise QueueError(f"queue {self.index}: buffer to read after one to write")
            else:
                readable.append(view[start:end])
            if not flags & NEXT:
                return chain
            index = following
            left -= 1

    def _descriptor(self, index: int) -> tuple[int, int, int, int]:
        return DESCRIPTOR.unpack_from(self._table, index * DESCRIPTOR.size)

    # Giving them back

    def push(self, chain: Chain, written: int = 0) -> None:
        """Return a chain whose first ``written`` writable bytes were written."""
        if written > 0:
            self._memory.dma_wrote(chain.addresses, chain.writable, written)
        USED_ELEMENT.pack_into(
            self._ring, RING_HEADER + self._used % self.size * 8, chain.head, written
        )
        self._used = (self._used + 1) & WORD
        self._used_words[1] = self._used

    def push_together(self, done: list[tuple[Chain, int]]) -> None:
        """Return several chains with what was written to each, which the driver sees at once."""
        ring, used, size = self._ring, self._used, self.size
        for chain, written in done:
            if written:
                self._memory.dma_wrote(chain.addresses, chain.writable, written)
            at = RING_HEADER + used % size * USED_ELEMENT.size
            USED_ELEMENT.pack_into(ring, at, chain.head, written)
            used = (used + 1) & WORD
        self._used = self._used_words[1] = used

    def interrupt_wanted(self) -> bool:
        """Whether the driver is to be told of what was pushed since the last time (2.7.7.2)."""
        old, new = self._signalled, self._used
        if old == new:
            return False
        with self._fence:
            pass
        if self.event_index:
            event = self._available[2 + self.size]
            self._signalled = new
            return (new - event - 1) & WORD < (new - old) & WORD
        self._signalled = new
        return not self._available[0] & NO_INTERRUPT

    # Being told of requests

    def suppress(self) -> None:
        """Ask not to be notified, which is no more than a hint (2.7.10)."""
        if not self.event_index:
            self._used_words[0] = NO_NOTIFY

    def resume(self) -> bool:
        """Ask to be notified again.  True: chains came in meanwhile, so look once more."""
        if self.event_index:
            self._used_words[2 + 4 * self.size] = self._next
        else:
            self._used_words[0] = 0
        with self._fence:
            pass
        return self._available[1] != self._next
