"""Vector types: meanings lane by lane, moves of lanes, text, verifier, lowering."""

from __future__ import annotations

import random

import pytest

from jitemu.backend_llvm.lowering import Lowering, declarations, llvm_type
from jitemu.ir.builder import Builder
from jitemu.ir.code import BITS, VECTORS, WIDTHS, Op, Value, join_lanes, lanes_of, split_lanes
from jitemu.ir.interp import evaluate
from jitemu.ir.meaning import compute, result_type
from jitemu.ir.ops import ROWS, Row
from jitemu.ir.state import Layout
from jitemu.ir.text import TextError, parse_function, print_function
from jitemu.ir.verify import VerifyError, verify

LANEWISE = [row for row in ROWS.values() if row.lanes and row.meaning is not None]
TYPES = [t for t, (lane, _) in VECTORS.items() if lane != "i1" and BITS[t] in (64, 128)]


def random_value(rng: random.Random, type: str) -> int:
    """Lanes at their limits or anywhere."""
    width = WIDTHS[lanes_of(type)[0]]
    edges = (0, 1, width - 1, width, (1 << width) - 1, 1 << width - 1, (1 << width - 1) - 1)
    count = lanes_of(type)[1]
    return join_lanes(type, [rng.choice((*edges, rng.getrandbits(width))) for _ in range(count)])


def argument_types(row: Row, type: str) -> list[str] | None:
    """Types that an op of this type can take; None if it takes others only."""
    lane, count = lanes_of(type)
    if "*" in row.args:
        other = WIDTHS[lane] * 2 if row.name == "trunc" else WIDTHS[lane] // 2
        return [f"i{other}x{count}"] if other in (8, 16, 32, 64) else None
    return [{"T": type, "B": f"i1x{count}"}[a] for a in row.args]


CASES = [(row, type) for row in LANEWISE for type in TYPES if argument_types(row, type)]


