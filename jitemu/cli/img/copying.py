"""The copying of convert: several sources to one target, zeros left out, clusters packed."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jitemu.cli.img.output import Advance
from jitemu.devices.block.chain import COPY_BYTES, backing_of, extent_in_chain, is_zero
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2.compression import compress
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail, warn


@dataclass
class Copy:
    """What to copy and how."""

    sources: Sequence[BlockImage]
    target: BlockImage
    over_backing: bool = False
    """What the source's own layer has not got is in the target's backing image."""
    target_zero: bool = True
    """The target reads as zeros where nothing is written."""
    sparse: int = 4096
    """Zeros of at least so many bytes are not written as data; 0: all is written."""
    packed: bool = False
    salvage: bool = False
    rate: int = 0
    """Bytes a second; 0: no limit."""

    @property
    def size(self) -> int:
        return sum(source.size for source in self.sources)


class Rate:
    """Keeps to a number of bytes a second."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._start = time.monotonic()
        self._count = 0

    def spend(self, count: int) -> None:
        if self._rate:
            self._count += count
            ahead = self._count / self._rate - (time.monotonic() - self._start)
            if ahead > 0:
                time.sleep(ahead)


def _pieces(job: Copy) -> Iterator[tuple[BlockImage, int, int, int, bool]]:
    """Source, offset in it, offset in the target, length, and whether it is data.

    What need not be looked at is left out, packed clusters are whole.
    """
    step = COPY_BYTES
    if job.packed:
        assert isinstance(job.target, Qcow2Image)
        step = job.target.header.cluster_size
    base = 0
    for source in job.sources:
        offset = 0
        while offset < source.size:
            length = min(step, source.size - offset)
            if job.packed:
                data = _has_data(job, source, offset, length)
            else:
                found, depth = extent_in_chain(source, offset, length)
                length = found.length
                data = found.data and not found.zero
                if job.over_backing and (depth or not found.allocated):
                    data = None if backing_of(source) else data
            if data is not None:
                yield source, offset, base + offset, length, data
            offset += length
        base += source.size


def _has_data(job: Copy, source: BlockImage, offset: int, length: int) -> bool | None:
    """Whether a cluster to be packed has data; None if the target's backing image has it."""
    end = offset + length
    own = False
    while offset < end:
        found, depth = extent_in_chain(source, offset, end - offset)
        if found.data and not found.zero and not (job.over_backing and depth):
            return True
        own = own or not job.over_backing or (depth == 0 and found.allocated)
        offset += found.length
    return False if own else None


def _read(job: Copy, source: BlockImage, offset: int, buffer: bytearray) -> None:
    """Fill a buffer, with zeros where the source cannot be read and salvage is wanted."""
    try:
        source.readv(offset, [memoryview(buffer)])
    except OSError as error:
        if not job.salvage:
            fail(f"error while reading at byte {offset}: {error.strerror or error}")
        warn(f"error while reading offset {offset}: {error.strerror or error}")
        buffer[:] = bytes(len(buffer))


def _zero(job: Copy, offset: int, length: int) -> None:
    if job.sparse == 0 and not job.over_backing:
        for at in range(offset, offset + length, COPY_BYTES):
            job.target.write(at, bytes(min(COPY_BYTES, offset + length - at)))
    elif not job.target_zero or job.over_backing:
        job.target.write_zeroes(offset, length, True)


def _runs(data: bytearray, step: int) -> Iterator[tuple[int, int, bool]]:
    """Start, end, and whether it is data, for runs of ``step`` bytes of zeros or not."""
    start = 0
    kind: bool | None = None
    for at in range(0, len(data), step):
        now = not is_zero(data[at : at + step])
        if kind is not None and now != kind:
            yield start, at, kind
            start = at
        kind = now
    if kind is not None:
        yield start, len(data), kind


def _write(job: Copy, offset: int, data: bytearray) -> None:
    if not job.sparse:
        job.target.write(offset, data)
        return
    if is_zero(data):
        _zero(job, offset, len(data))
        return
    view = memoryview(data)
    for start, end, kind in _runs(data, job.sparse):
        if kind:
            job.target.write(offset + start, view[start:end])
        else:
            _zero(job, offset + start, end - start)


def copy(job: Copy, advance: Advance) -> None:
    """Copy all."""
    rate = Rate(job.rate)
    if job.packed:
        _copy_packed(job, advance, rate)
        return
    whole = bytearray(COPY_BYTES)  # one buffer: new memory for each piece costs page faults
    for source, offset, where, length, data in _pieces(job):
        if data:
            buffer = whole if length == COPY_BYTES else bytearray(length)
            _read(job, source, offset, buffer)
            _write(job, where, buffer)
        else:
            _zero(job, where, length)
        rate.spend(length)
        advance(length)


def _copy_packed(job: Copy, advance: Advance, rate: Rate) -> None:
    """Compress in threads (the codecs let others run), write in order."""
    target = job.target
    assert isinstance(target, Qcow2Image)
    kind, cluster = target.header.compression, target.header.cluster_size
    workers = os.cpu_count() or 1
    waiting: deque[tuple[int, bytes, Future[bytes]]] = deque()

    def finish() -> None:
        where, data, packed = waiting.popleft()
        target.write_compressed(where, data, packed.result())
        rate.spend(len(data))
        advance(len(data))

    with ThreadPoolExecutor(workers) as pool:
        for where, data in _clusters(job, cluster):
            if is_zero(data):
                _zero(job, where, len(data))
                advance(len(data))
                continue
            if len(waiting) >= 4 * workers:
                finish()
            task = pool.submit(compress, kind, data.ljust(cluster, b"\0"))
            waiting.append((where, data, task))
        while waiting:
            finish()


def _clusters(job: Copy, cluster: int) -> Iterator[tuple[int, bytes]]:
    """Whole clusters of the target; sources may meet inside one."""
    held = bytearray()
    start = 0
    for source, offset, where, length, data in _pieces(job):
        content = bytearray(length)
        if data:
            _read(job, source, offset, content)
        if held and where != start + len(held):
            yield start, bytes(held)
            held = bytearray()
        if not held:
            start = where
        held += content
        room = cluster - start % cluster
        while len(held) >= room:
            yield start, bytes(held[:room])
            held, start, room = held[room:], start + room, cluster
    if held:
        yield start, bytes(held)
