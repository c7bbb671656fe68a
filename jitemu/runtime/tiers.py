"""From baseline to regions: the sampler finds hot blocks, a worker process compiles them."""

from __future__ import annotations

import _thread
import time

from jitemu.backend_llvm.objects import Region
from jitemu.backend_llvm.packs import bytes_at, context_of
from jitemu.runtime.engine import PAGE, CodeSpace, Processor
from jitemu.runtime.exits import REQUEST_SAMPLE
from jitemu.runtime.known import Candidate, KnownRegions, packs_folder, same_code
from jitemu.runtime.layouts import Control
from jitemu.runtime.profile import (
    called_pages,
    pages_of,
    reached_code,
    register_values,
    sampled_jumps,
)
from jitemu.runtime.records import Record
from jitemu.runtime.worker import reader, receive
from jitemu.runtime.worker_process import Worker, model_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection

    from jitemu.runtime.worker_process import Model

    ReadPages = Callable[[Collection[int]], "Pieces"]
    """Reads the guest code of some pages."""
    Snapshot = Callable[[int], ReadPages]
    """Reading code for a pc where the guest is now; in system mode of the pc's page only."""
else:
    import _signal as signal

SAMPLE_SECONDS = 0.001
SLOW_SAMPLE_SECONDS = 0.01
"""Interval once nothing new has become hot for a while."""
DELAY_SECONDS = 0.01
"""Many programs, and most children of a fork, end before that; the thread would disturb."""
QUIET_SAMPLES = 300
THRESHOLD = 4
"""Samples of a block that make it hot."""
PATIENCE = 64
"""Samples of a block after which it no longer waits for those of jumps through tables."""
EVERY_BLOCK = 1
"""The threshold that makes every block a region of its own."""
REGION_LIMIT = 300
"""Guest instructions in a region."""

Pieces = list[tuple[int, bytes]]
"""Guest code: (guest address, bytes)."""


class Job:
    """A region to compile: its head, what the worker is told, and what comes back."""

    def __init__(self, block: Record, generation: int, read: ReadPages, young: bool) -> None:
        self.block = block
        self.generation = generation
        self.read = read
        self.young = young
        """The head has just become hot: the region of a loop around it is better."""
        self.profile: tuple[object, ...] = ()
        """What was known of the running code when the head was hot."""
        self.pieces: Pieces = []
        """Guest code that the region may be made from, once the worker has it."""
        self.instead = block.region
        """The region that it shall take the place of, or 0."""
        self.heat = 1
        """How often the block has been reported hot while waiting."""
        self.region: Region | None = None

    @property
    def wanted(self) -> bool:
        """The head is still there, and no other region has taken it over meanwhile."""
        return self.block.code != 0 and self.block.region == self.instead

    def same(self, region: Region) -> bool:
        """The guest's code is still what the region was made from."""
        sources = [(at, bytes_at(self.pieces, at, size)) for at, size in region.covered]
        return same_code(sources, self.read(pages_of(region.covered)))


