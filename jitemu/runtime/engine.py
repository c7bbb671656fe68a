"""The engine: the arena and tables of translated code, and the loop around its execution.

Finding, making, linking and forgetting blocks is native (translate.py, codetable.py,
lookup*.py); what is here is set-up, what natives ask for, and regions.
"""

from __future__ import annotations

import _thread
import time

from jitemu import foreign
from jitemu.backend_llvm.objects import place
from jitemu.hostmemory import libc
from jitemu.ir.state import EXIT_UNBUILT
from jitemu.runtime.arena import Arena
from jitemu.runtime.exits import (
    EXIT_BUSY,
    EXIT_CONTEXT,
    EXIT_ENTER,
    EXIT_FULL,
    EXIT_HOT,
    EXIT_KNOWN,
    EXIT_MADE,
    EXIT_PAGE,
    EXIT_REQUESTED,
    REQUEST_ENGINE,
    REQUEST_SAMPLE,
)
from jitemu.runtime.guest import Guest
from jitemu.runtime.layouts import (
    FLAG_NO_CHAIN,
    FLAG_TRACE,
    HASH,
    BlockRecord,
    Control,
    ExitRecord,
)
from jitemu.runtime.records import CodeTables, NativeMemory, Record, place_bytes
from jitemu.runtime.stateview import StateView
from jitemu.runtime.translator_layouts import Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from jitemu.backend_llvm.objects import Region
    from jitemu.runtime.builder import Made
    from jitemu.runtime.setup import Translation
    from jitemu.runtime.tracing import Tracer

    OnCode = Callable[[Record, bytes, list[tuple[int, int]]], None]
    """Called with a record, the guest code of a block, and where its instructions are."""

MAX_INSTRUCTIONS = 48
HEAT_BITS = 12
PAGE = 4096
STENCIL_ROOM = 16 << 20
"""Address space for stencils that are added; all there can be take less."""


