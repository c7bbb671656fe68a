"""F and D definitions, compiled, against QEMU: every form, mode and NaN boxing.

The bodies are lowered as plain functions on a state, so this holds what the definitions
say and what the rows lower to, apart from stencils and regions.
"""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import pytest

from jitemu.backend_llvm.natives import NativeLowering
from jitemu.frontends.riscv import d, f, rounding_away
from jitemu.frontends.riscv.state import RiscvState, S, isa
from jitemu.ir.code import Function, Op
from jitemu.ir.native import REGISTRY
from jitemu.ir.state import layout_of
from jitemu.isa import Instruction
from tests.native_code import load

from .riscv_fp_oracle import A0, A3, FA0, FA1, FA2, FA3, Probe, qemu_available, under_qemu

LAYOUT = layout_of(RiscvState)
OPERANDS = {"rs1": FA0, "rs2": FA1, "rs3": FA2, "rd": FA3}
COUNT = 700
assert (FA0, FA3) == (A0, A3) and d and f


def computing() -> list[Instruction]:
    """F's and D's instructions, loads and stores excepted."""
    chosen = [i for i in isa.instructions.values() if i.when in ("f", "d")]
    return [i for i in chosen if not any(x.name == "imm" for x in i.fields) and i.width == 32]


def symbol(insn: Instruction) -> str:
    return "insn_" + insn.name.replace(".", "_")


class BodyLowering(NativeLowering):
    """A body with fixed registers, which are words of the state."""

    def op_get(self, op: Op) -> str:
        return self.temp(f"load i64, ptr {self.word(str(op.attrs[0]), int(op.attrs[1]))}")

    def op_set(self, op: Op) -> None:
        at = self.word(str(op.attrs[0]), int(op.attrs[1]))
        self.put(f"store i64 {self.ref(op.args[0])}, ptr {at}")


def body_text(insn: Instruction) -> str:
    """LLVM text: the instruction once, under the mode in frm; flags are added to fflags."""
    s = S("user", 0, Function(symbol(insn)))
    old = s.emit("swaprounding", "", (s.field("frm"),))
    s.emit("setfpflags", "", (s.const(0),))
    insn.build(s, OPERANDS)
    s.set_field("fflags", s.emit("fpflags", "", ()))
    s.emit("swaprounding", "", (old,))
    s.emit("ret", "", (s.const(0),))
    return BodyLowering(LAYOUT).function(s.function)


@pytest.fixture(scope="module")
def compiled() -> dict[str, int]:
    """The addresses of the instructions' functions."""
    natives = [REGISTRY[n] for n in vars(rounding_away) if n in REGISTRY]
    body = "".join(NativeLowering(LAYOUT).function(n.compile()) for n in natives)
    return load(body + "".join(body_text(insn) for insn in computing()))


def doubles(source: random.Random) -> int:
    """A double: boundary bits, an integer or a half, or random bits."""
    kind = source.randrange(4)
    sign = source.getrandbits(1) << 63
    if kind == 0:
        exponent = source.choice(
            (0, 1, 2, 972, 1021, 1022, 1023, 1024, 1053, 1054, 1055, 1086, 2046)
        )
        fraction = source.choice((0, 1, 1 << 51, (1 << 52) - 1, (1 << 29) - 1, 1 << 28, 3 << 28))
        return sign | exponent << 52 | fraction
    if kind == 1:
        special = (0, 0x7FF << 52, 0x7FF << 52 | 1, 0x7FF8 << 48, 1, (1 << 52) - 1, 1 << 52)
        return sign | source.choice(special)
    exponent = 1023 + source.randrange(-3, 66)
    bits = source.getrandbits(52) & ~((1 << source.randrange(53)) - 1)
    return sign | exponent << 52 | bits if kind == 2 else source.getrandbits(64)


def singles(source: random.Random) -> int:
    """A boxed single, sometimes not boxed properly."""
    kind = source.randrange(4)
    sign = source.getrandbits(1) << 31
    if kind == 0:
        exponent = source.choice((0, 1, 2, 104, 126, 127, 128, 157, 158, 159, 190, 191, 254))
        bits = sign | exponent << 23 | source.choice((0, 1, 1 << 22, (1 << 23) - 1, 3 << 21))
    elif kind == 1:
        special = (0, 0x7F800000, 0x7F800001, 0x7FC00000, 1, 0x7FFFFF, 0x800000)
        bits = sign | source.choice(special)
    elif kind == 2:
        fraction = source.getrandbits(23) & ~((1 << source.randrange(24)) - 1)
        bits = sign | 127 + source.randrange(-3, 66) << 23 | fraction
    else:
        bits = source.getrandbits(32)
    return bits if source.random() < 0.02 else bits | 0xFFFFFFFF_00000000


