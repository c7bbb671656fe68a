"""The floating-point rows of the micro-op table.

Values are raw bits: i32 holds a single, i64 a double.  Arithmetic rounds as the float
unit's mode says and accumulates its sticky flags; NaN results are canonical.  The rows
have an effect (the flags), so they are neither dropped nor folded; their Python meaning
is in ``FLOAT``: a function of rounding mode and arguments that returns (bits, flags); a
``FloatUnit`` runs it.

The host's unit is the guest's: while translated code runs, MXCSR holds the guest's
rounding mode and flags.  Constants are made from integers, never loaded from memory
(stencils have no constant pool), and instructions that LLVM has no total, ordered form
of are inline assembly.
"""

from __future__ import annotations

from collections.abc import Callable

from jitemu.ir import softfloat as sf
from jitemu.ir.ops import row

FloatMeaning = Callable[[int, tuple[int, ...]], sf.Result]
"""Of the rounding mode and the arguments."""

FLOAT: dict[str, FloatMeaning] = {}

MODES = {"dyn": None, "rne": sf.RNE, "rtz": sf.RTZ, "rdn": sf.RDN, "rup": sf.RUP, "rmm": sf.RMM}
"""Rounding as rows name it; "dyn" is the unit's mode."""

_TYPES = {32: "float", 64: "double"}
_FORMATS = {32: sf.F32, 64: sf.F64}
_STRICT = 'metadata !"fpexcept.strict"'
_DYNAMIC = f'metadata !"round.dynamic", {_STRICT}'


class FloatUnit:
    """The float unit of the reference interpreter: mode and sticky flags."""

    def __init__(self) -> None:
        self.rounding = sf.RNE
        self.flags = 0

    def run(self, name: str, args: tuple[int, ...]) -> int:
        """A row of this file on raw bits; 0 for a row without a result."""
        if name == "swaprounding":
            old, self.rounding = self.rounding, args[0] if args[0] < sf.RMM else sf.RNE
            return old
        if name == "setfpflags":
            self.flags = args[0] & 31
            return 0
        if name == "fpflags":
            return self.flags
        bits, flags = FLOAT[name](self.rounding, args)
        self.flags |= flags
        return bits


def _float_row(
    name: str, signature: str, prose: str, meaning: FloatMeaning, lines: list[str]
) -> None:
    FLOAT[name] = meaning
    row(name, signature, prose, None, "\n".join(lines), effect=True)


def _constrained(operation: str, width: int, operands: str, metadata: str = _DYNAMIC) -> str:
    kind = _TYPES[width]
    name = f"llvm.experimental.constrained.{operation}.f{width}"
    args = ", ".join(f"{kind} {o}" for o in operands.split())
    return f"call {kind} @{name}({args}, {metadata})"


def _operands(width: int, count: int) -> list[str]:
    """Lines that make {r}.a, {r}.b, {r}.c floats of the arguments."""
    return [f"{{r}}.{'abc'[i]} = bitcast i{width} {{{i}}} to {_TYPES[width]}" for i in range(count)]


def _asm(*instructions: str) -> str:
    return "\\0A".join(instructions)


def _fill(width: int, register: str, right: int, left: int) -> tuple[str, str, str]:
    """A register set to ones shifted right, then left."""
    x = "q" if width == 64 else "d"
    return (
        f"vpcmpeqd {register}, {register}, {register}",
        f"vpsrl{x} $${right}, {register}, {register}",
        f"vpsll{x} $${left}, {register}, {register}",
    )


def _canonical(width: int, register: str) -> tuple[str, str, str]:
    fraction = _FORMATS[width].frac_bits
    return _fill(width, register, fraction, fraction - 1)


def _suffix(width: int) -> str:
    return "sd" if width == 64 else "ss"


