"""The same hart on compiled native functions, beside its twin on the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from jitemu.backend_llvm.natives import NativeLowering
from jitemu.frontends.riscv.privileged import HartState
from jitemu.ir.machine import PagedMemory
from jitemu.ir.native import REGISTRY
from jitemu.ir.state import layout_of
from jitemu.runtime.stateview import StateView
from tests.native_code import load
from tests.riscv_priv.hart import CODE_WRITTEN, RAM_SIZE, Hart

LAYOUT = layout_of(HartState)
FRONTEND = "jitemu.frontends.riscv."
CALLBACKS = {"host_clock": 2, "mmio_read": 2, "mmio_write": 3, "timer_notify": 1}


@cache
def library() -> dict[str, int]:
    """Where the frontend's native functions are, compiled."""
    lowered = "".join(
        NativeLowering(LAYOUT).function(function.compile())
        for function in REGISTRY.values()
        if function.scope["__name__"].startswith(FRONTEND)
    )
    lowered += NativeLowering(LAYOUT).function(CODE_WRITTEN.compile())
    return load(lowered, "default")


class Twins(Hart):
    """An interpreted hart whose calls are made on a compiled one, too, and compared."""

    def __init__(self) -> None:
        super().__init__()
        self.view = StateView(LAYOUT)
        self.ram = (ctypes.c_uint8 * RAM_SIZE)()
        self.pages = (ctypes.c_uint64 * (RAM_SIZE // 4096))()
        self._callbacks: list[Callable[..., int]] = []
        host, functions = self.machine.host, self.machine.host_functions
        for name, count in CALLBACKS.items():
            function = functions[self[name]]
            if name == "host_clock":
                function = self._real_clock
            prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * count)
            callback = prototype(function)
            self._callbacks.append(callback)
            address = ctypes.cast(callback, ctypes.c_void_p).value or 0
            functions[address] = functions[self[name]]
            self[name] = address
        self._share_code_callback()
        for name, memory in (("ram_host", self.ram), ("code_pages", self.pages)):
            self[name] = ctypes.addressof(memory)
            assert isinstance(host, PagedMemory)
            host.map(self[name], ctypes.sizeof(memory) + 4096)
        self.copy()

    def _share_code_callback(self) -> None:
        prototype = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
        callback = prototype(self.code_written)
        self._callbacks.append(callback)
        self.set_code_callback(ctypes.cast(callback, ctypes.c_void_p).value or 0)

    def copy(self) -> None:
        """Give the compiled hart the interpreted one's state."""
        for name, value in self.machine.fields.items():
            self.view[name] = value
        for name, words in self.machine.arrays.items():
            at = self.view.at[name]
            for n, word in enumerate(words):
                self.view.words[at + n] = word

    def _real_clock(self, which: int, buffer: int) -> int:
        pair = (ctypes.c_uint64 * 2).from_address(buffer)
        pair[0], pair[1] = divmod(self.now_ns, 10**9)
        return 0

    def native(self, name: str, *args: int) -> int:
        """Call the compiled function alone."""
        symbols = library()
        kinds = [ctypes.c_void_p] + [ctypes.c_uint64] * len(args)
        return ctypes.CFUNCTYPE(ctypes.c_uint64, *kinds)(symbols[name])(self.view.address, *args)

    def compare(self, name: str, *args: int) -> int:
        """Call both; the result, state, RAM and what devices saw must be the same."""
        self.log.clear()
        wanted = self.call(name, *args)
        log = list(self.log)
        self.log.clear()
        got = self.native(name, *args)
        what = f"{name}{tuple(map(hex, args))}"
        assert (got, self.log) == (wanted, log), what
        for field, value in self.machine.fields.items():
            assert self.view[field] == value, f"{what}: {field}"
        for field in ("pmpcfg", "pmpaddr", "pmp_low", "pmp_last", "large_low", "large_last"):
            at, words = self.view.at[field], self.machine.arrays[field]
            assert list(self.view.words[at : at + len(words)]) == words, f"{what}: {field}"
        return wanted

    def compare_all(self) -> None:
        """Every word of the state, and RAM."""
        for field, words in self.machine.arrays.items():
            at = self.view.at[field]
            assert list(self.view.words[at : at + len(words)]) == words, field
        assert isinstance(self.machine.host, PagedMemory)
        assert self.machine.host.get(self["ram_host"], RAM_SIZE) == bytes(self.ram)

    def put(self, offset: int, value: int) -> None:
        """A word of both harts' RAM."""
        self.machine.host.write(self["ram_host"] + offset, 8, value)
        ctypes.memmove(ctypes.addressof(self.ram) + offset, value.to_bytes(8, "little"), 8)
