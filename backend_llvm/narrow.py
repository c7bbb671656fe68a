"""Which 64-bit values of a region are 32-bit numbers, so that 32 bits are enough.

Code made from C keeps int values sign-extended in 64-bit registers and extends them again
and again.  What is certain to be the sign extension of 32 bits is *narrow*: it can be kept as
i32, the extensions disappear, and come back only where 64 bits are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jitemu.backend_llvm.registers import Register, register_of
from jitemu.ir.code import Op, Value

_INT32 = range(1 << 31)


def narrow_registers(codes: Iterable[Iterable[Op]]) -> set[Register]:
    """The registers that are narrow everywhere if they are at the entries; but for those that
    are written nothing but constants: these have no extension to save."""
    writes: dict[Register, list[Value]] = {}
    for ops in codes:
        for op in ops:
            if op.name == "set":
                writes.setdefault(register_of(op), []).append(op.args[0])
    narrow = {r for r in writes if any(v.const is None for v in writes[r])}

    def is_narrow(get: Op) -> bool:
        return register_of(get) in narrow

    while True:
        wide = {r for r in narrow if not all(fits(v, is_narrow) for v in writes[r])}
        if not wide:
            return narrow
        narrow -= wide


def is_int(value: int) -> bool:
    """A 64-bit number is the sign extension of its low 32 bits."""
    return value in _INT32 or value >= (1 << 64) - (1 << 31)


def fits(value: Value, is_narrow: Callable[[Op], bool]) -> bool:
    """The same of a 64-bit value; ``is_narrow`` says it of a get."""
    if value.const is not None:
        return is_int(value.const)
    op = value.source
    if op is None:
        return False
    if op.name == "sext":
        return op.args[0].width <= 32
    if op.name == "zext":
        return op.args[0].width < 32
    if op.name == "get":
        return is_narrow(op)
    if op.name == "select":
        return fits(op.args[1], is_narrow) and fits(op.args[2], is_narrow)
    if op.name in ("and", "or", "xor"):
        both = [fits(a, is_narrow) for a in op.args]
        if all(both):
            return True
        mask = op.args[1].const
        return op.name == "and" and mask is not None and mask in _INT32
    return False
