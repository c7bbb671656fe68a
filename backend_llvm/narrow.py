"""Which guest registers of a region hold 32-bit numbers only, so that 32 bits are enough.

Code made from C keeps int values sign-extended in 64-bit registers and extends them again
and again.  A register whose every write in a region is the sign extension of 32 bits (or a
copy of such a register) can be held as i32: the extensions disappear, and come back only
where 64 bits are read.  The values at the region's entries are checked there.
"""

from __future__ import annotations

from collections.abc import Iterable

from jitemu.ir.code import Block, Op, Value

Register = tuple[str, int]
_INT32 = range(1 << 31)


def narrow_registers(blocks: Iterable[Block]) -> set[Register]:
    """The registers that can be i32, but for those that are written nothing but constants:
    these have no extension to save, and their entry's value may not fit."""
    writes: dict[Register, list[Value]] = {}
    for block in blocks:
        for op in block.ops:
            if op.name == "set":
                writes.setdefault(register_of(op), []).append(op.args[0])
    narrow = {r for r in writes if any(v.const is None for v in writes[r])}
    while True:
        wide = {r for r in narrow if not all(fits(v, narrow) for v in writes[r])}
        if not wide:
            return narrow
        narrow -= wide


def register_of(op: Op) -> Register:
    """The register that a get or set names."""
    return str(op.attrs[0]), int(op.attrs[1])


def fits(value: Value, narrow: set[Register]) -> bool:
    """The 64-bit value is the sign extension of its low 32 bits."""
    if value.const is not None:
        return value.const in _INT32 or value.const >= (1 << 64) - (1 << 31)
    op = value.source
    if op is None:
        return False
    if op.name == "sext":
        return op.args[0].width <= 32
    if op.name == "zext":
        return op.args[0].width < 32
    if op.name == "get":
        return register_of(op) in narrow
    if op.name == "select":
        return fits(op.args[1], narrow) and fits(op.args[2], narrow)
    if op.name in ("and", "or", "xor"):
        both = [fits(a, narrow) for a in op.args]
        if all(both):
            return True
        mask = op.args[1].const
        return op.name == "and" and mask is not None and mask in _INT32
    return False
