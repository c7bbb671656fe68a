"""Traps, delegation, returns and interrupts, from the privileged specification's rules."""

from __future__ import annotations

import itertools

import pytest

from tests.riscv_priv.hart import Hart

INTERRUPT = 1 << 63
SIE, MIE, SPIE, MPIE, SPP = 1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8
MTVEC, STVEC = 0x8000_1000, 0x8000_2000
SECRET = 1 << 40


def hart_at(priv: int, status: int = 0) -> Hart:
    hart = Hart()
    hart["priv"], hart["mstatus"], hart["pc"] = priv, hart["mstatus"] | status, 0x8000_0100
    hart["mtvec"], hart["stvec"] = MTVEC, STVEC
    hart["ctx_secret"] = SECRET
    hart.call("update_context")
    return hart


def test_delegation_and_stacking() -> None:
    """Every exception, from every privilege, delegated and not."""
    causes = [c for c in range(16) if 0xB3FF >> c & 1]
    for cause, priv, delegated in itertools.product(causes, (0, 1, 3), (0, 1)):
        for enabled in (0, 1):
            hart = hart_at(priv, (SIE | MIE) * enabled)
            hart["medeleg"] = delegated << cause
            hart.call("raise_exception", cause, 0x123)
            to_s = bool(delegated and priv != 3)
            prefix = "s" if to_s else "m"
            assert hart["priv"] == (1 if to_s else 3)
            assert hart["pc"] == (STVEC if to_s else MTVEC)
            assert hart[f"{prefix}epc"] == 0x8000_0100
            assert hart[f"{prefix}cause"] == cause
            assert hart[f"{prefix}tval"] == 0x123
            assert hart["trapped"] == 1
            status = hart["mstatus"]
            if to_s:
                assert bool(status & SPP) == (priv == 1)
                assert not status & SIE
                assert bool(status & SPIE) == bool(enabled)
                assert bool(status & MIE) == bool(enabled)
            else:
                assert status >> 11 & 3 == priv
                assert not status & MIE
                assert bool(status & MPIE) == bool(enabled)
                assert bool(status & SIE) == bool(enabled)
            assert hart["ctx"] & 3 == hart["priv"]
            assert hart["ctx_tag"] == hart["ctx"] * SECRET


@pytest.mark.parametrize("mode", [0, 1])
def test_vectored_is_for_interrupts_only(mode: int) -> None:
    hart = hart_at(1)
    hart["mtvec"] = MTVEC | mode
    hart.call("raise_exception", 2, 0)
    assert hart["pc"] == MTVEC
    hart = hart_at(1)
    hart["mtvec"] = MTVEC | mode
    hart["mie"], hart["irq_lines"] = 1 << 11, 1 << 11
    assert hart.call("take_interrupt") == 1
    assert hart["pc"] == MTVEC + (44 if mode else 0)
    assert hart["mcause"] == INTERRUPT | 11


def test_interrupt_order_and_enables() -> None:
    """MEI MSI MTI SEI SSI STI, those for M mode first; section 3.1.9's conditions."""
    order = (11, 3, 7, 9, 1, 5)
    for priv, delegated, sie, mie in itertools.product((0, 1, 3), (0, 0x222), (0, 1), (0, 1)):
        for pending in (0xAAA, 0x222, 0x888, 0x022, 0x020, 0x0A0):
            hart = hart_at(priv, SIE * sie | MIE * mie)
            hart["mie"], hart["irq_lines"], hart["mideleg"] = 0xAAA, pending, delegated
            m_on = priv < 3 or mie
            s_on = priv < 1 or (priv == 1 and sie)
            for_m = [i for i in order if (pending & ~delegated) >> i & 1] if m_on else []
            for_s = [i for i in order if (pending & delegated) >> i & 1] if s_on else []
            taken = (for_m + for_s)[:1]
            assert hart.call("take_interrupt") == len(taken)
            if taken:
                word = "mcause" if for_m else "scause"
                assert hart[word] == INTERRUPT | taken[0]