def _finish(width: int, source: str = "{r}.f") -> list[str]:
    """Lines that give {r} from a float: the canonical NaN if it is one.

    A jump over the rare case, as a select would lengthen every dependency chain.
    """
    kind = _TYPES[width]
    text = _asm(f"vucomi{_suffix(width)} $0, $0", "jnp 1f", *_canonical(width, "$0"), "1:")
    return [
        f'{{r}}.k = call {kind} asm "{text}", "=x,0,~{{{{flags}}}}"({kind} {source})',
        f"{{r}} = bitcast {kind} {{r}}.k to i{width}",
    ]


# -- arithmetic -----------------------------------------------------------------------


def _binary_meaning(
    fmt: sf.Format, f: Callable[[sf.Format, int, int, int], sf.Result]
) -> FloatMeaning:
    return lambda rm, args: f(fmt, args[0], args[1], rm)


def _arithmetic(width: int) -> None:
    fmt = _FORMATS[width]
    t = f"i{width}"
    for name, function, prose in (
        ("add", sf.add, "Sum."),
        ("sub", sf.sub, "Difference."),
        ("mul", sf.mul, "Product."),
        ("div", sf.div, "Quotient."),
    ):
        call = _constrained(f"f{name}", width, "{r}.a {r}.b")
        _float_row(
            f"f{name}{width}",
            f"{t} {t} -> {t}",
            prose,
            _binary_meaning(fmt, function),
            [*_operands(width, 2), f"{{r}}.f = {call}", *_finish(width)],
        )
    _float_row(
        f"fsqrt{width}",
        f"{t} -> {t}",
        "Square root.",
        lambda rm, args: sf.sqrt(fmt, args[0], rm),
        [
            *_operands(width, 1),
            f"{{r}}.f = {_constrained('sqrt', width, '{r}.a')}",
            *_finish(width),
        ],
    )
    _float_row(
        f"ffma{width}",
        f"{t} {t} {t} -> {t}",
        "Product of two plus the third, rounded once.",
        lambda rm, args: sf.fma(fmt, args[0], args[1], args[2], rm),
        [
            *_operands(width, 3),
            f"{{r}}.f = {_constrained('fma', width, '{r}.a {r}.b {r}.c')}",
            *_finish_fused(width),
        ],
    )


def _finish_fused(width: int) -> list[str]:
    """As _finish; a NaN result also raises invalid for infinity times zero.

    x86 does not when the addend is a quiet NaN.  So on the rare path the product is
    added to an infinity of its own sign: that is invalid for infinity times zero, and
    raises nothing new for any other operands.
    """
    kind, s, fraction = _TYPES[width], _suffix(width), _FORMATS[width].frac_bits
    x = "q" if width == 64 else "d"
    text = _asm(
        f"vucomi{s} $0, $0",
        "jnp 1f",
        "vpxor $3, $2, $1",
        f"vpsrl{x} $${width - 1}, $1, $1",
        f"vpsll{x} $${width - 1}, $1, $1",
        *_fill(width, "$0", fraction + 1, fraction),
        "vpor $0, $1, $1",
        f"vfmadd231{s} $3, $2, $1",
        *_canonical(width, "$0"),
        "1:",
    )
    both = f"{{{{ {kind}, {kind} }}}}"
    return [
        f'{{r}}.k = call {both} asm sideeffect "{text}", "=&x,=&x,x,x,0,~{{{{flags}}}}"'
        f"({kind} {{r}}.a, {kind} {{r}}.b, {kind} {{r}}.f)",
        f"{{r}}.v = extractvalue {both} {{r}}.k, 0",
        f"{{r}} = bitcast {kind} {{r}}.v to i{width}",
    ]


# -- comparisons ----------------------------------------------------------------------


def _compare_line(result: str, width: int, predicate: str, quiet: bool) -> str:
    kind, name = _TYPES[width], "fcmp" if quiet else "fcmps"
    return (
        f"{result} = call i1 @llvm.experimental.constrained.{name}.f{width}"
        f'({kind} {{r}}.a, {kind} {{r}}.b, metadata !"{predicate}", {_STRICT})'
    )


