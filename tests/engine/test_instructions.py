"""Every instruction in every executor: all places that operands can have, boundary values."""

from __future__ import annotations

import random
from functools import cache

import pytest

from jitemu.backend_llvm.stencil_keys import Key, parse_key
from jitemu.frontends.riscv.extensions import decoder_for
from jitemu.frontends.riscv.state import PINNED, isa
from jitemu.isa import Decoded, Fields, Instruction
from tests.engine.compare import ENGINES, Difference, against_reference, differences, qemu
from tests.engine.executors import CPU
from tests.engine.forced import Forced, run_forced
from tests.engine.image import (
    MAX_BLOCKS,
    RECORD_REGISTER,
    START_REGISTER,
    WINDOW,
    Block,
    encode,
    place,
    window,
)
from tests.engine.pool import OWN, REGISTERS, float_word
from tests.riscv.operands import kind_of, ops_of, random_fields, word, writes_x
from tests.riscv.oracle import QEMU

DECODER = decoder_for(CPU)
VARIANTS = 10
"""Blocks of each definition."""
REGION_VARIANTS = 2
IN_STATE = (5, 6, 7, 16, 17, 20, 28)
ABSENT_FROM_QEMU = ("zicond", "zicboz", "zicbom", "zihintpause")
LEAVES = frozenset(("exit", "exitnext", "leave", "leaveif"))


def definitions() -> list[Instruction]:
    """All that a block may have; what hands over to the engine is tested elsewhere."""
    found = [i for i in isa.instructions.values() if i.name in DECODER.enabled and i.when in OWN]
    return [i for i in found if i.expansion or not ops_of(i) & LEAVES or has_csr(i)]


def has_csr(insn: Instruction) -> bool:
    return any(f.name == "csr" for f in insn.fields)


def usable(decoded: Decoded) -> bool:
    """The harness survives it."""
    insn, fields = decoded.insn, decoded.fields
    if ops_of(insn) & LEAVES and not has_csr(insn):
        return False
    if fields.get("rd") == RECORD_REGISTER and writes_x(insn):
        return False
    if kind_of(insn) == "memory":
        # The base can hold an address: x3 and x30 are the harness's.
        bad = fields["rs1"] in (0, RECORD_REGISTER, START_REGISTER)
        return not bad and abs(fields.get("imm", 0)) <= 900
    return "jumpr" not in ops_of(insn) or fields["rs1"] not in (0, RECORD_REGISTER)


def random_word(rng: random.Random, insn: Instruction) -> int | None:
    """An encoding of a definition that can be run, if one is found."""
    for _ in range(100):
        fields = random_fields(rng, insn)
        if insn.expansion is None:
            for name in ("rd", "rs1", "rs2"):
                if name in fields and rng.random() < 0.8:
                    fields[name] = rng.choice(REGISTERS)
        if "imm" in fields and insn.expansion is None and kind_of(insn) == "memory":
            fields["imm"] = rng.randrange(-900, 900)
        tame(fields)
        data = insn.encode(**fields)
        decoded = DECODER.decode(data)
        if decoded is not None and usable(decoded):
            return data
    return None


def tame(fields: Fields) -> None:
    """The only CSR is fflags: rounding modes have limits of their own."""
    if "csr" in fields:
        fields["csr"] = 1


def keyed_fields(rng: random.Random, key: Key) -> Fields:
    """Fields that a stencil is chosen for."""
    insn = isa.instructions[key.name]
    fields = random_fields(rng, insn)
    registers = [o for o in insn.operands if o[0] == "r"]
    for name, where in zip(registers, key.places, strict=True):
        if where == "z":
            fields[name] = 0
        else:
            fields[name] = rng.choice(IN_STATE) if where == "m" else PINNED[int(where)]
    if kind_of(insn) == "memory" and "imm" in fields:
        fields["imm"] = rng.randrange(-900, 900)
    tame(fields)
    return fields


def block_of(rng: random.Random, data: int, number: int, backward: bool) -> Block:
    """A block around an instruction; jumps are led inside of it."""
    decoded = DECODER.decode(data)
    assert decoded is not None
    insn, fields, size = decoded.insn, dict(decoded.fields), decoded.length
    x = [word(rng) for _ in range(32)]
    f = [float_word(rng) for _ in range(32)]
    ops = ops_of(insn)
    code = data.to_bytes(size, "little")
    if kind_of(insn) == "memory":
        address = window(number) + WINDOW // 2 + rng.randrange(-8, 8)
        if ops & {"amo", "casif"} or insn.name.startswith("lr"):
            address &= -8
        x[fields["rs1"]] = address - fields.get("imm", 0)
    if ops & {"jump", "branch"}:
        if rng.random() < 0.4 and "rs2" in fields:
            x[fields["rs2"]] = x[fields["rs1"]]
        code = around(insn, fields, backward)
    elif "jumpr" in ops:
        base, imm = fields["rs1"], rng.randrange(-64, 64) & -2
        distance = 12 - imm
        code = encode("auipc", rd=base, imm=0) + encode("addi", rd=base, rs1=base, imm=distance)
        code += encode("jalr", rd=fields["rd"], rs1=base, imm=imm)
    return Block(code, x, f, rng.randrange(5) << 5 | rng.getrandbits(5), rng.randbytes(WINDOW))


