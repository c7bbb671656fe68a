"""Page walks, held against a walker written from the specification's steps."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from tests.riscv_priv.hart import RAM_BASE, RAM_SIZE, Hart

PAGE_FAULT = {0: 13, 1: 15, 2: 12}
ACCESS_FAULT = {0: 5, 1: 7, 2: 1}
NO_TAG = (1 << 64) - 1
TABLES = [RAM_BASE + 4096 * n for n in range(12)]


@dataclass
class Found:
    """The walk's result: a cause, or a physical address and what may be cached."""

    cause: int = 0
    physical: int = 0
    rights: int = 0
    pte_at: int = 0
    pte: int = 0


def canonical(va: int, bits: int) -> bool:
    top = va >> (bits - 1)
    return top in (0, (1 << (65 - bits)) - 1)


def leaf(hart: Hart, pte: int, mode: int) -> set[str]:
    """R, W and X as the mode has them (privileged specification 4.3.1, 3.1.6.3)."""
    allowed = {c for n, c in enumerate("RWX", 1) if pte >> n & 1}
    if hart["mstatus"] >> 19 & 1 and "X" in allowed:
        allowed.add("R")
    user = pte >> 4 & 1
    if mode == 0 and not user:
        return set()
    if mode == 1 and user:
        return allowed - {"X"} if hart["mstatus"] >> 18 & 1 else set()
    return allowed


def walk(hart: Hart, va: int, access: int, mode: int) -> Found:
    """Section 4.3.2, step by step; PMP is open."""
    scheme = hart["satp"] >> 60
    if scheme == 0 or mode == 2:
        return Found(ACCESS_FAULT[access]) if va >> 56 else Found(0, va, 7)
    levels = {8: 3, 9: 4, 10: 5}[scheme]
    if not canonical(va, 12 + 9 * levels):
        return Found(PAGE_FAULT[access])
    a = (hart["satp"] & ((1 << 44) - 1)) * 4096
    for i in reversed(range(levels)):
        at = a + (va >> (12 + 9 * i) & 511) * 8
        if not RAM_BASE <= at <= RAM_BASE + RAM_SIZE - 8:
            return Found(ACCESS_FAULT[access])
        pte = hart.read(at)
        v, r, w, x = (pte >> n & 1 for n in range(4))
        if not v or (not r and w) or pte >> 54:
            return Found(PAGE_FAULT[access])
        if not (r or x):
            if pte & 0xD0:
                return Found(PAGE_FAULT[access])
            a = (pte >> 10) * 4096
            continue
        allowed = leaf(hart, pte, mode)
        if "RWX"[access] not in allowed or (pte >> 10) % (512**i):
            return Found(PAGE_FAULT[access])
        new = pte | 0x40 | (0x80 if access == 1 else 0)
        if not new & 0x80:
            allowed.discard("W")
        physical = (pte >> 10) * 4096 + va % (4096 * 512**i)
        rights = sum(1 << "RWX".index(c) for c in allowed)
        return Found(0, physical, rights, at, new)
    return Found(PAGE_FAULT[access])


def random_pte(rng: random.Random, level: int) -> int:
    kind = rng.random()
    flags = rng.choice((0xF, 0x7, 0x3, 0x1F, 0x17, 0xB, 0x9, 0x19, 0xCF, 0xDF, 0xC7, 0x5))
    flags |= rng.choice((0, 0, 0x20, 0x40, 0x80, 0xC0))
    if level and kind < 0.75:
        pte = rng.choice(TABLES) >> 12 << 10 | 1 | rng.choice((0, 0, 0, 0x20))
    elif level and kind < 0.9:
        pte = (RAM_BASE >> 12 << 10 if level < 3 else 0) | flags
    else:
        pte = (RAM_BASE + 4096 * rng.randrange(64, 256)) >> 12 << 10 | flags
    if rng.random() < 0.12:
        pte ^= 1 << rng.choice((0, 1, 2, 3, 4, 6, 7, 12, 30, 50, 54, 60, 61, 63))
    return pte


@pytest.mark.parametrize("scheme", [8, 9, 10])
def test_random_tables(scheme: int) -> None:
    rng = random.Random(scheme)
    hart = Hart()
    hart.open_pmp()
    levels = scheme - 5
    outcomes: dict[int, int] = {}
    for _ in range(40):
        indices = [rng.randrange(512) for _ in range(3)]
        for n, table in enumerate(TABLES):
            for index in indices:
                hart.write(table + 8 * index, random_pte(rng, levels - 1 - n * levels // 12))
        hart["satp"] = scheme << 60 | TABLES[0] >> 12
        hart["mstatus"] = rng.choice((0, 1 << 18)) | rng.choice((0, 1 << 19))
        hart.call("flush_tlb")
        for _ in range(12):
            va = rng.randrange(4096)
            for level in range(levels):
                va |= rng.choice(indices) << 12 + 9 * level
            if va >> (11 + 9 * levels) & 1:
                va |= (1 << 64) - (1 << 12 + 9 * levels)
            if rng.random() < 0.05:
                va ^= 1 << rng.randrange(11 + 9 * levels, 64)
            access, mode = rng.randrange(3), rng.randrange(2)
            wanted = walk(hart, va, access, mode)
            cause = hart.call("tlb_fill", va, access, mode)
            outcomes[cause] = outcomes.get(cause, 0) + 1
            assert cause == wanted.cause, (hex(va), access, mode)
            if cause:
                continue
            assert hart["physical"] == wanted.physical
            assert hart.read(wanted.pte_at) == wanted.pte
            entry = (mode * 512 + (va >> 12) % 512) * 4
            tlb = hart.array("tlb")
            page = va & ~4095
            in_ram = RAM_BASE <= wanted.physical < RAM_BASE + RAM_SIZE
            for right, word in ((1, 0), (2, 1), (4, 3)):
                valid = in_ram and wanted.rights & right
                assert tlb[entry + word] == (page if valid else NO_TAG)
    assert outcomes[0] > 40
    assert all(outcomes.get(cause, 0) for cause in (12, 13, 15)), outcomes


def test_bare_is_physical() -> None:
    hart = Hart()
    hart.open_pmp()
    assert hart.call("tlb_fill", RAM_BASE + 0x1234, 0, 2) == 0
    assert hart["physical"] == RAM_BASE + 0x1234
    assert [hart.call("tlb_fill", 1 << 56, access, 1) for access in (0, 1, 2)] == [5, 7, 1]


def test_table_outside_ram_is_an_access_fault() -> None:
    hart = Hart()
    hart.open_pmp()
    hart["satp"] = 8 << 60 | 0x10000
    assert [hart.call("tlb_fill", 0x1000, access, 1) for access in (0, 1, 2)] == [5, 7, 1]
