"""Zicsr: CSR instructions (unprivileged specification, chapter 7).

In system mode a write ends the block: it may change translation, privilege's rights or
the interrupts that are enabled.
"""

from __future__ import annotations

from jitemu.frontends.riscv.csrs import (
    KIND_CLEAR,
    KIND_SET,
    KIND_WRITE,
    READ_WANTED,
    WRITE_WANTED,
)
from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.builder import V
from jitemu.ir.emitter import Register

SYSTEM = "1110011"


def access(s: S, rd: Register, csr: V, kind: int, operand: V | int, flags: int) -> None:
    """x[rd] = CSR; CSR = kind(CSR, operand) if wanted."""
    function = "user_csr_access" if s.mode == "user" else "csr_access"
    s.set_field("pc", s.pc)
    old = s.call(function, csr, kind, operand, flags)
    s.leave_if_trapped()
    s.x[rd] = old
    if flags & WRITE_WANTED and s.mode == "system":
        s.set_field("pc", s.npc)
        s.call("take_interrupt")
        s.leave()


def modify(name: str, funct2: str, kind: int) -> None:
    """With a register and with a 5-bit immediate as the operand."""

    def from_register(s: S, rd: Register, csr: V, rs1: Register) -> None:
        access(s, rd, csr, kind, s.x[rs1], READ_WANTED | WRITE_WANTED)

    def from_immediate(s: S, rd: Register, csr: V, uimm: V) -> None:
        access(s, rd, csr, kind, uimm, READ_WANTED | WRITE_WANTED)

    pattern = f"csr:12 rs1:5 0{funct2} rd:5 {SYSTEM}"
    isa.insn(pattern, f"{name} {{rd}}, {{csr}}, {{rs1}}", "zicsr", name)(from_register)
    pattern = f"csr:12 uimm:5 1{funct2} rd:5 {SYSTEM}"
    isa.insn(pattern, f"{name}i {{rd}}, {{csr}}, {{uimm}}", "zicsr", f"{name}i")(from_immediate)


def read(name: str, funct3: str, asm: str) -> None:
    """Setting or clearing no bits does not write."""

    def body(s: S, rd: Register, csr: V) -> None:
        access(s, rd, csr, KIND_SET, 0, READ_WANTED)

    pattern = f"csr:12 00000 {funct3} rd:5 {SYSTEM}"
    isa.insn(pattern, asm, "zicsr", name)(body)


modify("csrrw", "01", KIND_WRITE)
modify("csrrs", "10", KIND_SET)
modify("csrrc", "11", KIND_CLEAR)
read("csrr", "010", "csrr {rd}, {csr}")
read("csrrc.read", "011", "csrrc {rd}, {csr}, zero")
read("csrrsi.read", "110", "csrrsi {rd}, {csr}, 0")
read("csrrci.read", "111", "csrrci {rd}, {csr}, 0")
