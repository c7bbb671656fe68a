"""Every integer instruction, one at a time, against another implementation.

RV64IMAC against Unicorn; bit manipulation, which Unicorn lacks, against QEMU; the few that
neither has against the specification's own words.
"""

from __future__ import annotations

import random

import pytest

from jitemu.frontends.riscv.extensions import decoder_for, parse_cpu
from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
from jitemu.frontends.riscv.state import isa
from jitemu.frontends.riscv.zifencei import EXIT_FENCE_I
from jitemu.ir.state import EXIT_SYSCALL
from jitemu.isa import Decoded, Instruction
from tests.riscv import oracle
from tests.riscv.operands import CODE, SCRATCH, SCRATCH_SIZE, kind_of, ops_of, random_fields, word
from tests.riscv.oracle import A0, A1, A2, QEMU, UnicornOracle
from tests.riscv.reference import Reference

DECODER = decoder_for(parse_cpu("max"))
CASES = 40

BY_UNICORN = ("i", "m", "a", "c")
BY_QEMU = ("zba", "zbb", "zbc", "zbs")
BY_SPECIFICATION = ("zicond", "zicboz", "zicbom", "zihintpause", "zifencei")
ELSEWHERE = ("f", "d", "zicsr", "svinval", "privileged")
"""Tested beside the floating-point and the privileged code."""
EXITS = {"ecall": EXIT_SYSCALL, "ebreak": EXIT_BREAKPOINT}


def leaves(insn: Instruction) -> bool:
    """It hands over to the engine."""
    return bool(ops_of(insn) & {"exit", "exitnext"})


def names(*extensions: str) -> list[str]:
    """Definitions of these extensions whose meaning is in this folder's part of the ISA."""
    return [
        insn.name
        for insn in isa.instructions.values()
        if insn.when in extensions and (insn.expansion or not leaves(insn))
    ]


@pytest.fixture(scope="module")
def unicorn() -> UnicornOracle:
    return UnicornOracle()


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference(DECODER)


def test_every_extension_is_tested_somewhere() -> None:
    groups = (*BY_UNICORN, *BY_QEMU, *BY_SPECIFICATION, *ELSEWHERE)
    assert {i.when for i in isa.instructions.values() if i.width} <= set(groups)


def random_case(rng: random.Random, insn: Instruction) -> tuple[bytes, Decoded] | None:
    """An encoding that the integer registers and the scratch area can run."""
    data = insn.encode(**random_fields(rng, insn))
    decoded = DECODER.decode(data)
    if decoded is None or decoded.insn.when in ELSEWHERE or leaves(decoded.insn):
        return None
    if kind_of(decoded.insn) == "memory" and decoded.fields["rs1"] == 0:
        return None
    return data.to_bytes(insn.width // 8, "little"), decoded


def registers_for(rng: random.Random, decoded: Decoded) -> list[int]:
    """Operands; a memory access's address is in the scratch area."""
    x = [0, *(word(rng) for _ in range(31))]
    if kind_of(decoded.insn) == "memory":
        address = SCRATCH + rng.randrange(SCRATCH_SIZE - 8)
        if ops_of(decoded.insn) & {"amo", "casif"} or decoded.insn.name.startswith("lr"):
            address &= -8
        x[decoded.fields["rs1"]] = (address - decoded.fields.get("imm", 0)) & (1 << 64) - 1
    return x


# The compressed floating-point loads and stores are only another encoding (test_decoder).
FLOATING = ("c.fld", "c.fsd", "c.fldsp", "c.fsdsp")


@pytest.mark.parametrize("name", [n for n in names(*BY_UNICORN) if n not in FLOATING])
def test_as_unicorn(name: str, unicorn: UnicornOracle, reference: Reference) -> None:
    rng = random.Random(name)
    insn = isa.instructions[name]
    memory = rng.randbytes(SCRATCH_SIZE)
    done = 0
    while done < CASES and name != "c.ebreak":
        case = random_case(rng, insn)
        if case is None:
            continue
        code, decoded = case
        x = registers_for(rng, decoded)
        ours = reference.run(code, x, memory, count=1)
        theirs = unicorn.run(code, x, memory, count=1)
        assert ours == theirs, (code.hex(), decoded.insn.name, decoded.fields)
        done += 1


@pytest.mark.parametrize("suffix", [".w", ".d"])
@pytest.mark.parametrize("between", ["", "store", "other address", "sc"])
def test_store_conditional(
    suffix: str, between: str, unicorn: UnicornOracle, reference: Reference
) -> None:
    insns = isa.instructions
    code = [insns["lr" + suffix].encode(rd=5, rs1=10)]
    if between == "store":
        code.append(insns["sd"].encode(rs1=10, rs2=12, imm=0))
    if between == "sc":
        code.append(insns["sc" + suffix].encode(rd=7, rs1=10, rs2=12))
    code.append(insns["sc" + suffix].encode(rd=6, rs1=11, rs2=12))
    x = [0] * 32
    x[10] = x[11] = SCRATCH + 64
    x[11] += 8 * (between == "other address")
    x[12] = 0x1234567887654321
    data = b"".join(c.to_bytes(4, "little") for c in code)
    memory = random.Random(between).randbytes(SCRATCH_SIZE)
    ours = reference.run(data, x, memory)
    assert ours == unicorn.run(data, x, memory)
    assert ours.x[6] == (between != "")
    assert reference.machine.fields["reservation"] == (1 << 64) - 1


@pytest.fixture(scope="module")
def qemu_cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, ...]]]:
    """(word, a1, a2, a0 after it) of every bit manipulation instruction."""
    if QEMU is None:
        pytest.skip("qemu-riscv64 is not installed")
    rng = random.Random("bits")
    cases: list[tuple[str, int, int, int]] = []
    for name in names(*BY_QEMU):
        insn = isa.instructions[name]
        for _ in range(CASES):
            fields = random_fields(rng, insn) | {"rd": A0, "rs1": A1}
            if "rs2" in fields:
                fields["rs2"] = A2
            cases.append((name, insn.encode(**fields), word(rng), word(rng)))
    results = oracle.qemu_run(tmp_path_factory.mktemp("qemu"), [case[1:] for case in cases])
    found: dict[str, list[tuple[int, ...]]] = {}
    for (name, *case), result in zip(cases, results, strict=True):
        if name == "ctzw" and not case[1] & 0xFFFFFFFF:
            result = 32  # QEMU before 8.0 goes on counting in the upper half
        found.setdefault(name, []).append((*case, result))
    return found


