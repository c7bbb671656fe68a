"""A guest processor in Linux user mode: guest addresses are host addresses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from jitemu.runtime.engine import CodeSpace, Processor

EXIT_NO_CODE = 69
"""The pc is not in executable guest memory."""

PAGE = 4096


class UserProcessor(Processor):
    """Runs guest threads.  ``executable(pc)``: bytes of guest code that can be read there."""

    def __init__(self, space: CodeSpace, executable: Callable[[int], int]) -> None:
        super().__init__(space)
        self.executable = executable
        self.state["hot_threshold"] = 0

    def key_of(self, pc: int) -> tuple[int, int]:
        return pc, pc

    def fetch_code(self, pc: int, physical: int) -> bytes:
        size = min(self.executable(pc), PAGE - pc % PAGE + 2)
        return ctypes.string_at(pc, size) if size >= 2 else b""