def test_stimecmp_makes_the_timer_interrupt() -> None:
    hart = hart_at(1, SIE)
    hart["mideleg"], hart["mie"] = 0x222, 1 << 5
    hart["menvcfg"] = 1 << 63
    hart.call("csr_write", 0x14D, 50)
    assert hart.log == [("timer", 50, 0, 0)]
    hart.now_ns = 4999
    assert hart.call("take_interrupt") == hart.call("interrupt_waiting") == 0
    hart.now_ns = 5000
    assert hart.call("csr_read", 0x144) == 1 << 5
    assert hart.call("interrupt_waiting") == 1
    assert hart.call("take_interrupt") == 1
    assert hart["scause"] == INTERRUPT | 5


def test_mret() -> None:
    for mpp, mpie, mprv in itertools.product((0, 1, 3), (0, 1), (0, 1)):
        hart = hart_at(3, mpp << 11 | MPIE * mpie | mprv << 17)
        hart["mepc"] = 0x8000_0200
        hart.call("return_from_machine")
        status = hart["mstatus"]
        assert (hart["priv"], hart["pc"], hart["trapped"]) == (mpp, 0x8000_0200, 0)
        assert bool(status & MIE) == bool(mpie)
        assert status & MPIE
        assert not status & 3 << 11
        assert status >> 17 & 1 == (mprv if mpp == 3 else 0)


def test_sret() -> None:
    for spp, spie, priv in itertools.product((0, 1), (0, 1), (1, 3)):
        hart = hart_at(priv, SPP * spp | SPIE * spie | 1 << 17)
        hart["sepc"] = 0x8000_0200
        hart.call("return_from_supervisor")
        status = hart["mstatus"]
        assert (hart["priv"], hart["pc"]) == (spp, 0x8000_0200)
        assert bool(status & SIE) == bool(spie)
        assert status & SPIE
        assert not status & (SPP | 1 << 17)


@pytest.mark.parametrize(
    ("function", "args", "priv", "status", "legal"),
    [
        ("return_from_machine", (), 0, 0, False),
        ("return_from_machine", (), 1, 0, False),
        ("return_from_supervisor", (), 0, 0, False),
        ("return_from_supervisor", (), 1, 1 << 22, False),
        ("return_from_supervisor", (), 3, 1 << 22, True),
        ("wait_for_interrupt", (), 0, 0, False),
        ("wait_for_interrupt", (), 1, 0, True),
        ("wait_for_interrupt", (), 1, 1 << 21, False),
        ("wait_for_interrupt", (), 3, 1 << 21, True),
        ("fence_allowed", (1,), 0, 0, False),
        ("fence_allowed", (1,), 1, 0, True),
        ("fence_allowed", (1,), 1, 1 << 20, False),
        ("fence_allowed", (0,), 1, 1 << 20, True),
        ("fence_allowed", (1,), 3, 1 << 20, True),
        ("cbo_allowed", (0,), 1, 0, False),
        ("cbo_allowed", (4,), 3, 0, True),
    ],
)
def test_legality(
    function: str, args: tuple[int, ...], priv: int, status: int, legal: bool
) -> None:
    hart = hart_at(priv, status)
    hart.call(function, *args)
    assert hart["trapped"] == (not legal)
    if not legal:
        assert hart["mcause"] == 2


def test_ecall() -> None:
    for priv, cause in ((0, 8), (1, 9), (3, 11)):
        hart = hart_at(priv)
        hart.call("environment_call")
        assert (hart["mcause"], hart["trapped"]) == (cause, 1)
    hart = Hart()
    hart.call("start_supervisor")
    hart.call("environment_call")
    assert (hart["trapped"], hart["priv"]) == (0, 1)
    hart["priv"] = 0
    hart.call("environment_call")
    assert (hart["scause"], hart["priv"]) == (8, 1)


def test_context() -> None:
    """Privilege, FP state and the TLB of data accesses (MPRV)."""
    for priv, fs, mprv, mpp in itertools.product((0, 1, 3), range(4), (0, 1), (0, 1, 3)):
        hart = hart_at(priv, fs << 13 | mprv << 17 | mpp << 11)
        effective = mpp if mprv and priv == 3 else priv
        assert hart["ctx"] == priv | (0, 1, 1, 2)[fs] << 2 | min(effective, 2) << 5
        assert hart["ctx"] < 128
    hart = hart_at(1, 1 << 13)
    hart.call("fp_mark_dirty")
    assert (hart["mstatus"] >> 13 & 3, hart["ctx"] >> 2 & 7) == (3, 2)
