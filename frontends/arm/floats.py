"""Floating point as the manual has it, for operands and results that are not ordinary.

Native functions on raw bits, one for each format.  ``mode`` has FZ and DN at their places
in FPSCR.  Rounding and flags are the host unit's; what ARM has otherwise is made here:
which NaN a result is, denormal numbers as zeros, tininess before rounding.
(Manual: "Floating-point exception and exception traps", "NaN handling and the Default NaN",
pseudocode FPProcessNaNs, FPUnpack, FPRound.)
"""

from __future__ import annotations

from typing import Any

from jitemu.ir.native import NativeFunction, native_source

FZ, DN, AHP, RMODE = 1 << 24, 1 << 25, 1 << 26, 3 << 22
STANDARD = FZ | DN
"""The mode of Advanced SIMD, whatever FPSCR says."""
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16

_made: dict[str, NativeFunction] = {}


def _format(width: int) -> dict[str, Any]:
    fraction, bias, top = (23, 127, 255) if width == 32 else (52, 1023, 2047)
    numbers = {
        **{"W": width, "FRACTION": fraction, "BIAS": bias, "TOP": top},
        **{"SIGN": 1 << width - 1, "MAGNITUDE": (1 << width - 1) - 1, "INFINITY": top << fraction},
        **{"QUIET": 1 << fraction - 1, "NORMAL": 1 << fraction, "LOW": (1 << fraction) - 1},
        **{"DEFAULT": top << fraction | 1 << fraction - 1},
        **{"FZ": FZ, "DN": DN, "AHP": AHP, "NX": NX, "UF": UF, "OF": OF, "DZ": DZ, "NV": NV},
    }
    return numbers


def define(name: str, params: str, body: str, width: int = 32) -> str:
    """A native function; ``@`` in names of others and of rows stands for the width."""
    scope = {"__name__": __name__, **_format(width), **_made}
    function = native_source(name, tuple(params.split()), body.replace("@", str(width)), scope)
    _made[name] = function
    return name


define("arm_raise", "flags", "host_set_flags(host_fp_flags() | flags)")

_FLUSH = """
if mode & FZ and a & INFINITY == 0 and a & LOW:
    s.idc = 1
    return a & SIGN
return a
"""
_NAN = """
x = 0
if b & MAGNITUDE > INFINITY:
    x = b
if a & MAGNITUDE > INFINITY:
    if x == 0 or x & QUIET or a & QUIET == 0:
        x = a
if x == 0:
    return 0
if x & QUIET == 0:
    arm_raise(s, NV)
return DEFAULT if mode & DN else x | QUIET
"""
_FINISH = """
flags = host_fp_flags()
if r & MAGNITUDE > INFINITY:
    host_set_flags(old | flags)
    return DEFAULT
if before < NORMAL and (before or flags & UF):
    if mode & FZ:
        host_set_flags(old | UF)
        return r & SIGN
    if flags & NX:
        flags |= UF
host_set_flags(old | flags)
return r
"""
# The result rounded towards zero tells whether it was tiny before rounding.
_OPERATE = """
old = host_fp_flags()
host_set_flags(0)
r = CALL
before = r & MAGNITUDE
if before == NORMAL and host_fp_flags() & NX:
    rounding = host_swap_rounding(1)
    before = CALL & MAGNITUDE
    host_swap_rounding(rounding)
return arm_finish@(s, r, before, old, mode)
"""
_BOTH = """
a = arm_flush@(s, a, mode)
b = arm_flush@(s, b, mode)
nan = arm_nan@(s, a, b, mode)
if nan:
    return nan
"""
_FMA = """
a = arm_flush@(s, a, mode)
b = arm_flush@(s, b, mode)
c = arm_flush@(s, c, mode)
signalling = c
if c & MAGNITUDE <= INFINITY or c & QUIET:
    signalling = a
    if a & MAGNITUDE <= INFINITY or a & QUIET:
        signalling = b
        if b & MAGNITUDE <= INFINITY or b & QUIET:
            signalling = 0
if signalling:
    return arm_nan@(s, signalling, 0, mode)
if c & MAGNITUDE > INFINITY:
    x = a & MAGNITUDE
    y = b & MAGNITUDE
    if x == INFINITY and y == 0 or x == 0 and y == INFINITY:
        arm_raise(s, NV)
        return DEFAULT
    return arm_nan@(s, c, 0, mode)
nan = arm_nan@(s, a, b, mode)
if nan:
    return nan
"""
_SQRT = """
a = arm_flush@(s, a, mode)
nan = arm_nan@(s, a, 0, mode)
if nan:
    return nan
return fsqrt@(a)
"""
# As integers floats of one sign are in order; maxnum: a quiet NaN loses to a number.
_EXTREME = """
a = arm_flush@(s, a, mode)
b = arm_flush@(s, b, mode)
an = a & MAGNITUDE > INFINITY and a & QUIET
bn = b & MAGNITUDE > INFINITY and b & QUIET
if number and an and b & MAGNITUDE <= INFINITY:
    return b
if number and bn and a & MAGNITUDE <= INFINITY:
    return a
nan = arm_nan@(s, a, b, mode)
if nan:
    return nan
x = 0 - (a & MAGNITUDE) if a & SIGN else a + 1
y = 0 - (b & MAGNITUDE) if b & SIGN else b + 1
return a if slt(x, y) == less else b
"""
# Rounded as mode says: 0 to even, 1 cut off, 2 down, 3 up, 4 to nearest, ties away, 5 the unit's.
_ROUND_UP = """
if rounding == 5:
    rounding = host_swap_rounding(0)
    host_swap_rounding(rounding)
if rest == 0 or rounding == 1:
    return 0
if rounding == 2:
    return sign
if rounding == 3:
    return sign ^ 1
if rest != half:
    return rest > half
return odd if rounding == 0 else 1
"""
define("arm_round_up", "sign odd rest half rounding", _ROUND_UP)

