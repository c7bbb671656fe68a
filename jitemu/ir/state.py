"""Where the words of a processor's state lie: declared as an annotated class.

``pc: int`` is one 64-bit word, ``x: Words[32]`` an array of them.  A subclass continues
its base, so that the runtime's own words have the same place for every guest.
"""

from __future__ import annotations

import sys


class Words:
    """An array of 64-bit words of the state (in annotations: ``x: Words[32]``)."""

    def __getitem__(self, index: int) -> int:
        raise NotImplementedError

    def __setitem__(self, index: int, value: int) -> None:
        raise NotImplementedError

    def __class_getitem__(cls, count: int) -> type[Words]:
        return cls


JUMP_CACHE_ENTRIES = 4096
JUMP_SAMPLES = 512
"""A power of two."""
TLB_ENTRIES = 512
TLB_MODES = 3
"""Data TLBs: one for each privilege whose rights an access can have (U, S, M)."""


CALLS = 512
"""System calls with smaller numbers can be served natively."""
EXIT_SYSCALL = 1
"""exit_reason: the instruction at pc is a system call (user mode)."""
EXIT_UNBUILT = 78
"""The stencil of the instruction at this pc has not been built yet."""
EXIT_COUNTED = 76
"""exit_reason: the budget of instructions is used up, before the one at pc."""


class RuntimeState:
    """The words every guest has, known to the engine, stencils and native functions."""

    exit_request: int
    """Not 0: look around at the next backward or indirect jump."""
    leave_at: int
    """Host address of the word that, not 0, has regions look around (they are not sampled)."""
    ctx_tag: int
    """What the translation context makes of an address, by xor: the tag of its code."""
    pc: int
    dispatch: int
    """Host address: go on at ``pc`` (registers pinned)."""
    look: int
    """Host address: an exit was requested; look around, then go on at ``pc``."""
    link: int
    """Host address: link ``link_site`` to the block at ``pc`` and go on there."""
    crossed: int
    """Host address: the page behind a crossing instruction at ``pc`` has moved."""
    plain: int
    """Host address: go on at ``pc`` in its block, not in the region that took it over."""
    exit: int
    """Host address: leave to the engine with ``exit_reason``."""
    system_call: int
    """Host address: the instruction at ``pc`` is a system call; serve it, or leave to the engine
    (user mode)."""
    exit_reason: int
    trapped: int
    """A native function raised an exception: go on at ``pc`` (in user mode it is the exit
    reason if the operating system has to know)."""
    unbuilt: int
    """With EXIT_UNBUILT: the table index of the instruction."""
    budget: int
    """With -icount: instructions to execute before leaving to the engine."""
    functions: Words[128]
    """Host addresses of the native functions, in the order of the native library."""
    ctx: int
    """Translation context: what else than its bytes decides a block's meaning."""
    ctx_secret: int
    """Times ctx, it is ctx_tag in system mode.  Random, so that a guest cannot jump to an
    address whose tag is that of another context's code; even, as tags are."""
    host_stack: int
    """Stack pointer at the entry from the engine (the fault handler returns there)."""
    host_mxcsr: int
    guest_mxcsr: int
    guest_base: int
    """Host address of guest address 0 (user mode)."""
    fault_address: int
    fault_host_pc: int
    fault_signal: int
    fault_code: int
    pending_signals: int
    call_arguments: int
    """Host address of the registers with a system call's arguments; its number is in the one
    behind the seventh (user mode)."""
    call_result: int
    """With EXIT_CALLED: what the host has returned."""
    in_call: int
    """1: in a system call, and not back in translated code while ``held``."""
    held: int
    """1: do not go on in translated code after a system call."""
    code: int
    """Host address of the control block (runtime/codetable.py)."""
    paged: int
    """1 in system mode: code is found by physical page, exits cross pages by look-up."""
    made: int
    """Record of the block that the engine is left for."""
    wanted_page: int
    """Number of the page that find_block wants to know."""
    heat: int
    """Host address of the heat table: (tag, count) pairs."""
    heat_mask: int
    hot_threshold: int
    jump_from: int
    """Guest address of the indirect jump that looks around, or 0."""
    jump_count: int
    """Jumps sampled, ever."""
    link_site: int
    """Record of the exit that wants to be linked to the block at ``pc``."""
    fetch_physical: int
    """Physical address of pc, from the last look-up."""
    ram_base: int
    ram_size: int
    ram_host: int
    """Host address of guest RAM's first byte."""
    code_pages: int
    """Host address of one word a RAM page: bit n set if bytes 64n..64n+63 hold code."""
    mmio_read: int
    """C function (address, size) -> value; ``mmio_failed`` tells of a bus error."""
    mmio_write: int
    mmio_failed: int
    code_write: int
    """C function (physical address, size): a store hit translated code."""
    timer_notify: int
    """C function (deadline in guest ticks): the next timer interrupt changed."""
    host_clock: int
    """C function clock_gettime."""
    clock_epoch: int
    """Host monotonic nanoseconds at guest time 0."""
    clock_buffer: Words[2]
    counting: int
    """1 with -icount: time passes with the instructions that are executed."""
    count_end: int
    """The number of instructions executed when the budget is used up."""
    count_shift: int
    """An instruction takes 1 << count_shift nanoseconds."""
    idle_ns: int
    """Time that passed besides, while the guest waited."""
    operands: Words[8]
    """Of native functions in rare ways: arguments, then the result.  A function whose result
    has 128 bits writes the upper half to the second word itself."""
    scratch: Words[8]
    """The pinned registers at the accesses of a region that must be exact."""
    signal_mask: int
    """The guest's (user mode)."""
    caught: int
    """The set that the host blocks besides."""
    host_mask: int
    """What the host blocks for this thread."""
    signals_queued: int
    """1: there may be signals that the mask keeps back."""
    calls: Words[CALLS]
    """Of the system calls that native code serves, by the guest's number: see
    runtime/system_calls.py; 0: left to the engine."""
    jump_samples: Words[2 * JUMP_SAMPLES]
    """The last indirect jumps that were sampled: (from, to) pairs."""
    jump_cache: Words[2 * JUMP_CACHE_ENTRIES]
    """(pc xor ctx_tag, host address) pairs, grouped by page."""
    tlb: Words[4 * TLB_ENTRIES * TLB_MODES]
    """(read tag, write tag, host delta, fetch tag) for each entry of each mode's TLB."""


