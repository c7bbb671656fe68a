"""The code arena: memory for translated code."""

from __future__ import annotations

import mmap
import os

from jitemu import foreign
from jitemu.hostmemory import libc, map_memory, view_of

_CANDIDATES = (0x60000000, 0x50000000, 0x40000000, 0x30000000, 0x20000000)
"""Below 2 GiB, for the small code model; away from where programs are linked."""

_MAP_FIXED_NOREPLACE, _MAP_NORESERVE = 0x100000, 0x4000
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
_READ, _WRITE, _EXEC = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC

_SYS_ARCH_PRCTL, _ARCH_SET_GS = 158, 0x1001


def set_segment_base(address: int) -> None:
    """Where guest memory begins for the calling thread's translated code (x86-64's GS)."""
    if libc.syscall(_SYS_ARCH_PRCTL, _ARCH_SET_GS, foreign.c_uint64(address)):
        raise OSError(foreign.get_errno(), "arch_prctl")


class Arena:
    """Executable memory.  ``base`` is where code runs, ``view`` where it is written.

    A machine's is split: one memory mapped twice, so that no place is both writable and
    executable.  A program's is one private mapping, which a fork copies page by page and only
    where one of the two changes it; its guest may do whatever the host process may.
    """

    def __init__(self, split: bool, size: int = 128 << 20) -> None:
        self.size = size
        if split:
            fd = os.memfd_create("jitemu-code")
            os.ftruncate(fd, size)
            self.base = self._map_low(_READ | _EXEC, mmap.MAP_SHARED, fd)
            # Not through mmap.mmap, which keeps the descriptor: the guest would see it.
            self.writable: int = map_memory(None, size, _READ | _WRITE, mmap.MAP_SHARED, fd)
            os.close(fd)
            if not self.writable:
                raise OSError("no memory for translated code")
        else:
            self.base = self._map_low(_READ | _WRITE | _EXEC, _PRIVATE, -1)
            self.writable = self.base
        self.view = view_of(self.writable, size)
        self.leave = foreign.c_uint64.from_address(self._map_data())
        """A word that translated code reaches by a 32-bit distance."""

    def _map_low(self, protection: int, flags: int, fd: int) -> int:
        for address in _CANDIDATES:
            got = map_memory(address, self.size, protection, flags | _MAP_FIXED_NOREPLACE, fd)
            if got == address:
                return address
            if got:
                libc.munmap(foreign.c_void_p(got), foreign.c_size_t(self.size))
        raise OSError("no room below 2 GiB for translated code")

    def _map_data(self) -> int:
        """A page of plain memory behind the code."""
        address = self.base + self.size
        flags = _PRIVATE | _MAP_FIXED_NOREPLACE
        if map_memory(address, mmap.PAGESIZE, _READ | _WRITE, flags, -1) != address:
            raise OSError("no room behind translated code")
        return address

    def write(self, address: int, code: bytes | bytearray) -> None:
        """Put code at an executable address."""
        at = address - self.base
        self.view[at : at + len(code)] = code

    def read(self, address: int, size: int) -> bytes:
        """Bytes of code."""
        at = address - self.base
        return bytes(self.view[at : at + size])
