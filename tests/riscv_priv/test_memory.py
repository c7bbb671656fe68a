"""Accesses that miss the inline TLB test, and what flushes forget."""

from __future__ import annotations

import pytest

from tests.riscv_priv.hart import BAD_DEVICE, RAM_BASE, Hart

NO_TAG = (1 << 64) - 1
ROOT, MIDDLE, LOW = (RAM_BASE + 4096 * n for n in (16, 17, 18))
FRAME = RAM_BASE + 4096 * 32
V, R, W, X, U, G, A, D = (1 << n for n in range(8))
VA = 0x4000_0000
DEVICE = 0x1000_0000


def pte(physical: int, flags: int) -> int:
    return physical >> 12 << 10 | flags


def supervisor(*flags: int) -> Hart:
    """S mode with pages at VA, VA + 4096, ... mapped with these flags to FRAME, ..."""
    hart = Hart()
    hart.open_pmp()
    hart.write(ROOT + 8 * (VA >> 30), pte(MIDDLE, V))
    hart.write(MIDDLE, pte(LOW, V))
    for n, flag in enumerate(flags):
        hart.write(LOW + 8 * n, pte(FRAME + 4096 * n, flag))
    hart["priv"], hart["pc"], hart["medeleg"] = 1, 0x400, 0xB1FF
    hart.call("csr_write", 0x180, 8 << 60 | ROOT >> 12)
    hart.call("update_context")
    return hart


def tags(hart: Hart, va: int, mode: int = 1) -> list[int]:
    entry = (mode * 512 + (va >> 12) % 512) * 4
    return [hart.array("tlb")[entry + n] for n in (0, 1, 3)]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("offset", [0x100, 0x103, 0xFFD])
def test_load_and_store(size: int, offset: int) -> None:
    hart = supervisor(V | R | W, V | R | W)
    value = 0x8877_6655_4433_2211 & ((1 << 8 * size) - 1)
    hart.call("slow_store", VA + offset, size, value, 1)
    stored = [hart.read(FRAME + offset + n, 1) for n in range(size)]
    assert bytes(stored) == value.to_bytes(size, "little")
    assert hart.call("slow_load", VA + offset, size, 1) == value
    assert hart["trapped"] == 0


def test_crossing_store_is_all_or_nothing() -> None:
    for first, second, tval in ((V | R | W, V | R, VA + 4096), (V | R, V | R | W, VA + 4092)):
        hart = supervisor(first, second)
        hart.call("slow_store", VA + 4092, 8, NO_TAG, 1)
        assert (hart["scause"], hart["stval"], hart["sepc"]) == (15, tval, 0x400)
        assert hart.read(FRAME + 4092, 4) == hart.read(FRAME + 4096, 4) == 0
        hart["priv"] = 1
        assert hart.call("slow_load", VA + 4092, 8, 1) == 0
        assert hart["trapped"] == 0


def test_write_tag_waits_for_dirty() -> None:
    hart = supervisor(V | R | W)
    hart.call("slow_load", VA, 8, 1)
    assert tags(hart, VA) == [VA, NO_TAG, NO_TAG]
    assert hart.read(LOW) & (A | D) == A
    hart.call("slow_store", VA, 8, 1, 1)
    assert tags(hart, VA) == [VA, VA, NO_TAG]
    assert hart.read(LOW) & D


def test_devices() -> None:
    hart = supervisor(V | R | W)
    hart.write(LOW, pte(DEVICE, V | R | W))
    assert hart.call("slow_load", VA + 4, 2, 1) == 0x3210
    hart.call("slow_store", VA + 8, 4, 0x1_2345_6789, 1)
    assert hart.log == [("read", DEVICE + 4, 2, 0), ("write", DEVICE + 8, 4, 0x2345_6789)]
    assert tags(hart, VA) == [NO_TAG] * 3
    hart.call("slow_address", VA, 8, 1)
    assert (hart["scause"], hart["stval"]) == (7, VA)
    hart.write(LOW, pte(BAD_DEVICE, V | R | W))
    for function, args, cause in (("slow_load", (), 5), ("slow_store", (0,), 7)):
        hart["priv"] = 1
        hart.call(function, VA, 4, *args, 1)
        assert (hart["trapped"], hart["scause"]) == (1, cause)


def test_atomics_need_alignment_and_the_right_to_write() -> None:
    hart = supervisor(V | R | W, V | R)
    host = hart.call("slow_address", VA + 8, 8, 1)
    hart.machine.host.write(host, 8, 99)
    assert hart.read(FRAME + 8) == 99
    for va, cause in ((VA + 4, 6), (VA + 4096, 15)):
        hart["priv"] = 1
        assert hart.call("slow_address", va, 8, 1) == 0
        assert hart["scause"] == cause


