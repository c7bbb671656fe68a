"""Exact IEEE 754-2019 binary arithmetic on bit patterns, in Python integers.

This is the Python meaning of the floating-point micro-ops: the constant folder and the
reference interpreter compute with it, and the tests hold compiled code against it.
Values are raw bits (`int`). Every operation returns `(bits, flags)`.

What IEEE 754 leaves open follows RISC-V (unprivileged specification, chapter "F"):
tininess is detected after rounding, every NaN result is the canonical NaN, infinity times
zero plus a quiet NaN is invalid, and an integer conversion out of range saturates.
"""

from __future__ import annotations

from math import isqrt

# Rounding modes, numbered as in RISC-V's rm field.
RNE, RTZ, RDN, RUP, RMM = range(5)

# Exception flags, at their places in RISC-V's fflags.
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16

Result = tuple[int, int]


class Format:
    """One interchange format, with the constants that arithmetic needs worked out."""

    __slots__ = (
        "bias",
        "canonical_nan",
        "exp_bits",
        "exp_max",
        "frac_bits",
        "frac_mask",
        "inf",
        "mask",
        "min_quantum",
        "quiet_bit",
        "sign_bit",
        "width",
    )

    def __init__(self, exp_bits: int, frac_bits: int) -> None:
        self.exp_bits = exp_bits
        self.frac_bits = frac_bits
        self.width = 1 + exp_bits + frac_bits
        self.bias = (1 << (exp_bits - 1)) - 1
        self.exp_max = (1 << exp_bits) - 1
        self.frac_mask = (1 << frac_bits) - 1
        self.mask = (1 << self.width) - 1
        self.sign_bit = 1 << (self.width - 1)
        self.quiet_bit = 1 << (frac_bits - 1)
        self.inf = self.exp_max << frac_bits
        self.canonical_nan = self.inf | self.quiet_bit
        self.min_quantum = 1 - self.bias - frac_bits  # log2 of the least subnormal

    def __repr__(self) -> str:
        return f"Format({self.exp_bits}, {self.frac_bits})"


F16 = Format(5, 10)
F32 = Format(8, 23)
F64 = Format(11, 52)


# -- taking apart and putting together ------------------------------------------------


def is_nan(fmt: Format, bits: int) -> bool:
    return bits & ~fmt.sign_bit > fmt.inf


def is_signalling(fmt: Format, bits: int) -> bool:
    return is_nan(fmt, bits) and not bits & fmt.quiet_bit


def is_inf(fmt: Format, bits: int) -> bool:
    return bits & ~fmt.sign_bit == fmt.inf


def is_zero(fmt: Format, bits: int) -> bool:
    return not bits & ~fmt.sign_bit


def negate(fmt: Format, bits: int) -> int:
    """The sign flipped, NaNs included; raises nothing."""
    return bits ^ fmt.sign_bit


def _sign(fmt: Format, bits: int) -> int:
    return bits >> (fmt.width - 1)


def _finite(fmt: Format, bits: int) -> tuple[int, int]:
    """`(signed significand, exponent)`: a finite value is significand * 2**exponent."""
    exponent = bits >> fmt.frac_bits & fmt.exp_max
    significand = bits & fmt.frac_mask
    if exponent:
        significand |= 1 << fmt.frac_bits
        exponent -= 1
    return (-significand if bits & fmt.sign_bit else significand), exponent + fmt.min_quantum


def _nan_result(fmt: Format, *operands: int) -> Result:
    invalid = any(is_signalling(fmt, operand) for operand in operands)
    return fmt.canonical_nan, NV if invalid else 0


def _round_up(rm: int, sign: int, odd: int, remainder: int, half: int) -> bool:
    """Whether a magnitude with `remainder` cut off is rounded away from zero."""
    if rm == RNE:
        return remainder > half or (remainder == half and bool(odd))
    if rm == RMM:
        return remainder >= half
    if rm == RTZ:
        return False
    return remainder != 0 and sign == (rm == RDN)


