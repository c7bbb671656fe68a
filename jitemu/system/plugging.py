"""Where the devices of ``-device`` go: the slots of virtio-mmio from the last one down, the
platform bus from its start up, and what other devices provide."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jitemu.messages import fail
from jitemu.system import memory_map as at
from jitemu.system.boot import PAGE, align_up
from jitemu.system.terminal import block_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from queue import SimpleQueue

    from jitemu.devices.ports import Clock, GuestMemory, MachineControl, Scheduler, Worker
    from jitemu.system.machine import Machine
    from jitemu.system.plugged import BackendSpec, DeviceSpec

SLOT_BUS = "virtio-mmio-bus."  # and the slot's number
WORKER_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Place:
    """A device's place on the board; ``base`` and ``irq`` are 0 on another device's bus."""

    spec: DeviceSpec
    name: str
    base: int = 0
    size: int = 0
    irq: int = 0
    compatible: str = ""
    """For a node of its own in the device tree, on the platform bus."""


def place(specs: Iterable[DeviceSpec]) -> list[Place]:
    """A place for each device, in their order; UserError where there is none."""
    from jitemu.devices.platform import PlatformDevice

    free = list(range(at.VIRTIO_SLOTS))
    platform, platform_irq = at.PLATFORM_BUS, at.PLATFORM_BUS_IRQ
    provided: set[str] = set()
    places: list[Place] = []
    for spec in specs:
        model = spec.model
        if model.bus == "virtio-bus":
            slot = _slot(spec, free)
            base = at.VIRTIO + slot * at.VIRTIO_SIZE
            name = f"virtio-mmio.{slot}"
            places.append(Place(spec, name, base, at.VIRTIO_SIZE, at.VIRTIO_IRQ + slot))
        elif issubclass(model, PlatformDevice):
            size = align_up(model.window, PAGE)
            end = at.PLATFORM_BUS + at.PLATFORM_BUS_SIZE
            irqs = at.PLATFORM_BUS_IRQ + at.PLATFORM_BUS_IRQS
            if platform + size > end or platform_irq == irqs:
                fail(f"{spec.option}: the platform bus is full")
            spot = Place(spec, model.model, platform, size, platform_irq, model.compatible)
            places.append(spot)
            platform, platform_irq = platform + size, platform_irq + 1
        elif model.bus in provided:
            places.append(Place(spec, model.model))
        else:
            fail(f"{spec.option}: No '{model.bus}' bus found for device '{model.model}'")
        provided.add(model.provides)
    return places


def _slot(spec: DeviceSpec, free: list[int]) -> int:
    """The slot asked for by ``bus=virtio-mmio-bus.N``, or the last free one."""
    bus = spec.texts.get("bus", "")
    if bus:
        number = bus.removeprefix(SLOT_BUS)
        slots = range(at.VIRTIO_SLOTS)
        if not bus.startswith(SLOT_BUS) or not number.isdigit() or int(number) not in slots:
            fail(f"{spec.option}: Bus '{bus}' not found")
        if int(number) not in free:
            fail(f"{spec.option}: Bus '{bus}' is full")
        free.remove(int(number))
        return int(number)
    if not free:
        fail(f"{spec.option}: No 'virtio-bus' bus found for device '{spec.model.model}'")
    return free.pop()


class Backends:
    """What ``-drive``, ``-netdev`` and their kind made; each serves one device."""

    def __init__(self, specs: Sequence[BackendSpec], machine: Machine) -> None:
        self.by_id: dict[tuple[str, str], Any] = {}
        self._used: set[tuple[str, str]] = set()
        try:
            for spec in specs:
                self.by_id[spec.kind, spec.id] = spec.open(machine)
        except BaseException:
            self.close()
            raise

    def of_kind(self, kind: str) -> list[Any]:
        """All of a kind, in their order."""
        return [backend for (k, _), backend in self.by_id.items() if k == kind]

    def is_taken(self, kind: str, name: str) -> bool:
        """Whether a device has it."""
        return (kind, name) in self._used

    def take(self, kind: str, name: str) -> Any:
        """For one device; ValueError if it is not there to be had."""
        key = (kind, name)
        if key not in self.by_id:
            raise ValueError(f"can't find value '{name}'")
        if key in self._used:
            raise ValueError(f"can't take value '{name}', it's in use")
        self._used.add(key)
        return self.by_id[key]

    def close(self) -> None:
        """At the machine's end, after the devices' threads."""
        opened, self.by_id = self.by_id, {}
        for backend in opened.values():
            if hasattr(backend, "close"):
                backend.close()


class WorkerThread:
    """Runs jobs one after another; the thread starts with the first."""

    def __init__(self, name: str, failed: Callable[[BaseException], None]) -> None:
        from queue import SimpleQueue

        self._name = name
        self._failed = failed
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let it finish what was submitted; it takes nothing afterwards."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(WORKER_STOP_S)

    def _work(self) -> None:
        block_signals()
        try:
            while (job := self._jobs.get()) is not None:
                job()
        except BaseException as error:  # the machine ends with it
            self._failed(error)


class InlineWorker:
    """Runs jobs where timers run, as soon as they are due: with -icount between the same two
    instructions in every run."""

    def __init__(self, clock: Clock, scheduler: Scheduler) -> None:
        self._clock = clock
        self._scheduler = scheduler

    def submit(self, job: Callable[[], None]) -> None:
        self._scheduler.call_at(self._clock.monotonic_ns(), job)


class BoardHost:
    """``devices.ports.Host``: what the board's devices may ask for."""

    def __init__(
        self,
        memory: GuestMemory,
        lock: threading.RLock,
        clock: Clock,
        scheduler: Scheduler,
        control: MachineControl,
        take: Callable[[str, str], Any],
        failed: Callable[[BaseException], None],
        repeatable: bool = False,
    ) -> None:
        self.memory = memory
        self.lock: AbstractContextManager[Any] = lock
        self.clock = clock
        self.scheduler = scheduler
        self.control = control
        self._take = take
        self._failed = failed
        self._repeatable = repeatable
        self._workers: list[WorkerThread] = []

    def backend(self, kind: str, name: str) -> Any:
        return self._take(kind, name)

    def worker(self, name: str) -> Worker:
        if self._repeatable:
            return InlineWorker(self.clock, self.scheduler)
        worker = WorkerThread(name, self._failed)
        self._workers.append(worker)
        return worker

    def stop_workers(self) -> None:
        for worker in self._workers:
            worker.stop()
