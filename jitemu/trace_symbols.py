"""Names for guest addresses out of an ELF file's symbol tables."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any


class SymbolTable:
    """The functions of one ELF file; read at the first look-up.

    ``bias`` is what the loader added to the file's addresses.  A file that is missing,
    broken or stripped has no names.
    """

    def __init__(self, path: str, bias: int = 0) -> None:
        self._path = path
        self._bias = bias
        self._starts: list[int] | None = None
        self._functions: list[tuple[int, int, str]] = []

    def lookup(self, address: int) -> str:
        """The function that holds the address, or an empty string."""
        if self._starts is None:
            self._functions = sorted(_functions(self._path))
            self._starts = [start for start, _, _ in self._functions]
        address -= self._bias
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return ""
        start, length, name = self._functions[index]
        return name if address < start + length else ""


def _functions(path: str) -> set[tuple[int, int, str]]:
    """(start, length in bytes, name) of each sized function; aliases give one of them."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    found: dict[int, tuple[int, int, str]] = {}
    try:
        with open(path, "rb") as file:
            for section in ELFFile(file).iter_sections():
                if not isinstance(section, SymbolTableSection):
                    continue
                for symbol in section.iter_symbols():
                    entry: Any = symbol.entry
                    if entry.st_info.type == "STT_FUNC" and entry.st_size:
                        start: int = entry.st_value
                        found.setdefault(start, (start, entry.st_size, symbol.name))
    except (OSError, ELFError, ValueError, KeyError, UnicodeDecodeError):
        # a file made to mislead may break the reader anywhere: then it has no names
        return set()
    return set(found.values())
