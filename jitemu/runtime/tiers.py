"""From baseline to regions: the sampler finds hot blocks, a worker process compiles them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from jitemu.backend_llvm.objects import Blob
from jitemu.runtime import descriptors
from jitemu.runtime.codetable import Control
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.lookup import REQUEST_SAMPLE
from jitemu.runtime.records import Record
from jitemu.runtime.worker import reader, receive, send

if TYPE_CHECKING:
    from jitemu.backend_llvm.regions import Region
    from jitemu.frontends.riscv.cpu import CpuModel

_SYS_CLONE = 56
_WCLONE = -0x80000000
_MOST_FILES = 1 << 20
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_START = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); from jitemu.runtime.worker import main; main()"
)
SAMPLE_SECONDS = 0.001
SLOW_SAMPLE_SECONDS = 0.01
"""Interval once nothing new has become hot for a while."""
QUIET_SAMPLES = 300
THRESHOLD = 4
"""Samples of a block that make it hot."""
EVERY_BLOCK = 1
"""The threshold that makes every block a region of its own."""
REGION_LIMIT = 300
"""Guest instructions in a region."""

Pieces = list[tuple[int, bytes]]
"""Guest code: (guest address, bytes)."""
Snapshot = Callable[[int], tuple[Pieces, Callable[[], bool]]]
"""Guest code around a hot pc, and a function that tells whether it is still the same."""


class Job:
    """A region to compile: its head, what the worker is told, and what comes back."""

    def __init__(
        self, block: Record, generation: int, same: Callable[[], bool], request: tuple[object, ...]
    ) -> None:
        self.block = block
        self.generation = generation
        self.same = same
        self.request = request
        self.heat = 1
        """How often the block has been reported hot while waiting."""
        self.region: Region | None = None

    @property
    def wanted(self) -> bool:
        """The head is still there, and no other region has taken it over."""
        return self.block.code != 0 and self.block.region == 0


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


class Worker:
    """A compile worker's process.  Its pipes are unbuffered: buffers have locks, which a
    fork of the guest could find held by another thread.

    Neither SIGCHLD nor wait() of a guest that lives in this process may see it: it is a
    grandchild, and the process between was cloned without an exit signal.
    """

    def __init__(self) -> None:
        theirs, ours = os.pipe()
        results, answers = os.pipe()
        ours, results = descriptors.move_up(ours), descriptors.move_up(results)
        self.requests: BinaryIO = os.fdopen(ours, "wb", buffering=0, closefd=False)
        self.results: BinaryIO = os.fdopen(results, "rb", buffering=0, closefd=False)
        # Neither the guest's folder nor its environment decides what is imported.
        arguments = [sys.executable, "-I", "-c", _START]
        clone = ctypes.PyDLL(None).syscall
        between = clone(_SYS_CLONE, 0, 0, 0, 0, 0)
        if between == 0:
            try:
                if clone(_SYS_CLONE, 0, 0, 0, 0, 0):
                    os._exit(0)
                os.setsid()
                os.dup2(theirs, 0)
                os.dup2(answers, 1)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                os.closerange(3, _MOST_FILES)  # a pipe of the guest's would never end
                os.chdir("/")
                os.execv(arguments[0], arguments)
            finally:
                os._exit(127)
        os.close(theirs)
        os.close(answers)
        os.waitpid(between, _WCLONE)

    def close(self) -> None:
        """End it: its input ends.  In a fork's child: leave it to the parent."""
        descriptors.close(self.requests.fileno())
        descriptors.close(self.results.fileno())