class CodeSpace:
    """Translated code and its tables: shared by the processors of one address space."""

    split_arena = True

    def __init__(self, guest: Guest, translation: Translation) -> None:
        self.guest = guest
        self.translation = translation
        self.lock = _thread.RLock()
        self.arena = Arena(self.split_arena)
        self.tables = CodeTables()
        self.heat = NativeMemory(16 << HEAT_BITS)
        self.processors: list[Processor] = []
        self.lifted: dict[int, int] = {}
        """By page: bit n, byte 2n is in a region."""
        self.unreached: dict[int, list[int]] = {}
        """By a region's record: guest addresses that it lacks because nothing had run there."""
        self.heads: set[int] = set()
        """Guest addresses of regions' heads, forgotten ones too: they only decide what is tried."""
        self.flushes = 0
        self.tracer: Tracer | None = None
        self.on_code: OnCode | None = None
        """Told of each block that is made, if the space is watched, and of each region."""
        self.build: Callable[[int], Made] = lambda index: []
        """The stencils of the instruction with a table index; waits for them."""
        self._stencils_end = 0
        """Bytes of the stencils, once some were added."""
        self._contexts: dict[int, NativeMemory] = {}
        self._kept: list[NativeMemory] = []
        self._place_library()
        self._place_tables()

    def _place_library(self) -> None:
        library = self.translation.library
        base = self.arena.base
        self.arena.write(base, place(library, base, {}))
        self.symbols = {name: base + offset for name, offset in library.symbols.items()}
        self.floor = base + (len(library.code) + 63 & ~63)
        tables = self.tables
        tables.set(Control.NEXT, self.floor)
        tables.set(Control.END, base + self.arena.size)
        tables.set(Control.DELTA, self.arena.writable - base & (1 << 64) - 1)

    def _place_tables(self) -> None:
        tables, target = self.tables, self.guest.target
        made = self.translation.tables
        tables.set(Control.TREE, made["tree"].address)
        tables.set(Control.SHORT, made["short"].address)
        tables.set(Control.INSNS, made["insns"].address)
        tables.set(Control.CHOICES, made["choices"].address)
        tables.set(Control.STENCILS, made["stencils"].address)
        tables.set(Control.PLACES, made["places"].address + 8)
        base = made["stencils"].address
        specials = place_bytes(made["specials"].bytes)  # other spaces may share the tables
        for index in range(len(specials.words)):
            specials.words[index] += base
        self._kept.append(specials)
        tables.set(Control.SPECIALS, specials.address)
        tables.set(Control.RADIX, len(target.pinned) + 2)
        kind = target.classes[target.pinned_class]
        tables.set(Control.SCRATCH, target.layout.of(kind.name, kind.count))
        tables.set(Control.LIMIT, MAX_INSTRUCTIONS)
        tables.set(Control.ADDRESS_BITS, self.guest.address_bits)

    def add_stencils(self, index: int, made: Made) -> None:
        """Have the instruction with a table index use these stencils.  Nobody makes blocks."""
        tables, choices = self.translation.tables, self.translation.tables["choices"]
        old = tables["stencils"]
        if self._stencils_end == 0:
            grown = NativeMemory(old.size + STENCIL_ROOM)
            grown.bytes[: old.size] = old.bytes
            self._stencils_end = old.size
            self._kept.append(grown)  # specials, and blocks' notes, are in the old one
            tables["stencils"] = grown
            self.tables.set(Control.STENCILS, grown.address)
        first = tables["insns"].bytes[index * Insn.LENGTH + Insn.CHOICE :][:4].cast("I")[0]
        for number, data in made:
            at = self._stencils_end
            tables["stencils"].bytes[at : at + len(data)] = data
            choices.bytes[4 * (first + number) :][:4].cast("I")[0] = at // 8
            self._stencils_end = at + len(data)

    def make_context(self, ctx: int) -> None:
        """Make a translation context's table known to native code."""
        if ctx not in self._contexts:
            self._contexts[ctx] = place_bytes(self.translation.context(self.guest, ctx))
        self.tables.contexts.words[ctx] = self._contexts[ctx].address

    def changing(self, processor: Processor) -> AbstractContextManager[object]:
        """Change the records, alone among all threads."""
        return self.lock

    def watch(self) -> None:
        """Leave native code whenever a block was made."""
        self.tables.set(Control.FLAGS, self.tables.get(Control.FLAGS) | FLAG_TRACE)

    def trace(self, tracer: Tracer, each_entry: bool) -> None:
        """Show every block made (and every entry)."""
        self.tracer = tracer
        self.watch()
        if each_entry:
            self.tables.set(Control.FLAGS, self.tables.get(Control.FLAGS) | FLAG_NO_CHAIN)

    def forget_jumps(self) -> None:
        """Empty every processor's jump cache."""
        for processor in self.processors:
            processor.forget_jumps()

    def heat_of(self, tag: int) -> int:
        """Samples of a block (as heat_up counts them)."""
        at = ((tag * HASH & (1 << 64) - 1) >> 32 & (1 << HEAT_BITS) - 1) * 2
        return self.heat.words[at + 1] if self.heat.words[at] == tag else 0

    def flush(self) -> None:
        """Forget all blocks (no room).  No processor may be in native code."""
        self.flushes += 1
        self.tables.clear()
        self.lifted.clear()
        self.unreached.clear()
        self.heads.clear()
        self.tables.set(Control.NEXT, self.floor)
        self.forget_jumps()

    # Regions

    def install(self, region: Region, head: Record, processor: Processor) -> None:
        """Put a compiled region into the arena and let it take over its heads' entries."""
        tables = self.tables
        base = (tables.get(Control.NEXT) + 63) & ~63
        made = tables.new_record(head.pc, head.tag, head.physical, base, len(region.exits))
        made.set(BlockRecord.IS_REGION, 1)
        heads = self._heads(region, head, processor)
        symbols = {"leave": foreign.addressof(self.arena.leave)}
        for number, record in enumerate(heads):
            symbols[f"wide.{number}"] = (record or head).code
        code = self._region_code(region, made, base, processor.paged, symbols)
        if base + len(code) > tables.get(Control.END):
            return
        self.arena.write(base, code)
        tables.set(Control.NEXT, base + len(code) + 15 & ~15)
        made.set(BlockRecord.HOST_SIZE, len(code))
        if self.on_code is not None:
            self.on_code(made, b"", [])
        self.note_region(made, region.covered, processor)
        self.unreached[made.address] = region.unreached
        self.heads.add(region.head)
        for number, record in enumerate(heads):
            if record is not None and not record.region:
                entry = base + region.blob.symbols[f"entry.{number}"]
                processor.native("add_head", made.address, record.address, entry)
        self.forget_jumps()

    def _heads(self, region: Region, head: Record, processor: Processor) -> list[Record | None]:
        """The blocks that begin at the region's entries."""
        return [self.block_of(pc, head, processor) for pc in region.entries]

    def block_of(self, pc: int, other: Record, processor: Processor) -> Record | None:
        """The block at a pc of the context (and in system mode the page) of another, if it is
        there."""
        here = self.guest.address_of(pc)
        physical = other.physical & -PAGE | pc % PAGE if processor.paged else here
        return processor.record_at(pc ^ other.pc ^ other.tag, physical)

    def _region_code(
        self, region: Region, made: Record, base: int, paged: bool, symbols: dict[str, int]
    ) -> bytes:
        """The region's bytes for a host address, with the stubs of its exits behind."""
        tables = self.tables
        size = (len(region.blob.code) + 15) & ~15
        stubs = bytearray()
        sites = {s: o for o, _, s, _ in region.blob.relocations if s.startswith("exit.")}
        linked = 0
        for number, target in enumerate(region.exits):
            name = f"exit.{number}"
            address = symbols[name] = base + size + len(stubs)
            record = made.word(BlockRecord.EXITS) + linked * ExitRecord.LENGTH
            far = paged and (target ^ made.pc) >> 12
            holes = {"target": target, "site": record}
            stub = self.translation.stub("far" if far else "link", holes, address)
            stubs += stub.ljust((len(stub) + 7) & ~7, b"\xcc")
            if not far and name in sites:
                exit_record = tables.record(record)
                exit_record.set(ExitRecord.SITE, base + sites[name])
                exit_record.set(ExitRecord.TARGET, target)
                exit_record.set(ExitRecord.STUB, address)
                exit_record.set(ExitRecord.LINKED, 0)
                linked += 1
        made.set(BlockRecord.EXIT_COUNT, linked)
        return place(region.blob, base, symbols).ljust(size, b"\xcc") + stubs

    def note_region(
        self, made: Record, covered: list[tuple[int, int]], processor: Processor
    ) -> None:
        """Register a region with the pages it was made from."""
        pages: dict[int, tuple[int, int]] = {}
        for pc, size in covered:
            start = made.physical & -PAGE | pc % PAGE if processor.paged else pc
            for number in range(start // PAGE, (start + size - 1) // PAGE + 1):
                low, high = pages.get(number, (PAGE, 0))
                first, last = start - number * PAGE, start + size - number * PAGE
                first, last = max(first, 0), min(last, PAGE)
                pages[number] = (min(low, first), max(high, last))
                mask = (1 << (last + 1) // 2) - (1 << first // 2)
                self.lifted[number] = self.lifted.get(number, 0) | mask
        for number, (low, high) in pages.items():
            processor.note_page(number, made.address, low, high)


class Processor:
    """One guest processor: its state, and the loop around its translated code."""

    paged = False
    """System mode."""

    def __init__(self, space: CodeSpace) -> None:
        self.space = space
        self.state = StateView(space.guest.target.layout)
        state, at = self.state, self.state.at
        self._pc = at["pc"]
        self._request = at["exit_request"]
        self._in_call = at["in_call"]
        symbols = space.symbols
        for name in ("dispatch", "look", "link", "crossed", "plain", "exit", "system_call"):
            state[name] = symbols.get(name, 0)
        for name, index in space.translation.functions.items():
            state.words[at["functions"] + index] = symbols["kept." + name]
        state["guest_mxcsr"] = 0x1F80
        state["host_clock"] = foreign.pointer_in(libc.clock_gettime)
        state["code"] = space.tables.control.address
        state["paged"] = int(self.paged)
        state["leave_at"] = foreign.addressof(space.arena.leave)
        state["heat"] = space.heat.address
        state["heat_mask"] = (1 << HEAT_BITS) - 1
        call = foreign.CFUNCTYPE(foreign.c_uint64, foreign.c_void_p, foreign.c_void_p)
        self._enter = call(symbols["enter"])
        self._dispatch = symbols["dispatch"]
        self._natives: dict[str, Callable[..., int]] = {}
        self.forget_jumps()
        self.hot: Callable[[Processor], None] = lambda processor: None
        """Called when the block at pc has become hot."""
        self.known: Callable[[Processor], None] = lambda processor: None
        """Called when a block was made at pc where the cache has a region."""
        self.requested: Callable[[Processor], None] = lambda processor: None
        """Called when the engine itself has asked to look around."""
        self.made: Callable[[Processor], None] = lambda processor: None
        """Called when a block was made, if the space is watched."""
        self.running = False
        self.inside = False
        """In native code, or about to be."""
        self.paused = False
        """It must not enter native code; whoever paused it holds the gate."""
        self.gate = _thread.allocate_lock()
        self.kicked = False
        space.processors.append(self)

    def native(self, name: str, *words: int) -> int:
        """Call a native function (from the thread that runs this processor)."""
        call = self._natives.get(name)
        if call is None:
            kinds = [foreign.c_void_p] + [foreign.c_uint64] * len(words)
            call = foreign.CFUNCTYPE(foreign.c_uint64, *kinds)(self.space.symbols["native." + name])
            self._natives[name] = call
        return call(self.state.address, *words)

    def forget_jumps(self) -> None:
        """Empty the jump cache, from any thread."""
        self.native("empty_jump_cache")

    @property
    def pc(self) -> int:
        """The guest's program counter (exact when native code has been left)."""
        return self.state.words[self._pc]

    @pc.setter
    def pc(self, value: int) -> None:
        self.state.words[self._pc] = value

    def kick(self) -> None:
        """Make ``run`` return soon, from any thread."""
        self.kicked = True
        self.request(REQUEST_ENGINE)

    def kick_inside(self) -> None:
        """Have ``requested`` called soon, from any thread."""
        self.request(REQUEST_ENGINE)

    def request(self, what: int) -> None:
        """Ask native code to look around, from any thread."""
        self.state.words[self._request] |= what
        if what != REQUEST_SAMPLE:
            self.space.arena.leave.value = what

    @property
    def asked(self) -> bool:
        """It has been asked for more than a sample, and has not looked around yet."""
        return self.state.words[self._request] & ~REQUEST_SAMPLE != 0

    @property
    def in_call(self) -> bool:
        """In a system call that native code has made, perhaps waiting."""
        return self.state.words[self._in_call] != 0

    def run(self) -> int:
        """Run until something is not the engine's business; the exit reason."""
        self.running = True
        try:
            return self._run()
        finally:
            self.running = False

    def pause(self) -> None:
        """From another thread: see to it that this processor is out of translated code."""
        self.gate.acquire()
        self.paused = True
        self.native("hold")
        self.request(REQUEST_ENGINE)
        while self.inside and not self.in_call:
            time.sleep(0.0001)
            self.request(REQUEST_ENGINE)  # the native side may have overwritten the first

    def resume(self) -> None:
        """After pause."""
        self.paused = False
        self.state["held"] = 0
        self.gate.release()

    def _run(self) -> int:
        enter, address = self._enter, self.state.address
        code = self._dispatch
        while True:
            self.inside = True
            if self.paused:
                self.inside = False
                with self.gate:
                    continue
            reason = enter(address, code)
            self.inside = False
            code = self._dispatch
            if reason == EXIT_PAGE:
                self.add_page(self.state["wanted_page"])
            elif reason == EXIT_ENTER:
                code = self._entering()
            elif reason == EXIT_HOT:
                self.hot(self)
            elif reason == EXIT_KNOWN:
                self.known(self)
            elif reason == EXIT_REQUESTED and not self.kicked:
                self.requested(self)
            elif reason in (EXIT_MADE, EXIT_FULL, EXIT_BUSY, EXIT_CONTEXT, EXIT_UNBUILT):
                self._serve(reason)
            else:
                self.kicked = False
                return reason

    def _serve(self, reason: int) -> None:
        space = self.space
        if reason == EXIT_CONTEXT:
            space.make_context(self.state["ctx"])
        elif reason == EXIT_MADE:
            self._trace()
            self.made(self)
        elif reason == EXIT_BUSY:
            time.sleep(0.0001)
        elif reason == EXIT_UNBUILT:
            self._build()
        else:
            self.make_room()

    def make_room(self) -> None:
        """There is no room for another block."""
        with self.space.lock:
            self.space.flush()

    def _build(self) -> None:
        """Have the stencils built that the instruction at pc lacks, and go on."""
        space, index = self.space, self.state["unbuilt"]
        made = space.build(index)
        with space.changing(self):
            space.add_stencils(index, made)
            physical = self.physical(self.pc)
            start = physical % PAGE
            self.native("forget_range", physical // PAGE, start, start + 1)
            space.forget_jumps()

    def physical(self, pc: int) -> int:
        """What the code at a pc that is mapped is known by."""
        return self.space.guest.address_of(pc)

    def _entering(self) -> int:
        record = self.space.tables.record(self.state["made"])
        if self.space.tracer is not None:
            self.space.tracer.entering(record, self.state)
        return record.entry

    def _trace(self) -> None:
        record = self.space.tables.record(self.state["made"])
        host = self.space.arena.read(record.code, record.host_size)
        tracer, on_code = self.space.tracer, self.space.on_code
        if tracer is not None or on_code is not None:
            places, code = self.space.tables.pieces(record), self.guest_bytes(record)
            if tracer is not None:
                tracer.translated(record, code, host, self.state["ctx"], places)
            if on_code is not None:
                on_code(record, code, places)

    def add_page(self, number: int) -> None:
        """Make a page of guest code known to native code."""
        raise NotImplementedError

    def guard(self, covered: list[tuple[int, int]]) -> bool:
        """Make sure that changes of guest code, (pc, bytes), are noticed; False: impossible.

        Code that was guarded may have been changed since: ``guarded`` tells.
        """
        return True

    def guarded(self, covered: list[tuple[int, int]]) -> bool:
        """Changes of this guest code are noticed."""
        return True

    def guest_bytes(self, record: Record) -> bytes:
        """The guest code that a block was made from."""
        raise NotImplementedError

    def find(self, pc: int) -> Record | None:
        """The block at a pc that is mapped, if there is one."""
        raise NotImplementedError

    def record_at(self, tag: int, physical: int) -> Record | None:
        """The block with this tag and physical address."""
        address = self.native("table_find", tag, physical)
        return self.space.tables.record(address) if address else None

    def note_page(self, number: int, record: int, low: int, high: int) -> None:
        """Bytes [low, high) of a page of code made a region."""
        self.native("page_note", number, record, low, high)
