"""A processor's state in memory, as Python sees it."""

from __future__ import annotations

from jitemu.ir.state import Layout
from jitemu.runtime.records import NativeMemory


class StateView:
    """Words of the state by name.

    ``words`` is a memoryview of 64-bit words; ``at[name]`` the index of a word in it, so
    hot paths keep an index and read ``words[index]``.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        memory = NativeMemory(layout.size)  # pages that are not used cost nothing
        self.address = memory.address
        self.words = memory.words
        self.at = {name: offset // 8 for name, offset in layout.offsets.items()}

    def __getitem__(self, name: str) -> int:
        return self.words[self.at[name]]

    def __setitem__(self, name: str, value: int) -> None:
        self.words[self.at[name]] = value

    def copy_from(self, other: StateView) -> None:
        """Take all words of another state."""
        self.words[:] = other.words
