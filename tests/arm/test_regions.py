"""Regions of T32: returns and IT blocks as LLVM sees them."""

from __future__ import annotations

from jitemu.backend_llvm.lifting import Lifter, lift
from jitemu.backend_llvm.regions import region_text
from jitemu.backend_llvm.request import Request
from jitemu.frontends.arm.cpu import parse_cpu
from jitemu.runtime.guest_arm import arm_user

BASE = 0x10001
"""A pc word: Thumb."""
LOOP = "00f004f8 013e fbd1 0020 00df"
"""loop: bl function; subs r6, #1; bne loop; movs r0, #0; svc 0"""
FUNCTION = "10b5 052e ccbf 741c b41e 2046 10bd 0120 7047"
"""push {r4, lr}; cmp r6, #5; ite gt; addgt r4, r6, #1; suble r4, r6, #2; mov r0, r4;
pop {r4, pc}; and another function behind it"""
CODE = bytes.fromhex(LOOP + FUNCTION)
POP = BASE + 12 + 12


def lifted(code: bytes = CODE) -> Lifter:
    guest = arm_user(parse_cpu("max"))

    def read(address: int) -> bytes:
        start = address - (BASE & ~1)
        return code[start : start + 4] if start >= 0 else b""

    return lift(guest.target, guest.decoder, read, Request(BASE, guest.context(1)))


def test_pop_of_pc_returns() -> None:
    """It is no call: nothing behind it is lifted, and an inlined function ends there."""
    lifter = lifted()
    assert (1, POP) in lifter.lifted
    assert lifter.edges((1, POP)) == [(0, BASE + 4)]
    assert max(pc & 0xFFFFFFFF for _, pc in lifter.lifted) == POP


def test_end_of_it_block_is_no_way_back() -> None:
    """Requests are looked for where the loop goes back, and not where ITSTATE ends."""
    lifter = lifted()
    text, _, _ = region_text(lifter.code.target, lifter.request, lifter, lifter.entries())
    assert [line for line in text.splitlines() if line.startswith("back.")] == [f"back.0.{BASE:x}:"]


def test_long_loop_is_closed() -> None:
    """Beyond the limit, by the branch that goes back; what is behind it is not lifted."""
    rounds = 700
    back = (-(2 * rounds + 2 + 4)) >> 1 & 0xFFFFF
    wide = 0xF0008000 | (back >> 19 & 1) << 26 | 1 << 22 | (back >> 11 & 63) << 16 | back & 0x7FF
    wide |= (back >> 18 & 1) << 11 | (back >> 17 & 1) << 13  # bne.w
    branch = (wide >> 16).to_bytes(2, "little") + (wide & 0xFFFF).to_bytes(2, "little")
    code = (
        bytes.fromhex("0844") * rounds + bytes.fromhex("013e") + branch + bytes.fromhex("0120 7047")
    )
    places = [pc for _, pc in lifted(code).lifted]
    assert len(places) == rounds + 2
    assert max(places) == BASE + 2 * rounds + 2