def test_stores_to_code() -> None:
    hart = supervisor(V | R | W)
    hart.set_code(FRAME, 0b10)  # bytes 64-127
    hart.call("slow_store", VA + 56, 8, 1, 1)
    assert hart.log == []
    assert tags(hart, VA) == [VA, NO_TAG, NO_TAG]
    for va in (VA + 60, VA + 124):
        hart.call("slow_store", va, 8, 2, 1)
        assert hart.log.pop() == ("code", va - VA + FRAME, 8, 0)
        assert hart.read(va - VA + FRAME) == 2
    hart.call("slow_address", VA + 64, 8, 1)
    assert hart.log.pop()[0] == "code"
    hart.set_code(FRAME, 0)
    hart.call("slow_store", VA, 8, 1, 1)
    assert tags(hart, VA) == [VA, VA, NO_TAG]
    hart.call("protect_code_page", FRAME + 0x10)
    assert tags(hart, VA) == [VA, NO_TAG, NO_TAG]
    hart.set_code(FRAME, 1)
    hart.call("slow_store", VA, 8, 1, 1)
    assert hart.log.pop()[0] == "code"


def test_user_pages_go_with_sum() -> None:
    hart = supervisor(V | R | W | U, V | R | W)
    hart.call("csr_write", 0x100, 1 << 18)
    hart.call("slow_load", VA, 8, 1)
    hart.call("slow_load", VA + 4096, 8, 1)
    assert tags(hart, VA)[0] == VA
    hart.call("csr_write", 0x100, 0)
    assert tags(hart, VA) == [NO_TAG] * 3
    assert tags(hart, VA + 4096)[0] == VA + 4096
    hart.call("slow_load", VA, 8, 1)
    assert hart["scause"] == 13


def test_fetch() -> None:
    hart = supervisor(V | X, V | R, V | X | U)
    assert hart.call("fetch_translate", VA + 6) == 1
    assert hart["fetch_physical"] == FRAME + 6
    assert hart.call("fetch_translate", VA + 6) == 1
    for va in (VA + 4096, VA + 8192):
        hart["priv"], hart["pc"] = 1, 0x400
        assert hart.call("fetch_translate", va) == 0
        assert (hart["scause"], hart["stval"], hart["sepc"]) == (12, va, 0x400)
    hart["satp"], hart["priv"] = 0, 3
    hart.call("flush_tlb")
    assert hart.call("fetch_translate", 0x1000) == 0
    assert hart["mcause"] == 1
    hart["rom_base"], hart["rom_size"] = 0x1000, 0xF000
    assert hart.call("fetch_translate", 0x1000) == 1
    assert hart["fetch_physical"] == 0x1000


def fill(hart: Hart, *pages: int) -> None:
    """Use pages and remember a jump in each."""
    for va in pages:
        assert hart.call("fetch_translate", va) == 1
        hart.array("jump_cache")[((va >> 12 & 63) << 6 | va >> 1 & 63) * 2] = va


def held(hart: Hart, va: int) -> tuple[bool, bool]:
    """(in the TLB, in the jump cache)"""
    jump = hart.array("jump_cache")[((va >> 12 & 63) << 6 | va >> 1 & 63) * 2]
    assert (tags(hart, va)[2] == va) == (tags(hart, va)[0] == va)
    return tags(hart, va)[2] == va, jump == va


RX = V | R | X


def test_flushes() -> None:
    pages = (VA, VA + 4096, VA + 8192)
    for function, args, kept in (
        ("flush_tlb", (), ()),
        ("flush_local", (), (pages[1],)),
        ("flush_page", (pages[0] + 8,), pages[1:]),
        ("satp_write", (0x180, 8 << 60 | 1 << 44 | ROOT >> 12), (pages[1],)),
        ("satp_write", (0x180, 8 << 60 | ROOT >> 12), pages),
        ("satp_write", (0x180, 9 << 60 | ROOT >> 12), ()),
    ):
        hart = supervisor(RX, RX | G, RX)
        fill(hart, *pages)
        hart.call(function, *args)
        for va in pages:
            assert held(hart, va) == (va in kept, va in kept), (function, va)
        hart["satp"] = 8 << 60 | ROOT >> 12
        fill(hart, *pages)
        assert all(held(hart, va) == (True, True) for va in pages)


def test_page_flush_forgets_the_superpage() -> None:
    hart = supervisor()
    hart.write(MIDDLE + 8, pte(RAM_BASE & ~0x1F_FFFF, RX))
    pages = [VA + 0x20_0000 + 4096 * n for n in (0, 3, 70)]
    fill(hart, *pages)
    assert all(held(hart, va) == (True, True) for va in pages)
    hart.call("flush_page", pages[1] + 4096)
    assert all(held(hart, va) == (False, False) for va in pages)


def test_log_never_overflows() -> None:
    """Every entry of a TLB in use, many times over."""
    hart = Hart()
    for n in range(1200):
        assert hart.call("tlb_fill", RAM_BASE + 4096 * (n % 256) + (n & 7), 0, 2) == 0
    assert hart["tlb_logged"] == 256
    hart.call("flush_tlb")
    assert hart["tlb_logged"] == 0
    assert set(hart.array("tlb_flags")) == {0}
