"""Compiled native functions against the interpreter: the same calls, the same state."""

from __future__ import annotations

import random

import pytest

from tests.riscv_priv.compiled import Twins
from tests.riscv_priv.hart import RAM_BASE
from tests.riscv_priv.test_csrs import EXIST

NUMBERS = [n for n in sorted(EXIST) if n > 3]
VA = 0x4000_0000
ROOT, MIDDLE, LOW = 0x10000, 0x11000, 0x12000
SATP = 8 << 60 | (RAM_BASE + ROOT) >> 12


def build_tables(twins: Twins, rng: random.Random) -> None:
    """Sv39 tables for 24 pages at VA: all kinds, devices and superpages among them."""
    twins.put(ROOT + 8, (RAM_BASE + MIDDLE) >> 12 << 10 | 1)
    twins.put(MIDDLE, (RAM_BASE + LOW) >> 12 << 10 | 1)
    twins.put(MIDDLE + 8, RAM_BASE >> 12 << 10 | 0xCF)
    for n in range(24):
        physical = 0x1000_0000 if n % 8 == 7 else RAM_BASE + 0x40000 + 4096 * n
        flags = rng.choice((0xCF, 0xF, 0x7, 0x1F, 0xB, 0x27, 0xEF, 0x3, 0))
        twins.put(LOW + 8 * n, physical >> 12 << 10 | flags)


def operation(rng: random.Random) -> tuple[str, tuple[int, ...]]:
    va = VA + rng.randrange(24) * 4096 + rng.choice((0, 8, 100, 4090, 4095))
    if rng.random() < 0.15:
        va = VA + 0x20_0000 + rng.randrange(1 << 20)
    size, mode = rng.choice((1, 2, 4, 8)), rng.choice((0, 1, 1, 1, 2))
    value = rng.choice((0, 1, rng.getrandbits(64), 1 << rng.randrange(64), (1 << 64) - 1))
    choices: list[tuple[str, tuple[int, ...]]] = [
        ("slow_load", (va, size, mode)),
        ("slow_load", (va, size, mode)),
        ("slow_store", (va, size, value, mode)),
        ("slow_address", (va & -size, size, mode)),
        ("fetch_translate", (va & ~1,)),
        ("csr_access", (rng.choice(NUMBERS), rng.randrange(3), value, rng.choice((1, 2, 3)))),
        ("csr_access", (rng.choice((0x100, 0x300)), rng.randrange(3), value, 3)),
        ("flush_page", (va,)),
        ("flush_local", ()),
        ("raise_exception", (rng.randrange(16), value)),
        ("take_interrupt", ()),
        ("return_from_machine", ()),
        ("return_from_supervisor", ()),
        ("environment_call", ()),
        ("protect_code_page", (RAM_BASE + 0x40000 + 4096 * rng.randrange(24),)),
    ]
    return rng.choice(choices)


@pytest.mark.parametrize("seed", range(4))
def test_random_calls(seed: int) -> None:
    rng = random.Random(seed)
    twins = Twins()
    build_tables(twins, rng)
    twins.open_pmp()
    twins.copy()
    for step in range(500):
        if step % 25 == 0:  # random writes lead astray; come back
            twins["priv"], twins["satp"], twins["sstc"] = rng.choice((0, 1, 3)), SATP, 1
            twins.array("pmpcfg")[0], twins.array("pmpaddr")[0] = 0x1F, (1 << 54) - 1
            twins.call("pmp_update")
            twins["irq_lines"] = rng.choice((0, 0x200, 0x80))
            twins.now_ns += rng.randrange(10**6)
            twins.copy()
        name, args = operation(rng)
        twins.compare(name, *args)
    twins.compare_all()


def test_float_registers_are_those_of_the_unit() -> None:
    """fflags, frm and fcsr by way of MXCSR (which is put right for Python afterwards)."""
    twins = Twins()
    twins["mstatus"] |= 1 << 13
    twins.copy()
    try:
        for rounding in range(8):
            for flags in range(32):
                twins.native("csr_access", 3, 0, rounding << 5 | flags, 2)
                read = [twins.native("csr_access", n, 1, 0, 1) for n in (1, 2, 3)]
                assert read == [flags, rounding, rounding << 5 | flags]
                twins.view["fflags"] = 0  # what is left comes from MXCSR
                assert twins.native("float_read", 1) == flags
                twins.native("csr_access", 2, 0, 1, 2)
                assert twins.native("csr_access", 3, 1, 0, 1) == 1 << 5 | flags
        assert twins.view["mstatus"] >> 13 & 3 == 3
        twins.native("csr_access", 1, 2, 0x11, 3)
        assert twins.native("csr_access", 1, 1, 0, 1) == 0x1F & ~0x11
        twins.view["mstatus"] &= ~(3 << 13)
        for number in (1, 2, 3):
            twins.native("csr_access", number, 1, 0, 1)
            assert twins.view["trapped"] == 1
            twins.view["priv"] = 3
    finally:
        twins.native("float_write", 3, 0)


def test_user_mode_numbers() -> None:
    twins = Twins()
    legal = {1, 2, 3, 0xC00, 0xC01, 0xC02}
    for number in range(4096):
        twins.native("user_csr_access", number, 1, 0, 1)
        assert twins.view["trapped"] == (0 if number in legal else 3)
    twins.native("user_csr_access", 0xC01, 0, 0, 3)
    assert twins.view["trapped"] == 3
