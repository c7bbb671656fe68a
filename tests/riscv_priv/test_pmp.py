"""PMP against a checker over bytes, from section 3.7's words."""

from __future__ import annotations

import random

from tests.riscv_priv.hart import RAM_BASE, Hart


def allowed(
    cfgs: list[int], addrs: list[int], first: int, size: int, access: int, mode: int
) -> bool:
    """Whether an access succeeds: the lowest entry that matches any byte decides."""
    for n, (cfg, addr) in enumerate(zip(cfgs, addrs, strict=True)):
        kind = cfg >> 3 & 3
        if kind == 0:
            continue
        if kind == 1:
            low, high = (addrs[n - 1] * 4 if n else 0), addr * 4
        elif kind == 2:
            low, high = addr * 4, addr * 4 + 4
        else:
            g = 0
            while addr >> g & 1:
                g += 1
            low = (addr & ~((1 << g) - 1)) * 4
            high = low + (8 << g)
        hit = [low <= b < high for b in range(first, first + size)]
        if any(hit):
            if not all(hit):
                return False
            return bool(mode == 2 and not cfg & 0x80) or bool(cfg >> access & 1)
    return mode == 2


def test_random_entries() -> None:
    rng = random.Random(5)
    hart = Hart()
    seen = {False: 0, True: 0}
    for _ in range(60):
        cfgs = [
            rng.choice((0, 0x80)) | rng.randrange(4) << 3 | rng.choice((0, 1, 3, 4, 5, 7))
            for _ in range(16)
        ]
        addrs = [(RAM_BASE >> 2) + rng.randrange(64) for _ in range(16)]
        for n in range(rng.randrange(16)):
            cfgs[n] = 0
        hart.array("pmpcfg")[:], hart.array("pmpaddr")[:] = cfgs, addrs
        hart.call("pmp_update")
        for _ in range(8):
            first, size = RAM_BASE + rng.randrange(256), rng.choice((1, 2, 4, 8))
            access, mode = rng.randrange(3), rng.randrange(3)
            wanted = allowed(cfgs, addrs, first, size, access, mode)
            assert hart.call("pmp_allows", first, size, access, mode) == wanted
            seen[wanted] += 1
    assert min(seen.values()) > 50


def test_nothing_matches_without_entries() -> None:
    hart = Hart()
    assert [hart.call("pmp_allows", RAM_BASE, 8, 0, mode) for mode in (0, 1, 2)] == [0, 0, 1]
    hart.open_pmp()
    assert hart["pmp_open"] == 7


def test_divided_page_is_asked_each_time() -> None:
    hart = Hart()
    hart.array("pmpaddr")[0], hart.array("pmpcfg")[0] = (RAM_BASE + 64) >> 2, 0x09  # TOR, read
    hart.call("pmp_update")
    hart.write(RAM_BASE + 56, 77)
    for offset, trapped in ((56, 0), (60, 1), (64, 1), (56, 0)):
        hart["priv"] = 1
        assert hart.call("slow_load", RAM_BASE + offset, 8, 1) == (0 if trapped else 77)
        assert hart["trapped"] == trapped
        if trapped:
            assert (hart["mcause"], hart["mtval"]) == (5, RAM_BASE + offset)
    hart["priv"] = 1
    hart.call("slow_store", RAM_BASE + 56, 8, 1, 1)
    assert (hart["mcause"], hart.read(RAM_BASE + 56)) == (7, 77)


def test_locked_entries_stay() -> None:
    hart = Hart()
    hart.call("csr_write", 0x3B0, 0x1000)
    hart.call("csr_write", 0x3B1, 0x2000)
    hart.call("csr_write", 0x3A0, 0x8F00)  # entry 1: locked TOR
    hart.call("csr_write", 0x3A0, 0)
    for number in (0x3B0, 0x3B1):
        hart.call("csr_write", number, 5)
    assert hart.call("csr_read", 0x3A0) == 0x8F00
    assert hart.call("csr_read", 0x3B0) == 0x1000
    assert hart.call("csr_read", 0x3B1) == 0x2000
    hart.call("csr_write", 0x3A2, 0x0A)  # write-only is reserved
    assert hart.call("csr_read", 0x3A2) == 0x08
    assert hart.call("csr_read", 0x3BF + 8) == 0