def _shift_rounded(magnitude: int, shift: int, rm: int, sign: int) -> tuple[int, bool]:
    """`magnitude / 2**shift` rounded to an integer, and whether that was inexact."""
    if shift <= 0:
        return magnitude << -shift, False
    kept = magnitude >> shift
    remainder = magnitude & ((1 << shift) - 1)
    if _round_up(rm, sign, kept & 1, remainder, 1 << (shift - 1)):
        kept += 1
    return kept, remainder != 0


def _pack(fmt: Format, sign: int, magnitude: int, exponent: int, rm: int) -> Result:
    """Round `magnitude * 2**exponent` (exact, or with a sticky last bit) to the format."""
    signed = sign << (fmt.width - 1)
    if not magnitude:
        return signed, 0
    precise_quantum = exponent + magnitude.bit_length() - 1 - fmt.frac_bits
    quantum = max(precise_quantum, fmt.min_quantum)
    kept, inexact = _shift_rounded(magnitude, quantum - exponent, rm, sign)
    if kept.bit_length() > fmt.frac_bits + 1:
        kept >>= 1  # a carry out leaves only zeros below it
        quantum += 1
    flags = NX if inexact else 0
    biased = quantum - fmt.min_quantum
    if kept >> fmt.frac_bits:  # normal: the hidden bit adds one to the exponent field
        if biased + 1 >= fmt.exp_max:
            return signed | _overflowed(fmt, sign, rm), OF | NX
        bits = signed | ((biased << fmt.frac_bits) + kept)
    else:
        bits = signed | kept
    if inexact and precise_quantum < fmt.min_quantum:
        # Tiny unless rounding with an unbounded exponent would reach the least normal.
        unbounded, _ = _shift_rounded(magnitude, precise_quantum - exponent, rm, sign)
        carried = unbounded.bit_length() > fmt.frac_bits + 1
        if precise_quantum + carried < fmt.min_quantum:
            flags |= UF
    return bits, flags


def _overflowed(fmt: Format, sign: int, rm: int) -> int:
    to_infinity = rm in (RNE, RMM) or (rm == RUP and not sign) or (rm == RDN and sign)
    return fmt.inf if to_infinity else fmt.inf - 1


# -- arithmetic -----------------------------------------------------------------------


def _sum(fmt: Format, a: tuple[int, int], b: tuple[int, int], rm: int, zero_sign: int) -> Result:
    """Add two finite values; an exact zero gets `zero_sign`."""
    (a_value, a_exponent), (b_value, b_exponent) = a, b
    exponent = min(a_exponent, b_exponent)
    total = (a_value << (a_exponent - exponent)) + (b_value << (b_exponent - exponent))
    sign = zero_sign if not total else int(total < 0)
    return _pack(fmt, sign, abs(total), exponent, rm)


def _zero_sum_sign(a_sign: int, b_sign: int, rm: int) -> int:
    """Sign of an exact zero sum (IEEE 754, 6.3)."""
    return a_sign if a_sign == b_sign else int(rm == RDN)


def add(fmt: Format, a: int, b: int, rm: int) -> Result:
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_result(fmt, a, b)
    a_sign, b_sign = _sign(fmt, a), _sign(fmt, b)
    if is_inf(fmt, a):
        if is_inf(fmt, b) and a_sign != b_sign:
            return fmt.canonical_nan, NV
        return a, 0
    if is_inf(fmt, b):
        return b, 0
    zero_sign = _zero_sum_sign(a_sign, b_sign, rm)
    return _sum(fmt, _finite(fmt, a), _finite(fmt, b), rm, zero_sign)


def sub(fmt: Format, a: int, b: int, rm: int) -> Result:
    return add(fmt, a, negate(fmt, b), rm)


