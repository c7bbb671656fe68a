"""The form of a CSR's declaration, and native functions made from a table of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jitemu.ir.native import NativeFunction, native_source

ALL_BITS = (1 << 64) - 1


@dataclass(frozen=True)
class Csr:
    """One CSR, or ``count`` like ones with consecutive numbers.

    Privilege and whether it is read-only are in the number (bits 8-9, 10-11).  It is
    ``word`` of the state, of which software can write the bits of ``mask`` (without a word
    it is 0), unless native functions read(s, number) and write(s, number, value) are given.
    ``legal``, of (s, number), says whether it exists for the hart as it is now.
    """

    number: int
    name: str
    word: str = ""
    mask: int = ALL_BITS
    read: NativeFunction | None = None
    write: NativeFunction | None = None
    legal: NativeFunction | None = None
    count: int = 1


Leaf = Callable[[Csr], str]


def read_text(row: Csr) -> str:
    """Statements that return a CSR's value."""
    if row.read is not None:
        return f"return {row.read.name}(s, number)"
    return f"return s.{row.word}" if row.word else "return 0"


def write_text(row: Csr) -> str:
    """Statements that write a CSR."""
    if row.write is not None:
        return f"{row.write.name}(s, number, value)"
    if not row.word or row.mask == 0:
        return "pass"
    if row.mask == ALL_BITS:
        return f"s.{row.word} = value"
    return f"s.{row.word} = s.{row.word} & ~{row.mask:#x} | value & {row.mask:#x}"


def legal_text(row: Csr) -> str:
    """Statements that return whether a CSR exists."""
    return "return 1" if row.legal is None else f"return {row.legal.name}(s, number)"


def search_text(rows: Sequence[Csr], leaf: Leaf) -> str:
    """A binary search for ``number`` among rows in ascending order."""
    if len(rows) == 1:
        row = rows[0]
        test = f"number == {row.number}"
        if row.count > 1:
            test = f"number - {row.number} < {row.count}"
        return f"if {test}:\n    {leaf(row)}\n"
    middle = len(rows) // 2
    low, high = (
        "".join(f"    {line}\n" for line in search_text(half, leaf).splitlines())
        for half in (rows[:middle], rows[middle:])
    )
    return f"if number < {rows[middle].number}:\n{low}else:\n{high}"


def table_function(
    name: str, params: tuple[str, ...], rows: Sequence[Csr], leaf: Leaf
) -> NativeFunction:
    """A native function that does ``leaf`` for the row of a number, or returns 0."""
    ordered = sorted(rows, key=lambda r: r.number)
    for low, high in pairwise(ordered):
        assert low.number + low.count <= high.number, f"{low.name} and {high.name} overlap"
    scope: dict[str, Any] = {"__name__": __name__}
    for row in rows:
        for function in (row.read, row.write, row.legal):
            if function is not None:
                scope[function.name] = function
    return native_source(name, params, search_text(ordered, leaf), scope)
