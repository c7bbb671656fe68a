"""What translated code there is, told at the end: for people, and for perf.

perf names code by ``/tmp/perf-PID.map`` while it reports, and by a jitdump file (perf's own
``jitdump-specification.txt``) after ``perf inject --jit``, which can show the code too.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jitemu.messages import fail
from jitemu.runtime.layouts import BlockRecord, Control

if TYPE_CHECKING:
    from jitemu.runtime.engine import CodeSpace
    from jitemu.runtime.records import Record
    from jitemu.runtime.tiers import Tiers

Symbol = Callable[[int], str]
_MAGIC, _VERSION, _EM_X86_64, _CODE_LOAD = 0x4A695444, 1, 62, 0


class Reports:
    """What the command line asks for; ``write`` when the guest has ended.

    Of the processes that a guest forks, each has a map and statistics of its own.
    """

    def __init__(
        self, perfmap: bool, jitdump: bool, gdb: bool, show: Callable[[str], None] | None
    ) -> None:
        self.perfmap = perfmap
        self.gdb = gdb
        self.show = show
        """Takes the lines of ``-d jit``."""
        self._started = time.monotonic_ns()
        self._pid = os.getpid()
        self._dump = _open_dump() if jitdump else None
        self._sources: list[tuple[CodeSpace, Tiers | None, Symbol]] = []

    def attach(self, space: CodeSpace, tiers: Tiers | None, symbol: Symbol) -> None:
        """Tell what to report on."""
        self._sources.append((space, tiers, symbol))
        if self.gdb:
            from jitemu.runtime.gdb import GdbCode

            GdbCode(space, symbol)

    def write(self) -> None:
        """Write all of them."""
        while self._sources:
            self._write(*self._sources.pop())

    def _write(self, space: CodeSpace, tiers: Tiers | None, symbol: Symbol) -> None:
        if self.perfmap:
            with open(f"/tmp/perf-{os.getpid()}.map", "w", encoding="utf-8") as file:
                for record, name in _code(space, symbol):
                    file.write(f"{record.code:x} {record.host_size:x} {name}\n")
        if self._dump is not None and self._pid == os.getpid():
            for index, (record, name) in enumerate(_code(space, symbol)):
                os.write(self._dump, self._load(space, record, name, index))
            os.close(self._dump)
        if self.show is not None:
            self.show(statistics(space, tiers))

    def _load(self, space: CodeSpace, record: Record, name: str, index: int) -> bytes:
        code = space.arena.read(record.code, record.host_size)
        words = (os.getpid(), os.getpid(), record.code, record.code, len(code), index)
        body = struct.pack("<IIQQQQ", *words) + name.encode() + b"\0" + code
        return struct.pack("<IIQ", _CODE_LOAD, 16 + len(body), self._started) + body


def _open_dump() -> int:
    """Create ``jit-PID.dump`` and map it executable, which is how perf learns of it."""
    import mmap

    path = f"jit-{os.getpid()}.dump"
    try:
        fd = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o666)
        head = (_MAGIC, _VERSION, 40, _EM_X86_64, 0, os.getpid(), time.monotonic_ns(), 0)
        os.write(fd, struct.pack("<IIIIIIQQ", *head))
        mmap.mmap(fd, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    except OSError as error:
        fail(f"-jitdump: cannot write {path}: {error.strerror}")
    return fd


def _code(space: CodeSpace, symbol: Symbol) -> Iterator[tuple[Record, str]]:
    """Blocks and regions with their names."""
    regions: set[int] = set()
    for record in space.tables.live():
        yield record, _name(record, "", symbol)
        if record.region and record.region not in regions:
            regions.add(record.region)
            yield space.tables.record(record.region), _name(record, "region ", symbol)


def _name(record: Record, kind: str, symbol: Symbol) -> str:
    function = symbol(record.pc)
    return f"{kind}{function}@{record.pc:#x}" if function else f"{kind}{record.pc:#x}"


def statistics(space: CodeSpace, tiers: Tiers | None) -> str:
    """The text of ``-d jit`` and the monitor's ``info jit``."""
    get = space.tables.get
    blocks = list(space.tables.live())
    regions = {record.region for record in blocks if record.region}
    host = sum(record.host_size for record in blocks)
    guest = sum(record.size for record in blocks)
    in_regions = sum(
        space.tables.record(address).word(BlockRecord.HOST_SIZE) for address in regions
    )
    lines = [
        f"blocks               {get(Control.MADE_BLOCKS)} made, {len(blocks)} kept",
        f"guest instructions   {get(Control.MADE_INSNS)} translated",
        f"guest bytes          {guest} in kept blocks, {host} host bytes made of them",
        f"pieces without stencil {get(Control.MISSING)}",
        f"links                {get(Control.LINKS)}",
        f"blocks invalidated   {get(Control.REMOVED)}",
        f"flushes              {space.flushes}",
        f"code arena           {get(Control.NEXT) - space.arena.base} of {space.arena.size} bytes",
    ]
    if tiers is not None:
        lines += [
            f"regions              {tiers.regions} made, {len(regions)} kept",
            f"region code          {in_regions} host bytes",
            f"region compiler      {tiers.compiled} regions in {tiers.compile_seconds:.3f} s",
            f"region cache         {tiers.cache_hits} hits, {tiers.cache_misses} misses",
        ]
        lines += [f"region failed        {text}" for text in tiers.failures]
    return "\n".join(lines) + "\n"
