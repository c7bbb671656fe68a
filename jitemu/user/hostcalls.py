"""The host kernel called raw, and guest memory touched so that a bad pointer is an error.

Guest addresses are host addresses (or, for 32-bit guests, count from a base), so most system
calls take the guest's pointers as they are and the kernel checks them.  Where jitemu itself
must look, it asks the kernel to copy (process_vm_readv on the own process): a wild pointer is
EFAULT instead of a crash.
"""

from __future__ import annotations

import errno
from os import getpid

from jitemu import foreign
from jitemu.foreign import addressof, create_string_buffer, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PAGE = 4096
_SYS_PROCESS_VM_READV = 310
_SYS_PROCESS_VM_WRITEV = 311
_LARGEST_COPY = 1 << 26

_base = 0
"""Host address of guest address 0."""

libc: Any = foreign.load_libc()


class GuestFault(Exception):
    """The guest gave a pointer to memory it cannot use: EFAULT."""


class GuestError(Exception):
    """A system call fails with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno.errorcode.get(number, str(number)))
        self.number = number


def _with_arguments(count: int) -> Callable[..., int]:
    call = libc["syscall"]
    call.restype = foreign.c_long
    call.argtypes = [foreign.c_long] + [foreign.c_uint64] * count
    return call


RAW: tuple[Callable[..., int], ...] = tuple(_with_arguments(count) for count in range(7))
"""RAW[n](number, a1..an): the libc function, -1 and errno on failure."""

_raw6 = RAW[6]
_Vectors = foreign.c_uint64 * 4


def host_call(number: int, *args: int) -> int:
    """One host system call; a failure is the negative errno, as the kernel gives it."""
    result = RAW[len(args)](number, *args)
    return -get_errno() if result == -1 else result


def set_base(address: int) -> None:
    """Guest addresses count from this host address in this process."""
    global _base
    _base = address


def host_pointer(address: int) -> int:
    """The host's pointer for a guest's, NULL for NULL."""
    return _base + address if address else 0


def read_guest(address: int, size: int) -> bytes:
    """The bytes at a guest address; GuestFault where it cannot be read."""
    if size == 0:
        return b""
    if size < 0 or size > _LARGEST_COPY:
        raise GuestFault
    buffer = create_string_buffer(size)
    vectors = _Vectors(addressof(buffer), size, _base + address, size)
    at = addressof(vectors)
    if _raw6(_SYS_PROCESS_VM_READV, getpid(), at, 1, at + 16, 1, 0) != size:
        raise GuestFault
    return buffer.raw


def write_guest(address: int, data: bytes) -> None:
    """Store bytes at a guest address; GuestFault where it cannot be written."""
    size = len(data)
    if size == 0:
        return
    buffer = create_string_buffer(data, size)
    vectors = _Vectors(addressof(buffer), size, _base + address, size)
    at = addressof(vectors)
    if _raw6(_SYS_PROCESS_VM_WRITEV, getpid(), at, 1, at + 16, 1, 0) != size:
        raise GuestFault


def read_word(address: int, size: int = 8) -> int:
    """An unsigned little-endian number of ``size`` bytes."""
    return int.from_bytes(read_guest(address, size), "little")


def write_word(address: int, value: int, size: int = 8) -> None:
    """Store the low ``size`` bytes of a number, little-endian."""
    write_guest(address, (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little"))


def read_string(address: int, limit: int = PAGE) -> bytes:
    """A NUL-terminated string without its NUL; ENAMETOOLONG past ``limit`` bytes."""
    parts: list[bytes] = []
    total = 0
    step = 128
    while total < limit:
        # Never across a page: the string may end in the last mapped one.
        size = min(step, PAGE - (address & (PAGE - 1)))
        part = read_guest(address, size)
        end = part.find(0)
        if end >= 0:
            parts.append(part[:end])
            return b"".join(parts)
        parts.append(part)
        total += size
        address += size
        step = PAGE
    raise GuestError(errno.ENAMETOOLONG)


def read_string_array(address: int, word: int = 8, limit: int = 1 << 17) -> list[bytes]:
    """A NULL-terminated array of strings (argv, envp); E2BIG past ``limit`` entries."""
    strings: list[bytes] = []
    if address == 0:
        return strings
    while True:
        pointer = read_word(address, word)
        if pointer == 0:
            return strings
        if len(strings) >= limit:
            raise GuestError(errno.E2BIG)
        try:
            strings.append(read_string(pointer, 32 * PAGE))
        except GuestError:
            raise GuestError(errno.E2BIG) from None
        address += word


def signed(value: int) -> int:
    """A 64-bit register as a signed number."""
    return value - (1 << 64) if value >> 63 else value


def signed32(value: int) -> int:
    """A register's low half as a signed int (C's int argument)."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value
