"""A hart's registers and page tables as people look at them; nothing is changed by it."""

from __future__ import annotations

from jitemu.frontends.riscv.privileged import (
    PPN_MASK,
    PTE_LEAF,
    PTE_R,
    PTE_V,
    PTE_W,
)
from jitemu.frontends.riscv.registers import F_NAMES, X_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    ReadWord = Callable[[int], int | None]
    """Eight bytes of RAM at a physical address."""

CSRS: dict[str, int] = {
    "mhartid": 0xF14,
    "mstatus": 0x300,
    "mip": 0x344,
    "mie": 0x304,
    "mideleg": 0x303,
    "medeleg": 0x302,
    "mtvec": 0x305,
    "stvec": 0x105,
    "mepc": 0x341,
    "sepc": 0x141,
    "mcause": 0x342,
    "scause": 0x142,
    "mtval": 0x343,
    "stval": 0x143,
    "mscratch": 0x340,
    "sscratch": 0x140,
    "satp": 0x180,
}
"""Those that a dump shows, in its order."""
LEVELS = {8: 3, 9: 4, 10: 5}
"""satp's modes: Sv39, Sv48, Sv57."""
FLAGS = "rwxugad"  # bits 1 to 7 of an entry
MASK64 = (1 << 64) - 1
MOST_LINES = 100_000


def register_lines(
    pc: int, csr: Callable[[int], int], x: Sequence[int], f: Sequence[int]
) -> list[str]:
    """A dump: pc, CSRs, and four registers a line."""
    lines = [f" pc       {pc:016x}"]
    lines += [f" {name:<8} {csr(number):016x}" for name, number in CSRS.items()]
    for kind, names, values in (("x", X_NAMES, x), ("f", F_NAMES, f)):
        cells = [f"{f'{kind}{i}/{name}':<8} {values[i]:016x}" for i, name in enumerate(names)]
        lines += [" " + " ".join(cells[at : at + 4]) for at in range(0, 32, 4)]
    return lines


def translate(satp: int, address: int, read: ReadWord) -> int | None:
    """The physical address of a virtual one, whatever the access rights."""
    levels = LEVELS.get(satp >> 60)
    if levels is None:
        return address
    table, shift = (satp & PPN_MASK) << 12, 12 + 9 * (levels - 1)
    while True:
        entry = read(table + (address >> shift & 511) * 8)
        if entry is None or not entry & PTE_V:
            return None
        frame = (entry >> 10 & PPN_MASK) << 12
        if entry & PTE_LEAF:
            inside = (1 << shift) - 1
            return frame & ~inside | address & inside
        if shift == 12:
            return None
        table, shift = frame, shift - 9


def mapping_lines(satp: int, read: ReadWord) -> list[str]:
    """What is mapped: neighbours with the same rights are one line."""
    levels = LEVELS.get(satp >> 60)
    if levels is None:
        return ["No translation or protection"]
    lines = [
        f"{'vaddr':<16} {'paddr':<16} {'size':<16} attr",
        f"{'-' * 16} {'-' * 16} {'-' * 16} {'-' * 7}",
    ]
    start = physical = size = rights = 0
    for address, frame, length, flags in _leaves((satp & PPN_MASK) << 12, levels - 1, 0, read):
        if size and (address, frame, flags) == (start + size, physical + size, rights):
            size += length
            continue
        if size:
            lines.append(_mapping(levels, start, physical, size, rights))
        start, physical, size, rights = address, frame, length, flags
        if len(lines) > MOST_LINES:  # tables that lead to themselves have no end
            break
    if size:
        lines.append(_mapping(levels, start, physical, size, rights))
    return lines


def _leaves(
    table: int, level: int, base: int, read: ReadWord
) -> Iterator[tuple[int, int, int, int]]:
    """(virtual, physical, size, flags) of each page."""
    shift = 12 + 9 * level
    for index in range(512):
        entry = read(table + index * 8)
        if entry is None or not entry & PTE_V or entry & (PTE_R | PTE_W) == PTE_W:
            continue
        address, frame = base | index << shift, (entry >> 10 & PPN_MASK) << 12
        if entry & PTE_LEAF:
            yield address, frame, 1 << shift, entry >> 1 & 0x7F
        elif level:
            yield from _leaves(frame, level - 1, address, read)


def _mapping(levels: int, start: int, physical: int, size: int, rights: int) -> str:
    top = 12 + 9 * levels - 1
    if start >> top & 1:
        start |= MASK64 & ~((1 << top) - 1)
    attributes = "".join(c if rights >> n & 1 else "-" for n, c in enumerate(FLAGS))
    return f"{start:016x} {physical:016x} {size:016x} {attributes}"
