"""Memory of the host's that Python's mmap cannot give: at an address, or without a descriptor
that stays open, which a guest would see."""

from __future__ import annotations

import ctypes

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


def map_memory(address: int | None, size: int, protection: int, flags: int, fd: int = -1) -> int:
    """mmap(2)'s address, or 0 where the system refuses."""
    got = libc.mmap(address, size, protection, flags, fd, 0)
    return 0 if got in (None, 2**64 - 1) else got


def view_of(address: int, size: int) -> memoryview:
    """The bytes there, writable."""
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