def run_word(reference: Reference, data: int, a1: int, a2: int) -> int:
    x = [0] * 32
    x[A1], x[A2] = a1, a2
    code = data.to_bytes(4, "little")
    return reference.run(code, x, bytes(SCRATCH_SIZE), count=1).x[A0]


@pytest.mark.parametrize("name", names(*BY_QEMU))
def test_as_qemu(
    name: str, qemu_cases: dict[str, list[tuple[int, ...]]], reference: Reference
) -> None:
    assert len(qemu_cases[name]) == CASES
    for data, a1, a2, expected in qemu_cases[name]:
        assert run_word(reference, data, a1, a2) == expected, (name, hex(data), hex(a1), hex(a2))


@pytest.mark.parametrize(("name", "kept_if_zero"), [("czero.eqz", False), ("czero.nez", True)])
def test_conditional_zero(name: str, kept_if_zero: bool, reference: Reference) -> None:
    data = isa.instructions[name].encode(rd=A0, rs1=A1, rs2=A2)
    for value in (0, 1, 1 << 63, (1 << 64) - 1):
        for condition in (0, 1, 1 << 32, 1 << 63):
            expected = value if (condition == 0) == kept_if_zero else 0
            assert run_word(reference, data, value, condition) == expected


@pytest.mark.parametrize("offset", [0, 1, 63])
def test_cbo_zero(offset: int, reference: Reference) -> None:
    x = [0] * 32
    x[A1] = SCRATCH + 0x140 + offset
    memory = random.Random(1).randbytes(SCRATCH_SIZE)
    code = isa.instructions["cbo.zero"].encode(rs1=A1).to_bytes(4, "little")
    after = reference.run(code, x, memory, count=1)
    assert after.memory == memory[:0x140] + bytes(64) + memory[0x180:]
    assert after.x == x


@pytest.mark.parametrize("name", ["cbo.inval", "cbo.clean", "cbo.flush", "pause"])
def test_nothing_happens(name: str, reference: Reference) -> None:
    code = isa.instructions[name].encode().to_bytes(4, "little")
    x = [0, *range(1, 32)]
    after = reference.run(code, x, bytes(SCRATCH_SIZE), count=1)
    assert (after.x, after.pc) == (x, CODE + 4)


@pytest.mark.parametrize("name", EXITS)
def test_exits(name: str, reference: Reference) -> None:
    code = isa.instructions[name].encode().to_bytes(4, "little")
    reference.start(code, [0] * 32, bytes(SCRATCH_SIZE))
    outcome = reference.step()
    assert (outcome.kind, outcome.reason, outcome.pc) == ("exit", EXITS[name], CODE)


def test_fence_i(reference: Reference) -> None:
    reference.start((0x100F).to_bytes(4, "little"), [0] * 32, bytes(SCRATCH_SIZE))
    outcome = reference.step()
    assert (outcome.kind, outcome.reason) == ("exitnext", EXIT_FENCE_I)
    assert outcome.pc == CODE + 4


@pytest.mark.parametrize("code", [bytes(2), b"\xff\xff\xff\xff", b"\x73\x00\x00\x80"])
def test_illegal(code: bytes, reference: Reference) -> None:
    reference.start(code, [0] * 32, bytes(SCRATCH_SIZE))
    outcome = reference.step()
    assert (outcome.kind, outcome.pc) == ("illegal", CODE)


def test_compressed_breakpoint(reference: Reference) -> None:
    reference.start(b"\x02\x90", [0] * 32, bytes(SCRATCH_SIZE))
    assert reference.step().reason == EXIT_BREAKPOINT
