"""What a machine asks of its processor.  The engine's hart satisfies ``Hart``."""

from __future__ import annotations

from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from jitemu.memory.physical import PhysicalSpace
    from jitemu.trace import Log

    class Hart(Protocol):
        """One hardware thread.  Methods are called from the vCPU's own thread, with the
        exceptions that say "any thread"."""

        @property
        def pc(self) -> int: ...
        @pc.setter
        def pc(self, value: int) -> None: ...

        def run(self) -> HartExit:
            """Execute until there is something for the machine to do."""
            ...

        def kick(self) -> None:
            """Make ``run`` return INTERRUPTED soon, or the next one at once.  Any thread."""
            ...

        def set_interrupt(self, number: int, level: bool) -> None:
            """Drive the wire of a mip bit.  Any thread.  SEIP and STIP are ORed with what
            software (mip, stimecmp) says; SSIP has no wire: True sets the bit, which
            software clears, and False clears it."""
            ...

        def interrupt_pending(self) -> bool:
            """mip & mie is not zero, so WFI may end."""
            ...

        def next_timer_ns(self) -> int | None:
            """The monotonic time at which stimecmp is reached; None when it never is."""
            ...

        def set_time_epoch(self, epoch_ns: int) -> None:
            """The monotonic time at which the time CSR was 0.  Any thread."""
            ...

        on_timer_change: Callable[[int | None], None] | None
        """To be called with the new ``next_timer_ns`` when the guest changes stimecmp, so
        that a running hart is kicked when it is reached."""

        # With -icount only, in the hart's thread

        def count(self, shift: int) -> None:
            """Before the first instruction: count them, each 1 << shift ns of time."""
            ...

        @property
        def counted_ns(self) -> int:
            """Nanoseconds that passed.  Any thread, if not beside the two methods below."""
            ...

        def allot(self, instructions: int) -> None:
            """``run`` returns INTERRUPTED after so many more, if not before."""
            ...

        def pass_time(self, ns: int) -> None:
            """Have time pass without instructions."""
            ...

        def take_interrupt(self) -> None:
            """Between two instructions: trap to an interrupt that is pending and enabled."""
            ...

        def read_gpr(self, index: int) -> int: ...

        def write_gpr(self, index: int, value: int) -> None: ...

        def register(self, name: str) -> int | None:
            """A register's value by its name (pc, x10, a0, f1, ft1, satp...); None: no such."""
            ...

        def register_lines(self) -> list[str]:
            """All registers, as ``info registers`` shows them."""
            ...

        def use_log(self, log: Log) -> None:
            """Log what it wants of traps and TLB fills from now on."""
            ...

        def mapping_lines(self) -> list[str]:
            """What the page tables in use map, as ``info mem`` shows it."""
            ...

        def translate(self, address: int) -> int | None:
            """The physical address that a virtual one leads to now, whatever the rights."""
            ...

        def reset(self, pc: int) -> None:
            """The architecture's reset state: M mode at ``pc``, all translations forgotten."""
            ...

        def start_supervisor(self, pc: int, a0: int, a1: int) -> None:
            """From reset to S mode at ``pc`` with satp 0 and the delegations that OpenSBI
            makes; from here on an ecall from S mode ends ``run`` with SBI_ECALL."""
            ...

    class HartFactory(Protocol):
        def __call__(self, space: PhysicalSpace, hart_id: int) -> Hart: ...


class HartExit(IntEnum):
    """Why ``Hart.run`` returned."""

    INTERRUPTED = 0
    WFI = 1
    SBI_ECALL = 2
    SHUTDOWN = 3


# mip bits
SSIP, MSIP, STIP, MTIP, SEIP, MEIP = 1, 3, 5, 7, 9, 11