_CUT = """
shift = EXPONENT
kept = f << shift
rest = 0
half = 1
if shift >> 63:
    n = 0 - shift
    if n > 62:
        n = 62
    kept = f >> n
    rest = f & (1 << n) - 1
    half = 1 << n - 1
"""
_TO_INTEGER = (
    """
a = arm_flush@(s, a, mode)
sign = a >> W - 1
e = a >> FRACTION & TOP
f = a & LOW
if e == TOP and f:
    arm_raise(s, NV)
    return 0
if e:
    f |= NORMAL
else:
    e = 1
limit = 1 << bits - 1
if signed == 0:
    limit = 0 if sign else limit * 2 - 1
elif sign == 0:
    limit -= 1
if slt(BIAS + FRACTION + 10, e + fraction):
    f = 0 if f == 0 else limit + 1
    e = BIAS + FRACTION - fraction
"""
    + _CUT.replace("EXPONENT", "e + fraction - BIAS - FRACTION")
    + """
kept += arm_round_up(s, sign, kept & 1, rest, half, rounding)
if kept > limit:
    arm_raise(s, NV)
    kept = limit
elif rest:
    arm_raise(s, NX)
return 0 - kept if sign else kept
"""
)
_ROUND = (
    """
a = arm_flush@(s, a, mode)
nan = arm_nan@(s, a, 0, mode)
if nan:
    return nan
sign = a >> W - 1
e = a >> FRACTION & TOP
if e >= BIAS + FRACTION:
    return a
f = a & LOW
if e:
    f |= NORMAL
else:
    e = 1
"""
    + _CUT.replace("EXPONENT", "e - BIAS - FRACTION")
    + """
kept += arm_round_up(s, sign, kept & 1, rest, half, rounding)
if rest and exact:
    arm_raise(s, NX)
return fsigned@(kept) | a & SIGN
"""
)
_FROM_FIXED = """
rounding = host_swap_rounding(0)
r = fsigned@(value)
host_swap_rounding(rounding)
if r & MAGNITUDE:
    r -= fraction << FRACTION
return r
"""


def _arithmetic(width: int) -> None:
    def make(name: str, params: str, body: str) -> None:
        define(f"arm_{name}{width}", params, body, width)

    make("flush", "a mode", _FLUSH)
    make("nan", "a b mode", _NAN)
    make("finish", "r before old mode", _FINISH)
    for name in ("fadd", "fsub", "fmul", "fdiv"):
        make(name, "a b mode", _BOTH + _OPERATE.replace("CALL", f"{name}@(a, b)"))
    make("ffma", "a b c mode", _FMA + _OPERATE.replace("CALL", "ffma@(a, b, c)"))
    make("fsqrt", "a mode", _SQRT)
    make("extreme", "a b less number mode", _EXTREME)
    make("to_integer", "a fraction bits signed rounding mode", _TO_INTEGER)
    make("round", "a rounding exact mode", _ROUND)
    make("from_fixed", "value fraction", _FROM_FIXED)


_arithmetic(32)
_arithmetic(64)

# Between the formats.

