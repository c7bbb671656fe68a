"""CRC32 instructions: Barrett's reduction by carry-less products, with the bits reversed."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.state import S, define, since, thumb

POLYNOMIALS = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78}


def _quotient(polynomial: int) -> int:
    """x^64 divided by the polynomial (of degree 32), bits reversed: 33 bits."""
    straight = 1 << 32 | int(f"{polynomial:032b}"[::-1], 2)
    rest, result = 1 << 64, 0
    for bit in range(32, -1, -1):
        if rest >> (bit + 32) & 1:
            rest ^= straight << bit
            result |= 1 << bit
    return int(f"{result:033b}"[::-1], 2)


def crc(name: str, size: int) -> None:
    """rd = the checksum rn, continued by 8, 16 or 32 bits of rm."""
    polynomial = POLYNOMIALS[name]
    width = 8 << size

    def body(s: S, rd: Any, rn: Any, rm: Any) -> None:
        before = s.reg(rn)
        # lower bits come first: zeros in front of the message change nothing
        part = (before ^ s.reg(rm)).zext() << (32 - width) & 0xFFFFFFFF
        quotient = part.op("clmul", s.const(_quotient(polynomial))) & 0xFFFFFFFF
        product = quotient.op("clmul", s.const(polynomial << 1 | 1))
        # the 33rd bit up is the remainder's, and the part is taken out
        result = (product >> 32).trunc(32)
        if width < 32:
            result = result ^ before >> width
        s.set_reg(rd, result)

    full = name + "bhw"[size]
    c = int(name.endswith("c"))
    define(full, f"cond:4 00010 {size:02b} 0 rn:4 rd:4 00{c}0 0100 rm:4", "rd rn rm", body)
    thumb(full, f"11111010 110{c} rn:4 1111 rd:4 10{size:02b} rm:4")
    since("crc", full)


for _name in POLYNOMIALS:
    for _size in (0, 1, 2):
        crc(_name, _size)