def _start_thread(body: Callable[..., None], *arguments: object) -> None:
    """A thread that blocks all signals, from its beginning: one for the guest would be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        _thread.start_new_thread(body, arguments)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Tiers:
    """The region tier of one code space."""

    def __init__(
        self,
        space: CodeSpace,
        cpu: Model,
        snapshot: Snapshot,
        threshold: int = THRESHOLD,
        use_cache: bool = False,
    ) -> None:
        self.space = space
        self.threshold = threshold
        self.cpu = cpu
        self.snapshot = snapshot
        self.worker: Worker | None = None
        self.queue: dict[int, Job] = {}
        """Waiting jobs by the address of their head's record, in order of time."""
        self.queue_lock = _thread.allocate_lock()
        """Around queue, compiling and worker."""
        self.compiling: Job | None = None
        self.done: list[Job] = []
        self.quiet = 0
        self.regions = 0
        self.failures: list[str] = []
        self.started = self.stopped = False
        self.cache_name = space.translation.name if use_cache else ""
        """Of the cache's regions that may be used and added to; nothing: no cache."""
        self.known: KnownRegions | None = None
        if use_cache and threshold != EVERY_BLOCK:
            self.known = KnownRegions(self.cache_name, space.tables)
        self._contexts: dict[int, bytes] = {}
        self._replaced: dict[int, list[str]] = {}
        self.cache_hits = 0
        """Regions taken from the cache."""
        self.cache_misses = 0
        """Hot blocks for which there was none."""
        self.compiled = 0
        """Regions made by the worker."""
        self.compile_seconds = 0.0
        """CPU time that it took."""

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
        processor.known = lambda known: self.take_known(known, context())

    def compile_now(self, processor: Processor, holes: dict[str, int]) -> None:
        """Make the block that was just made a region."""
        from jitemu.backend_llvm.regions import compile_region
        from jitemu.backend_llvm.request import Request
        from jitemu.backend_llvm.stencilset import number_functions

        block = self.space.tables.record(processor.state["made"])
        guest = self.space.guest
        number_functions(guest.target, guest.isa)
        forbidden = frozenset(self._forbidden(processor))
        request = Request(block.pc, holes, REGION_LIMIT, True, forbidden)
        first = self.space.guest.address_of(block.pc) // PAGE
        read = reader(self.snapshot(block.pc)((first, first + 1)))
        generation = self.space.tables.get(Control.GENERATION)
        region = compile_region(guest.target, guest.decoder, read, request)
        if region is None:
            return
        with self.space.changing(processor):
            same = generation == self.space.tables.get(Control.GENERATION)
            if same and block.code and not block.region:
                self.space.install(region, block, processor)
                self.regions += 1

    def _forbidden(self, processor: Processor) -> list[str]:
        """Extensions whose instructions do something else in the processor's context."""
        ctx = processor.state["ctx"]
        if ctx not in self._replaced:
            self._replaced[ctx] = self.space.translation.replaced(self.space.guest, ctx)
        return self._replaced[ctx]

    def start(self) -> None:
        """Begin to sample, in a while."""
        self.started = True
        if self.threshold != EVERY_BLOCK:
            _start_thread(self._sample)

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
        self.queue_lock = _thread.allocate_lock()
        self.queue.clear()
        self.compiling = None
        self.done.clear()
        self.started = False

    def _sample(self) -> None:
        time.sleep(DELAY_SECONDS)
        while not self.stopped:
            slow = self.quiet > QUIET_SAMPLES
            time.sleep(SLOW_SAMPLE_SECONDS if slow else SAMPLE_SECONDS)
            self.quiet += 1
            for processor in self.space.processors:
                if processor.asked:  # another thread may have taken the word regions see
                    self.space.arena.leave.value = 1
                if processor.running and not processor.in_call:
                    processor.request(REQUEST_SAMPLE)

    # Hot blocks

    def hot(self, processor: Processor, holes: dict[str, int]) -> None:
        """The block at the processor's pc has become hot."""
        block = processor.find(processor.pc)
        if block is None or (block.region and not self._outgrown(block, processor)):
            return
        self.quiet = 0
        with self.queue_lock:
            waiting = self.queue.get(block.address)
            if waiting is not None:
                waiting.heat += 1
            made = (*self.done, self.compiling)
            if waiting or any(job and job.block.address == block.address for job in made):
                return
        job = self._job(block, processor, holes)
        self.cache_misses += 1
        with self.queue_lock:
            self.queue[block.address] = job
            if self.compiling is None:
                self._send_next()

    def _outgrown(self, block: Record, processor: Processor) -> bool:
        """A block's region lacks what has run meanwhile."""
        return any(processor.find(pc) for pc in self.space.unreached.get(block.region, ()))

    def _job(self, block: Record, processor: Processor, holes: dict[str, int]) -> Job:
        heat = self.space.heat_of(block.tag)
        generation = self.space.tables.get(Control.GENERATION)
        job = Job(block, generation, self.snapshot(block.pc), heat < 2 * self.threshold)
        context = (holes, REGION_LIMIT, self._forbidden(processor))
        seen = (sampled_jumps(processor), heat < PATIENCE, register_values(processor))
        job.profile = (*context, *seen)
        return job

    def _request(self, job: Job) -> tuple[object, ...]:
        """What the worker is told."""
        block, processor = job.block, self.space.processors[0]
        with self.space.changing(processor):
            pages = called_pages(block, processor)
            job.pieces = job.read(pages)
            reached = reached_code(block, pages, processor)
        heads = self.space.heads.union(j.region.head for j in self.done if j.region)
        made = frozenset(heads) if job.young else None
        return (block.pc, *job.profile, reached, made, job.pieces)

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
                    self._worker().send(self._request(job))
                    self.compiling = job
                except OSError:  # it died: the next job starts another
                    self.worker = None
                return

    def _worker(self) -> Worker:
        if self.worker is None:
            spawn = self.space.symbols["native.spawn_apart"]
            self.worker = Worker(spawn, "jitemu.runtime.worker")
            folder = packs_folder(self.cache_name) if self.cache_name else ""
            kept = (folder, self.cache_name)
            self.worker.send((self.space.guest.name, model_words(self.cpu), *kept))
            _start_thread(self._read, self.worker)
        return self.worker

    def _read(self, worker: Worker) -> None:
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
                plain, seconds = message
                job.region = Region.of(plain)
                self.compiled += 1
                self.compile_seconds += seconds
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
        with self.space.lock:
            done, self.done = self.done, []
        for job in done:
            region = job.region
            if region is None or not processor.guard(region.covered):
                continue
            with self.space.changing(processor):
                if job.generation != self.space.tables.get(Control.GENERATION):
                    continue
                if not (job.wanted and processor.guarded(region.covered) and job.same(region)):
                    continue
                head: Record | None = job.block
                if region.head != head.pc:
                    head = self.space.block_of(region.head, head, processor)
                elif job.instead:
                    processor.native("drop_region", job.instead)
                if head is not None and not head.region:
                    self.space.install(region, head, processor)
                    self.regions += 1

    # Regions of earlier runs

    def take_known(self, processor: Processor, holes: dict[str, int]) -> None:
        """A block was made at pc, where the cache has regions: take one that fits."""
        if self.known is None:
            return
        ctx = processor.state["ctx"]
        context = self._contexts.get(ctx)
        if context is None:
            context = context_of(holes, REGION_LIMIT, self._forbidden(processor))
            self._contexts[ctx] = context
        pc = processor.pc
        if any(self._take(c, pc, processor) for c in self.known.at(pc, context)):
            self.cache_hits += 1
            self.regions += 1
        else:
            self.known.failed(pc)

    def _take(self, candidate: Candidate, pc: int, processor: Processor) -> bool:
        found = candidate.read()
        if found is None:
            return False
        region, sources = found
        if not processor.guard(region.covered):
            return False
        with self.space.changing(processor):
            block = processor.find(pc)
            if block is None or block.region or not processor.guarded(region.covered):
                return False
            if not same_code(sources, self.snapshot(pc)(pages_of(region.covered))):
                return False
            self.space.install(region, block, processor)
            return True

    def know_page(self, number: int) -> None:
        """A page of guest code has become known: look for regions that begin there."""
        if self.known is not None:
            found = self.known.on_page(number)
            if found:
                self.known.add_page(found, self.snapshot(number * PAGE)((number, number + 1)))
