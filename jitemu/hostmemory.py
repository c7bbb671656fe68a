"""Memory of the host's that Python's mmap cannot give: at an address, or without a descriptor
that stays open, which a guest would see."""

from __future__ import annotations

from jitemu import foreign

libc = foreign.load_libc()
libc.mmap.restype = foreign.c_void_p
libc.mmap.argtypes = [foreign.c_void_p, foreign.c_size_t, *[foreign.c_int] * 3, foreign.c_long]


def map_memory(address: int | None, size: int, protection: int, flags: int, fd: int = -1) -> int:
    """mmap(2)'s address, or 0 where the system refuses."""
    got = libc.mmap(address, size, protection, flags, fd, 0)
    return 0 if got in (None, 2**64 - 1) else got


def view_of(address: int, size: int) -> memoryview:
    """The bytes there, writable."""
    return memoryview((foreign.c_ubyte * size).from_address(address)).cast("B")
