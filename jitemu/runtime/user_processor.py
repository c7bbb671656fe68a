"""A guest processor in Linux user mode: guest addresses are host addresses, but for a base."""

from __future__ import annotations

import time

from jitemu import foreign
from jitemu.hostmemory import libc, view_of
from jitemu.runtime import faults
from jitemu.runtime.arena import set_segment_base
from jitemu.runtime.engine import CodeSpace, Processor
from jitemu.runtime.exits import EXIT_FAULT, EXIT_WRITTEN
from jitemu.runtime.guest import Guest
from jitemu.runtime.layouts import FLAG_SHARED, BlockRecord, Control
from jitemu.runtime.profile import pages_of
from jitemu.runtime.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Protocol

    from jitemu.runtime.setup import Translation
else:
    import _signal as signal

    Protocol = object

PAGE = 4096
_SEGV_MAPERR, _SEGV_ACCERR = 1, 2
_PROT_READ, _PROT_WRITE = 1, 2


class NoCode(Exception):
    """The pc is not in executable guest memory."""


class GuestMemory(Protocol):
    """What translation asks of the guest's mappings."""

    base: int
    """Host address of guest address 0."""

    def code_size(self, pc: int) -> int:
        """Bytes of executable memory from pc on."""
        ...

    def mapped(self, address: int) -> bool:
        """There is memory of the guest's."""
        ...

    def writable(self, address: int) -> bool:
        """The guest may write there."""
        ...

    def shared(self, address: int) -> bool:
        """Others may write there, or the guest at another address."""
        ...


class _Changing:
    """Holds the space's lock and the one that native code takes."""

    def __init__(self, space: UserSpace, processor: Processor) -> None:
        self._space = space
        self._processor = processor

    def __enter__(self) -> None:
        self._space.lock.acquire()
        while not self._processor.native("lock_code"):
            time.sleep(0.0001)

    def __exit__(self, *_: object) -> None:
        self._space.tables.set(Control.LOCK, 0)
        self._space.lock.release()


class UserSpace(CodeSpace):
    """Translated code of one process, with the pages it was made from."""

    split_arena = False

    def __init__(self, guest: Guest, translation: Translation, memory: GuestMemory) -> None:
        super().__init__(guest, translation)
        self.memory = memory
        for number in range(guest.contexts):
            self.make_context(number)
        self.pages: set[int] = set()
        """Pages that native code knows."""
        self.guarded: set[int] = set()
        """Pages made read-only because they hold translated code the guest could change."""
        self.shared: dict[int, bytes] = {}
        """What pages held that may change without a fault: they are looked at by a fence."""
        self.on_page: Callable[[int], None] = lambda number: None
        """Called when a page has become known."""
        self.exact = False
        """Regions have the guest's registers in the state at each access to memory."""

    def share(self) -> None:
        """From now on several host threads run this code."""
        self.tables.set(Control.FLAGS, self.tables.get(Control.FLAGS) | FLAG_SHARED)

    def changing(self, processor: Processor) -> AbstractContextManager[object]:
        """Change the records, alone among all threads."""
        return _Changing(self, processor)

    def add_page(self, number: int, processor: UserProcessor) -> None:
        """Let native code translate from a page; what the guest could write is guarded."""
        address = number * PAGE
        if self.memory.code_size(address) < PAGE:
            raise NoCode
        with self.changing(processor):
            if self.memory.writable(address):
                self._protect(number, _PROT_READ)
                self.guarded.add(number)
            if self.memory.shared(address):
                self.shared[number] = self._page(number)
            self.pages.add(number)
            processor.native("page_add", number, self.memory.base + address)
            processor.native("page_guard", number, int(number in self.guarded))
        with self.lock:
            self.on_page(number)

    def _page(self, number: int) -> bytes:
        return view_of(self.memory.base + number * PAGE, PAGE).tobytes()

    def fence(self) -> None:
        """Code may have been written.  Pages that are guarded have seen every write; others
        are compared with what they were translated from."""
        if self.shared:
            with self.lock:
                for number, before in list(self.shared.items()):
                    if self._page(number) != before:
                        self.invalidate(number * PAGE, PAGE)

    def _protect(self, number: int, protection: int) -> None:
        page = foreign.c_void_p(self.memory.base + number * PAGE)
        libc.mprotect(page, foreign.c_size_t(PAGE), protection)

    def written(self, address: int) -> bool:
        """A write was denied: True if it may go on, the page having been guarded."""
        number = address // PAGE
        with self.lock:
            if number in self.guarded:
                self.invalidate(number * PAGE, PAGE)
                return True
        # Another thread may have taken the guard away since the fault.
        return self.memory.writable(address)

    def invalidate(self, start: int, size: int) -> None:
        """Forget the code made from the pages of these bytes."""
        first, last = start // PAGE, (start + size - 1) // PAGE
        if last - first < len(self.pages):
            numbers = [n for n in range(first, last + 1) if n in self.pages]
        else:
            numbers = [n for n in self.pages if first <= n <= last]
        if not numbers:
            return
        processor = self.own_processor()
        with self.changing(processor):
            for number in numbers:
                processor.native("forget_range", number, 0, PAGE)
                processor.native("page_add", number, 0)
                processor.native("page_guard", number, 0)
                self.pages.discard(number)
                self.shared.pop(number, None)
                self._unguard(number)
            self.forget_jumps()

    def forget_written(self) -> None:
        """Forget the code of guarded pages that regions have written to."""
        if not self.tables.get(Control.WRITTEN):
            return
        processor = self.own_processor()
        with self.lock:
            self.tables.set(Control.WRITTEN, 0)
            for number in list(self.guarded):
                if processor.native("page_guard", number, 1) == 2:
                    self.invalidate(number * PAGE, PAGE)

    def own_processor(self) -> UserProcessor:
        """A processor whose state native calls from this thread may use."""
        processor = self.processors[0]
        assert isinstance(processor, UserProcessor)
        return processor

    def _unguard(self, number: int) -> None:
        if number in self.guarded:
            self.guarded.discard(number)
            if self.memory.writable(number * PAGE):
                self._protect(number, _PROT_READ | _PROT_WRITE)

    def flush(self) -> None:
        super().flush()
        for number in list(self.guarded):
            self._unguard(number)
        self.pages.clear()
        self.shared.clear()
        for processor in self.processors:
            assert isinstance(processor, UserProcessor)
            processor.last_fault = None


