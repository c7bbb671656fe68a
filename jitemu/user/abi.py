"""What differs between the guests of Linux user mode: each is a class that declares it."""

from __future__ import annotations

from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar

    from jitemu.user.cpu import GuestCpu
    from jitemu.user.memory import GuestSpace
    from jitemu.user.process import Process
    from jitemu.user.run import UserConfig
    from jitemu.user.signals import Action, Item
    from jitemu.user.syscalls.table import Row
    from jitemu.user.thread import GuestThread

AltStack = tuple[int, int, int]
"""Of sigaltstack: sp, flags, size."""


class Abi:
    """A guest's binary interface to Linux."""

    name: ClassVar[str]
    """Of the command user-NAME and of the column in the table of system calls."""
    machine: str
    """uname's."""
    elf_class: ClassVar[int]
    elf_machine: ClassVar[int]
    word: ClassVar[int]
    """Bytes of a pointer and of C's long."""
    number: ClassVar[int]
    """The register with a system call's number."""
    arguments: ClassVar[tuple[int, ...]]
    """The registers with its arguments; the first gets the result."""
    sp: ClassVar[int]
    calls: ClassVar[tuple[str, ...]] = ()
    """Modules of system calls that no other guest has."""
    sigaction: ClassVar[Struct]
    """handler, flags, (restorer,) mask."""
    stack: ClassVar[Struct]
    """stack_t: sp, flags, size."""
    program_base: ClassVar[int]
    """Where position-independent programs go, with room above for their brk area."""

    def make_space(self, config: UserConfig) -> GuestSpace:
        """The guest's address space, empty."""
        raise NotImplementedError

    def make_cpu(self, config: UserConfig, space: GuestSpace) -> GuestCpu:
        """The first thread's processor."""
        raise NotImplementedError

    def start(self, cpu: GuestCpu, pc: int, sp: int) -> None:
        """The program begins."""
        cpu.pc = pc
        cpu.set_gpr(self.sp, sp)

    def capabilities(self) -> list[tuple[int, int | bytes]]:
        """Entries of the auxiliary vector that tell of the processor."""
        raise NotImplementedError

    def map_helpers(self, process: Process) -> None:
        """Map the kernel's own code in the guest's address space."""
        raise NotImplementedError

    def fetch(self, cpu: GuestCpu, kinds: tuple[str, ...]) -> Callable[[], tuple[int, ...]]:
        """What gives a system call's arguments, as the host understands them but for pointers."""
        raise NotImplementedError

    def passing(self, thread: GuestThread, row: Row) -> Callable[..., int] | None:
        """A handler for a row that the host serves once pointers and structures are converted;
        None where nothing has to be."""
        return None

    def native_call(self, row: Row) -> int:
        """How native code makes a call without a handler (runtime/system_calls.py); 0: not."""
        raise NotImplementedError

    def open_flags(self, flags: int) -> int:
        """The host's flags of open(2) for the guest's."""
        return flags

    def siginfo(self, info: bytes) -> bytes:
        """The guest's siginfo for the host's."""
        return info.ljust(128, b"\0")

    def host_siginfo(self, info: bytes) -> bytes:
        """The host's for the guest's."""
        return info

    def set_tls(self, cpu: GuestCpu, value: int) -> None:
        """The thread pointer."""
        raise NotImplementedError

    def enter_handler(
        self, thread: GuestThread, item: Item, action: Action, sp: int, mask: int, stack: AltStack
    ) -> None:
        """Store a signal frame below sp and go on at the handler; GuestFault without room."""
        raise NotImplementedError

    def leave_handler(self, cpu: GuestCpu, queued: bool) -> tuple[int, AltStack | None]:
        """Load all from the frame at sp: the signal mask and alternate stack it holds.

        ``queued``: rt_sigreturn's frame, not sigreturn's.
        """
        raise NotImplementedError


def abi_named(name: str, config: UserConfig) -> Abi:
    """The guest of this name."""
    from jitemu.light import import_module

    abi: Abi = import_module(f"jitemu.user.{name}").make_abi(config)
    return abi
