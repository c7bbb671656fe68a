"""The rows of vectors beyond lane-wise arithmetic: saturation, moves of lanes, ciphers.

A vector's value is one integer, lane 0 in its low bits.
"""

# The meanings are one-line lambdas over plain integers.
# pyright: reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from jitemu.ir.code import BITS, Attr, join_lanes, lanes_of, split_lanes
from jitemu.ir.ops import row, signed

Whole = Callable[[str, Sequence[Attr], Sequence[str], Sequence[int]], int]


def _clamp(value: int, least: int, greatest: int) -> int:
    return max(least, min(greatest, value))


def _signed_limits(w: int, value: int) -> int:
    return _clamp(value, -(1 << w - 1), (1 << w - 1) - 1)


for _name, _intrinsic, _prose, _meaning in (
    ("smin", "smin", "The lesser, signed.", lambda w, a, b: min(signed(w, a), signed(w, b))),
    ("smax", "smax", "The greater, signed.", lambda w, a, b: max(signed(w, a), signed(w, b))),
    ("umin", "umin", "The lesser, unsigned.", lambda w, a, b: min(a, b)),
    ("umax", "umax", "The greater, unsigned.", lambda w, a, b: max(a, b)),
    (
        *("sadds", "sadd.sat", "Signed sum, saturating."),
        lambda w, a, b: _signed_limits(w, signed(w, a) + signed(w, b)),
    ),
    (
        *("ssubs", "ssub.sat", "Signed difference, saturating."),
        lambda w, a, b: _signed_limits(w, signed(w, a) - signed(w, b)),
    ),
    ("uadds", "uadd.sat", "Unsigned sum, saturating.", lambda w, a, b: min(a + b, (1 << w) - 1)),
    ("usubs", "usub.sat", "Unsigned difference, at least 0.", lambda w, a, b: max(a - b, 0)),
):
    row(
        _name,
        "T T -> T",
        _prose,
        _meaning,
        f"{{r}} = call {{T}} @llvm.{_intrinsic}.{{N}}({{T}} {{0}}, {{T}} {{1}})",
        lanes=True,
    )

# Lanes moved.  The lowering of those with attributes is a method of Lowering.


def order_of(attr: Attr) -> list[int]:
    """The lane numbers of a shuffle's attribute, which has points between them."""
    return [int(number) for number in str(attr).split(".")]


def _shuffle(type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]) -> int:
    lanes = split_lanes(types[0], values[0]) + split_lanes(types[1], values[1])
    return join_lanes(type, [lanes[n] for n in order_of(attrs[0])])


def _splat(type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]) -> int:
    return join_lanes(type, [values[0]] * lanes_of(type)[1])


def _lane(type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]) -> int:
    return split_lanes(types[0], values[0])[int(attrs[0])]


def _set_lane(type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]) -> int:
    lanes = split_lanes(type, values[0])
    lanes[int(attrs[0])] = values[1]
    return join_lanes(type, lanes)


row("shuffle", "@order * * -> T", "Lanes of two vectors of one type, by number.", whole=_shuffle)
row("splat", "* -> T", "All lanes the same.", whole=_splat)
row("lane", "@number * -> T", "One lane.", whole=_lane)
row("setlane", "@number T * -> T", "One lane replaced.", whole=_set_lane)
row(
    "cast",
    "* -> T",
    "The same bits as another type.",
    None,
    "{r} = bitcast {A} {0} to {T}",
    whole=lambda type, attrs, types, values: values[0],
)
row(
    "any",
    "* -> i1",
    "1 if any lane, an i1, is.",
    None,
    "{r}.i = bitcast {A} {0} to {AI}\n{r} = icmp ne {AI} {r}.i, 0",
    whole=lambda type, attrs, types, values: values[0] != 0,
)


def _lookup(type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]) -> int:
    table, places = (split_lanes(type, v) for v in values)
    return join_lanes(type, [table[n] if n < 16 else 0 for n in places])


