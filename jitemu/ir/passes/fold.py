"""Constant folding and algebraic identities."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.ir.builder import fold, identity
from jitemu.ir.code import VECTORS, WIDTHS, Block, Function, Op, Value
from jitemu.ir.meaning import has_meaning
from jitemu.ir.ops import ROWS
from jitemu.ir.passes.replace import Replacements

COMMUTATIVE = frozenset({"add", "mul", "and", "or", "xor", "eq", "ne", "mulhu", "mulhs", "clmul"})
ASSOCIATIVE = frozenset({"add", "mul", "and", "or", "xor"})


def run(function: Function) -> None:
    """Fold every block; a value becomes a constant or an older value, or its op simpler."""
    replaced = Replacements()
    for block in function.blocks:
        _fold_block(block, replaced)
    replaced.apply(function)


def _fold_block(block: Block, replaced: Replacements) -> None:
    kept: list[Op] = []
    for op in block.ops:
        op.args = replaced.args(op.args)
        if op.result is None or not has_meaning(ROWS[op.name]):
            if not _control(op):
                kept.append(op)
            continue
        if not _on_vectors(op):
            _canonical(op)
        same = _value(op)
        if same is None:
            kept.append(op)
        else:
            replaced.add(op.result, same)
    block.ops = kept


def _on_vectors(op: Op) -> bool:
    """The identities with constants are those of scalars."""
    return any(a.type in VECTORS for a in op.args) or op.type in VECTORS


def _control(op: Op) -> bool:
    """Settle a conditional end whose condition is known; True if nothing is left of it."""
    if op.name not in ("cbr", "branch", "leaveif") or op.args[0].const is None:
        return False
    if op.name == "cbr":
        op.attrs = (op.attrs[0] if op.args[0].const else op.attrs[1],)
        op.name, op.args = "br", ()
        return False
    if op.args[0].const == 0:
        return True
    if op.name == "branch":
        op.name, op.args = "jump", op.args[1:]
    return False


def _canonical(op: Op) -> None:
    """Constants to the right; two constants of an associative chain become one."""
    if op.name in COMMUTATIVE and op.args[0].const is not None and op.args[1].const is None:
        op.args = (op.args[1], op.args[0])
    if op.name == "sub" and op.args[1].const is not None:
        op.name = "add"
        op.args = (op.args[0], _const(op.type, -op.args[1].const))
    if op.name in ASSOCIATIVE and op.args[1].const is not None:
        inner = op.args[0].source
        if inner is not None and inner.name == op.name and inner.args[1].const is not None:
            args = (inner.args[1], op.args[1])
            value = fold(ROWS[op.name], op.type, args)
            op.args = (inner.args[0], _const(op.type, value))
    _condition(op)


def _condition(op: Op) -> None:
    """A widened i1 against 0 is that i1 or its inverse; so is one exclusive-or 1."""
    if op.name not in ("eq", "ne") or op.args[1].const != 0:
        return
    inner = op.args[0].source
    if inner is None or inner.name not in ("zext", "sext") or inner.args[0].type != "i1":
        return
    op.type = "i1"
    op.args = (inner.args[0], _const("i1", 1 if op.name == "eq" else 0))
    op.name = "xor"


def _const(type: str, value: int) -> Value:
    return Value(type, value & ((1 << WIDTHS[type]) - 1))


def _value(op: Op) -> Value | None:
    """The constant or older value that an op's result is."""
    assert op.result is not None
    if all(a.const is not None for a in op.args):
        return Value(op.result.type, fold(ROWS[op.name], op.type, op.args, op.attrs))
    same = identity(op.name, op.args)
    if same is None and op.name in _IDENTITIES and not _on_vectors(op):
        same = _IDENTITIES[op.name](op)
    return same


# Identities beyond the builder's.  Each takes an op with its constant, if any, to the right.


def _and(op: Op) -> Value | None:
    a, b = op.args
    if b.const == 0:
        return b
    return a if a is b or b.const == (1 << WIDTHS[op.type]) - 1 else None


def _or(op: Op) -> Value | None:
    a, b = op.args
    if b.const == (1 << WIDTHS[op.type]) - 1:
        return b
    return a if a is b else None


def _mul(op: Op) -> Value | None:
    b = op.args[1]
    return b if b.const == 0 else op.args[0] if b.const == 1 else None


def _quotient(op: Op) -> Value | None:
    """By 1; as i1 the signed quotient reads it as -1, and overflows back to the dividend."""
    return op.args[0] if op.args[1].const == 1 else None


def _same_is(value: int) -> Callable[[Op], Value | None]:
    """The result is known where both arguments are the same value."""

    def identity_of(op: Op) -> Value | None:
        assert op.result is not None
        same = op.args[0] is op.args[1]
        return Value(op.result.type, value) if same else None

    return identity_of


def _ult(op: Op) -> Value | None:
    if op.args[1].const == 0:
        return Value("i1", 0)
    return _same_is(0)(op)


def _select(op: Op) -> Value | None:
    condition, a, b = op.args
    if condition.const is not None:
        return a if condition.const else b
    return a if a is b or (a.const is not None and a.const == b.const) else None


def _trunc(op: Op) -> Value | None:
    """What was just widened comes back; longer chains are shortened in place."""
    inner = op.args[0].source
    if inner is None or inner.name not in ("zext", "sext", "trunc"):
        return None
    value = inner.args[0]
    if value.type == op.type:
        return value
    if inner.name == "trunc" or value.width > WIDTHS[op.type]:
        op.args = (value,)
    return None


def _widen(op: Op) -> Value | None:
    """Of the same widening: one step.  A sign known to be 0 is a zero."""
    inner = op.args[0].source
    if inner is not None and inner.name in ("zext", op.name):
        op.name, op.args = inner.name, inner.args
    return None


_IDENTITIES: dict[str, Callable[[Op], Value | None]] = {
    "and": _and,
    "or": _or,
    "mul": _mul,
    "udiv": _quotient,
    "sdiv": _quotient,
    "sub": _same_is(0),
    "xor": _same_is(0),
    "eq": _same_is(1),
    "ne": _same_is(0),
    "ult": _ult,
    "ule": _same_is(1),
    "slt": _same_is(0),
    "sle": _same_is(1),
    "select": _select,
    "trunc": _trunc,
    "zext": _widen,
    "sext": _widen,
}
