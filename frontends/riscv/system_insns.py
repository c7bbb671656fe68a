"""Privileged instructions: returns, wfi, sfence.vma and Svinval (privileged specification)."""

from __future__ import annotations

from jitemu.frontends.riscv.i import EXIT_ILLEGAL
from jitemu.frontends.riscv.privileged import EXIT_WFI
from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.emitter import Register

SYSTEM = "000 00000 1110011"


def supervisor_only(s: S, function: str, *args: int) -> bool:
    """Call a native function that traps or does it; in Linux user mode: illegal, True."""
    if s.mode == "user":
        s.exit(EXIT_ILLEGAL)
        return True
    s.set_field("pc", s.pc)
    s.call(function, *args)
    return False


@isa.insn(f"0011000 00010 00000 {SYSTEM}", "mret", "zicsr")
def mret(s: S) -> None:
    """Return from a trap to M mode."""
    if not supervisor_only(s, "return_from_machine"):
        s.leave()


@isa.insn(f"0001000 00010 00000 {SYSTEM}", "sret", "zicsr")
def sret(s: S) -> None:
    """Return from a trap to S mode."""
    if not supervisor_only(s, "return_from_supervisor"):
        s.leave()


@isa.insn(f"0001000 00101 00000 {SYSTEM}", "wfi", "zicsr")
def wfi(s: S) -> None:
    """Wait for an interrupt: the engine does."""
    if not supervisor_only(s, "wait_for_interrupt"):
        s.leave_if_trapped()
        s.exit(EXIT_WFI, done=True)


def fence(s: S, flush: str, rs1: Register | None = None) -> None:
    """Flush what the operands say and end the block."""
    if supervisor_only(s, "fence_allowed", 1):
        return
    s.leave_if_trapped()
    if rs1 is None:
        s.call(flush)
    else:
        s.call(flush, s.x[rs1])
    s.set_field("pc", s.npc)
    s.leave()


def address_fence(name: str, funct7: str, when: str) -> None:
    """By address (whatever the address space), by address space, or all."""

    def by_address(s: S, rs1: Register) -> None:
        fence(s, "flush_page", rs1)

    def by_space(s: S) -> None:
        fence(s, "flush_local")

    def everything(s: S) -> None:
        fence(s, "flush_tlb")

    asm = f"{name} {{rs1}}, {{rs2}}"
    isa.insn(f"{funct7} rs2:5 rs1:5 {SYSTEM}", asm, when, name)(by_address)
    asm = f"{name} zero, {{rs2}}"
    isa.insn(f"{funct7} rs2:5 00000 {SYSTEM}", asm, when, f"{name}.asid")(by_space)
    isa.insn(f"{funct7} 00000 00000 {SYSTEM}", name, when, f"{name}.all")(everything)


def order_fence(name: str, operand: str) -> None:
    """Orders sinval.vma, which acts at once here, so there is nothing left to do."""

    def body(s: S) -> None:
        if not supervisor_only(s, "fence_allowed", 0):
            s.leave_if_trapped()

    isa.insn(f"0001100 {operand} 00000 {SYSTEM}", name, "svinval", name)(body)


address_fence("sfence.vma", "0001001", "zicsr")
address_fence("sinval.vma", "0001011", "svinval")
order_fence("sfence.w.inval", "00000")
order_fence("sfence.inval.ir", "00001")
