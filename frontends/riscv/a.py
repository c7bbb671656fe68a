"""A: atomic memory operations (unprivileged specification, chapter 14).

``aq`` and ``rl`` are ignored: the host's stores are totally ordered and its atomic
operations are full barriers.  Misaligned AMOs and store-conditionals raise the
address-misaligned exception where memory is accessed; a misaligned load-reserved reads
the bytes (as a plain load does), and its store-conditional then raises the exception.
"""

from __future__ import annotations

from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.emitter import Register

NO_RESERVATION = -1
"""No access can have this address, as an aligned one is even."""


def load_reserved(name: str, funct3: str, width: int) -> None:
    """x[rd] = memory[x[rs1]]; the address and the value are remembered."""

    def body(s: S, rd: Register, rs1: Register) -> None:
        address = s.x[rs1]
        value = s.load(address, width).sext()
        s.set_field("reservation", address)
        s.set_field("reserved_value", value)
        s.x[rd] = value

    pattern = f"00010 aq:1 rl:1 00000 rs1:5 {funct3} rd:5 0101111"
    isa.insn(pattern, f"{name} {{rd}}, ({{rs1}})", "a", name)(body)


def store_conditional(name: str, funct3: str, width: int) -> None:
    """If memory[x[rs1]] still is as reserved, it becomes x[rs2]; x[rd] = 0, else 1.

    Another hart's write is noticed by the value it leaves, so one that restored the old
    value goes unnoticed (QEMU has the same limit).
    """

    def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
        address = s.x[rs1]
        reserved = s.field("reservation").eq(address)
        expected = s.field("reserved_value").trunc(width)
        written = s.casif(reserved, address, expected, s.x[rs2].trunc(width))
        s.set_field("reservation", NO_RESERVATION)
        s.x[rd] = (written ^ 1).zext()

    pattern = f"00011 aq:1 rl:1 rs2:5 rs1:5 {funct3} rd:5 0101111"
    isa.insn(pattern, f"{name} {{rd}}, {{rs2}}, ({{rs1}})", "a", name)(body)


def amo(name: str, funct5: str, kind: str, funct3: str, width: int) -> None:
    """t = memory[x[rs1]]; memory[x[rs1]] = kind(t, x[rs2]); x[rd] = t."""

    def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
        s.x[rd] = s.amo(kind, s.x[rs1], s.x[rs2].trunc(width)).sext()

    pattern = f"{funct5} aq:1 rl:1 rs2:5 rs1:5 {funct3} rd:5 0101111"
    isa.insn(pattern, f"{name} {{rd}}, {{rs2}}, ({{rs1}})", "a", name)(body)


for _suffix, _funct3, _width in ((".w", "010", 32), (".d", "011", 64)):
    load_reserved("lr" + _suffix, _funct3, _width)
    store_conditional("sc" + _suffix, _funct3, _width)
    for _name, _funct5, _kind in (
        ("amoadd", "00000", "add"),
        ("amoswap", "00001", "xchg"),
        ("amoxor", "00100", "xor"),
        ("amoor", "01000", "or"),
        ("amoand", "01100", "and"),
        ("amomin", "10000", "min"),
        ("amomax", "10100", "max"),
        ("amominu", "11000", "umin"),
        ("amomaxu", "11100", "umax"),
    ):
        amo(_name + _suffix, _funct5, _kind, _funct3, _width)