def _comparisons(width: int) -> None:
    fmt = _FORMATS[width]
    t = f"i{width}"
    signature = f"{t} {t} -> i1"
    for name, function, predicate, prose in (
        ("feq", sf.eq, "oeq", "1 if equal; quiet."),
        ("flt", sf.lt, "olt", "1 if less; any NaN is invalid."),
        ("fle", sf.le, "ole", "1 if less or equal; any NaN is invalid."),
    ):
        line = _compare_line("{r}", width, predicate, name == "feq")
        meaning = _unrounded(fmt, function)
        _float_row(f"{name}{width}", signature, prose, meaning, [*_operands(width, 2), line])
    for name, function, combine, order, prose in (
        ("fmin", sf.minimum, "or", "{0}, T {1}", "The lesser; -0 is less than +0."),
        ("fmax", sf.maximum, "and", "{1}, T {0}", "The greater; +0 is greater than -0."),
    ):
        lines = [
            *_operands(width, 2),
            _compare_line("{r}.l", width, "olt", True),
            _compare_line("{r}.e", width, "oeq", True),
            f"{{r}}.o = {combine} {t} {{0}}, {{1}}",
            f"{{r}}.s = select i1 {{r}}.l, {t} " + order.replace("T", t),
            f"{{r}}.p = select i1 {{r}}.e, {t} {{r}}.o, {t} {{r}}.s",
            *_is_nan(width, "a", "{0}"),
            *_is_nan(width, "b", "{1}"),
            f"{{r}}.q = select i1 {{r}}.bn, {t} {{0}}, {t} {{r}}.p",
            f"{{r}}.u = select i1 {{r}}.bn, {t} {fmt.canonical_nan}, {t} {{1}}",
            f"{{r}} = select i1 {{r}}.an, {t} {{r}}.u, {t} {{r}}.q",
        ]
        meaning = _unrounded(fmt, function)
        prose += " A lone NaN loses."
        _float_row(f"{name}{width}", f"{t} {t} -> {t}", prose, meaning, lines)


def _unrounded(fmt: sf.Format, f: Callable[[sf.Format, int, int], sf.Result]) -> FloatMeaning:
    return lambda rm, args: f(fmt, args[0], args[1])


def _is_nan(width: int, letter: str, value: str) -> list[str]:
    fmt = _FORMATS[width]
    return [
        f"{{r}}.{letter}m = and i{width} {value}, {fmt.mask >> 1}",
        f"{{r}}.{letter}n = icmp ugt i{width} {{r}}.{letter}m, {fmt.inf}",
    ]


# -- conversions ----------------------------------------------------------------------


def _formats() -> None:
    name = "llvm.experimental.constrained"
    _float_row(
        "fwiden",
        "i32 -> i64",
        "A single as a double.",
        lambda rm, args: sf.convert(sf.F32, sf.F64, args[0], rm),
        [
            *_operands(32, 1),
            f"{{r}}.f = call double @{name}.fpext.f64.f32(float {{r}}.a, {_STRICT})",
            *_finish(64),
        ],
    )
    _float_row(
        "fnarrow",
        "i64 -> i32",
        "A double rounded to a single.",
        lambda rm, args: sf.convert(sf.F64, sf.F32, args[0], rm),
        [
            *_operands(64, 1),
            f"{{r}}.f = call float @{name}.fptrunc.f32.f64(double {{r}}.a, {_DYNAMIC})",
            *_finish(32),
        ],
    )


def _from_integer(width: int) -> None:
    fmt, kind = _FORMATS[width], _TYPES[width]
    convert = f"@llvm.experimental.constrained.sitofp.f{width}.i64"
    t = f"i{width}"
    _float_row(
        f"fsigned{width}",
        f"i64 -> {t}",
        "A signed integer as a float.",
        lambda rm, args: sf.from_int(args[0], 64, True, fmt, rm),
        [
            f"{{r}}.f = call {kind} {convert}(i64 {{0}}, {_DYNAMIC})",
            f"{{r}} = bitcast {kind} {{r}}.f to {t}",
        ],
    )
    # Above the signed range: half the value, its lost bit kept as sticky, then doubled.
    _float_row(
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
            f"{{r}}.f = call {kind} {convert}(i64 {{r}}.i, {_DYNAMIC})",
            f"{{r}}.d = {_constrained('fadd', width, '{r}.f {r}.f')}",
            f"{{r}}.x = select i1 {{r}}.n, {kind} {{r}}.d, {kind} {{r}}.f",
            f"{{r}} = bitcast {kind} {{r}}.x to {t}",
        ],
    )


