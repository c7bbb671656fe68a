"""Native functions compiled and put into this process, apart from the engine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from jitemu.backend_llvm.lowering import declarations
from jitemu.backend_llvm.natives import PREFIX
from jitemu.backend_llvm.objects import place, read_object
from jitemu.backend_llvm.target import compile_text


def executable(code: Callable[[int], bytes]) -> int:
    """The address, below 2 GiB, of this code (which is told the address)."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    size, private, anonymous, low = 1 << 20, 0x02, 0x20, 0x40
    read, write, execute = 1, 2, 4
    flags = private | anonymous | low
    start = libc.mmap(None, ctypes.c_size_t(size), read | write, flags, -1, ctypes.c_long(0))
    data = code(start)
    assert len(data) <= size
    ctypes.memmove(start, data, len(data))
    assert libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), read | execute) == 0
    return start


def load(functions: str, passes: str = "") -> dict[str, int]:
    """Addresses, by name, of lowered native functions (LLVM text)."""
    blob = read_object(compile_text(f"{declarations(functions)}\n{functions}", passes))
    base = executable(lambda address: place(blob, address, {}))
    return {name.removeprefix(PREFIX): base + offset for name, offset in blob.symbols.items()}
