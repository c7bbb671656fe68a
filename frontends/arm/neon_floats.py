"""Advanced SIMD's floating point where operands are not ordinary: four lanes at a time.

Native functions in the standard mode (denormal numbers are zeros, NaNs the default one,
rounding to nearest).  An operand of four singles is two words; the result is a word and
``s.operands[1]``.
"""

from __future__ import annotations

from jitemu.frontends.arm.floats import STANDARD, define

LANES = """
rounding = host_swap_rounding(0)
r0 = LANE0
r1 = LANE1
r2 = LANE2
r3 = LANE3
host_swap_rounding(rounding)
s.operands[1] = r2 & 0xFFFFFFFF | r3 << 32
return r0 & 0xFFFFFFFF | r1 << 32
"""


def lanes(name: str, operands: str, more: str, expression: str) -> str:
    """A function of four lanes from one of a lane: ``expression`` of a, b and c."""
    params = " ".join(f"{letter}{n}" for letter in operands for n in (0, 1))
    body = LANES
    for number in range(4):
        text = expression
        for letter in operands:
            word = f"{letter}{number // 2}"
            part = f"{word} >> 32" if number % 2 else f"({word} & 0xFFFFFFFF)"
            text = text.replace(f"@{letter}", part)
        body = body.replace(f"LANE{number}", text)
    return define(name, f"{params} {more}".strip(), body)


define("neon_less", "a b orequal", "return slt(a, b) or (orequal and a == b)")
# As signed numbers: floats in order, both zeros equal.
define("neon_order", "a", "return 0 - (a & MAGNITUDE) if a & SIGN else a")
define(
    "neon_compare",
    "a b kind absolute",
    f"""
a = arm_flush32(s, a, {STANDARD})
b = arm_flush32(s, b, {STANDARD})
if absolute:
    a = a & MAGNITUDE
    b = b & MAGNITUDE
an = a & MAGNITUDE > INFINITY
bn = b & MAGNITUDE > INFINITY
if an or bn:
    if kind or (an and a & QUIET == 0) or (bn and b & QUIET == 0):
        arm_raise(s, NV)
    return 0
x = neon_order(s, a)
y = neon_order(s, b)
if kind == 0:
    return 0 - (x == y)
return 0 - neon_less(s, y, x, kind == 1)
""",
)
define(
    "neon_step",
    "a b kind",
    f"""
x = arm_flush32(s, a, {STANDARD})
y = arm_flush32(s, b, {STANDARD})
constant = 0x40400000 if kind else 0x40000000
u = x & MAGNITUDE
v = y & MAGNITUDE
if u == INFINITY and v == 0 or u == 0 and v == INFINITY:
    return 0x3FC00000 if kind else 0x40000000
p = arm_fmul32(s, x, y, {STANDARD})
if p & MAGNITUDE > INFINITY:
    return DEFAULT
p = arm_fsub32(s, constant, p, {STANDARD})
return arm_fmul32(s, p, 0x3F000000, {STANDARD}) if kind else p
""",
)
# Estimates of 8 bits (pseudocode RecipEstimate, RecipSqrtEstimate), of 256 to 511 and 128 to 511.
define("recip_estimate", "a", "return ((1 << 19) // (a * 2 + 1) + 1) >> 1")
define(
    "rsqrt_estimate",
    "a",
    """
a = (a >> 1) * 4 + 2 if a >= 256 else a * 2 + 1
b = 512
while a * (b + 1) * (b + 1) < 1 << 28:
    b += 1
return (b + 1) >> 1
""",
)
define(
    "neon_recpe_u32",
    "a",
    "return recip_estimate(s, a >> 23) << 23 if a >> 31 else 0xFFFFFFFF",
)
define(
    "neon_rsqrte_u32",
    "a",
    "return rsqrt_estimate(s, a >> 23) << 23 if a >> 30 else 0xFFFFFFFF",
)
define(
    "neon_recpe_f32",
    "a",
    f"""
a = arm_flush32(s, a, {STANDARD})
nan = arm_nan32(s, a, 0, {STANDARD})
if nan:
    return nan
sign = a & SIGN
e = a >> 23 & 255
if e == 255:
    return sign
if e == 0:
    arm_raise(s, DZ)
    return sign | INFINITY
if e >= 253:
    arm_raise(s, UF)
    return sign
return sign | 253 - e << 23 | (recip_estimate(s, 256 | a >> 15 & 255) & 255) << 15
""",
)
define(
    "neon_rsqrte_f32",
    "a",
    f"""
a = arm_flush32(s, a, {STANDARD})
nan = arm_nan32(s, a, 0, {STANDARD})
if nan:
    return nan
if a & MAGNITUDE == 0:
    arm_raise(s, DZ)
    return a | INFINITY
if a & SIGN:
    arm_raise(s, NV)
    return DEFAULT
e = a >> 23
if e == 255:
    return 0
scaled = 128 | a >> 16 & 127 if e & 1 else 256 | a >> 15 & 255
return (380 - e >> 1) << 23 | (rsqrt_estimate(s, scaled) & 255) << 15
""",
)

MODE = str(STANDARD)
for _name in ("fadd", "fsub", "fmul"):
    lanes(f"neon_{_name}", "ab", "", f"arm_{_name}32(s, @a, @b, {MODE})")
lanes("neon_ffma", "abc", "", f"arm_ffma32(s, @a, @b, @c, {MODE})")
lanes("neon_extreme", "ab", "less number", f"arm_extreme32(s, @a, @b, less, number, {MODE})")
lanes("neon_compare4", "ab", "kind absolute", "neon_compare(s, @a, @b, kind, absolute)")
lanes("neon_steps", "ab", "kind", "neon_step(s, @a, @b, kind)")
for _name in ("recpe_u32", "rsqrte_u32", "recpe_f32", "rsqrte_f32"):
    lanes(f"neon_{_name}_4", "a", "", f"neon_{_name}(s, @a)")
lanes(
    "neon_to_integer",
    "a",
    "fraction signed direction",
    f"arm_to_integer32(s, @a, fraction, 32, signed, direction, {MODE})",
)
define("neon_signed", "a signed", "return sext32(a) if signed else a")
lanes(
    "neon_from_integer",
    "a",
    "fraction signed",
    "arm_from_fixed32(s, neon_signed(s, @a, signed), fraction)",
)
lanes(
    "neon_round",
    "a",
    "direction exact",
    f"arm_round32(s, @a, direction, exact, {MODE})",
)
define(
    "neon_to_half",
    "a0 a1 ahp",
    f"""
mode = {STANDARD} | ahp
r = arm_to_half32(s, a0 & 0xFFFFFFFF, 0, mode) | arm_to_half32(s, a0 >> 32, 0, mode) << 16
r |= arm_to_half32(s, a1 & 0xFFFFFFFF, 0, mode) << 32
return r | arm_to_half32(s, a1 >> 32, 0, mode) << 48
""",
)
define(
    "neon_from_half",
    "a ahp",
    f"""
mode = {STANDARD} | ahp
s.operands[1] = arm_from_half(s, a >> 32 & 0xFFFF, mode) | arm_from_half(s, a >> 48, mode) << 32
return arm_from_half(s, a & 0xFFFF, mode) | arm_from_half(s, a >> 16 & 0xFFFF, mode) << 32
""",
)
