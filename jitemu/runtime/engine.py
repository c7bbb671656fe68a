"""The engine: runs translated code, makes blocks when they are missing, links them."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from jitemu.backend_llvm.objects import place
from jitemu.backend_llvm.regions import Region
from jitemu.backend_llvm.stencilset import StencilSet
from jitemu.ir.state import JUMP_CACHE_ENTRIES
from jitemu.runtime.arena import Arena, libc
from jitemu.runtime.blocks import Block, BlockTable
from jitemu.runtime.guest import Guest
from jitemu.runtime.lookup import (
    EXIT_HOT,
    EXIT_LINK,
    EXIT_REQUESTED,
    EXIT_TRANSLATE,
    REQUEST_ENGINE,
)
from jitemu.runtime.stateview import StateView
from jitemu.runtime.tracing import Tracer
from jitemu.runtime.translator import Translator

HEAT_BITS = 12


class CodeSpace:
    """Translated code and its tables: shared by the processors of one address space."""

    def __init__(self, guest: Guest, stencils: StencilSet) -> None:
        self.guest = guest
        self.lock = threading.RLock()
        self.arena = Arena()
        self.stencils = stencils
        self.translator = Translator(guest, stencils, self.arena)
        self.table = BlockTable()
        self.blocks: dict[tuple[int, int], Block] = {}
        """(tag, physical pc) -> block."""
        self.sites: dict[int, Block] = {}
        """Link site -> the block it is in."""
        self.heat = (ctypes.c_uint64 * (2 << HEAT_BITS))()
        self.processors: list[Processor] = []
        self.flushes = 0
        self.tracer: Tracer | None = None
        self.chain = True
        """Blocks may go straight to each other; otherwise the engine sees every entry."""
        self._place_library()

    def _place_library(self) -> None:
        library = self.stencils.library
        base = self.arena.next_address
        self.arena.append(place(library, base, {}))
        self.arena.floor = self.arena.used
        self.symbols = {name: base + offset for name, offset in library.symbols.items()}

    def insert(self, block: Block) -> None:
        """Make a new block known."""
        self.blocks[block.tag, block.physical] = block
        if not self.chain:
            return
        self.table.insert(block.tag, block.physical, block.entry)
        self.add_sites(block)

    def link(self, site: int, block: Block) -> None:
        """Let a direct exit jump straight to a block."""
        if site in self.sites and self.chain:
            self.arena.patch32(site, block.entry - site - 4)
            block.incoming.add(site)

    def install(self, region: Region, head: Block) -> None:
        """Put a compiled region into the arena and let it take over its head's entry."""
        base = self.arena.next_address
        made = Block(head.pc, head.tag, head.physical, 0, base)
        made.covered = region.covered
        size = (len(region.blob.code) + 15) & ~15
        stubs = bytearray()
        symbols: dict[str, int] = {}
        for number, target in enumerate(region.exits):
            address = base + size + len(stubs)
            symbols[f"exit.{number}"] = address
            name = self.translator.stub_name(target, head.pc)
            for offset, _, symbol, _ in region.blob.relocations:
                if symbol == f"exit.{number}":
                    made.exits[base + offset] = (target, address)
                    holes = {"site": base + offset, "reason": EXIT_LINK}
                    stubs += self.translator.stub(name, holes, target, address)
                    break
            if name != "link":
                made.exits = {s: e for s, e in made.exits.items() if e[1] != address}
        if not self.arena.room(size + len(stubs)):
            return
        code = place(region.blob, base, symbols)
        self.arena.append(code.ljust(size, b"\xcc") + stubs)
        made.head, head.region = head, made
        self.add_sites(made)
        self.redirect(head, base)

    def add_sites(self, block: Block) -> None:
        """Make the direct exits of new code known."""
        for site in block.exits:
            self.sites[site] = block

    def redirect(self, block: Block, entry: int) -> None:
        """Let everyone who enters a block go to other code (a region) instead."""
        block.entry = entry
        self.table.change(block.tag, block.physical, entry)
        for site in block.incoming:
            self.arena.patch32(site, entry - site - 4)
        self.forget_jumps()

    def remove(self, block: Block) -> None:
        """Forget a block or a region whose guest code changed."""
        if block.head is not None:
            block.head.region = None
            self.redirect(block.head, block.head.code)
        else:
            self.blocks.pop((block.tag, block.physical), None)
            self.table.change(block.tag, block.physical, None)
            if block.region is not None:
                self.remove(block.region)
        for site in block.incoming:
            owner = self.sites.get(site)
            if owner is not None:
                self.arena.patch32(site, owner.exits[site][1] - site - 4)
        for site in block.exits:
            self.sites.pop(site, None)
        self.forget_jumps()

    def forget_jumps(self) -> None:
        """Empty every processor's jump cache."""
        for processor in self.processors:
            processor.forget_jumps()

    def flush(self) -> None:
        """Forget all blocks (the arena is full).  No processor may be in native code."""
        self.flushes += 1
        self.arena.flush()
        self.table.clear()
        self.blocks.clear()
        self.sites.clear()
        self.forget_jumps()