_ROUNDINGS = {
    "dyn": ("nearbyint", _DYNAMIC),
    "rne": ("roundeven", _STRICT),
    "rtz": ("trunc", _STRICT),
    "rdn": ("floor", _STRICT),
    "rup": ("ceil", _STRICT),
}


def _rounded(width: int, mode: str) -> list[str]:
    """Lines that make {r}.t the integer in the mode's direction, raising no inexact."""
    if mode in _ROUNDINGS:
        operation, metadata = _ROUNDINGS[mode]
        return [f"{{r}}.t = {_constrained(operation, width, '{r}.a', metadata)}"]
    # Away from zero from a half on; the difference and the sum are exact.
    fmt, t = _FORMATS[width], f"i{width}"
    one = fmt.bias << fmt.frac_bits
    half = one - (1 << fmt.frac_bits)
    return [
        f"{{r}}.z = {_constrained('trunc', width, '{r}.a', _STRICT)}",
        f"{{r}}.d = {_constrained('fsub', width, '{r}.a {r}.z')}",
        f"{{r}}.db = bitcast {_TYPES[width]} {{r}}.d to {t}",
        f"{{r}}.dm = and {t} {{r}}.db, {fmt.mask >> 1}",
        f"{{r}}.up = icmp uge {t} {{r}}.dm, {half}",
        f"{{r}}.s1 = and {t} {{0}}, {fmt.sign_bit}",
        f"{{r}}.s2 = or {t} {{r}}.s1, {one}",
        f"{{r}}.s3 = select i1 {{r}}.up, {t} {{r}}.s2, {t} {{r}}.s1",
        f"{{r}}.s4 = bitcast {t} {{r}}.s3 to {_TYPES[width]}",
        f"{{r}}.t = {_constrained('fadd', width, '{r}.z {r}.s4')}",
    ]


def _host_convert(result: str, width: int, bits: int, source: str, truncate: bool) -> str:
    """x86's conversion: total, exact flags, the least integer where it is invalid."""
    name = f"vcvt{'t' if truncate else ''}{_suffix(width)}2si"
    return f'{result} = call i{bits} asm sideeffect "{name} $1, $0", "=r,x"({source})'


def _positive(width: int) -> list[str]:
    """Lines that make {r}.pos: saturate upwards, as the value is positive or a NaN."""
    fmt = _FORMATS[width]
    return [
        f"{{r}}.ps = sub i{width} {{0}}, {fmt.sign_bit}",
        f"{{r}}.pos = icmp ugt i{width} {{r}}.ps, {fmt.inf}",
    ]


