"""CSR access: who may read and write which, and what writes do."""

from __future__ import annotations

import random

import pytest

from tests.riscv_priv.hart import Hart

READ, WRITE = 1, 2
EXIST = {
    *range(0x001, 0x004),
    *range(0xC00, 0xC20),
    *(0x100, 0x104, 0x105, 0x106, 0x10A, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14D, 0x180),
    *(0xF11, 0xF12, 0xF13, 0xF14, 0xF15),
    *range(0x300, 0x307),
    *(0x30A, 0x320, 0x340, 0x341, 0x342, 0x343, 0x344),
    *range(0x323, 0x340),
    *range(0x3A0, 0x3B0, 2),
    *range(0x3B0, 0x3F0),
    *(0xB00, 0xB02, *range(0xB03, 0xB20)),
}


def ready(priv: int) -> Hart:
    hart = Hart()
    hart["mcounteren"] = hart["scounteren"] = 0xFFFF_FFFF
    hart["menvcfg"] = 1 << 63
    hart["mstatus"] |= 1 << 13
    hart["priv"] = priv
    return hart


def access(hart: Hart, number: int, kind: int, operand: int, flags: int) -> int | None:
    """The old value, or None after an illegal instruction exception (privilege kept)."""
    priv = hart["priv"]
    old = hart.call("csr_access", number, kind, operand, flags)
    if not hart["trapped"]:
        return old
    assert hart["mcause"] == 2
    hart["priv"] = priv
    return None


@pytest.mark.parametrize("priv", [0, 1, 3])
def test_every_number(priv: int) -> None:
    hart = ready(priv)
    for number in range(4096):
        exists = number in EXIST and number >> 8 & 3 <= priv
        assert hart.call("csr_legal", number, READ) == exists, hex(number)
        writable = exists and number >> 10 != 3
        assert hart.call("csr_legal", number, WRITE) == writable, hex(number)


@pytest.mark.parametrize(
    ("number", "priv", "word", "bit"),
    [
        (0x001, 3, "mstatus", 1 << 13),
        (0x003, 0, "mstatus", 1 << 13),
        (0xC01, 1, "mcounteren", 1 << 1),
        (0xC01, 0, "mcounteren", 1 << 1),
        (0xC02, 0, "scounteren", 1 << 2),
        (0xC1F, 0, "scounteren", 1 << 31),
        (0x14D, 1, "menvcfg", 1 << 63),
        (0x14D, 1, "mcounteren", 1 << 1),
    ],
)
def test_enabled_elsewhere(number: int, priv: int, word: str, bit: int) -> None:
    hart = ready(priv)
    assert hart.call("csr_legal", number, READ) == 1
    hart[word] &= ~bit
    assert hart.call("csr_legal", number, READ) == 0
    assert access(hart, number, 0, 0, READ) is None


def test_tvm_hides_satp_from_supervisor() -> None:
    hart = ready(1)
    assert access(hart, 0x180, 0, 0, READ | WRITE) == 0
    hart["mstatus"] |= 1 << 20
    assert access(hart, 0x180, 0, 0, READ) is None
    hart["priv"] = 3
    assert access(hart, 0x180, 0, 0, READ) == 0


def test_write_set_clear() -> None:
    rng = random.Random(1)
    hart = ready(3)
    value = 0
    for _ in range(100):
        kind, operand = rng.randrange(3), rng.getrandbits(64)
        assert access(hart, 0x340, kind, operand, READ | WRITE) == value
        value = (operand, value | operand, value & ~operand)[kind]
    assert access(hart, 0x340, 1, 0, READ) == value


ALL = (1 << 64) - 1


@pytest.mark.parametrize(
    ("number", "written", "reads"),
    [
        (0x300, ALL, 0x8000_000A_007E_79AA),
        (0x100, ALL, 0x8000_0002_000C_6122),
        (0x302, ALL, 0xB3FF),
        (0x303, ALL, 0x222),
        (0x304, ALL, 0xAAA),
        (0x306, ALL, 0xFFFF_FFFF),
        (0x30A, ALL, 0x8000_0000_0000_00F1),
        (0x10A, ALL, 0xF1),
        (0x305, 0x8000_0001, 0x8000_0001),
        (0x305, 0x8000_0002, 0),
        (0x105, 0x8000_0003, 0),
        (0x141, 0x1235, 0x1234),
        (0x341, 0x1235, 0x1234),
        (0x320, ALL, 0),
        (0xB03, ALL, 0),
        (0x3B0, ALL, (1 << 54) - 1),
        (0x180, 8 << 60 | 0xFFFF << 44 | 5, 8 << 60 | 0xFFFF << 44 | 5),
        (0x180, 11 << 60 | 5, 0),
        (0x180, 1 << 60, 0),
    ],
)
def test_legal_values(number: int, written: int, reads: int) -> None:
    hart = ready(3)
    access(hart, number, 0, written, WRITE)
    assert access(hart, number, 0, 0, READ) == reads


def test_mpp_takes_no_reserved_privilege() -> None:
    hart = ready(3)
    access(hart, 0x300, 0, 1 << 11, WRITE)
    access(hart, 0x300, 0, 2 << 11, WRITE)
    assert hart["mstatus"] >> 11 & 3 == 1


def test_satp_levels() -> None:
    for levels, schemes in ((0, ()), (3, (8,)), (4, (8, 9)), (5, (8, 9, 10))):
        hart = ready(3)
        hart["satp_levels"] = levels
        for scheme in range(1, 16):
            hart.call("csr_write", 0x180, 0)
            hart.call("csr_write", 0x180, scheme << 60)
            assert (hart["satp"] >> 60 == scheme) == (scheme in schemes)


def test_external_line_is_not_written_back() -> None:
    """Setting bits of mip does not take the wire's SEIP into the software's (3.1.9)."""
    hart = ready(3)
    hart["irq_lines"] = 1 << 9
    assert access(hart, 0x344, 1, 1 << 1, READ | WRITE) == 1 << 9
    assert hart["mip"] == 1 << 1
    hart["irq_lines"] = 0
    assert access(hart, 0x344, 1, 0, READ) == 1 << 1


def test_supervisor_interrupt_views() -> None:
    hart = ready(3)
    hart["mideleg"], hart["irq_lines"] = 0x202, 0xA80
    access(hart, 0x104, 0, ALL, WRITE)
    access(hart, 0x144, 0, ALL, WRITE)
    assert (hart["mie"], hart["mip"]) == (0x202, 2)
    assert access(hart, 0x144, 0, 0, READ) == 0x202


def test_counters() -> None:
    hart = ready(3)
    hart.now_ns = 12_345
    assert access(hart, 0xC01, 0, 0, READ) == 123
    access(hart, 0xB00, 0, 1000, WRITE)
    hart.now_ns += 500
    assert access(hart, 0xC00, 0, 0, READ) == 1500
    hart["clock_epoch"] = 2345
    assert access(hart, 0xC01, 0, 0, READ) == 105