def mul(fmt: Format, a: int, b: int, rm: int) -> Result:
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_result(fmt, a, b)
    sign = _sign(fmt, a) ^ _sign(fmt, b)
    if is_inf(fmt, a) or is_inf(fmt, b):
        if is_zero(fmt, a) or is_zero(fmt, b):
            return fmt.canonical_nan, NV
        return sign << (fmt.width - 1) | fmt.inf, 0
    (a_value, a_exponent), (b_value, b_exponent) = _finite(fmt, a), _finite(fmt, b)
    return _pack(fmt, sign, abs(a_value * b_value), a_exponent + b_exponent, rm)


def div(fmt: Format, a: int, b: int, rm: int) -> Result:
    if is_nan(fmt, a) or is_nan(fmt, b):
        return _nan_result(fmt, a, b)
    sign = _sign(fmt, a) ^ _sign(fmt, b)
    signed = sign << (fmt.width - 1)
    if is_inf(fmt, a):
        return (fmt.canonical_nan, NV) if is_inf(fmt, b) else (signed | fmt.inf, 0)
    if is_inf(fmt, b):
        return signed, 0
    if is_zero(fmt, b):
        return (fmt.canonical_nan, NV) if is_zero(fmt, a) else (signed | fmt.inf, DZ)
    (a_value, a_exponent), (b_value, b_exponent) = _finite(fmt, a), _finite(fmt, b)
    # Enough bits that the quotient is longer than a significand whatever the operands.
    extra = 2 * fmt.frac_bits + 4
    quotient, remainder = divmod(abs(a_value) << extra, abs(b_value))
    sticky = quotient << 1 | (remainder != 0)
    return _pack(fmt, sign, sticky, a_exponent - b_exponent - extra - 1, rm)


