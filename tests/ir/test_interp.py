"""The interpreter as a hart: fetch, decode and run, with precise ends."""

from __future__ import annotations

import pytest

from jitemu.frontends.riscv import c, i, m
from jitemu.frontends.riscv.state import RiscvState, S, isa
from jitemu.ir import interp
from jitemu.ir.machine import Machine, MemoryFault, PagedMemory

CODE, DATA = 0x1_0000, 0x2_0000
DEFINITIONS = (c, i, m)
"""Importing them has filled ``isa``."""


def assemble(name: str, **fields: int) -> bytes:
    insn = isa.instructions[name]
    return insn.encode(**fields).to_bytes(insn.width // 8, "little")


def machine_with(*code: bytes) -> tuple[Machine, PagedMemory]:
    memory = PagedMemory()
    memory.put(CODE, b"".join(code))
    memory.map(DATA, 4096)
    machine = Machine(RiscvState, memory, emitter=S)
    machine.pc = CODE
    return machine, memory


def run(machine: Machine, limit: int = 10_000) -> interp.Outcome:
    decoder = isa.decoder()
    for _ in range(limit):
        outcome = interp.step(decoder, machine)
        if outcome.kind not in ("next", "jump"):
            return outcome
    raise AssertionError("it does not stop")


def test_loop() -> None:
    machine, memory = machine_with(
        assemble("addi", rd=10, rs1=0, imm=10),
        assemble("addi", rd=11, rs1=0, imm=1),
        assemble("mul", rd=11, rs1=11, rs2=10),
        assemble("addi", rd=10, rs1=10, imm=-1),
        assemble("bne", rs1=10, rs2=0, imm=-8),
        assemble("sd", rs1=5, rs2=11, imm=0),
        assemble("ecall"),
    )
    machine.registers["x"][5] = DATA
    outcome = run(machine)
    assert (outcome.kind, outcome.reason, outcome.pc) == ("exit", i.EXIT_SYSCALL, CODE + 24)
    assert memory.read(DATA, 8) == 3628800
    assert machine.pc == CODE + 24


def test_the_same_word_elsewhere_has_another_pc() -> None:
    machine, _ = machine_with(*[assemble("auipc", rd=10, imm=0x1000)] * 2, assemble("ecall"))
    decoder = isa.decoder()
    interp.step(decoder, machine)
    assert machine.registers["x"][10] == CODE + 0x1000
    interp.step(decoder, machine)
    assert machine.registers["x"][10] == CODE + 0x1004
    assert len(machine.bodies) == 1


def test_compressed_form_is_two_bytes_long() -> None:
    machine, _ = machine_with(b"\x05\x05", assemble("jal", rd=1, imm=8))  # c.addi a0, 1
    decoder = isa.decoder()
    assert interp.step(decoder, machine).pc == CODE + 2
    assert machine.registers["x"][10] == 1
    assert interp.step(decoder, machine) == interp.Outcome("jump", CODE + 10)
    assert machine.registers["x"][1] == CODE + 6


def test_faults_are_precise() -> None:
    machine, memory = machine_with(
        assemble("lw", rd=10, rs1=10, imm=0), assemble("sw", rs1=10, rs2=0, imm=0)
    )
    machine.registers["x"][10] = 0x5_0000
    outcome = run(machine)
    assert outcome == interp.Outcome("fault", CODE, 0, 0x5_0000, "read")
    assert machine.registers["x"][10] == 0x5_0000 and machine.pc == CODE
    memory.map(0x5_0000, 4096, writable=False)
    memory.put(0x5_0000, (0x5_0004).to_bytes(4, "little"))
    assert run(machine) == interp.Outcome("fault", CODE + 4, 0, 0x5_0004, "write")


def test_fetch_faults_and_illegal_words() -> None:
    machine, memory = machine_with(b"\xff\xff\xff\xff")
    assert run(machine) == interp.Outcome("illegal", CODE)
    machine.pc = 0x7_0000
    assert run(machine) == interp.Outcome("fault", 0x7_0000, 0, 0x7_0000, "fetch")
    memory.put(0x5_0FFE, b"\x13\x00")
    machine.pc = 0x5_0FFE
    assert run(machine) == interp.Outcome("fault", 0x5_0FFE, 0, 0x5_1000, "fetch")


def test_paged_memory() -> None:
    memory = PagedMemory()
    memory.map(0x1000, 1)
    memory.map(0x2000, 1, writable=False)
    with pytest.raises(MemoryFault) as caught:
        memory.write(0x1FFE, 4, 0xFFFFFFFF)
    assert (caught.value.address, caught.value.write) == (0x2000, True)
    assert memory.read(0x1FFC, 8) == 0
    with pytest.raises(MemoryFault):
        memory.read((1 << 64) - 4, 8)
