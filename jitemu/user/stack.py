"""The first stack: argument and environment strings, pointers and auxiliary vector."""

from __future__ import annotations

import os
import struct

from jitemu.messages import fail
from jitemu.user.elf import Image
from jitemu.user.hostcalls import PAGE, write_guest
from jitemu.user.memory import (
    MAP_ANONYMOUS,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    GuestSpace,
    page_up,
)

AT_PHDR, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY = 3, 4, 5, 6, 7, 8, 9
AT_UID, AT_EUID, AT_GID, AT_EGID, AT_CLKTCK = 11, 12, 13, 14, 17
AT_SECURE, AT_RANDOM, AT_EXECFN = 23, 25, 31
_PROGRAM_HEADER_SIZE = {4: 32, 8: 56}
_NO_FILE = (1 << 64) - 1
_SMALLEST = 64 * 1024


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jitemu.user.abi import Abi


def words(abi: Abi, count: int) -> struct.Struct:
    """So many words of the guest's, as an array."""
    return struct.Struct(f"<{count}{'Q' if abi.word == 8 else 'I'}")


class Stack:
    """The stack as the program finds it."""

    def __init__(self, pointer: int, low: int, high: int, auxv: bytes) -> None:
        self.pointer = pointer
        self.low = low
        self.high = high
        self.auxv = auxv


def _auxiliary(
    program: Image,
    interpreter: Image | None,
    random: int,
    name: int,
    processor: Sequence[tuple[int, int]],
    abi: Abi,
) -> bytes:
    entries = [
        (AT_PHDR, program.header_address),
        (AT_PHENT, _PROGRAM_HEADER_SIZE[abi.word]),
        (AT_PHNUM, program.header_count),
        (AT_PAGESZ, PAGE),
        (AT_BASE, interpreter.bias if interpreter else 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry),
        (AT_UID, os.getuid()),
        (AT_EUID, os.geteuid()),
        (AT_GID, os.getgid()),
        (AT_EGID, os.getegid()),
        *processor,
        (AT_CLKTCK, os.sysconf("SC_CLK_TCK")),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_EXECFN, name),
        (0, 0),
    ]
    pair = words(abi, 2)
    return b"".join(pair.pack(kind, value) for kind, value in entries)


def build_stack(
    space: GuestSpace,
    size: int,
    args: list[bytes],
    environ: list[bytes],
    name: bytes,
    program: Image,
    interpreter: Image | None,
    abi: Abi,
    seed: int | None = None,
) -> Stack:
    """Map ``size`` bytes of stack (and a guard page) and fill its top.

    Layout (psABI): argc, argv, NULL, envp, NULL, auxv pairs, then the strings above.
    """
    told = abi.capabilities()
    strings = [*args, *environ, name, *(text for _, text in told if isinstance(text, bytes))]
    needed = sum(len(text) + 1 for text in strings) + abi.word * len(strings) + 1024
    size = page_up(max(size, _SMALLEST, needed + _SMALLEST))
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    low = space.mmap(0, size + PAGE, PROT_READ | PROT_WRITE, flags, _NO_FILE, 0, "[stack]")
    if low < 0:
        fail(f"no room for a stack of {size} bytes: {os.strerror(-low)}; give a smaller -s")
    space.mprotect(low, PAGE, 0)
    high = low + PAGE + size

    random = os.urandom(16)
    if seed is not None:
        from random import Random

        random = Random(seed).randbytes(16)
    blob = random + b"".join(text + b"\0" for text in strings)
    strings_at = (high - len(blob) - 8) & -16
    pointers: list[int] = []
    at = strings_at + len(random)
    for text in strings:
        pointers.append(at)
        at += len(text) + 1
    count = len(args) + len(environ)
    texts = iter(pointers[count + 1 :])
    processor = [(kind, v if isinstance(v, int) else next(texts)) for kind, v in told]
    auxv = _auxiliary(program, interpreter, strings_at, pointers[count], processor, abi)
    given = (*pointers[: len(args)], 0, *pointers[len(args) : count], 0)
    table = words(abi, 1 + len(given)).pack(len(args), *given) + auxv
    pointer = (strings_at - len(table)) & -16
    write_guest(strings_at, blob)
    write_guest(pointer, table)
    return Stack(pointer, low, high, auxv)
