"""The code arena: one memory mapped twice, writable here and executable there."""

from __future__ import annotations

import ctypes
import mmap
import os

_CANDIDATES = (0x60000000, 0x50000000, 0x40000000, 0x30000000, 0x20000000)
"""Below 2 GiB, for the small code model; away from where programs are linked."""

_MAP_FIXED = 0x10
_MAP_FIXED_NOREPLACE = 0x100000

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]


_SYS_ARCH_PRCTL, _ARCH_SET_GS = 158, 0x1001


def set_segment_base(address: int) -> None:
    """Where guest memory begins for the calling thread's translated code (x86-64's GS)."""
    if libc.syscall(_SYS_ARCH_PRCTL, _ARCH_SET_GS, ctypes.c_uint64(address)):
        raise OSError(ctypes.get_errno(), "arch_prctl")


class Arena:
    """Executable memory.  ``base`` is where code runs, ``view`` where it is written."""

    def __init__(self, size: int = 128 << 20) -> None:
        self.size = size
        fd = self._map_writable()
        self.base = self._map_executable(fd, size)
        os.close(fd)
        self.leave = ctypes.c_uint64.from_address(self._map_data())
        """A word that translated code reaches by a 32-bit distance."""

    def _map_data(self) -> int:
        """A page of plain memory behind the code."""
        address = self.base + self.size
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED_NOREPLACE
        if libc.mmap(address, mmap.PAGESIZE, protection, flags, -1, 0) != address:
            raise OSError("no room behind translated code")
        return address

    def _map_writable(self) -> int:
        fd = os.memfd_create("jitemu-code")
        os.ftruncate(fd, self.size)
        # Not through mmap.mmap, which keeps the descriptor: the guest would see it.
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address = libc.mmap(None, self.size, protection, mmap.MAP_SHARED, fd, 0)
        if address in (None, 2**64 - 1):
            raise OSError("no memory for translated code")
        self.writable: int = address
        """Host address of the writable mapping."""
        self.view = memoryview((ctypes.c_ubyte * self.size).from_address(address)).cast("B")
        return fd

    def separate(self, used: int) -> None:
        """In the child of a fork: a copy of its own, at the same address.

        The parent must not write meanwhile: both share the memory until this is done.
        """
        old, address = self.view, self.writable
        fd = self._map_writable()
        self.view[:used] = old[:used]
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(self.size))
        flags = mmap.MAP_SHARED | _MAP_FIXED
        libc.mmap(self.base, self.size, mmap.PROT_READ | mmap.PROT_EXEC, flags, fd, 0)
        os.close(fd)

    @staticmethod
    def _map_executable(fd: int, size: int) -> int:
        flags = mmap.MAP_SHARED | _MAP_FIXED_NOREPLACE
        for address in _CANDIDATES:
            got = libc.mmap(address, size, mmap.PROT_READ | mmap.PROT_EXEC, flags, fd, 0)
            if got == address:
                return address
            if got not in (None, 2**64 - 1):
                libc.munmap(ctypes.c_void_p(got), ctypes.c_size_t(size))
        raise OSError("no room below 2 GiB for translated code")

    def write(self, address: int, code: bytes | bytearray) -> None:
        """Put code at an executable address."""
        at = address - self.base
        self.view[at : at + len(code)] = code

    def read(self, address: int, size: int) -> bytes:
        """Bytes of code."""
        at = address - self.base
        return bytes(self.view[at : at + size])