def _to_signed_directly(width: int, bits: int, mode: str) -> list[str]:
    t = f"i{bits}"
    return [
        *_operands(width, 1),
        _host_convert("{r}.i", width, bits, f"{_TYPES[width]} {{r}}.a", mode == "rtz"),
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
    fmt, kind, t, n = _FORMATS[width], _TYPES[width], f"i{width}", f"i{bits}"

    def power(exponent: int) -> int:
        return (fmt.bias + exponent) << fmt.frac_bits

    positive_limit = power(bits - signed)
    negative_limit = power(bits - 1) + 1 if signed else 1
    least = -(1 << (bits - 1)) if signed else 0
    greatest = (1 << (bits - 1)) - 1 if signed else -1
    wide = "{r}.tb" if width == 64 else "{r}.tw"
    return [
        *_operands(width, 1),
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
    fmt, fixed = _FORMATS[width], MODES[mode]

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
    _float_row(name, f"i{width} -> i{bits}", prose, meaning, lines)


# -- the unit's mode and flags --------------------------------------------------------

# Below the red zone, where neither compiled code nor a signal handler looks meanwhile.
_DOWN, _UP = "leaq -256(%rsp), %rsp", "leaq 256(%rsp), %rsp"
_GET_ASM = _asm(_DOWN, "vstmxcsr (%rsp)", "movl (%rsp), $0", _UP)
_SET_ASM = _asm(_DOWN, "movl $0, (%rsp)", "vldmxcsr (%rsp)", _UP)
_GET = '{r}.m = call i32 asm sideeffect "' + _GET_ASM + '", "=r,~{{memory}}"()'
_SET = 'call void asm sideeffect "' + _SET_ASM + '", "r,~{{memory}}"(i32 {r}.new)'


def _unit() -> None:
    # MXCSR has RNE RDN RUP RTZ as 0..3 in bits 13-14: two tables of 2-bit entries.
    row(
        "swaprounding",
        "i64 -> i64",
        "Set the rounding mode (0 RNE 1 RTZ 2 RDN 3 RUP, others RNE); the old mode.",
        None,
        "\n".join(
            (
                _GET,
                "{r}.o1 = lshr i32 {r}.m, 12",
                "{r}.o2 = and i32 {r}.o1, 6",
                "{r}.o3 = lshr i32 120, {r}.o2",
                "{r}.o4 = and i32 {r}.o3, 3",
                "{r}.c = icmp ult i64 {0}, 4",
                "{r}.n0 = select i1 {r}.c, i64 {0}, i64 0",
                "{r}.n1 = shl i64 {r}.n0, 1",
                "{r}.n2 = lshr i64 156, {r}.n1",
                "{r}.n3 = trunc i64 {r}.n2 to i32",
                "{r}.n4 = and i32 {r}.n3, 3",
                "{r}.n5 = shl i32 {r}.n4, 13",
                "{r}.k = and i32 {r}.m, -24577",
                "{r}.new = or i32 {r}.k, {r}.n5",
                _SET,
                "{r} = zext i32 {r}.o4 to i64",
            )
        ),
        effect=True,
    )
    # x86's flags are IE DE ZE OE UE PE: RISC-V's in reverse, with DE among them.
    row(
        "fpflags",
        "-> i64",
        "The unit's sticky flags: NX 1, UF 2, OF 4, DZ 8, NV 16.",
        None,
        "\n".join(
            (
                _GET,
                "{r}.b = trunc i32 {r}.m to i8",
                "{r}.v = call i8 @llvm.bitreverse.i8(i8 {r}.b)",
                "{r}.s = lshr i8 {r}.v, 2",
                "{r}.l = and i8 {r}.s, 15",
                "{r}.h = lshr i8 {r}.s, 1",
                "{r}.n = and i8 {r}.h, 16",
                "{r}.f = or i8 {r}.l, {r}.n",
                "{r} = zext i8 {r}.f to i64",
            )
        ),
        effect=True,
    )
    row(
        "setfpflags",
        "i64 ->",
        "Replace the unit's sticky flags.",
        None,
        "\n".join(
            (
                _GET,
                "{r}.b = trunc i64 {0} to i8",
                "{r}.v = call i8 @llvm.bitreverse.i8(i8 {r}.b)",
                "{r}.s = lshr i8 {r}.v, 2",
                "{r}.l = and i8 {r}.s, 60",
                "{r}.h = lshr i8 {r}.s, 1",
                "{r}.n = and i8 {r}.h, 1",
                "{r}.f = or i8 {r}.l, {r}.n",
                "{r}.w = zext i8 {r}.f to i32",
                "{r}.k = and i32 {r}.m, -64",
                "{r}.new = or i32 {r}.k, {r}.w",
                _SET,
            )
        ),
        effect=True,
    )


for _width in (32, 64):
    _arithmetic(_width)
    _comparisons(_width)
    _from_integer(_width)
    for _bits in (32, 64):
        for _signed in (True, False):
            for _mode in MODES:
                _to_integer(_width, _bits, _signed, _mode)
_formats()
_unit()
