"""The calls that only ARM has (ARM_NR in asm/unistd.h), and those that it has not."""

from __future__ import annotations

from jitemu.user.signals import Item, fault_info
from jitemu.user.syscalls.system import absent
from jitemu.user.syscalls.table import handles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jitemu.user.thread import GuestThread

_SIGTRAP, _TRAP_BRKPT = 5, 1


@handles("breakpoint - 983041 -")
def breakpoint_(thread: GuestThread) -> None:
    """As the instruction."""
    number = _SIGTRAP
    thread.force(Item(number, fault_info(number, _TRAP_BRKPT, thread.cpu.address)))


@handles("cacheflush - 983042 - ptr ptr hex")
def cacheflush(thread: GuestThread, start: int, end: int, flags: int) -> int:
    """The guest wrote code."""
    if flags or end < start:
        raise ValueError
    if start < end:
        thread.cpu.invalidate(start, end - start)
    return 0


def _nothing(thread: GuestThread, *_arguments: int) -> int:
    """There are no 26-bit addresses."""
    return 0


handles("usr26 - 983043 -")(_nothing)
handles("usr32 - 983044 -")(_nothing)


@handles("set_tls - 983045 - ptr")
def set_tls(thread: GuestThread, value: int) -> int:
    """The thread pointer."""
    thread.abi.set_tls(thread.cpu, value)
    return 0


@handles("get_tls - 983046 -")
def get_tls(thread: GuestThread) -> int:
    """The thread pointer."""
    cpu: Any = thread.cpu
    return int(cpu.tls)


@handles("sigreturn - 119 -")
def sigreturn(thread: GuestThread) -> None:
    """Back from a handler that got no siginfo."""
    thread.sigreturn(queued=False)


for _row in (
    "set_robust_list - 338 - ptr size",
    "get_robust_list - 339 - int ptr ptr",
    "io_setup - 243 - uint ptr",
    "io_destroy - 244 - hex",
    "io_getevents - 245 - hex int int ptr ptr",
    "io_submit - 246 - hex int ptr",
    "io_cancel - 247 - hex ptr ptr",
    "mbind - 319 - ptr size int ptr int hex",
    "get_mempolicy - 320 - ptr ptr int ptr hex",
    "set_mempolicy - 321 - int ptr int",
    "move_pages - 344 - int size ptr ptr ptr hex",
    "process_vm_readv - 376 - int ptr int ptr int hex",
    "process_vm_writev - 377 - int ptr int ptr int hex",
    "migrate_pages - 400 - int int ptr ptr",
    "pidfd_send_signal - 424 - fd signal ptr hex",
    "io_uring_setup - 425 - uint ptr",
    "io_uring_enter - 426 - fd uint uint hex ptr size",
    "io_uring_register - 427 - fd uint ptr uint",
    "futex_waitv - 449 - ptr uint hex ptr clock",
):
    handles(_row)(absent)
