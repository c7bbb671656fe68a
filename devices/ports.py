"""What a device may ask of the world around it.  A device knows these protocols, the
physical memory's bounds-checked views, and nothing else of the machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from jitemu.memory.physical import Ram


class IrqLine(Protocol):
    """A level-triggered wire; setting the level it already has does nothing."""

    def set(self, level: bool) -> None: ...


class Clock(Protocol):
    """The machine's time base: 10 MHz ticks (mtime) over the host's monotonic clock."""

    def ticks(self) -> int: ...

    def set_ticks(self, ticks: int) -> None: ...

    def deadline_ns(self, ticks: int) -> int:
        """The monotonic time, in nanoseconds, at which the counter reaches ``ticks``."""
        ...

    def monotonic_ns(self) -> int: ...

    def wall_ns(self) -> int:
        """Nanoseconds since 1970 (UTC)."""
        ...


class Timer(Protocol):
    """A pending call, as ``Scheduler.call_at`` returns it."""

    deadline_ns: int
    callback: Callable[[], None] | None
    """None once it ran or was cancelled."""


class Scheduler(Protocol):
    """Calls back later, in the event loop's thread with the machine's lock held."""

    def call_at(self, deadline_ns: int, callback: Callable[[], None]) -> Timer: ...

    def cancel(self, timer: Timer) -> None: ...


class Chardev(Protocol):
    """A stream of bytes to and from the host: what a serial port is plugged into."""

    on_input: Callable[[], None] | None
    """Called when ``read`` has something to give, or a break arrived."""
    on_writable: Callable[[], None] | None
    """Called once there is room again after ``put`` returned False."""

    def put(self, byte: int) -> bool:
        """Take one byte for the host.  False: taken, but there is no room for more yet."""
        ...

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes that arrived; never waits."""
        ...

    def take_break(self) -> bool:
        """True once for each break condition the host side sent."""
        ...


class StreamChardev(Chardev, Protocol):
    """One that takes bytes by the run."""

    def room(self) -> int:
        """How many bytes it should be given now; ``on_writable`` tells when there are more."""
        ...

    def write(self, data: bytes) -> None:
        """Take bytes for the host, all of them."""
        ...

    def close(self) -> None: ...


class MachineControl(Protocol):
    """Ends or restarts the machine; the call returns, the effect follows."""

    def shutdown(self, status: int) -> None: ...

    def reset(self) -> None: ...


class EventSource(Scheduler, Protocol):
    """A scheduler that watches file descriptors too; callbacks come in its thread with the
    machine's lock held."""

    def monotonic_ns(self) -> int: ...

    def call_soon(self, callback: Callable[[], None]) -> None: ...

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever ``fd`` has something to read, or is at its end."""
        ...

    def remove_reader(self, fd: int) -> None: ...

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever ``fd`` can take something."""
        ...

    def remove_writer(self, fd: int) -> None: ...


class GuestMemory(Protocol):
    """The guest's RAM, as far as a device may reach it."""

    @property
    def ram(self) -> Ram:
        """``base``, ``size`` and ``view`` of it, for code that checks bounds by itself."""
        ...

    def dma_view(self, address: int, size: int) -> memoryview:
        """RAM itself, to read and write; ``MemoryFault`` unless all of it is RAM."""
        ...

    def dma_written(self, address: int, size: int) -> None:
        """To be called after writing through a view: code may have been there."""
        ...

    def dma_wrote(self, addresses: list[int], views: list[memoryview], size: int) -> None:
        """The same for the first ``size`` bytes of views, which are at these addresses."""
        ...


class Worker(Protocol):
    """A thread of a device's own, for what may take long; it does not hold the lock."""

    def submit(self, job: Callable[[], None]) -> None:
        """Have ``job`` run after those submitted before.  Any thread."""
        ...


class Host(Protocol):
    """Everything a device that ``-device`` makes may ask for."""

    memory: GuestMemory
    clock: Clock
    scheduler: Scheduler
    control: MachineControl
    lock: AbstractContextManager[Any]
    """Held around register accesses and the scheduler's calls; a worker takes it to touch
    wires or what those share."""

    def worker(self, name: str) -> Worker: ...

    def backend(self, kind: str, name: str) -> Any:
        """What ``-KIND ...,id=NAME`` made ("drive", "chardev", "netdev", "fsdev"), for this
        device alone; ValueError if there is none or it is taken."""
        ...