def cases(insn: Instruction) -> list[tuple[int, int, int, int]]:
    """Operands and dynamic mode (0..3: RMM as dynamic mode is the CSR code's matter)."""
    source = random.Random(insn.name)
    single = insn.match >> 25 & 3 == 0 and not insn.name.startswith("fcvt.s.d")
    one = singles if single or insn.name.startswith("fcvt.d.s") else doubles
    out: list[tuple[int, int, int, int]] = []
    for _ in range(COUNT):
        a, b, c = one(source), one(source), one(source)
        if insn.match >> 27 & 31 in (0b11010, 0b11110) and insn.match & 0x7F == 0x53:
            a = (source.getrandbits(64) >> source.randrange(64)) & ~(
                (1 << source.randrange(40)) - 1
            )
            a = a * source.choice((1, -1)) & (1 << 64) - 1
        elif source.random() < 0.3 and single and b & 0x7F800000:
            # A product or quotient by a power of two, and addends at half a unit: ties.
            b &= ~0x7FFFFF
            c = (a + source.choice((-24, -25, 0, 24)) * (1 << 23)) & 0xFFFFFFFF | 0xFFFFFFFF << 32
            c &= ~0x7FFFFF
        elif source.random() < 0.3 and b >> 52 & 0x7FF:
            b &= ~((1 << 52) - 1)
            c = (a + source.choice((-53, -54, 0, 53)) * (1 << 52)) & (1 << 64) - 1
            c &= ~((1 << 52) - 1)
        if source.random() < 0.3:
            b, c = c, b
        out.append((a, b, c, source.randrange(4)))
    return out


def ties(insn: Instruction) -> list[tuple[int, int, int, int]]:
    """Operands whose exact result lies half-way between two floats (RMM's own case)."""
    source = random.Random(insn.name)
    single = insn.match >> 25 & 3 == 0
    fraction, bias = (23, 127) if single else (52, 1023)
    box = 0xFFFFFFFF_00000000 if single else 0
    sign = 1 << (31 if single else 63)
    out: list[tuple[int, int, int, int]] = []
    for _ in range(60):
        shift = source.randrange(1, fraction)
        odd = source.getrandbits(fraction) >> shift << shift | 1 << (shift - 1)
        if insn.name.startswith("fdiv"):
            # Into the subnormals by as many bits as there are zeros, and one.
            a = (bias << fraction) | odd
            b = (2 * bias - 1 + shift) << fraction
            if b >> fraction > 2 * bias:
                b, a = (2 * bias << fraction), a - ((b >> fraction) - 2 * bias << fraction)
            c = 0
        else:
            # A sum of x and half a unit of x, made of a product by a power of two.
            c = (bias + 3 << fraction) | source.getrandbits(fraction)
            a = (bias - 7) << fraction
            b = (bias + 9 - fraction) << fraction
        flip = source.choice((0, sign))
        out.append((a ^ flip | box, b | box, c ^ flip | box, 0))
    return out


def test_every_form_has_a_definition() -> None:
    assert {"fadd.s", "fadd.d.rmm", "fcvt.lu.d.rtz", "fmv.x.w", "fclass.d"} <= set(isa.instructions)
    decoder = isa.decoder()
    word = isa.instructions["fadd.d"].encode(**{k: v for k, v in OPERANDS.items() if k != "rs3"})
    assert decoder.decode(word & ~0x7000 | 5 << 12) is None
    assert decoder.decode(word & ~0x7000 | 6 << 12) is None


@pytest.mark.skipif(not qemu_available(), reason="qemu-riscv64 is not installed")
@pytest.mark.parametrize("insn", computing(), ids=lambda insn: insn.name)
def test_against_qemu(insn: Instruction, compiled: dict[str, int], tmp_path: Path) -> None:
    used = {x.name: OPERANDS[x.name] for x in insn.fields}
    s = S("user", 0)
    insn.build(s, OPERANDS)
    written = next(op for op in s.block.ops if op.name == "set")
    to_x = written.attrs[0] == "x"
    samples = cases(insn)
    if insn.name.startswith(("fdiv", "fmadd")):
        samples += ties(insn)
    answers = under_qemu(Probe(insn.encode(**used), 8, 8, to_x), samples, tmp_path)
    run = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(compiled[symbol(insn)])
    state = (ctypes.c_uint64 * (LAYOUT.size // 8))()
    x, fp, frm, flags = (LAYOUT.of(n) // 8 for n in ("x", "f", "frm", "fflags"))
    result = (x if to_x else fp) + FA3
    for (a, b, c, mode), answer in zip(samples, answers, strict=True):
        state[fp + FA0], state[fp + FA1], state[fp + FA2], state[x + A0] = a, b, c, a
        state[frm] = mode
        run(state)
        got = (state[result], state[flags])
        assert got == answer, f"{insn.name} {a:#x} {b:#x} {c:#x} frm={mode}"
