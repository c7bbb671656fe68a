"""Memory: the calls that change the guest's mappings, and those that only advise."""

from __future__ import annotations

import errno
import os
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.user.hostcalls import host_call, host_pointer, signed32, write_guest
from jitemu.user.memory import MAP_ANONYMOUS
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
mlockall 230 152 151 hex
munlockall 231 153 152
mbind 235 - 237 ptr size int ptr int hex
get_mempolicy 236 - 239 ptr ptr int ptr hex
set_mempolicy 237 - 238 int ptr int
migrate_pages 238 - 256 int int ptr ptr
move_pages 239 - 279 int size ptr ptr ptr hex
process_vm_readv 270 - 310 int ptr int ptr int hex
process_vm_writev 271 - 311 int ptr int ptr int hex
membarrier 283 389 324 int hex int
""")

_SYS_MADVISE, _SYS_SHMCTL = 28, 31
_IPC_STAT = 2
_MADV_FOR_HOST = {0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25}


@handles("brk 214 45 12 brk")
def brk(thread: GuestThread, address: int) -> int:
    """brk(2)."""
    return thread.process.space.set_brk(address)


@handles("mmap 222 - 9 ptr size prot mmapflags fd hex")
def mmap(
    thread: GuestThread, address: int, length: int, prot: int, flags: int, fd: int, offset: int
) -> int:
    """mmap(2)."""
    label = ""
    if not flags & MAP_ANONYMOUS and prot & 4:
        # Symbols of mapped libraries are found by file name.
        try:
            label = os.readlink(f"/proc/self/fd/{signed32(fd)}")
        except OSError:
            label = ""
    process = thread.process
    result = process.space.mmap(address, length, prot, flags, fd, offset, label)
    if process.log.page:
        process.log.write_page("mmap", process.space.rights())
    return result


@handles("munmap 215 91 11 ptr size")
def munmap(thread: GuestThread, address: int, length: int) -> int:
    """munmap(2)."""
    return thread.process.space.munmap(address, length)


@handles("mprotect 226 125 10 ptr size prot")
def mprotect(thread: GuestThread, address: int, length: int, prot: int) -> int:
    """mprotect(2)."""
    return thread.process.space.mprotect(address, length, prot)


@handles("mremap 216 163 25 ptr size size hex ptr")
def mremap(thread: GuestThread, address: int, old: int, new: int, flags: int, target: int) -> int:
    """mremap(2)."""
    return thread.process.space.mremap(address, old, new, flags, target)


@handles("madvise 233 220 28 ptr size int")
def madvise(thread: GuestThread, address: int, length: int, advice: int) -> int:
    """madvise(2) of the guest's own pages."""
    space = thread.process.space
    end = address + ((length + 4095) & -4096)
    advice = signed32(advice)
    if address % 4096 or end < address or advice not in _MADV_FOR_HOST:
        return -errno.EINVAL
    if not space.covered(address, end):
        return -errno.ENOMEM
    return host_call(_SYS_MADVISE, host_pointer(address), length, advice)


def _of_own_pages(row: str, *, aligned: bool) -> None:
    """A call that looks at pages: those of the guest, not what else is at the host's addresses."""
    name, number = row.split()[0], int(row.split()[3])
    pointers = [kind == "ptr" for kind in row.split()[6:]]

    def call(thread: GuestThread, address: int, length: int, *rest: int) -> int:
        start, end = address & -4096, (address + length + 4095) & -4096
        if aligned and address != start:
            return -errno.EINVAL
        if not thread.process.space.covered(start, end):
            return -errno.ENOMEM
        others = (host_pointer(a) if p else a for a, p in zip(rest, pointers, strict=True))
        return host_call(number, host_pointer(address), length, *others)

    call.__name__ = name
    handles(row)(call)


_of_own_pages("msync 227 144 26 ptr size int", aligned=True)
_of_own_pages("mincore 232 219 27 ptr size ptr", aligned=True)
_of_own_pages("mlock 228 150 149 ptr size", aligned=False)
_of_own_pages("munlock 229 151 150 ptr size", aligned=False)
_of_own_pages("mlock2 284 390 325 ptr size hex", aligned=False)


@handles("shmat 196 305 30 int ptr hex")
def shmat(thread: GuestThread, identifier: int, address: int, flags: int) -> int:
    """shmat(2)."""
    stat = create_string_buffer(112)
    result = host_call(_SYS_SHMCTL, identifier, _IPC_STAT, addressof(stat))
    if result < 0:
        return result
    size = int.from_bytes(stat.raw[48:56], "little")
    return thread.process.space.shmat(identifier, address, flags, size)


@handles("shmdt 197 306 67 ptr")
def shmdt(thread: GuestThread, address: int) -> int:
    """shmdt(2)."""
    return thread.process.space.shmdt(address)


@handles("riscv_flush_icache 259 - - ptr ptr hex")
def riscv_flush_icache(thread: GuestThread, start: int, end: int, flags: int) -> int:
    """riscv_flush_icache(2): the guest wrote code."""
    if flags & ~1:
        return -errno.EINVAL
    if start < end:
        thread.cpu.invalidate(start, end - start)
    return 0


@handles("semctl 191 - 66 int int int ptr")
def semctl(thread: GuestThread, identifier: int, number: int, command: int, argument: int) -> int:
    """semctl(2): struct semid64_ds has a word less after each time than x86-64's."""
    if signed32(command) & ~0x100 not in (2, 18, 20):  # IPC_STAT, SEM_STAT, SEM_STAT_ANY
        return host_call(66, identifier, number, command, argument)
    host = create_string_buffer(104)
    result = host_call(66, identifier, number, command, addressof(host))
    if result >= 0:
        permissions, fields = host.raw[:48], struct.unpack("<7Q", host.raw[48:104])
        write_guest(argument, permissions + struct.pack("<5Q", fields[0], fields[2], *fields[4:7]))
    return result