class Tiers:
    """The region tier of one code space."""

    def __init__(
        self, space: CodeSpace, cpu: CpuModel, snapshot: Snapshot, threshold: int = THRESHOLD
    ) -> None:
        self.space = space
        self.threshold = threshold
        self.cpu = cpu
        self.snapshot = snapshot
        self.worker: Worker | None = None
        self.queue: dict[int, Job] = {}
        """Waiting jobs by the address of their head's record, in order of time."""
        self.queue_lock = threading.Lock()
        """Around queue, compiling and worker."""
        self.compiling: Job | None = None
        self.done: list[Job] = []
        self.quiet = 0
        self.regions = 0
        self.failures: list[str] = []
        self.stopped = False

    def attach(self, processor: Processor, context: Callable[[], dict[str, int]]) -> None:
        """Let a processor's hot code become regions.

        ``context``: the holes of the context the processor is in.  With a threshold of 1
        every block becomes a region at once, in this process.
        """
        if self.threshold == EVERY_BLOCK:
            self.space.watch()
            processor.made = lambda made: self.compile_now(made, context())
            return
        processor.state["hot_threshold"] = self.threshold
        processor.hot = lambda hot: self.hot(hot, context())

    def compile_now(self, processor: Processor, holes: dict[str, int]) -> None:
        """Make the block that was just made a region."""
        from jitemu.backend_llvm.regions import Request, compile_region
        from jitemu.backend_llvm.stencilset import number_functions

        block = self.space.tables.record(processor.state["made"])
        guest = self.space.guest
        number_functions(guest.target, guest.isa)
        forbidden = frozenset(self._forbidden(processor))
        request = Request(block.pc, holes, REGION_LIMIT, True, forbidden)
        read = reader(self.snapshot(block.pc)[0])
        region = compile_region(guest.target, guest.decoder, read, request)
        if region is not None:
            self.space.install(region, block, processor)
            self.regions += 1

    def _forbidden(self, processor: Processor) -> list[str]:
        """Extensions whose instructions do something else in the processor's context."""
        guest, ctx = self.space.guest, processor.state["ctx"]
        return [e for e in sorted(self.cpu.extensions) if guest.instead(e, ctx) is not None]

    def start(self) -> None:
        """Begin to sample."""
        if self.threshold == EVERY_BLOCK:
            return
        threading.Thread(target=self._sample, name="jitemu-sampler", daemon=True).start()

    def stop(self) -> None:
        """No more samples, and no worker."""
        self.stopped = True
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def after_fork(self) -> None:
        """In a fork's child: the worker and the threads are the parent's."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None
        self.queue_lock = threading.Lock()
        self.queue.clear()
        self.compiling = None
        self.done.clear()
        self.start()

    def _sample(self) -> None:
        _block_signals()
        while not self.stopped:
            slow = self.quiet > QUIET_SAMPLES
            time.sleep(SLOW_SAMPLE_SECONDS if slow else SAMPLE_SECONDS)
            self.quiet += 1
            for processor in self.space.processors:
                if processor.asked:  # another thread may have taken the word regions see
                    self.space.arena.leave.value = 1
                if processor.running:
                    processor.request(REQUEST_SAMPLE)

    # Hot blocks

    def hot(self, processor: Processor, holes: dict[str, int]) -> None:
        """The block at the processor's pc has become hot."""
        block = processor.find(processor.pc)
        if block is None or block.region:
            return
        self.quiet = 0
        with self.queue_lock:
            waiting = self.queue.get(block.address)
            if waiting is not None:
                waiting.heat += 1
                return
        pieces, same = self.snapshot(block.pc)
        generation = self.space.tables.get(Control.GENERATION)
        request = (block.pc, holes, REGION_LIMIT, self._forbidden(processor), pieces)
        with self.queue_lock:
            self.queue[block.address] = Job(block, generation, same, request)
            if self.compiling is None:
                self._send_next()

    def _send_next(self) -> None:
        """Give the idle worker its next job.  One at a time: the guest never waits for it,
        and what has become needless meanwhile is not compiled."""
        self.compiling = None
        while self.queue:
            # the hottest; of equals the newest, as its code is running now
            address = max(reversed(self.queue), key=lambda a: self.queue[a].heat)
            job = self.queue.pop(address)
            if job.wanted:
                try:
                    send(self._worker().requests, job.request)
                    self.compiling = job
                except OSError:  # it died: the next job starts another
                    self.worker = None
                return

    def _worker(self) -> Worker:
        if self.worker is None:
            self.worker = Worker()
            cpu = self.cpu
            model = (cpu.name, sorted(cpu.extensions), sorted(cpu.flags))
            send(self.worker.requests, (self.space.guest.name, *model))
            threading.Thread(target=self._read, args=(self.worker,), daemon=True).start()
        return self.worker

    def _read(self, worker: Worker) -> None:
        _block_signals()
        while True:
            message = receive(worker.results)
            if message is None:
                self._died(worker)
                return
            with self.queue_lock:
                job = self.compiling
                self._send_next()
            if isinstance(message, str):
                self.failures.append(message)
            elif message and job is not None:
                code, symbols, relocations, exits, entries, covered, instructions = message
                from jitemu.backend_llvm.regions import Region

                blob = Blob(code, symbols, relocations)
                job.region = Region(job.block.pc, blob, exits, entries, covered, instructions)
                self.done.append(job)
                for processor in self.space.processors:
                    processor.kick_inside()

    def _died(self, worker: Worker) -> None:
        """The worker's answers ended: go on with another."""
        with self.queue_lock:
            if self.worker is worker and not self.stopped:
                self.worker = None
                self._send_next()

    def install(self, processor: Processor) -> None:
        """Put finished regions into the arena (no processor of the space in native code)."""
        generation = self.space.tables.get(Control.GENERATION)
        with self.space.lock:
            done, self.done = self.done, []
            for job in done:
                current = job.generation == generation and job.wanted and job.same()
                if job.region is not None and current:
                    self.space.install(job.region, job.block, processor)
                    self.regions += 1