def sqrt(fmt: Format, a: int, rm: int) -> Result:
    if is_nan(fmt, a):
        return _nan_result(fmt, a)
    if is_zero(fmt, a):
        return a, 0
    if a & fmt.sign_bit:
        return fmt.canonical_nan, NV
    if is_inf(fmt, a):
        return a, 0
    value, exponent = _finite(fmt, a)
    extra = 2 * fmt.frac_bits + 4
    extra += (exponent - extra) & 1  # the exponent is halved: keep it even
    value <<= extra
    root = isqrt(value)
    sticky = root << 1 | (root * root != value)
    return _pack(fmt, 0, sticky, (exponent - extra) // 2 - 1, rm)


def fma(fmt: Format, a: int, b: int, c: int, rm: int) -> Result:
    """`a * b + c` with one rounding."""
    product_sign = _sign(fmt, a) ^ _sign(fmt, b)
    a_inf, b_inf = is_inf(fmt, a), is_inf(fmt, b)
    if (a_inf and is_zero(fmt, b)) or (b_inf and is_zero(fmt, a)):
        return fmt.canonical_nan, NV  # even when c is a quiet NaN
    if is_nan(fmt, a) or is_nan(fmt, b) or is_nan(fmt, c):
        return _nan_result(fmt, a, b, c)
    c_sign = _sign(fmt, c)
    if a_inf or b_inf:
        if is_inf(fmt, c) and c_sign != product_sign:
            return fmt.canonical_nan, NV
        return product_sign << (fmt.width - 1) | fmt.inf, 0
    if is_inf(fmt, c):
        return c, 0
    (a_value, a_exponent), (b_value, b_exponent) = _finite(fmt, a), _finite(fmt, b)
    product = a_value * b_value, a_exponent + b_exponent
    zero_sign = _zero_sum_sign(product_sign, c_sign, rm)
    return _sum(fmt, product, _finite(fmt, c), rm, zero_sign)


# -- conversions ----------------------------------------------------------------------


def convert(source: Format, target: Format, bits: int, rm: int) -> Result:
    """A value of one format in another; widening is exact."""
    if is_nan(source, bits):
        return target.canonical_nan, NV if is_signalling(source, bits) else 0
    sign = _sign(source, bits)
    if is_inf(source, bits):
        return sign << (target.width - 1) | target.inf, 0
    value, exponent = _finite(source, bits)
    return _pack(target, sign, abs(value), exponent, rm)


def to_int(fmt: Format, bits: int, rm: int, width: int, signed: bool) -> Result:
    """The value rounded to a `width`-bit integer, as raw two's complement bits.

    Out of range saturates and raises NV alone; a NaN converts to the greatest integer.
    """
    least = -(1 << (width - 1)) if signed else 0
    greatest = (1 << (width - signed)) - 1
    mask = (1 << width) - 1
    if is_nan(fmt, bits):
        return greatest, NV
    sign = _sign(fmt, bits)
    saturated = (least & mask if sign else greatest), NV
    if is_inf(fmt, bits):
        return saturated
    value, exponent = _finite(fmt, bits)
    magnitude, inexact = _shift_rounded(abs(value), -exponent, rm, sign)
    integer = -magnitude if sign else magnitude
    if not least <= integer <= greatest:
        return saturated
    return integer & mask, NX if inexact else 0


def from_int(value: int, width: int, signed: bool, fmt: Format, rm: int) -> Result:
    """A `width`-bit integer (raw bits) as a float; zero gives +0."""
    value &= (1 << width) - 1
    if signed and value >> (width - 1):
        value -= 1 << width
    return _pack(fmt, int(value < 0), abs(value), 0, rm)


# -- comparisons and kinds ------------------------------------------------------------


def _order(fmt: Format, bits: int) -> int:
    """A key by which values that are not NaN compare as integers; zeros are equal."""
    magnitude = bits & ~fmt.sign_bit
    return -magnitude if bits & fmt.sign_bit else magnitude


def eq(fmt: Format, a: int, b: int) -> Result:
    """1 if equal; quiet: only a signalling NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, _nan_result(fmt, a, b)[1]
    return int(_order(fmt, a) == _order(fmt, b)), 0


def lt(fmt: Format, a: int, b: int) -> Result:
    """1 if less; signalling: any NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(_order(fmt, a) < _order(fmt, b)), 0


def le(fmt: Format, a: int, b: int) -> Result:
    """1 if less or equal; signalling: any NaN is invalid."""
    if is_nan(fmt, a) or is_nan(fmt, b):
        return 0, NV
    return int(_order(fmt, a) <= _order(fmt, b)), 0


def _extreme(fmt: Format, a: int, b: int, want_less: bool) -> Result:
    flags = _nan_result(fmt, a, b)[1]
    if is_nan(fmt, a):
        return (fmt.canonical_nan if is_nan(fmt, b) else b), flags
    if is_nan(fmt, b):
        return a, flags
    a_key, b_key = _order(fmt, a), _order(fmt, b)
    if a_key == b_key:  # equal, or zeros of which -0 counts as the lesser
        a_less = bool(a & fmt.sign_bit)
    else:
        a_less = a_key < b_key
    return (a if a_less == want_less else b), flags


def minimum(fmt: Format, a: int, b: int) -> Result:
    """IEEE 754-2019 minimumNumber: a lone NaN loses, -0 is less than +0."""
    return _extreme(fmt, a, b, True)


def maximum(fmt: Format, a: int, b: int) -> Result:
    """IEEE 754-2019 maximumNumber: a lone NaN loses, +0 is greater than -0."""
    return _extreme(fmt, a, b, False)


def classify(fmt: Format, bits: int) -> Result:
    """RISC-V's fclass mask: -inf, -normal, -subnormal, -0, +0, ..., +inf, sNaN, qNaN."""
    if is_nan(fmt, bits):
        return (1 << 8 if is_signalling(fmt, bits) else 1 << 9), 0
    magnitude = bits & ~fmt.sign_bit
    if magnitude == fmt.inf:
        place = 0
    elif magnitude >> fmt.frac_bits:
        place = 1
    elif magnitude:
        place = 2
    else:
        place = 3
    return 1 << (place if bits & fmt.sign_bit else 7 - place), 0
