"""What the floating-point rows are made of: their registry and pieces of their lowering."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.ir import softfloat as sf
from jitemu.ir.ops import row

FloatMeaning = Callable[[int, tuple[int, ...]], sf.Result]
"""Of the rounding mode and the arguments."""

FLOAT: dict[str, FloatMeaning] = {}

MODES = {"dyn": None, "rne": sf.RNE, "rtz": sf.RTZ, "rdn": sf.RDN, "rup": sf.RUP, "rmm": sf.RMM}
"""Rounding as rows name it; "dyn" is the unit's mode."""

TYPES = {32: "float", 64: "double"}
FORMATS = {32: sf.F32, 64: sf.F64}
STRICT = 'metadata !"fpexcept.strict"'
DYNAMIC = f'metadata !"round.dynamic", {STRICT}'


def float_row(
    name: str, signature: str, prose: str, meaning: FloatMeaning, lines: list[str]
) -> None:
    FLOAT[name] = meaning
    row(name, signature, prose, None, "\n".join(lines), effect=True)


def constrained(operation: str, width: int, operands: str, metadata: str = DYNAMIC) -> str:
    kind = TYPES[width]
    name = f"llvm.experimental.constrained.{operation}.f{width}"
    args = ", ".join(f"{kind} {o}" for o in operands.split())
    return f"call {kind} @{name}({args}, {metadata})"


def operands(width: int, count: int) -> list[str]:
    """Lines that make {r}.a, {r}.b, {r}.c floats of the arguments."""
    return [f"{{r}}.{'abc'[i]} = bitcast i{width} {{{i}}} to {TYPES[width]}" for i in range(count)]


def asm(*instructions: str) -> str:
    return "\\0A".join(instructions)


def fill(width: int, register: str, right: int, left: int) -> tuple[str, str, str]:
    """A register set to ones shifted right, then left."""
    x = "q" if width == 64 else "d"
    return (
        f"vpcmpeqd {register}, {register}, {register}",
        f"vpsrl{x} $${right}, {register}, {register}",
        f"vpsll{x} $${left}, {register}, {register}",
    )


def canonical(width: int, register: str) -> tuple[str, str, str]:
    fraction = FORMATS[width].frac_bits
    return fill(width, register, fraction, fraction - 1)


def suffix(width: int) -> str:
    return "sd" if width == 64 else "ss"


def finish(width: int, source: str = "{r}.f") -> list[str]:
    """Lines that give {r} from a float: the canonical NaN if it is one.

    A jump over the rare case, as a select would lengthen every dependency chain.
    """
    kind = TYPES[width]
    text = asm(f"vucomi{suffix(width)} $0, $0", "jnp 1f", *canonical(width, "$0"), "1:")
    return [
        f'{{r}}.k = call {kind} asm "{text}", "=x,0,~{{{{flags}}}}"({kind} {source})',
        f"{{r}} = bitcast {kind} {{r}}.k to i{width}",
    ]
