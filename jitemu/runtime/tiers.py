"""From baseline to regions: the sampler finds hot blocks, a worker process compiles them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from jitemu.backend_llvm.objects import Blob
from jitemu.backend_llvm.regions import Region
from jitemu.frontends.riscv.cpu import CpuModel
from jitemu.runtime.blocks import Block
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.lookup import REQUEST_ENGINE, REQUEST_SAMPLE
from jitemu.runtime.worker import receive, send

SAMPLE_SECONDS = 0.001
SLOW_SAMPLE_SECONDS = 0.01
"""Interval once nothing new has become hot for a while."""
QUIET_SAMPLES = 300
THRESHOLD = 2
"""Samples of a block that make it hot."""
REGION_LIMIT = 300
"""Guest instructions in a region."""

Snapshot = Callable[[int], list[tuple[int, bytes]]]
"""Guest code around a hot pc: (start, bytes) pieces."""


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))


class Tiers:
    """The region tier of one code space."""

    def __init__(
        self, space: CodeSpace, cpu: CpuModel, snapshot: Snapshot, threshold: int = THRESHOLD
    ) -> None:
        self.space = space
        self.threshold = threshold
        self.cpu = cpu
        self.snapshot = snapshot
        self.worker: subprocess.Popen[bytes] | None = None
        self.requests: dict[int, tuple[Block, list[tuple[int, bytes]]]] = {}
        self.count = 0
        self.done: list[tuple[Block, Region]] = []
        self.quiet = 0
        self.regions = 0
        self.failures: list[str] = []
        self.stopped = False

    def start(self) -> None:
        """Begin to sample."""
        threading.Thread(target=self._sample, name="jitemu-sampler", daemon=True).start()

    def stop(self) -> None:
        """No more samples, and no worker."""
        self.stopped = True
        if self.worker is not None:
            self.worker.kill()
            self.worker.wait()
            self.worker = None

    def after_fork(self) -> None:
        """In a fork's child: the worker and the threads are the parent's."""
        self.worker = None
        self.requests.clear()
        self.done.clear()
        self.start()

    def _sample(self) -> None:
        _block_signals()
        while not self.stopped:
            slow = self.quiet > QUIET_SAMPLES
            time.sleep(SLOW_SAMPLE_SECONDS if slow else SAMPLE_SECONDS)
            self.quiet += 1
            for processor in self.space.processors:
                if processor.running:
                    processor.request(REQUEST_SAMPLE)

    # Hot blocks

    def hot(self, processor: Processor, holes: dict[str, int]) -> None:
        """The block at the processor's pc has become hot."""
        block = self.space.blocks.get(processor.key_of(processor.pc))
        if block is None or block.region is not None:
            return
        self.quiet = 0
        pieces = self.snapshot(block.pc)
        worker = self._worker()
        assert worker.stdin is not None
        self.count += 1
        self.requests[self.count] = (block, pieces)
        try:
            send(worker.stdin, (self.count, block.pc, holes, REGION_LIMIT, False, pieces))  # type: ignore[arg-type]
        except OSError:
            self.worker = None
            self.requests.clear()

    def _worker(self) -> subprocess.Popen[bytes]:
        if self.worker is None:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "jitemu.runtime.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            assert self.worker.stdin is not None
            cpu = self.cpu
            send(self.worker.stdin, (self.space.guest.name, cpu.name, sorted(cpu.extensions), sorted(cpu.flags)))  # type: ignore[arg-type]
            thread = threading.Thread(target=self._read, args=(self.worker,), daemon=True)
            thread.start()
        return self.worker

    def _read(self, worker: subprocess.Popen[bytes]) -> None:
        _block_signals()
        assert worker.stdout is not None
        while True:
            message = receive(worker.stdout)  # type: ignore[arg-type]
            if message is None:
                return
            number, result = message
            block, pieces = self.requests.pop(number, (None, []))
            if isinstance(result, str):
                self.failures.append(result)
            elif result is not None and block is not None:
                code, symbols, relocations, exits, covered, instructions = result
                blob = Blob(code, symbols, relocations)
                region = Region(block.pc, blob, exits, covered, instructions)
                if self._unchanged(pieces):
                    self.done.append((block, region))
                    for processor in self.space.processors:
                        processor.request(REQUEST_ENGINE)

    def _unchanged(self, pieces: list[tuple[int, bytes]]) -> bool:
        return all(self.snapshot(start) == pieces for start, _ in pieces[:1])

    def install(self) -> None:
        """Put finished regions into the arena (no processor of the space in native code)."""
        with self.space.lock:
            done, self.done = self.done, []
            for block, region in done:
                current = self.space.blocks.get((block.tag, block.physical))
                if current is block and block.region is None:
                    self.space.install(region, block)
                    self.regions += 1
