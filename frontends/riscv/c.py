"""C: compressed instructions (unprivileged specification, chapter 27), as RV64 has them.

Each stands for a longer instruction; None is a reserved encoding.  Hints (a destination
of x0, a zero shift) are the longer instruction with that operand, which does nothing.
``rdp``, ``rs1p`` and ``rs2p`` are the three-bit fields that name x8 to x15.
"""

from __future__ import annotations

from jitemu.frontends.riscv.state import isa
from jitemu.isa import Fields

Target = tuple[str, Fields]

RA, SP = 1, 2


def near_load(name: str, base: str, funct3: str, offset: str) -> None:
    """A load with a short offset from x8 to x15."""

    def expand(rdp: int, rs1p: int, uimm: int) -> Target:
        return base, {"rd": rdp + 8, "rs1": rs1p + 8, "imm": uimm}

    pattern = f"{funct3} uimm[5:3] rs1p:3 uimm[{offset}] rdp:3 00"
    isa.expand(pattern, f"{name} {{rdp}}, {{uimm}}({{rs1p}})", "c", name)(expand)


def near_store(name: str, base: str, funct3: str, offset: str) -> None:
    """A store with a short offset from x8 to x15."""

    def expand(rs1p: int, rs2p: int, uimm: int) -> Target:
        return base, {"rs1": rs1p + 8, "rs2": rs2p + 8, "imm": uimm}

    pattern = f"{funct3} uimm[5:3] rs1p:3 uimm[{offset}] rs2p:3 00"
    isa.expand(pattern, f"{name} {{rs2p}}, {{uimm}}({{rs1p}})", "c", name)(expand)


def stack_load(name: str, base: str, funct3: str, offset: str, *, to_zero: bool) -> None:
    """A load from the stack; an integer load's destination must not be x0."""

    def expand(rd: int, uimm: int) -> Target | None:
        return (base, {"rd": rd, "rs1": SP, "imm": uimm}) if rd or to_zero else None

    pattern = f"{funct3} uimm[5] rd:5 uimm[{offset}] 10"
    isa.expand(pattern, f"{name} {{rd}}, {{uimm}}(sp)", "c", name)(expand)


def stack_store(name: str, base: str, funct3: str, offset: str) -> None:
    """A store to the stack."""

    def expand(rs2: int, uimm: int) -> Target:
        return base, {"rs1": SP, "rs2": rs2, "imm": uimm}

    pattern = f"{funct3} uimm[{offset}] rs2:5 10"
    isa.expand(pattern, f"{name} {{rs2}}, {{uimm}}(sp)", "c", name)(expand)


def near_op(name: str, base: str, top: str, funct2: str) -> None:
    """Register-register on x8 to x15: the first operand is the destination too."""

    def expand(rdp: int, rs2p: int) -> Target:
        return base, {"rd": rdp + 8, "rs1": rdp + 8, "rs2": rs2p + 8}

    pattern = f"{top} rdp:3 {funct2} rs2p:3 01"
    isa.expand(pattern, f"{name} {{rdp}}, {{rs2p}}", "c", name)(expand)


def near_shift(name: str, base: str, funct2: str) -> None:
    """A right shift of x8 to x15."""

    def expand(rdp: int, uimm: int) -> Target:
        return base, {"rd": rdp + 8, "rs1": rdp + 8, "shamt": uimm}

    pattern = f"100 uimm[5] {funct2} rdp:3 uimm[4:0] 01"
    isa.expand(pattern, f"{name} {{rdp}}, {{uimm}}", "c", name)(expand)


def near_branch(name: str, base: str, funct3: str) -> None:
    """A branch on x8 to x15 against zero."""

    def expand(rs1p: int, imm: int) -> Target:
        return base, {"rs1": rs1p + 8, "rs2": 0, "imm": imm}

    pattern = f"{funct3} imm[8|4:3] rs1p:3 imm[7:6|2:1|5] 01"
    isa.expand(pattern, f"{name} {{rs1p}}, {{imm:pc}}", "c", name)(expand)


near_load("c.fld", "fld", "001", "7:6")
near_load("c.lw", "lw", "010", "2|6")
near_load("c.ld", "ld", "011", "7:6")
near_store("c.fsd", "fsd", "101", "7:6")
near_store("c.sw", "sw", "110", "2|6")
near_store("c.sd", "sd", "111", "7:6")
stack_load("c.fldsp", "fld", "001", "4:3|8:6", to_zero=True)
stack_load("c.lwsp", "lw", "010", "4:2|7:6", to_zero=False)
stack_load("c.ldsp", "ld", "011", "4:3|8:6", to_zero=False)
stack_store("c.fsdsp", "fsd", "101", "5:3|8:6")
stack_store("c.swsp", "sw", "110", "5:2|7:6")
stack_store("c.sdsp", "sd", "111", "5:3|8:6")
near_op("c.sub", "sub", "100011", "00")
near_op("c.xor", "xor", "100011", "01")
near_op("c.or", "or", "100011", "10")
near_op("c.and", "and", "100011", "11")
near_op("c.subw", "subw", "100111", "00")
near_op("c.addw", "addw", "100111", "01")
near_shift("c.srli", "srli", "00")
near_shift("c.srai", "srai", "01")
near_branch("c.beqz", "beq", "110")
near_branch("c.bnez", "bne", "111")


