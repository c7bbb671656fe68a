"""Ties away from zero (rm = RMM), which the host's float unit does not have.

RMM and RNE give the same flags, and differ only where the exact value lies half-way
between two floats and RNE took the one nearer to zero.  So an operation is done in RNE,
and then the result is moved one float away from zero if it is such a tie.

Whether the exact value is ``rounded`` plus half a unit in its last place is asked of odd
integers times powers of two, modulo 2**64: the two differ by at most that half unit, so
if they agree modulo 2**64 at the least exponent, they are equal.
"""

from __future__ import annotations

from jitemu.ir.native import ctz, native

OFFSET = 4096
"""Exponents are kept with this added, so that they are positive."""
NO_EXPONENT = 16384
"""The exponent of zero: greater than all others."""
DOUBLE = 52
"""Fraction bits, which tell the formats apart."""


@native
def float_exponent_field(s: object, bits: int, fraction: int) -> int:
    """The biased exponent."""
    return bits >> fraction & (0x7FF if fraction == DOUBLE else 0xFF)


@native
def float_significand(s: object, bits: int, fraction: int) -> int:
    """The significand with its hidden bit, without the sign."""
    significand = bits & ((1 << fraction) - 1)
    if float_exponent_field(s, bits, fraction):
        significand |= 1 << fraction
    return significand


@native
def float_quantum(s: object, bits: int, fraction: int) -> int:
    """The exponent of the significand's last bit."""
    field = float_exponent_field(s, bits, fraction)
    least = OFFSET - 1074 if fraction == DOUBLE else OFFSET - 149
    return least + (field - 1 if field else 0)


@native
def float_signed(s: object, bits: int, fraction: int, magnitude: int) -> int:
    """A magnitude with a float's sign, in two's complement."""
    negative = bits >> (63 if fraction == DOUBLE else 31) & 1
    return 0 - magnitude if negative else magnitude


@native
def float_odd(s: object, bits: int, fraction: int) -> int:
    """The significand without trailing zeros, signed."""
    significand = float_significand(s, bits, fraction)
    return float_signed(s, bits, fraction, significand >> ctz(significand))


@native
def float_odd_exponent(s: object, bits: int, fraction: int) -> int:
    """The exponent that goes with ``float_odd``."""
    significand = float_significand(s, bits, fraction)
    if significand == 0:
        return NO_EXPONENT
    return float_quantum(s, bits, fraction) + ctz(significand)


@native
def float_tie(s: object, bits: int, fraction: int) -> int:
    """Twice the significand plus one: half a unit beyond, signed."""
    return float_signed(s, bits, fraction, 2 * float_significand(s, bits, fraction) + 1)


@native
def float_special(s: object, bits: int, fraction: int) -> int:
    """1 for infinities and NaNs."""
    return float_exponent_field(s, bits, fraction) == (0x7FF if fraction == DOUBLE else 0xFF)


@native
def float_equal(s: object, a: int, ae: int, b: int, be: int, c: int, ce: int) -> int:
    """Whether a*2**ae + b*2**be == c*2**ce, for odd a, b, c (or zero)."""
    least = ae if ae < be else be
    least = ce if ce < least else least
    if least + 62 < ce:
        return 0
    return (a << (ae - least)) + (b << (be - least)) == c << (ce - least)


@native
def round_away_fused(s: object, rounded: int, a: int, b: int, c: int, fraction: int) -> int:
    """a * b + c, rounded to nearest even before, now with ties away from zero."""
    if float_special(s, rounded, fraction):
        return rounded
    product = float_odd(s, a, fraction) * float_odd(s, b, fraction)
    exponent = NO_EXPONENT
    if product:
        exponent = float_odd_exponent(s, a, fraction) + float_odd_exponent(s, b, fraction) - OFFSET
    addend = float_odd(s, c, fraction)
    addend_exponent = float_odd_exponent(s, c, fraction)
    tie = float_tie(s, rounded, fraction)
    half = float_quantum(s, rounded, fraction) - 1
    return rounded + float_equal(s, product, exponent, addend, addend_exponent, tie, half)


@native
def round_away_quotient(s: object, rounded: int, a: int, b: int, fraction: int) -> int:
    """a / b, likewise: whether a equals b times the tie."""
    if float_special(s, rounded, fraction) or float_special(s, b, fraction):
        return rounded
    product = float_tie(s, rounded, fraction) * float_odd(s, b, fraction)
    half = float_quantum(s, rounded, fraction) - 1
    exponent = half + float_odd_exponent(s, b, fraction) - OFFSET
    odd = float_odd(s, a, fraction)
    dividend_exponent = float_odd_exponent(s, a, fraction)
    return rounded + float_equal(s, product, exponent, 0, NO_EXPONENT, odd, dividend_exponent)


@native
def round_away_narrowed(s: object, rounded: int, a: int) -> int:
    """A double as a single, likewise."""
    if float_special(s, rounded, 23):
        return rounded
    tie = float_tie(s, rounded, 23)
    half = float_quantum(s, rounded, 23) - 1
    odd = float_odd(s, a, DOUBLE)
    exponent = float_odd_exponent(s, a, DOUBLE)
    return rounded + float_equal(s, odd, exponent, 0, NO_EXPONENT, tie, half)


@native
def round_away_integer(s: object, rounded: int, magnitude: int, fraction: int) -> int:
    """An integer as a float of the same sign, likewise."""
    tie = 2 * float_significand(s, rounded, fraction) + 1
    half = float_quantum(s, rounded, fraction) - 1
    odd = magnitude >> ctz(magnitude)
    exponent = OFFSET + ctz(magnitude) if magnitude else NO_EXPONENT
    return rounded + float_equal(s, odd, exponent, 0, NO_EXPONENT, tie, half)