def around(insn: Instruction, fields: Fields, backward: bool) -> bytes:
    """A direct jump over an instruction, forward or back."""
    mark = encode("xori", rd=29, rs1=29, imm=0x55)
    if not backward:
        return insn.encode(**fields | {"imm": 8}).to_bytes(4, "little") + mark
    # Over the mark to the jump; back to the mark if taken, and to the end from there.
    jump = insn.encode(**fields | {"imm": -8}).to_bytes(4, "little")
    return encode("jal", rd=0, imm=12) + mark + encode("jal", rd=0, imm=8) + jump


@cache
def definition_blocks() -> tuple[list[tuple[int, bool]], list[str]]:
    """(words, names of what none was found for): several of each definition."""
    rng = random.Random("definitions")
    found: list[tuple[int, bool]] = []
    missing: list[str] = []
    for insn in definitions():
        words = [random_word(rng, insn) for _ in range(VARIANTS)]
        if None in words:
            missing.append(insn.name)
        found += [(w, n % 2 == 1) for n, w in enumerate(words) if w is not None]
    return found, missing


@cache
def profile_blocks() -> list[tuple[int, bool]]:
    """A word for each stencil of the profile."""
    from importlib.resources import files

    rng = random.Random("profile")
    text = files("jitemu.frontends.riscv").joinpath("stencil_profile.txt").read_text()
    found: list[tuple[int, bool]] = []
    for key in map(parse_key, text.split()):
        insn = isa.instructions[key.name]
        if insn.when not in OWN or insn.name not in DECODER.enabled:
            continue
        fields = keyed_fields(rng, key)
        data = insn.encode(**fields)
        decoded = DECODER.decode(data)
        if decoded is not None and usable(decoded):
            found.append((data, key.backward))
    return found


def check(words: list[tuple[int, bool]], seed: str, regions: bool = False) -> list[Difference]:
    """Run a block for each word by everything."""
    rng = random.Random(seed)
    found: list[Difference] = []
    for start in range(0, len(words), MAX_BLOCKS):
        part = words[start : start + MAX_BLOCKS]
        image = place([block_of(rng, w, n, back) for n, (w, back) in enumerate(part)])
        results = [(e().name, e().run(image)) for e in ENGINES]
        found += against_reference(image, *results[0], range(len(image.blocks)))
        if regions:
            for engine in ENGINES[0], ENGINES[2]:
                result, _ = run_forced(engine(), image, Forced(len(image.blocks)))
                results.append((f"{engine().name}, regions", result))
        for name, result in results[1:]:
            found += differences(image, (results[0][0], name), results[0][1], result)
    return found


def report(found: list[Difference]) -> str:
    return "\n".join(map(str, found[:5]))


def test_every_definition_is_run() -> None:
    _, missing = definition_blocks()
    # Always hand over, or are control flow by themselves: random blocks have those.
    assert set(missing) <= {"c.ebreak", "ecall", "ebreak"}, missing


def test_definitions() -> None:
    found = check(definition_blocks()[0], "operands")
    assert not found, report(found)


def test_definitions_as_regions() -> None:
    words = definition_blocks()[0]
    few = [w for n, w in enumerate(words) if n % VARIANTS < REGION_VARIANTS]
    found = check(few, "regions", regions=True)
    assert not found, report(found)


def test_profile() -> None:
    found = check(profile_blocks(), "profile")
    assert not found, report(found)


@pytest.mark.skipif(QEMU is None, reason="qemu-riscv64 is not installed")
def test_against_qemu() -> None:
    rng = random.Random("qemu")
    known: list[tuple[int, bool]] = []
    for w in definition_blocks()[0]:
        decoded = DECODER.decode(w[0])
        if decoded is not None and decoded.insn.when not in ABSENT_FROM_QEMU:
            known.append(w)
    for start in range(0, len(known), MAX_BLOCKS):
        part = known[start : start + MAX_BLOCKS]
        image = place([block_of(rng, w, n, back) for n, (w, back) in enumerate(part)])
        process = qemu().start(image)
        result = ENGINES[0]().run(image)
        names = ("qemu", ENGINES[0]().name)
        found = differences(image, names, qemu().finish(process, image), result)
        # QEMU before 8.0 counts zeros in the upper half, too.
        found = [d for d in found if not is_ctzw(d.block)]
        assert not found, report(found)


def is_ctzw(block: Block) -> bool:
    decoded = DECODER.decode(int.from_bytes(block.code[:4], "little"))
    return decoded is not None and decoded.insn.name == "ctzw"