@isa.expand("000 uimm[5:4|9:6|2|3] rdp:3 00", "c.addi4spn {rdp}, sp, {uimm}", "c")
def c__addi4spn(rdp: int, uimm: int) -> Target | None:
    """x[rd] = sp + uimm; all zeros is the defined illegal instruction."""
    return ("addi", {"rd": rdp + 8, "rs1": SP, "imm": uimm}) if uimm else None


@isa.expand("000 imm[5] rd:5 imm[4:0] 01", "c.addi {rd}, {imm}", "c")
def c__addi(rd: int, imm: int) -> Target:
    """x[rd] += imm; c.nop if rd is x0."""
    return "addi", {"rd": rd, "rs1": rd, "imm": imm}


@isa.expand("001 imm[5] rd:5 imm[4:0] 01", "c.addiw {rd}, {imm}", "c")
def c__addiw(rd: int, imm: int) -> Target | None:
    """x[rd] = low half of x[rd] + imm, sign-extended."""
    return ("addiw", {"rd": rd, "rs1": rd, "imm": imm}) if rd else None


@isa.expand("010 imm[5] rd:5 imm[4:0] 01", "c.li {rd}, {imm}", "c")
def c__li(rd: int, imm: int) -> Target:
    """x[rd] = imm."""
    return "addi", {"rd": rd, "rs1": 0, "imm": imm}


@isa.expand("011 imm[9] 00010 imm[4|6|8:7|5] 01", "c.addi16sp sp, {imm}", "c")
def c__addi16sp(imm: int) -> Target | None:
    """sp += imm."""
    return ("addi", {"rd": SP, "rs1": SP, "imm": imm}) if imm else None


@isa.expand("011 imm[17] rd:5 imm[16:12] 01", "c.lui {rd}, {imm}", "c")
def c__lui(rd: int, imm: int) -> Target | None:
    """x[rd] = imm."""
    return ("lui", {"rd": rd, "imm": imm}) if imm else None


@isa.expand("100 imm[5] 10 rdp:3 imm[4:0] 01", "c.andi {rdp}, {imm}", "c")
def c__andi(rdp: int, imm: int) -> Target:
    """x[rd] &= imm."""
    return "andi", {"rd": rdp + 8, "rs1": rdp + 8, "imm": imm}


@isa.expand("101 imm[11|4|9:8|10|6|7|3:1|5] 01", "c.j {imm:pc}", "c")
def c__j(imm: int) -> Target:
    """pc += imm."""
    return "jal", {"rd": 0, "imm": imm}


@isa.expand("000 uimm[5] rd:5 uimm[4:0] 10", "c.slli {rd}, {uimm}", "c")
def c__slli(rd: int, uimm: int) -> Target:
    """x[rd] <<= uimm."""
    return "slli", {"rd": rd, "rs1": rd, "shamt": uimm}


@isa.expand("1000 rd:5 rs2:5 10", "c.mv {rd}, {rs2}", "c")
def c__mv(rd: int, rs2: int) -> Target:
    """x[rd] = x[rs2], as the mv of longer code does it."""
    return "addi", {"rd": rd, "rs1": rs2, "imm": 0}


@isa.expand("1000 rs1:5 00000 10", "c.jr {rs1}", "c")
def c__jr(rs1: int) -> Target | None:
    """pc = x[rs1]."""
    return ("jalr", {"rd": 0, "rs1": rs1, "imm": 0}) if rs1 else None


@isa.expand("1001 rd:5 rs2:5 10", "c.add {rd}, {rs2}", "c")
def c__add(rd: int, rs2: int) -> Target:
    """x[rd] += x[rs2]."""
    return "add", {"rd": rd, "rs1": rd, "rs2": rs2}


@isa.expand("1001 rs1:5 00000 10", "c.jalr {rs1}", "c")
def c__jalr(rs1: int) -> Target:
    """ra = next pc; pc = x[rs1]."""
    return "jalr", {"rd": RA, "rs1": rs1, "imm": 0}


@isa.expand("1001 00000 00000 10", "c.ebreak", "c")
def c__ebreak() -> Target:
    """Breakpoint."""
    return "ebreak", {}
