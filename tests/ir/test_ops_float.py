"""The floating-point rows' lowering against their Python meaning."""

from __future__ import annotations

import ctypes
import itertools
import random
from collections.abc import Callable

import pytest

from jitemu.backend_llvm.natives import NativeLowering
from jitemu.ir import ops_float
from jitemu.ir import softfloat as sf
from jitemu.ir.builder import Builder
from jitemu.ir.code import WIDTHS, Function
from jitemu.ir.ops import ROWS
from jitemu.ir.state import RuntimeState, layout_of
from tests.native_code import load

Call = Callable[..., tuple[int, int]]

SAMPLES = 3000


def probe(name: str) -> Function:
    """mode, a, b, c -> the row's result; its flags go to the state word "flags"."""
    row = ROWS[name]
    s = Builder(Function(f"probe_{name}", ("mode", "a", "b", "c")))
    old = s.emit("swaprounding", "", (s.emit("param", "", (), ("mode",)),))
    s.emit("setfpflags", "", (s.const(0),))
    args = tuple(
        s.emit("param", "", (), (letter,)).trunc(WIDTHS[kind])
        for letter, kind in zip("abc", row.args, strict=False)
    )
    result = s.emit(name, "", args).zext()
    s.emit("setfield", "", (s.emit("fpflags", "", ()),), ("scratch",))
    s.emit("swaprounding", "", (old,))
    s.emit("ret", "", (result,))
    return s.function


@pytest.fixture(scope="module")
def compiled() -> dict[str, Call]:
    """Every row's probe, compiled."""
    layout = layout_of(RuntimeState)
    symbols = load("".join(NativeLowering(layout).function(probe(n)) for n in ops_float.FLOAT))
    kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, *[ctypes.c_uint64] * 4)
    state = (ctypes.c_uint64 * (layout.size // 8))()
    at = layout.of("scratch") // 8

    def call_of(name: str) -> Call:
        native = kind(symbols[f"probe_{name}"])

        def call(mode: int, *args: int) -> tuple[int, int]:
            bits = native(state, mode, *args, *[0] * (3 - len(args)))
            return bits, state[at]

        return call

    return {name: call_of(name) for name in ops_float.FLOAT}


def edges(width: int) -> list[int]:
    """Bits of both formats' boundary values, and of integers' ends."""
    fmt = sf.F32 if width == 32 else sf.F64
    one = fmt.bias << fmt.frac_bits
    step = 1 << fmt.frac_bits
    out = [0, 1, 2, fmt.frac_mask, step, step + 1, fmt.inf - 1, fmt.inf, fmt.inf + 1]
    out += [fmt.canonical_nan, fmt.canonical_nan + 5, fmt.mask >> 1]
    for exponent in (-2, -1, 0, 1, 30, 31, 32, 51, 52, 53, 62, 63, 64):
        power = one + exponent * step
        out += [power - 1, power, power + 1, power | step >> 1, power | step >> 2]
        for near in (0.5, 1, 1.5, 2):
            value, _ = sf.from_int(
                int((1 << max(exponent, 0)) * 2 - 2 * near), 70, True, fmt, sf.RTZ
            )
            out.append(max(value - step, 0))
    return [bits ^ sign for bits in out for sign in (0, fmt.sign_bit)]


def operands(name: str) -> list[tuple[int, ...]]:
    """Boundary values and random ones."""
    source = random.Random(name)
    kinds = [WIDTHS[kind] for kind in ROWS[name].args]
    values = [edges(width) for width in kinds]
    if name.startswith(("fsigned", "funsigned")):
        values = [integers(source)]
    chosen = list(itertools.product(*values))
    if len(chosen) > SAMPLES:
        chosen = source.sample(chosen, SAMPLES)
    for _ in range(600):
        chosen.append(tuple(mixed(width, source) for width in kinds))
    return chosen


def integers(source: random.Random) -> list[int]:
    """Powers of two and their neighbours, ties of both formats, random lengths."""
    out = [(1 << k) + d for k in range(65) for d in (-1, 0, 1)]
    out += [(2 * k + 1) << s for k in (1 << 23, 1 << 52, (1 << 23) + 1) for s in range(10)]
    out += [source.getrandbits(64) >> source.randrange(64) for _ in range(500)]
    return [value * sign & (1 << 64) - 1 for value in out for sign in (1, -1)]


def mixed(width: int, source: random.Random) -> int:
    """Random bits; every other time an exponent near zero, so that operands interact."""
    fmt = sf.F32 if width == 32 else sf.F64
    bits = source.getrandbits(width)
    if source.random() < 0.6:
        exponent = fmt.bias + source.randrange(-40, 70)
        bits = bits & (fmt.sign_bit | fmt.frac_mask) | exponent << fmt.frac_bits
    return bits & ~(fmt.frac_mask >> source.randrange(fmt.frac_bits))


@pytest.mark.parametrize("name", list(ops_float.FLOAT))
def test_lowering_is_the_meaning(name: str, compiled: dict[str, Call]) -> None:
    call = compiled[name]
    meaning = ops_float.FLOAT[name]
    fixed = name.startswith(("feq", "flt", "fle", "fm")) or name[-3:] in (
        "rne",
        "rtz",
        "rdn",
        "rup",
    )
    for args in operands(name):
        for mode in (sf.RNE,) if fixed else (sf.RNE, sf.RTZ, sf.RDN, sf.RUP):
            expected = meaning(mode, args)
            got = call(mode, *args)
            assert got == expected, f"{name} {[hex(a) for a in args]} mode {mode}"


def test_the_unit_keeps_modes_and_flags() -> None:
    unit = ops_float.FloatUnit()
    assert unit.run("swaprounding", (sf.RUP,)) == sf.RNE
    assert unit.run("fdiv32", (0x3F800000, 0x40400000)) == 0x3EAAAAAB
    assert unit.run("fdiv32", (0x3F800000, 0)) == 0x7F800000
    assert unit.run("fpflags", ()) == sf.NX | sf.DZ
    unit.run("setfpflags", (0,))
    assert unit.run("fpflags", ()) == 0
    assert unit.run("swaprounding", (sf.RNE,)) == sf.RUP
