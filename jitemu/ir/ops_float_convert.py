"""The floating-point rows that convert: between the formats, to and from integers."""

from __future__ import annotations

from jitemu.ir import softfloat as sf
from jitemu.ir.float_rows import (
    DYNAMIC,
    FORMATS,
    MODES,
    STRICT,
    TYPES,
    constrained,
    finish,
    float_row,
    operands,
    suffix,
)


def _formats() -> None:
    name = "llvm.experimental.constrained"
    float_row(
        "fwiden",
        "i32 -> i64",
        "A single as a double.",
        lambda rm, args: sf.convert(sf.F32, sf.F64, args[0], rm),
        [
            *operands(32, 1),
            f"{{r}}.f = call double @{name}.fpext.f64.f32(float {{r}}.a, {STRICT})",
            *finish(64),
        ],
    )
    float_row(
        "fnarrow",
        "i64 -> i32",
        "A double rounded to a single.",
        lambda rm, args: sf.convert(sf.F64, sf.F32, args[0], rm),
        [
            *operands(64, 1),
            f"{{r}}.f = call float @{name}.fptrunc.f32.f64(double {{r}}.a, {DYNAMIC})",
            *finish(32),
        ],
    )


def _from_integer(width: int) -> None:
    fmt, kind = FORMATS[width], TYPES[width]
    convert = f"@llvm.experimental.constrained.sitofp.f{width}.i64"
    t = f"i{width}"
    float_row(
        f"fsigned{width}",
        f"i64 -> {t}",
        "A signed integer as a float.",
        lambda rm, args: sf.from_int(args[0], 64, True, fmt, rm),
        [
            f"{{r}}.f = call {kind} {convert}(i64 {{0}}, {DYNAMIC})",
            f"{{r}} = bitcast {kind} {{r}}.f to {t}",
        ],
    )
    # Above the signed range: half the value, its lost bit kept as sticky, then doubled.
    float_row(
        f"funsigned{width}",
        f"i64 -> {t}",
        "An unsigned integer as a float.",
        lambda rm, args: sf.from_int(args[0], 64, False, fmt, rm),
        [
            "{r}.n = icmp slt i64 {0}, 0",
            "{r}.h = lshr i64 {0}, 1",
            "{r}.l = and i64 {0}, 1",
            "{r}.s = or i64 {r}.h, {r}.l",
            "{r}.i = select i1 {r}.n, i64 {r}.s, i64 {0}",
            f"{{r}}.f = call {kind} {convert}(i64 {{r}}.i, {DYNAMIC})",
            f"{{r}}.d = {constrained('fadd', width, '{r}.f {r}.f')}",
            f"{{r}}.x = select i1 {{r}}.n, {kind} {{r}}.d, {kind} {{r}}.f",
            f"{{r}} = bitcast {kind} {{r}}.x to {t}",
        ],
    )


_ROUNDINGS = {
    "dyn": ("nearbyint", DYNAMIC),
    "rne": ("roundeven", STRICT),
    "rtz": ("trunc", STRICT),
    "rdn": ("floor", STRICT),
    "rup": ("ceil", STRICT),
}


def _rounded(width: int, mode: str) -> list[str]:
    """Lines that make {r}.t the integer in the mode's direction, raising no inexact."""
    if mode in _ROUNDINGS:
        operation, metadata = _ROUNDINGS[mode]
        return [f"{{r}}.t = {constrained(operation, width, '{r}.a', metadata)}"]
    # Away from zero from a half on; the difference and the sum are exact.
    fmt, t = FORMATS[width], f"i{width}"
    one = fmt.bias << fmt.frac_bits
    half = one - (1 << fmt.frac_bits)
    return [
        f"{{r}}.z = {constrained('trunc', width, '{r}.a', STRICT)}",
        f"{{r}}.d = {constrained('fsub', width, '{r}.a {r}.z')}",
        f"{{r}}.db = bitcast {TYPES[width]} {{r}}.d to {t}",
        f"{{r}}.dm = and {t} {{r}}.db, {fmt.mask >> 1}",
        f"{{r}}.up = icmp uge {t} {{r}}.dm, {half}",
        f"{{r}}.s1 = and {t} {{0}}, {fmt.sign_bit}",
        f"{{r}}.s2 = or {t} {{r}}.s1, {one}",
        f"{{r}}.s3 = select i1 {{r}}.up, {t} {{r}}.s2, {t} {{r}}.s1",
        f"{{r}}.s4 = bitcast {t} {{r}}.s3 to {TYPES[width]}",
        f"{{r}}.t = {constrained('fadd', width, '{r}.z {r}.s4')}",
    ]


def _host_convert(result: str, width: int, bits: int, source: str, truncate: bool) -> str:
    """x86's conversion: total, exact flags, the least integer where it is invalid."""
    name = f"vcvt{'t' if truncate else ''}{suffix(width)}2si"
    return f'{result} = call i{bits} asm sideeffect "{name} $1, $0", "=r,x"({source})'


def _positive(width: int) -> list[str]:
    """Lines that make {r}.pos: saturate upwards, as the value is positive or a NaN."""
    fmt = FORMATS[width]
    return [
        f"{{r}}.ps = sub i{width} {{0}}, {fmt.sign_bit}",
        f"{{r}}.pos = icmp ugt i{width} {{r}}.ps, {fmt.inf}",
    ]


