"""Every row with a meaning, at its operands' boundaries."""

# The definitions are one-line lambdas over plain integers.
# pyright: reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from jitemu.ir.builder import TYPE_OF, Builder, V
from jitemu.ir.code import WIDTHS, Block, Function, Op, Value
from jitemu.ir.interp import evaluate
from jitemu.ir.ops import ROWS, Row
from jitemu.ir.passes import fold
from tests.ir.random_functions import PURE, widths_of


def edges(width: int) -> list[int]:
    """Boundary operands."""
    top = 1 << width
    near = (0, 1, 2, width - 1, width, width + 1, top // 2 - 1, top // 2, top // 2 + 1, top - 2)
    return sorted({v % top for v in (*near, top - 1, 0x5555555555555555, 0x0123456789ABCDEF)})


def argument_types(row: Row, width: int) -> list[list[str]]:
    """The types that each argument can have."""
    types: list[list[str]] = []
    for wanted in row.args:
        if wanted == "*":
            wider = row.name == "trunc"
            types.append([t for t, w in WIDTHS.items() if (w > width if wider else w < width)])
        else:
            types.append([{"T": TYPE_OF.get(width, ""), "B": "i1"}.get(wanted, wanted)])
    return types


CASES = [(row, width) for row in PURE for width in widths_of(row)]


@pytest.mark.parametrize("row,width", CASES, ids=lambda v: getattr(v, "name", str(v)))
def test_builder_interpreter_and_fold_agree(row: Row, width: int) -> None:
    kind = TYPE_OF[width] if width else ""
    for types in product(*argument_types(row, width)):
        for operands in product(*(edges(WIDTHS[t]) for t in types)):
            consts = tuple(Value(t, v) for t, v in zip(types, operands, strict=True))
            built = Builder().emit(row.name, kind, consts)
            op = Op(row.name, kind, tuple(Value(t) for t in types), ())
            op.result = Value(built.type, None, op)
            value = evaluate(op, list(operands))
            assert built.const == value and 0 <= value < 1 << built.width
            assert folded(row.name, kind, consts, built.type) == value
            if row.name in DEFINITIONS:
                wanted = DEFINITIONS[row.name](width or 64, *operands) % (1 << built.width)
                assert value == wanted, (operands, value, wanted)


def folded(name: str, kind: str, args: tuple[Value, ...], result: str) -> int | None:
    """What the pass makes of an op on constants."""
    op = Op(name, kind, args, ())
    op.result = Value(result, None, op)
    user = Op("ret", "", (op.result,), ())
    fold.run(Function("f", (), [Block("entry", [op, user])]))
    return user.args[0].const


# Definitions made in another way than the table's: by properties, digits and bytes.


def _s(w: int, a: int) -> int:
    return int.from_bytes(a.to_bytes(9, "little"), "little") - (a // 2 ** (w - 1)) * 2**w


def _bits(w: int, a: int) -> str:
    return f"{a:0{w}b}"


def _find_quotient(w: int, a: int, b: int) -> tuple[int, int]:
    """The (q, r) with a = q*b + r, |r| < |b|, and r 0 or of a's sign."""
    x, y = _s(w, a), _s(w, b)
    if y == 0:
        return -1, x
    guess = x // y
    for q in (guess, guess + 1):
        r = x - q * y
        if abs(r) < abs(y) and (r == 0 or (r < 0) == (x < 0)):
            return q, r
    raise AssertionError


def _shifted(w: int, a: int, n: int, fill: str) -> int:
    return int((fill * min(n, w) + _bits(w, a))[:w], 2)


def _clmul(a: int, b: int) -> int:
    r = 0
    for i in range(64):
        for j in range(64):
            r ^= (a >> i & b >> j & 1) << (i + j)
    return r


def _leading(text: str) -> int:
    return len(text) - len(text.lstrip("0"))


DEFINITIONS: dict[str, Callable[..., int]] = {
    "shl": lambda w, a, b: a * 2 ** min(b, w),
    "lshr": lambda w, a, b: _shifted(w, a, b, "0"),
    "ashr": lambda w, a, b: _shifted(w, a, b, _bits(w, a)[0]),
    "rotl": lambda w, a, b: int((_bits(w, a) * 2)[b % w : b % w + w], 2),
    "udiv": lambda w, a, b: divmod(a, b)[0] if b else 2**w - 1,
    "urem": lambda w, a, b: divmod(a, b)[1] if b else a,
    "sdiv": lambda w, a, b: _find_quotient(w, a, b)[0],
    "srem": lambda w, a, b: _find_quotient(w, a, b)[1],
    "mulhu": lambda w, a, b: (a * b) // 2**w,
    "mulhs": lambda w, a, b: (_s(w, a) * _s(w, b)) // 2**w,
    "mulhsu": lambda w, a, b: (_s(w, a) * b) // 2**w,
    "slt": lambda w, a, b: (a + 2 ** (w - 1)) % 2**w < (b + 2 ** (w - 1)) % 2**w,
    "sle": lambda w, a, b: (a + 2 ** (w - 1)) % 2**w <= (b + 2 ** (w - 1)) % 2**w,
    "ctz": lambda w, a: _leading(_bits(w, a)[::-1]),
    "clz": lambda w, a: _leading(_bits(w, a)),
    "popcount": lambda w, a: _bits(w, a).count("1"),
    "bswap": lambda w, a: int.from_bytes(bytes.fromhex(f"{a:0{w // 4}x}")[::-1], "big"),
    "clmul": lambda w, a, b: _clmul(a, b),
    "clmulh": lambda w, a, b: _clmul(a, b) >> 64,
}


def test_known_divisions() -> None:
    def build(name: str, a: int, b: int) -> int | None:
        s = Builder()
        return s.const(a, "i32").op(name, s.const(b, "i32")).const

    minimum = 1 << 31
    assert build("sdiv", minimum, -1) == minimum
    assert build("srem", minimum, -1) == 0
    assert build("sdiv", -7, 2) == -3 % (1 << 32)
    assert build("srem", -7, 2) == -1 % (1 << 32)
    assert build("sdiv", 5, 0) == build("udiv", 5, 0) == (1 << 32) - 1
    assert build("srem", -5, 0) == build("urem", -5, 0) == -5 % (1 << 32)


def test_table_is_whole() -> None:
    for row in ROWS.values():
        assert row.prose.endswith(".")
        if row.meaning is not None or row.name == "sext":
            assert row.llvm is not None and not row.effect and row.result
    assert isinstance(Builder().const(1), V)