row(
    "lookup",
    "T T -> T",
    "Bytes of the first by the numbers in the second; 0 for numbers beyond 15.",
    None,
    "{r}.n = call {T} @llvm.uadd.sat.{N}({T} {1}, {T} splat (i8 112))\n"
    "{r} = call {T} @llvm.x86.ssse3.pshuf.b.128({T} {0}, {T} {r}.n)",
    whole=_lookup,
)

# AES, on a block whose byte n is at row n modulo 4, column n // 4 (FIPS 197).


def _times(a: int, b: int) -> int:
    product = 0
    for bit in range(8):
        product ^= (a << bit) * (b >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (0x11B << bit - 8) * (product >> bit & 1)
    return product


@cache
def _boxes() -> tuple[list[int], list[int]]:
    """The substitution and its inverse."""
    box: list[int] = []
    for value in range(256):
        inverse = next((n for n in range(256) if _times(value, n) == 1), 0)
        turned = [inverse << n | inverse >> 8 - n for n in range(5)]
        box.append((turned[0] ^ turned[1] ^ turned[2] ^ turned[3] ^ turned[4]) & 0xFF ^ 0x63)
    return box, [box.index(n) for n in range(256)]


def _round(inverse: bool) -> Whole:
    """Shift the rows and substitute."""

    def meaning(
        type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]
    ) -> int:
        block, box = split_lanes(type, values[0]), _boxes()[inverse]
        step = -4 if inverse else 4
        return join_lanes(type, [box[block[(n + step * (n % 4)) % 16]] for n in range(16)])

    return meaning


def _mix(factors: tuple[int, int, int, int]) -> Whole:
    def meaning(
        type: str, attrs: Sequence[Attr], types: Sequence[str], values: Sequence[int]
    ) -> int:
        block = split_lanes(type, values[0])
        mixed: list[int] = []
        for n in range(16):
            total = 0
            for k, factor in enumerate(factors):
                total ^= _times(block[n // 4 * 4 + (n + k) % 4], factor)
            mixed.append(total)
        return join_lanes(type, mixed)

    return meaning


_AES = "call <2 x i64> @llvm.x86.aesni.{0}(<2 x i64> {1}, <2 x i64> zeroinitializer)"


def _aes(name: str, prose: str, lines: list[str], whole: Whole) -> None:
    text = ["{r}.a = bitcast {T} {0} to <2 x i64>", *lines, "{r} = bitcast <2 x i64> {r}.b to {T}"]
    row(name, "T -> T", prose, None, "\n".join(text), whole=whole)


_aes(
    "aesround",
    "AES: shift rows and substitute bytes.",
    ["{r}.b = " + _AES.format("aesenclast", "{r}.a")],
    _round(False),
)
_aes(
    "aesback",
    "AES: the inverse of aesround.",
    ["{r}.b = " + _AES.format("aesdeclast", "{r}.a")],
    _round(True),
)
_aes(
    "aesmix",
    "AES: mix columns.",
    [
        "{r}.c = " + _AES.format("aesdeclast", "{r}.a"),
        "{r}.b = " + _AES.format("aesenc", "{r}.c"),
    ],
    _mix((2, 3, 1, 1)),
)
_aes(
    "aesunmix",
    "AES: the inverse of aesmix.",
    ["{r}.b = call <2 x i64> @llvm.x86.aesni.aesimc(<2 x i64> {r}.a)"],
    _mix((14, 11, 13, 9)),
)


def check_vector(name: str, type: str, types: Sequence[str]) -> str:
    """Why an op of these rows cannot have these types; "" if it can."""
    lane, count = lanes_of(type)
    if name in ("lookup", "aesround", "aesback", "aesmix", "aesunmix"):
        return "" if type == "i8x16" else "it is for i8x16"
    if name == "shuffle":
        return "" if types[0] == types[1] and lanes_of(types[0])[0] == lane else "lanes differ"
    if name == "splat":
        return "" if types[0] == lane and count > 1 else f"{types[0]} is not a lane of {type}"
    if name == "lane":
        return "" if lanes_of(types[0])[0] == type else f"{type} is not a lane of {types[0]}"
    if name == "setlane":
        return "" if types[1] == lane else f"{types[1]} is not a lane of {type}"
    if name == "cast":
        return "" if BITS[types[0]] == BITS[type] else "sizes differ"
    return ""