define(
    "arm_narrow",
    "a mode",
    """
a = arm_flush64(s, a, mode)
nan = arm_nan64(s, a, 0, mode)
if nan:
    return nan >> 32 & 1 << 31 | 0x7FC00000 | nan >> 29 & 0x3FFFFF
old = host_fp_flags()
host_set_flags(0)
r = fnarrow(a)
before = r & MAGNITUDE
if before == NORMAL and host_fp_flags() & NX:
    rounding = host_swap_rounding(1)
    before = fnarrow(a) & MAGNITUDE
    host_swap_rounding(rounding)
return arm_finish32(s, r, before, old, mode)
""",
)
define(
    "arm_widen",
    "a mode",
    """
a = arm_flush32(s, a, mode)
nan = arm_nan32(s, a, 0, mode)
if nan:
    return nan >> 31 << 63 | 0x7FF8000000000000 | (nan & 0x3FFFFF) << 29
return fwiden(a)
""",
)
# Half precision; FPSCR.AHP: without infinities and NaNs.
define(
    "arm_from_half",
    "h mode",
    """
sign = h >> 15 & 1
e = h >> 10 & 31
f = h & 0x3FF
if e == 31 and mode & AHP == 0:
    if f == 0:
        return sign << 31 | 0x7F800000
    if f & 0x200 == 0:
        arm_raise(s, NV)
    return 0x7FC00000 if mode & DN else sign << 31 | 0x7FC00000 | f << 13
if e == 0:
    if f == 0:
        return sign << 31
    e = 1
    while f & 0x400 == 0:
        f = f << 1
        e -= 1
return sign << 31 | e + 112 << 23 | (f & 0x3FF) << 13
""",
)


# For VFP, whose mode FPSCR has.


def _as_fpscr_says(width: int) -> None:
    for name, params in (
        *(("fadd", "a b"), ("fsub", "a b"), ("fmul", "a b"), ("fdiv", "a b")),
        *(("ffma", "a b c"), ("fsqrt", "a"), ("flush", "a")),
        *(("extreme", "a b less number"), ("round", "a rounding exact")),
        ("to_integer", "a fraction bits signed rounding"),
    ):
        words = params.replace(" ", ", ")
        define(f"vfp_{name}{width}", params, f"return arm_{name}@(s, {words}, s.fpmode)", width)


_as_fpscr_says(32)
_as_fpscr_says(64)
define("vfp_narrow", "a", "return arm_narrow(s, a, s.fpmode)")
define("vfp_widen", "a", "return arm_widen(s, a, s.fpmode)")
define("vfp_from_half", "h", "return arm_from_half(s, h, s.fpmode)")


def _to_half(width: int) -> None:
    body = """
a = arm_flush@(s, a, mode)
sign = a >> W - 1
e = a >> FRACTION & TOP
f = a & LOW
if e == TOP:
    if f == 0:
        if mode & AHP:
            arm_raise(s, NV)
            return sign << 15 | 0x7FFF
        return sign << 15 | 0x7C00
    if f & QUIET == 0 or mode & AHP:
        arm_raise(s, NV)
    if mode & AHP:
        return sign << 15
    return 0x7E00 if mode & DN else sign << 15 | 0x7E00 | f >> FRACTION - 10 & 0x1FF
if e:
    f |= NORMAL
else:
    e = 1
if f == 0:
    return sign << 15
# The exponent of the last place, relative to the least half's, and how much is cut off.
place = e - BIAS + 14
tiny = place >> 63
cut = FRACTION - 10
if tiny:
    cut = cut - place
if cut > 62:
    cut = 62
kept = f >> cut
rest = f & (1 << cut) - 1
kept += arm_round_up(s, sign, kept & 1, rest, 1 << cut - 1, rounding)
if tiny == 0:
    kept += place << 10
if kept >= (0x8000 if mode & AHP else 0x7C00):
    if mode & AHP:
        arm_raise(s, NV)
        return sign << 15 | 0x7FFF
    arm_raise(s, OF | NX)
    if rounding == 5:
        rounding = host_swap_rounding(0)
        host_swap_rounding(rounding)
    if rounding == 1 or rounding == 2 and sign == 0 or rounding == 3 and sign:
        return sign << 15 | 0x7BFF
    return sign << 15 | 0x7C00
if rest:
    arm_raise(s, UF | NX if tiny else NX)
return sign << 15 | kept
"""
    define(f"arm_to_half{width}", "a rounding mode", body, width)


for _width in (32, 64):
    _to_half(_width)
    define(f"vfp_to_half{_width}", "a", f"return arm_to_half{_width}(s, a, 5, s.fpmode)")
