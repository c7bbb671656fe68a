"""RV64I: the base integer instructions (unprivileged specification, chapters 2 and 4)."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.frontends.riscv.privileged import EXIT_SBI
from jitemu.frontends.riscv.state import S, isa
from jitemu.ir.builder import V
from jitemu.ir.emitter import Register
from jitemu.ir.state import EXIT_SYSCALL

EXIT_BREAKPOINT = 2
EXIT_ILLEGAL = 3

Binary = Callable[[V, V], V]


def op(name: str, funct7: str, funct3: str, opcode: str, f: Binary, when: str = "i") -> None:
    """Register-register: x[rd] = f(x[rs1], x[rs2])."""

    def body(s: S, rd: Register, rs1: Register, rs2: Register) -> None:
        s.x[rd] = f(s.x[rs1], s.x[rs2])

    pattern = f"{funct7} rs2:5 rs1:5 {funct3} rd:5 {opcode}"
    isa.insn(pattern, f"{name} {{rd}}, {{rs1}}, {{rs2}}", when, name)(body)


def op_imm(name: str, funct3: str, opcode: str, f: Binary) -> None:
    """Register-immediate: x[rd] = f(x[rs1], imm)."""

    def body(s: S, rd: Register, rs1: Register, imm: V) -> None:
        s.x[rd] = f(s.x[rs1], imm)

    pattern = f"imm:12 rs1:5 {funct3} rd:5 {opcode}"
    isa.insn(pattern, f"{name} {{rd}}, {{rs1}}, {{imm}}", "i", name)(body)


def shift_imm(name: str, top: str, bits: int, funct3: str, opcode: str, f: Binary, when: str = "i"):
    """Register-shamt: x[rd] = f(x[rs1], shamt)."""

    def body(s: S, rd: Register, rs1: Register, shamt: V) -> None:
        s.x[rd] = f(s.x[rs1], shamt)

    pattern = f"{top} shamt:{bits} rs1:5 {funct3} rd:5 {opcode}"
    isa.insn(pattern, f"{name} {{rd}}, {{rs1}}, {{shamt}}", when, name)(body)


OP, OP_32, OP_IMM, OP_IMM_32 = "0110011", "0111011", "0010011", "0011011"


def w(f: Binary) -> Binary:
    """The 32-bit form: on the low halves, sign-extended."""
    return lambda a, b: f(a.trunc(32), b.trunc(32)).sext()


def bit(c: V) -> V:
    """An i1 as 0 or 1."""
    return c.zext()


op("add", "0000000", "000", OP, lambda a, b: a + b)
op("sub", "0100000", "000", OP, lambda a, b: a - b)
op("sll", "0000000", "001", OP, lambda a, b: a << (b & 63))
op("slt", "0000000", "010", OP, lambda a, b: bit(a.slt(b)))
op("sltu", "0000000", "011", OP, lambda a, b: bit(a.ult(b)))
op("xor", "0000000", "100", OP, lambda a, b: a ^ b)
op("srl", "0000000", "101", OP, lambda a, b: a >> (b & 63))
op("sra", "0100000", "101", OP, lambda a, b: a.sar(b & 63))
op("or", "0000000", "110", OP, lambda a, b: a | b)
op("and", "0000000", "111", OP, lambda a, b: a & b)
op("addw", "0000000", "000", OP_32, w(lambda a, b: a + b))
op("subw", "0100000", "000", OP_32, w(lambda a, b: a - b))
op("sllw", "0000000", "001", OP_32, w(lambda a, b: a << (b & 31)))
op("srlw", "0000000", "101", OP_32, w(lambda a, b: a >> (b & 31)))
op("sraw", "0100000", "101", OP_32, w(lambda a, b: a.sar(b & 31)))

op_imm("addi", "000", OP_IMM, lambda a, b: a + b)
op_imm("slti", "010", OP_IMM, lambda a, b: bit(a.slt(b)))
op_imm("sltiu", "011", OP_IMM, lambda a, b: bit(a.ult(b)))
op_imm("xori", "100", OP_IMM, lambda a, b: a ^ b)
op_imm("ori", "110", OP_IMM, lambda a, b: a | b)
op_imm("andi", "111", OP_IMM, lambda a, b: a & b)
op_imm("addiw", "000", OP_IMM_32, w(lambda a, b: a + b))

shift_imm("slli", "000000", 6, "001", OP_IMM, lambda a, b: a << (b & 63))
shift_imm("srli", "000000", 6, "101", OP_IMM, lambda a, b: a >> (b & 63))
shift_imm("srai", "010000", 6, "101", OP_IMM, lambda a, b: a.sar(b & 63))
shift_imm("slliw", "0000000", 5, "001", OP_IMM_32, w(lambda a, b: a << (b & 31)))
shift_imm("srliw", "0000000", 5, "101", OP_IMM_32, w(lambda a, b: a >> (b & 31)))
shift_imm("sraiw", "0100000", 5, "101", OP_IMM_32, w(lambda a, b: a.sar(b & 31)))


@isa.insn("imm[31:12] rd:5 0110111", "lui {rd}, {imm}", "i")
def lui(s: S, rd: Register, imm: V) -> None:
    """x[rd] = imm."""
    s.x[rd] = imm


@isa.insn("imm[31:12] rd:5 0010111", "auipc {rd}, {imm}", "i")
def auipc(s: S, rd: Register, imm: V) -> None:
    """x[rd] = pc + imm."""
    s.x[rd] = s.pc + imm


def load(name: str, funct3: str, width: int, signed: bool) -> None:
    """x[rd] = memory[x[rs1] + imm], widened."""

    def body(s: S, rd: Register, rs1: Register, imm: V) -> None:
        value = s.load(s.x[rs1] + imm, width)
        s.x[rd] = value.sext() if signed else value.zext()

    pattern = f"imm:12 rs1:5 {funct3} rd:5 0000011"
    isa.insn(pattern, f"{name} {{rd}}, {{imm}}({{rs1}})", "i", name)(body)


def store(name: str, funct3: str, width: int) -> None:
    """memory[x[rs1] + imm] = low bits of x[rs2]."""

    def body(s: S, rs1: Register, rs2: Register, imm: V) -> None:
        s.store(s.x[rs1] + imm, s.x[rs2].trunc(width))

    pattern = f"imm[11:5] rs2:5 rs1:5 {funct3} imm[4:0] 0100011"
    isa.insn(pattern, f"{name} {{rs2}}, {{imm}}({{rs1}})", "i", name)(body)


for _size, (_name, _width) in enumerate((("b", 8), ("h", 16), ("w", 32), ("d", 64))):
    load(f"l{_name}", f"0{_size:02b}", _width, True)
    store(f"s{_name}", f"0{_size:02b}", _width)
    if _width < 64:
        load(f"l{_name}u", f"1{_size:02b}", _width, False)


def branch(name: str, funct3: str, condition: Binary) -> None:
    """if condition(x[rs1], x[rs2]): pc += imm."""

    def body(s: S, rs1: Register, rs2: Register, imm: V) -> None:
        s.branch(condition(s.x[rs1], s.x[rs2]), s.pc + imm)

    pattern = f"imm[12|10:5] rs2:5 rs1:5 {funct3} imm[4:1|11] 1100011"
    isa.insn(pattern, f"{name} {{rs1}}, {{rs2}}, {{imm:pc}}", "i", name)(body)


branch("beq", "000", lambda a, b: a.eq(b))
branch("bne", "001", lambda a, b: a.ne(b))
branch("blt", "100", lambda a, b: a.slt(b))
branch("bge", "101", lambda a, b: a.sge(b))
branch("bltu", "110", lambda a, b: a.ult(b))
branch("bgeu", "111", lambda a, b: a.uge(b))


@isa.insn("imm[20|10:1|11|19:12] rd:5 1101111", "jal {rd}, {imm:pc}", "i")
def jal(s: S, rd: Register, imm: V) -> None:
    """x[rd] = next pc; pc += imm."""
    s.x[rd] = s.npc
    s.jump(s.pc + imm)


@isa.insn("imm:12 rs1:5 000 rd:5 1100111", "jalr {rd}, {imm}({rs1})", "i")
def jalr(s: S, rd: Register, rs1: Register, imm: V) -> None:
    """t = next pc; pc = (x[rs1] + imm) & ~1; x[rd] = t."""
    target = (s.x[rs1] + imm) & -2
    s.x[rd] = s.npc
    s.jump_register(target)


@isa.insn("fm:4 pred:4 succ:4 rs1:5 000 rd:5 0001111", "fence", "i")
def fence(s: S) -> None:
    """Order memory accesses (the strongest form for every operand; pause is among them)."""
    s.fence()


@isa.insn("000000000000 00000 000 00000 1110011", "ecall", "i")
def ecall(s: S) -> None:
    """Environment call."""
    if s.mode == "user":
        s.exit(EXIT_SYSCALL)
    else:
        s.set_field("pc", s.pc)
        s.call("environment_call")
        s.leave_if_trapped()
        s.exit(EXIT_SBI, done=True)


@isa.insn("000000000001 00000 000 00000 1110011", "ebreak", "i")
def ebreak(s: S) -> None:
    """Breakpoint."""
    if s.mode == "user":
        s.exit(EXIT_BREAKPOINT)
    else:
        s.set_field("pc", s.pc)
        s.call("raise_exception", 3, s.pc)
        s.leave()