class RegisterClass:
    """Registers of one kind, held in the state array of the same name."""

    def __init__(
        self,
        name: str,
        count: int,
        zero: int | None = None,
        words: int = 0,
        bank: str = "",
        bits: int = 64,
    ) -> None:
        self.name = name
        self.count = count
        self.zero = zero
        """Index of the register that reads as zero and ignores writes."""
        self.words = words
        """So many of them, the first, hold 32 bits, zero-extended."""
        self.bank = bank or name
        """The state array that it is a view of: register n begins at bit n * bits."""
        self.bits = bits


class Layout:
    """Byte offsets of a state class's words."""

    def __init__(self) -> None:
        self.offsets: dict[str, int] = {}
        self.counts: dict[str, int] = {}
        self.size = 0

    def of(self, name: str, index: int = 0) -> int:
        """Byte offset of a word."""
        return self.offsets[name] + 8 * index


def layout_of(state: type) -> Layout:
    """Lay a state class out: the guest's own words first, the runtime's big tables last."""
    layout = Layout()
    late: list[tuple[str, int]] = []
    for cls in reversed(state.__mro__):
        for name, note in getattr(cls, "__annotations__", {}).items():
            count = _count(note, cls)
            if count > 256:
                late.append((name, count))
            else:
                _place(layout, name, count)
    layout.size = (layout.size + 63) & ~63
    for name, count in late:
        _place(layout, name, count)
    return layout


def _count(note: str, cls: type) -> int:
    if note == "int":
        return 1
    inner = note[note.index("[") + 1 : note.rindex("]")]
    scope = vars(sys.modules[cls.__module__])
    count = 1
    for part in inner.split("*"):
        count *= int(scope.get(part.strip(), part))
    return count


def _place(layout: Layout, name: str, count: int) -> None:
    layout.offsets[name] = layout.size
    layout.counts[name] = count
    layout.size += 8 * count