class UserProcessor(Processor):
    """Runs a guest thread."""

    def __init__(self, space: UserSpace) -> None:
        super().__init__(space)
        self.user_space = space
        self.state["guest_base"] = space.memory.base
        self.fault_address = 0
        self.fault_signal = 0
        self.fault_code = 0
        self._stack: faults.SignalStack | None = None
        self.last_fault: Record | None = None
        """The block that faulted last, likely to do so again; forgotten ones have no code."""

    def adopt_thread(self) -> None:
        """Prepare the calling host thread to run this processor."""
        self._stack = faults.SignalStack(self.space.arena, self.state.address)
        if self.space.guest.target.based:
            set_segment_base(self.user_space.memory.base)
        faults.install(self.space.symbols["on_fault"])

    def add_page(self, number: int) -> None:
        self.user_space.add_page(number, self)

    def guard(self, covered: list[tuple[int, int]]) -> bool:
        try:
            for number in pages_of(covered):
                if number not in self.user_space.pages:
                    self.add_page(number)
        except NoCode:
            return False
        return True

    def guarded(self, covered: list[tuple[int, int]]) -> bool:
        return self.user_space.pages.issuperset(pages_of(covered))

    def guest_bytes(self, record: Record) -> bytes:
        return view_of(self.user_space.memory.base + record.physical, record.size).tobytes()

    def find(self, pc: int) -> Record | None:
        return self.record_at(pc ^ self.state["ctx_tag"], self.space.guest.address_of(pc))

    def make_room(self) -> None:
        """Flush, when no other thread can be in the code that goes away."""
        space = self.user_space
        with space.changing(self):
            others = [p for p in space.processors if p is not self]
            for other in others:
                other.pause()
            try:
                space.flush()
            finally:
                for other in others:
                    other.resume()

    def see_faults(self) -> None:
        """A handler of the guest's sees faults: regions are made again, exact ones."""
        if not self.user_space.exact:
            self.user_space.exact = True
            self.make_room()

    def run(self) -> int:
        """Run until the operating system is needed; the exit reason.

        EXIT_FAULT fills fault_address, fault_signal and fault_code.
        """
        if self._stack is None:
            self.adopt_thread()
        while True:
            try:
                reason = super().run()
            except NoCode:
                address = self.state["wanted_page"] * PAGE
                address = max(address, self.space.guest.address_of(self.pc))
                mapped = self.user_space.memory.mapped(address)
                self._fault(address, signal.SIGSEGV, _SEGV_ACCERR if mapped else _SEGV_MAPERR)
                return EXIT_FAULT
            self.user_space.forget_written()
            if reason == EXIT_WRITTEN or (reason == EXIT_FAULT and not self._faulted()):
                continue
            return reason

    def _fault(self, address: int, number: int, code: int) -> None:
        self.fault_address, self.fault_signal, self.fault_code = address, int(number), code

    def _faulted(self) -> bool:
        """A host fault in translated code: False if it was mended here."""
        state = self.state
        self._find_pc(state["fault_host_pc"])
        address = state["fault_address"] & self.space.guest.address_bits
        code = state["fault_code"]
        if code == _SEGV_ACCERR and self.user_space.written(address):
            return False
        if code == _SEGV_ACCERR and not self.user_space.memory.mapped(address):
            code = _SEGV_MAPERR  # reserved, not mapped
        self._fault(address, state["fault_signal"], code)
        return True

    def _find_pc(self, host_pc: int) -> None:
        """Set pc to the instruction that a host address belongs to."""
        record = self.last_fault
        if record is None or not record.code <= host_pc < record.code + record.host_size:
            found = self.native("block_at", host_pc)
            if not found:
                return
            record = self.last_fault = self.user_space.tables.record(found)
        if self.user_space.exact and record.word(BlockRecord.IS_REGION):
            words, x = self.state.words, self.state.at[self.space.guest.target.pinned_class]
            noted = self.state.at["scratch"]
            for number, index in enumerate(self.space.guest.target.pinned):
                words[x + index] = words[noted + number]
            return
        self.pc = self._instruction_at(record, host_pc - record.code)

    def _instruction_at(self, record: Record, offset: int) -> int:
        """The pc of the instruction whose hot code is at an offset in a block's."""
        space = self.user_space
        tables = space.tables
        with space.changing(self):
            keep = [tables.get(o) for o in (Control.NEXT, Control.POOL, Control.LIMIT)]
            pc = self.native("measure", record.address, offset)
            for at, value in zip((Control.NEXT, Control.POOL, Control.LIMIT), keep, strict=True):
                tables.set(at, value)
        return pc
