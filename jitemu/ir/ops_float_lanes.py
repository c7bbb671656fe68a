"""The floating-point rows for lanes of any float type: i32 and i64, alone or in vectors.

They are for guests that do not want RISC-V's canonical NaN: which NaN a NaN result is, is
left open (the meaning says the canonical one), so the guest's definition looks and puts
its own in its place.  Otherwise as the rows of ``ops_float``: rounded as the unit's mode
says, with its flags.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jitemu.ir import softfloat as sf
from jitemu.ir.code import WIDTHS, Attr, join_lanes, lanes_of, split_lanes, truth_of
from jitemu.ir.float_rows import DYNAMIC, FORMATS, STRICT
from jitemu.ir.ops import row

LaneMeaning = Callable[[sf.Format, sf.Format, int, tuple[int, ...]], sf.Result]
"""Of the result's format, the first argument's, the rounding mode and a lane of each."""

FLOAT_LANES: dict[str, LaneMeaning] = {}


def run_lanes(
    name: str, type: str, types: Sequence[str], rounding: int, values: Sequence[int]
) -> sf.Result:
    """A row of this file on whole values: (bits, flags)."""
    meaning = FLOAT_LANES[name]
    own = FORMATS.get(WIDTHS[lanes_of(type)[0]], sf.F16)
    source = FORMATS.get(WIDTHS[lanes_of(types[0])[0]], sf.F16)
    lanes = zip(*(split_lanes(t, v) for t, v in zip(types, values, strict=True)), strict=True)
    results = [meaning(own, source, rounding, lane) for lane in lanes]
    flags = 0
    for _, raised in results:
        flags |= raised
    result = truth_of(type) if name.startswith("fc") else type
    return join_lanes(result, [bits for bits, _ in results]), flags


def _row(name: str, signature: str, prose: str, meaning: LaneMeaning, text: str) -> None:
    FLOAT_LANES[name] = meaning
    row(name, signature, prose, None, text, effect=True, lanes=True)


def _operands(count: int) -> str:
    return "".join(f"{{r}}.{'abc'[n]} = bitcast {{T}} {{{n}}} to {{F}}\n" for n in range(count))


def _arithmetic(name: str, operation: str, count: int, prose: str, meaning: LaneMeaning) -> None:
    args = ", ".join("{F} {r}." + "abc"[n] for n in range(count))
    call = f"call {{F}} @llvm.experimental.constrained.{operation}.{{FN}}({args}, {DYNAMIC})"
    text = f"{_operands(count)}{{r}}.f = {call}\n{{r}} = bitcast {{F}} {{r}}.f to {{T}}"
    _row(name, " ".join(["T"] * count) + " -> T", prose, meaning, text)


_arithmetic("fadd", "fadd", 2, "Sums.", lambda f, _, rm, a: sf.add(f, a[0], a[1], rm))
_arithmetic("fsub", "fsub", 2, "Differences.", lambda f, _, rm, a: sf.sub(f, a[0], a[1], rm))
_arithmetic("fmul", "fmul", 2, "Products.", lambda f, _, rm, a: sf.mul(f, a[0], a[1], rm))
_arithmetic("fdiv", "fdiv", 2, "Quotients.", lambda f, _, rm, a: sf.div(f, a[0], a[1], rm))
_arithmetic("fsqrt", "sqrt", 1, "Square roots.", lambda f, _, rm, a: sf.sqrt(f, a[0], rm))


def _fused(f: sf.Format, _: sf.Format, rm: int, a: tuple[int, ...]) -> sf.Result:
    bits, flags = sf.fma(f, a[0], a[1], a[2], rm)
    # x86 raises nothing for infinity times zero plus a quiet NaN.
    quiet = sf.is_nan(f, a[2]) and not any(sf.is_signalling(f, x) for x in a)
    return bits, 0 if quiet else flags


_arithmetic(
    "ffma",
    "fma",
    3,
    "Products of two plus the third, rounded once; invalid is left open with a quiet NaN.",
    _fused,
)


def _compare(name: str, predicate: str, quiet: bool, prose: str, meaning: LaneMeaning) -> None:
    kind = "fcmp" if quiet else "fcmps"
    call = (
        f"call {{B}} @llvm.experimental.constrained.{kind}.{{FN}}"
        f'({{F}} {{r}}.a, {{F}} {{r}}.b, metadata !"{predicate}", {STRICT})'
    )
    _row(name, "T T -> B", prose, meaning, f"{_operands(2)}{{r}} = {call}")


def _quiet(f: sf.Format, less: bool, a: int, b: int) -> sf.Result:
    """As lt or le, invalid for signalling NaNs only."""
    flags = sf.eq(f, a, b)[1]
    return (sf.lt if less else sf.le)(f, a, b)[0], flags


_compare("fceq", "oeq", True, "1 if equal; quiet.", lambda f, _, rm, a: sf.eq(f, *a))
_compare("fcltq", "olt", True, "1 if less; quiet.", lambda f, _, rm, a: _quiet(f, True, *a))
_compare(
    "fcleq", "ole", True, "1 if less or equal; quiet.", lambda f, _, rm, a: _quiet(f, False, *a)
)
_compare("fclt", "olt", False, "1 if less; any NaN is invalid.", lambda f, _, rm, a: sf.lt(f, *a))
_compare(
    "fcle",
    "ole",
    False,
    "1 if less or equal; any NaN is invalid.",
    lambda f, _, rm, a: sf.le(f, *a),
)

# Conversions


def _convert(name: str, prose: str, meaning: LaneMeaning, text: str) -> None:
    _row(name, "* -> T", prose, meaning, text + "\n{r} = bitcast {F} {r}.f to {T}")


_convert(
    "fext",
    "In a wider format.",
    lambda f, g, rm, a: sf.convert(g, f, a[0], rm),
    "{r}.a = bitcast {A} {0} to {AF}\n{r}.f = call {F} @llvm.experimental.constrained.fpext."
    f"{{FN}}.{{AFN}}({{AF}} {{r}}.a, {STRICT})",
)
_convert(
    "fround",
    "In a narrower format, rounded.",
    lambda f, g, rm, a: sf.convert(g, f, a[0], rm),
    "{r}.a = bitcast {A} {0} to {AF}\n{r}.f = call {F} @llvm.experimental.constrained.fptrunc."
    f"{{FN}}.{{AFN}}({{AF}} {{r}}.a, {DYNAMIC})",
)
for _name, _op, _signed, _kind in (
    ("fofsigned", "sitofp", True, "Signed"),
    ("fofunsigned", "uitofp", False, "Unsigned"),
):
    _convert(
        _name,
        f"{_kind} integers of any width as floats.",
        lambda f, g, rm, a, signed=_signed: sf.from_int(a[0], g.width, signed, f, rm),
        f"{{r}}.f = call {{F}} @llvm.experimental.constrained.{_op}.{{FN}}.{{AN}}"
        f"({{A}} {{0}}, {DYNAMIC})",
    )

_LEAST = 0x8000_0000


def _truncated(f: sf.Format, g: sf.Format, rm: int, a: tuple[int, ...]) -> sf.Result:
    bits, flags = sf.to_int(f, a[0], sf.RTZ, 32, True)
    return (_LEAST if flags & sf.NV else bits), flags


_row(
    "ftosigned",
    "T -> T",
    "Singles (i32x4) as integers, cut off; out of range the least integer, and invalid.",
    _truncated,
    '{r}.a = bitcast {T} {0} to {F}\n{r} = call {T} asm sideeffect "vcvttps2dq $1, $0", "=x,x"'
    "({F} {r}.a)",
)

# What guests look for in results; pure.

Attrs = Sequence[Attr]


def _nan(type: str, attrs: Attrs, types: Sequence[str], values: Sequence[int]) -> int:
    f = FORMATS[WIDTHS[lanes_of(type)[0]]]
    return join_lanes(truth_of(type), [sf.is_nan(f, x) for x in split_lanes(type, values[0])])


def _odd(type: str, attrs: Attrs, types: Sequence[str], values: Sequence[int]) -> int:
    f = FORMATS[WIDTHS[lanes_of(type)[0]]]
    least = 1 << f.frac_bits
    lanes = [x & ~f.sign_bit for x in split_lanes(type, values[0])]
    return join_lanes(truth_of(type), [x > f.inf or 0 < x <= least for x in lanes])


def _pure_compare(name: str, predicate: str, prose: str, meaning: LaneMeaning) -> None:
    """For operands that a row with flags has compared, too."""

    def whole(type: str, attrs: Attrs, types: Sequence[str], values: Sequence[int]) -> int:
        f = FORMATS[WIDTHS[lanes_of(type)[0]]]
        lanes = zip(*(split_lanes(type, v) for v in values), strict=True)
        return join_lanes(truth_of(type), [meaning(f, f, sf.RNE, lane)[0] for lane in lanes])

    text = f"{_operands(2)}{{r}} = fcmp {predicate} {{F}} {{r}}.a, {{r}}.b"
    row(name, "T T -> B", prose, None, text, whole=whole)


_pure_compare("fequal", "oeq", "1 if equal; without flags.", lambda f, _, rm, a: sf.eq(f, *a))
_pure_compare("fless", "olt", "1 if less; without flags.", lambda f, _, rm, a: sf.lt(f, *a))
_pure_compare(
    "funordered",
    "uno",
    "1 if one is a NaN; without flags.",
    lambda f, _, rm, a: (int(any(sf.is_nan(f, x) for x in a)), 0),
)
row(
    "fnan",
    "T -> B",
    "1 if a NaN; of results of arithmetic, which are quiet.",
    None,
    "{r}.f = bitcast {T} {0} to {F}\n{r} = fcmp uno {F} {r}.f, {r}.f",
    whole=_nan,
)
row(
    "fodd",
    "T -> B",
    "1 if a quiet NaN, or not zero and not above the least normal number.",
    None,
    "{r}.f = bitcast {T} {0} to {F}\n{r}.q = fcmp uno {F} {r}.f, {r}.f\n"
    "{r}.t = shl {T} {0}, {ONE}\n{r}.u = sub {T} {r}.t, {ONE}\n{r}.n = shl {T} {NORMAL}, {ONE}\n"
    "{r}.s = icmp ult {T} {r}.u, {r}.n\n"
    "{r} = or {B} {r}.s, {r}.q",
    whole=_odd,
)