def _to_signed_directly(width: int, bits: int, mode: str) -> list[str]:
    t = f"i{bits}"
    return [
        *operands(width, 1),
        _host_convert("{r}.i", width, bits, f"{TYPES[width]} {{r}}.a", mode == "rtz"),
        f"{{r}}.bad = icmp eq {t} {{r}}.i, {-(1 << (bits - 1))}",
        *_positive(width),
        "{r}.up = and i1 {r}.bad, {r}.pos",
        f"{{r}} = select i1 {{r}}.up, {t} {(1 << (bits - 1)) - 1}, {t} {{r}}.i",
    ]


def _to_integer_checked(width: int, bits: int, signed: bool, mode: str) -> list[str]:
    """Round first without flags, test the range, then raise the flag that is due.

    x86 converts a NaN with invalid, a fraction with inexact: so converting the operand
    (or a NaN where it is out of range) raises exactly what RISC-V raises.
    """
    fmt, kind, t, n = FORMATS[width], TYPES[width], f"i{width}", f"i{bits}"

    def power(exponent: int) -> int:
        return (fmt.bias + exponent) << fmt.frac_bits

    positive_limit = power(bits - signed)
    negative_limit = power(bits - 1) + 1 if signed else 1
    least = -(1 << (bits - 1)) if signed else 0
    greatest = (1 << (bits - 1)) - 1 if signed else -1
    wide = "{r}.tb" if width == 64 else "{r}.tw"
    return [
        *operands(width, 1),
        *_rounded(width, mode),
        f"{{r}}.tb = bitcast {kind} {{r}}.t to {t}",
        f"{{r}}.neg = icmp slt {t} {{r}}.tb, 0",
        f"{{r}}.lim = select i1 {{r}}.neg, {t} {negative_limit}, {t} {positive_limit}",
        f"{{r}}.mag = and {t} {{r}}.tb, {fmt.mask >> 1}",
        f"{{r}}.ok = icmp ult {t} {{r}}.mag, {{r}}.lim",
        # From 2**63 on there is no fraction: the significand is shifted into place.
        f"{{r}}.high = icmp uge {t} {{r}}.mag, {power(63)}",
        "{r}.nh = xor i1 {r}.neg, true",
        "{r}.hp = and i1 {r}.high, {r}.nh",
        "{r}.big = and i1 {r}.ok, {r}.hp",
        f"{{r}}.g1 = select i1 {{r}}.ok, {t} {{0}}, {t} {fmt.canonical_nan}",
        f"{{r}}.g2 = select i1 {{r}}.big, {t} 0, {t} {{r}}.g1",
        f"{{r}}.g = bitcast {t} {{r}}.g2 to {kind}",
        _host_convert("{r}.raise", width, 64, f"{kind} {{r}}.g", True),
        "{r}.lo = xor i1 {r}.big, {r}.ok",
        f"{{r}}.v1 = select i1 {{r}}.lo, {t} {{r}}.tb, {t} 0",
        f"{{r}}.v2 = bitcast {t} {{r}}.v1 to {kind}",
        _host_convert("{r}.i", width, 64, f"{kind} {{r}}.v2", True),
        *([] if width == 64 else [f"{{r}}.tw = zext {t} {{r}}.tb to i64"]),
        f"{{r}}.sh = shl i64 {wide}, {63 - fmt.frac_bits}",
        f"{{r}}.hv = or i64 {{r}}.sh, {-(1 << 63)}",
        "{r}.w = select i1 {r}.big, i64 {r}.hv, i64 {r}.i",
        *_positive(width),
        f"{{r}}.sat = select i1 {{r}}.pos, {n} {greatest}, {n} {least}",
        f"{{r}}.x = {'trunc' if bits == 32 else 'bitcast'} i64 {{r}}.w to {n}",
        f"{{r}} = select i1 {{r}}.ok, {n} {{r}}.x, {n} {{r}}.sat",
    ]


def to_integer_name(width: int, bits: int, signed: bool, mode: str) -> str:
    """The row that converts a float of ``width`` bits to an integer of ``bits``."""
    return f"f{width}to{'s' if signed else 'u'}{bits}{mode}"


def _to_integer(width: int, bits: int, signed: bool, mode: str) -> None:
    fmt, fixed = FORMATS[width], MODES[mode]

    def meaning(rm: int, args: tuple[int, ...]) -> sf.Result:
        return sf.to_int(fmt, args[0], rm if fixed is None else fixed, bits, signed)

    direct = signed and mode in ("dyn", "rtz")
    if direct:
        lines = _to_signed_directly(width, bits, mode)
    else:
        lines = _to_integer_checked(width, bits, signed, mode)
    kind = "signed" if signed else "unsigned"
    prose = f"A float as a {kind} integer ({mode}), saturating; a NaN gives the greatest."
    name = to_integer_name(width, bits, signed, mode)
    float_row(name, f"i{width} -> i{bits}", prose, meaning, lines)


for _width in (32, 64):
    _from_integer(_width)
    for _bits in (32, 64):
        for _signed in (True, False):
            for _mode in MODES:
                _to_integer(_width, _bits, _signed, _mode)
_formats()
