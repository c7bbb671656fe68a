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

from collections.abc import Callable, Sequence

from jitemu.ir import softfloat as sf
from jitemu.ir.float_rows import (
    FLOAT,
    FORMATS,
    MODES,
    STRICT,
    TYPES,
    FloatMeaning,
    asm,
    canonical,
    constrained,
    fill,
    finish,
    float_row,
    operands,
    suffix,
)
from jitemu.ir.ops import row
from jitemu.ir.ops_float_convert import to_integer_name
from jitemu.ir.ops_float_lanes import run_lanes

__all__ = ["FLOAT", "MODES", "FloatUnit", "to_integer_name"]


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

    def run_lanes(self, name: str, type: str, types: Sequence[str], args: Sequence[int]) -> int:
        """A row of ops_float_lanes."""
        bits, flags = run_lanes(name, type, types, self.rounding, args)
        self.flags |= flags
        return bits


# -- arithmetic -----------------------------------------------------------------------


def _binary_meaning(
    fmt: sf.Format, f: Callable[[sf.Format, int, int, int], sf.Result]
) -> FloatMeaning:
    return lambda rm, args: f(fmt, args[0], args[1], rm)


def _arithmetic(width: int) -> None:
    fmt = FORMATS[width]
    t = f"i{width}"
    for name, function, prose in (
        ("add", sf.add, "Sum."),
        ("sub", sf.sub, "Difference."),
        ("mul", sf.mul, "Product."),
        ("div", sf.div, "Quotient."),
    ):
        call = constrained(f"f{name}", width, "{r}.a {r}.b")
        float_row(
            f"f{name}{width}",
            f"{t} {t} -> {t}",
            prose,
            _binary_meaning(fmt, function),
            [*operands(width, 2), f"{{r}}.f = {call}", *finish(width)],
        )
    float_row(
        f"fsqrt{width}",
        f"{t} -> {t}",
        "Square root.",
        lambda rm, args: sf.sqrt(fmt, args[0], rm),
        [
            *operands(width, 1),
            f"{{r}}.f = {constrained('sqrt', width, '{r}.a')}",
            *finish(width),
        ],
    )
    float_row(
        f"ffma{width}",
        f"{t} {t} {t} -> {t}",
        "Product of two plus the third, rounded once.",
        lambda rm, args: sf.fma(fmt, args[0], args[1], args[2], rm),
        [
            *operands(width, 3),
            f"{{r}}.f = {constrained('fma', width, '{r}.a {r}.b {r}.c')}",
            *_finish_fused(width),
        ],
    )


def _finish_fused(width: int) -> list[str]:
    """As finish; a NaN result also raises invalid for infinity times zero.

    x86 does not when the addend is a quiet NaN.  So on the rare path the product is
    added to an infinity of its own sign: that is invalid for infinity times zero, and
    raises nothing new for any other operands.
    """
    kind, s, fraction = TYPES[width], suffix(width), FORMATS[width].frac_bits
    x = "q" if width == 64 else "d"
    text = asm(
        f"vucomi{s} $0, $0",
        "jnp 1f",
        "vpxor $3, $2, $1",
        f"vpsrl{x} $${width - 1}, $1, $1",
        f"vpsll{x} $${width - 1}, $1, $1",
        *fill(width, "$0", fraction + 1, fraction),
        "vpor $0, $1, $1",
        f"vfmadd231{s} $3, $2, $1",
        *canonical(width, "$0"),
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
    kind, name = TYPES[width], "fcmp" if quiet else "fcmps"
    return (
        f"{result} = call i1 @llvm.experimental.constrained.{name}.f{width}"
        f'({kind} {{r}}.a, {kind} {{r}}.b, metadata !"{predicate}", {STRICT})'
    )


def _comparisons(width: int) -> None:
    fmt = FORMATS[width]
    t = f"i{width}"
    signature = f"{t} {t} -> i1"
    for name, function, predicate, prose in (
        ("feq", sf.eq, "oeq", "1 if equal; quiet."),
        ("flt", sf.lt, "olt", "1 if less; any NaN is invalid."),
        ("fle", sf.le, "ole", "1 if less or equal; any NaN is invalid."),
    ):
        line = _compare_line("{r}", width, predicate, name == "feq")
        meaning = _unrounded(fmt, function)
        float_row(f"{name}{width}", signature, prose, meaning, [*operands(width, 2), line])
    for name, function, combine, order, prose in (
        ("fmin", sf.minimum, "or", "{0}, T {1}", "The lesser; -0 is less than +0."),
        ("fmax", sf.maximum, "and", "{1}, T {0}", "The greater; +0 is greater than -0."),
    ):
        lines = [
            *operands(width, 2),
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
        float_row(f"{name}{width}", f"{t} {t} -> {t}", prose, meaning, lines)


def _unrounded(fmt: sf.Format, f: Callable[[sf.Format, int, int], sf.Result]) -> FloatMeaning:
    return lambda rm, args: f(fmt, args[0], args[1])


def _is_nan(width: int, letter: str, value: str) -> list[str]:
    fmt = FORMATS[width]
    return [
        f"{{r}}.{letter}m = and i{width} {value}, {fmt.mask >> 1}",
        f"{{r}}.{letter}n = icmp ugt i{width} {{r}}.{letter}m, {fmt.inf}",
    ]


# -- the unit's mode and flags --------------------------------------------------------

# Below the red zone, where neither compiled code nor a signal handler looks meanwhile.
_DOWN, _UP = "leaq -256(%rsp), %rsp", "leaq 256(%rsp), %rsp"
_GET_ASM = asm(_DOWN, "vstmxcsr (%rsp)", "movl (%rsp), $0", _UP)
_SET_ASM = asm(_DOWN, "movl $0, (%rsp)", "vldmxcsr (%rsp)", _UP)
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
_unit()