class Processor:
    """One guest processor: its state, and the loop around its translated code."""

    def __init__(self, space: CodeSpace) -> None:
        self.space = space
        self.state = StateView(space.guest.target.layout)
        words, at = self.state.words, self.state.at
        self._pc = at["pc"]
        self._site = at["link_site"]
        self._request = at["exit_request"]
        symbols = space.symbols
        for name in ("dispatch", "look", "exit"):
            self.state[name] = symbols[name]
        for name, index in space.guest.target.functions.items():
            words[at["functions"] + index] = symbols[name]
        self.state["guest_mxcsr"] = 0x1F80
        self.state["host_clock"] = ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value or 0
        self.state["blocks"] = space.table.address
        self.state["blocks_mask"] = space.table.mask
        self.state["heat"] = ctypes.addressof(space.heat)
        self.state["heat_mask"] = (1 << HEAT_BITS) - 1
        self.forget_jumps()
        enter = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p)
        self._enter = enter(symbols["enter"])
        self._dispatch = symbols["dispatch"]
        self.hot: Callable[[Processor], None] = lambda processor: None
        """Called when the block at pc has become hot."""
        self.requested: Callable[[Processor], None] = lambda processor: None
        """Called when the engine itself has asked to look around."""
        self.running = False
        self.kicked = False
        space.processors.append(self)

    def forget_jumps(self) -> None:
        """Empty the jump cache."""
        at = self.state.layout.of("jump_cache")
        ctypes.memset(self.state.address + at, 0xFF, JUMP_CACHE_ENTRIES * 16)

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

    def request(self, what: int) -> None:
        """Ask native code to look around, from any thread."""
        self.state.words[self._request] |= what

    def run(self) -> int:
        """Run until something is not the engine's business; the exit reason."""
        self.running = True
        try:
            return self._run()
        finally:
            self.running = False

    def _run(self) -> int:
        enter, address = self._enter, self.state.address
        words, pc, site = self.state.words, self._pc, self._site
        code = self._dispatch
        while True:
            reason = enter(address, code)
            if reason == EXIT_LINK:
                code = self._enter_at(self._follow(words[site], words[pc]))
            elif reason == EXIT_TRANSLATE:
                code = self._enter_at(self.block_at(words[pc]))
            elif reason == EXIT_HOT:
                self.hot(self)
                code = self._dispatch
            elif reason == EXIT_REQUESTED and not self.kicked:
                self.requested(self)
                code = self._dispatch
            else:
                self.kicked = False
                return reason

    def _enter_at(self, block: Block) -> int:
        tracer = self.space.tracer
        if tracer is not None and tracer.each_entry:
            tracer.entering(block, self.state)
        return block.entry

    def _follow(self, site: int, pc: int) -> Block:
        with self.space.lock:
            flushes = self.space.flushes
            block = self.block_at(pc)
            if flushes == self.space.flushes:
                self.space.link(site, block)
            return block

    def key_of(self, pc: int) -> tuple[int, int]:
        """(tag, physical address) that a block at this pc has."""
        raise NotImplementedError

    def block_at(self, pc: int) -> Block:
        """The block at a pc, translated if it is not there yet."""
        space = self.space
        with space.lock:
            key = self.key_of(pc)
            block = space.blocks.get(key)
            if block is not None:
                return block
            ctx = self.state["ctx"]
            code = self.fetch_code(pc, key[1])
            block = space.translator.translate(pc, key[0], key[1], ctx, code)
            if block is None or space.table.full:
                space.flush()
                block = space.translator.translate(pc, key[0], key[1], ctx, code)
                assert block is not None, "a block larger than the arena"
            space.insert(block)
            if space.tracer is not None:
                self._trace(space.tracer, block, code, ctx)
            return block

    def _trace(self, tracer: Tracer, block: Block, code: bytes, ctx: int) -> None:
        arena = self.space.arena
        host = arena.read(block.code, arena.next_address - block.code)
        starts = self.space.translator.positions(block.pc, ctx, code)
        tracer.translated(block, code[: block.size], host, starts, ctx)

    def fetch_code(self, pc: int, physical: int) -> bytes:
        """Guest code from a pc to the end of its page (two bytes more if one crosses)."""
        raise NotImplementedError


__all__ = ["EXIT_REQUESTED", "CodeSpace", "Processor"]
