"""Guest time: ticks of 100 ns (10 MHz) since the clock's epoch, as the time CSR shows it."""

from __future__ import annotations

from jitemu.ir.native import addressof, hostcall, native
from jitemu.ir.state import RuntimeState

CLOCK_MONOTONIC = 1
NANOSECONDS = 1_000_000_000
TICK_NS = 100


@native
def guest_nanoseconds(s: RuntimeState) -> int:
    """Nanoseconds since the epoch: the host's, or those of the instructions executed, the
    current one among them."""
    if s.counting:
        return (s.count_end - s.budget << s.count_shift) + s.idle_ns - s.clock_epoch
    hostcall(s.host_clock, CLOCK_MONOTONIC, addressof(s.clock_buffer))
    return s.clock_buffer[0] * NANOSECONDS + s.clock_buffer[1] - s.clock_epoch


@native
def guest_time(s: RuntimeState) -> int:
    """The time CSR."""
    return guest_nanoseconds(s) // TICK_NS