@pytest.mark.parametrize("row,type", CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_lanes(row: Row, type: str) -> None:
    """A vector's result is its lanes' results; the builder folds to the same."""
    rng = random.Random(row.name + type)
    types = argument_types(row, type)
    assert types is not None
    lane = lanes_of(type)[0]
    for _ in range(20):
        values = [random_value(rng, t) for t in types]
        whole = compute(row, type, (), types, values)
        parts = zip(*(split_lanes(t, v) for t, v in zip(types, values, strict=True)), strict=True)
        single = [compute(row, lane, (), [lanes_of(t)[0] for t in types], part) for part in parts]
        assert split_lanes(result_type(row, type), whole) == single
        args = tuple(Value(t, v) for t, v in zip(types, values, strict=True))
        assert Builder().emit(row.name, type, args).const == whole


def test_moves_of_lanes() -> None:
    """Shuffles, splats, single lanes, and a look-up."""
    b = Builder()
    vector = b.own(Value("i16x4", 0x0004000300020001))
    other = b.own(Value("i16x4", 0x0008000700060005))
    assert vector.shuffle((3, 2, 1, 0)).const == 0x0001000200030004
    assert vector.shuffle((0, 4, 1, 5), other).const == 0x0006000200050001
    assert vector.shuffle(range(8), other).type == "i16x8"
    assert vector.lane(2).const == 3
    assert b.const(7, "i8").splat("i8x8").const == 0x0707070707070707
    assert b.emit("setlane", "i16x4", (vector, b.const(9, "i16")), (1,)).const == 0x0004000300090001
    assert vector.cast("i8x8").lane(2).const == 2
    assert vector.eq(3).any().const == 1 and vector.eq(9).any().const == 0
    table = Value("i8x16", int.from_bytes(bytes(range(100, 116)), "little"))
    places = Value("i8x16", int.from_bytes(bytes([15, 0, 16, 255, *[1] * 12]), "little"))
    found = b.emit("lookup", "i8x16", (table, places)).const or 0
    assert found.to_bytes(16, "little") == bytes([115, 100, 0, 0, *[101] * 12])


def test_ciphers() -> None:
    """One round of AES by FIPS 197, appendix B."""
    block = int.from_bytes(bytes.fromhex("193de3bea0f4e22b9ac68d2ae9f84808"), "little")
    value = Value("i8x16", block)
    rounded = Builder().emit("aesround", "i8x16", (value,))
    assert (rounded.const or 0).to_bytes(16, "little").hex() == "d4bf5d30e0b452aeb84111f11e2798e5"
    mixed = Builder().emit("aesmix", "i8x16", (rounded,))
    assert (mixed.const or 0).to_bytes(16, "little").hex() == "046681e5e0cb199a48f8d37a2806264c"
    assert Builder().emit("aesunmix", "i8x16", (mixed,)).const == rounded.const
    assert Builder().emit("aesback", "i8x16", (rounded,)).const == block


TEXT = """func @vectors() {
entry:
  %0 = vget.i8x16 q[3]
  %1 = add.i8x16 %0, 0x1
  %2 = slt.i8x16 %1, %0
  %3 = select.i8x16 %2, %0, %1
  %4 = shuffle.i8x8 0.2.4.6.8.10.12.14, %3, %3
  %5 = any %2
  %6 = rare.i8x8 @helper(%5, %4, %0)
  vset d[7], %6
}
"""


def test_text_and_verifier() -> None:
    """Printing and parsing are inverse; types that do not fit are found."""
    text = TEXT.replace("vset d[7]", "vset.i8x8 d[7]")
    function = parse_function(text)
    verify(function)
    assert print_function(function) == text
    for old, new, why in (
        ("i8x8 d[7]", "i8x16 d[7]", "argument 0 is i8x8, not i8x16"),
        ("slt.i8x16 %1, %0", "slt.i8x8 %1, %0", "i8x16, not i8x8"),
        ("shuffle.i8x8", "shuffle.i16x4", "lanes differ"),
        ("add.i8x16", "udiv.i8x16", "it is not for i8x16"),
    ):
        with pytest.raises(VerifyError, match=why):
            verify(parse_function(text.replace(old, new)))
    with pytest.raises(TextError):
        parse_function(text.replace("vget.i8x16", "vget.i7x3"))


def compiled(op: Op, values: list[int]) -> int:
    """An op's result by LLVM's text, run on the host."""
    import ctypes

    from llvmlite import binding as llvm

    from jitemu.backend_llvm.target import machine

    low = Lowering(Layout())
    for number, value in enumerate(op.args):
        at = low.temp(f"getelementptr i8, ptr %in, i64 {64 * number}")
        low.names[id(value)] = low.temp(f"load {llvm_type(value.type)}, ptr {at}, align 1")
    low.op(op)
    assert op.result is not None
    low.put(f"store {low.typed(op.result)}, ptr %out, align 1")
    body = "define void @f(ptr %in, ptr %out) {\n" + "\n".join(low.lines) + "\nret void\n}\n"
    machine()
    module = llvm.parse_assembly(declarations(body) + "\n" + body)
    target = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    source = ctypes.create_string_buffer(b"".join(v.to_bytes(64, "little") for v in values))
    out = ctypes.create_string_buffer(64)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    function(engine.get_function_address("f"))(ctypes.addressof(source), ctypes.addressof(out))
    return int.from_bytes(out.raw, "little") & ((1 << BITS[op.result.type]) - 1)


LOWERED = [
    (row, type)
    for row, type in CASES
    if type in ("i8x16", "i16x8", "i32x4", "i64x2", "i8x8", "i32x2")
    and result_type(row, type) == type  # masks have another form in memory
    and row.args[0] != "B"
]


@pytest.mark.parametrize("row,type", LOWERED, ids=lambda v: getattr(v, "name", str(v)))
def test_lowering(row: Row, type: str) -> None:
    """The host's result is the meaning's."""
    rng = random.Random(row.name + type)
    types = argument_types(row, type)
    assert types is not None
    op = Op(row.name, type, tuple(Value(t) for t in types), ())
    op.result = Value(type, None, op)
    for _ in range(3):
        values = [random_value(rng, t) for t in types]
        assert compiled(op, values) == evaluate(op, values), [hex(v) for v in values]
