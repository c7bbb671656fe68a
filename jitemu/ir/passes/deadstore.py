"""Dead state stores: within a block, registers and words overwritten before anyone looks."""

from __future__ import annotations

from jitemu.ir.code import Attr, Block, Function, Op
from jitemu.ir.ops import ROWS
from jitemu.ir.passes.forward import CLOBBERS

BLIND = frozenset({"get", "set", "field", "setfield", "local", "setlocal", "fence"})

Key = tuple[str, Attr]


def run(function: Function) -> None:
    """Drop dead stores in every block."""
    for block in function.blocks:
        _drop(block)


def _drop(block: Block) -> None:
    dead: set[Key] = set()
    """What is overwritten later, seen from the end of the block."""
    kept: list[Op] = []
    for op in reversed(block.ops):
        if op.name in ("set", "setfield"):
            key = _key(op)
            if key in dead:
                continue
            dead.add(key)
        elif op.name in ("get", "field"):
            _read(dead, _key(op))
        elif not _blind(op):
            dead.clear()
        kept.append(op)
    kept.reverse()
    block.ops = kept


def _blind(op: Op) -> bool:
    """It neither faults, nor leaves, nor lets others see the state (float rows do not)."""
    if op.name in CLOBBERS:
        return False
    row = ROWS[op.name]
    return not row.effect or op.name in BLIND or row.llvm is not None


def _key(op: Op) -> Key:
    return (str(op.attrs[0]), op.attrs[1]) if len(op.attrs) == 2 else ("", op.attrs[0])


def _read(dead: set[Key], key: Key) -> None:
    kind, index = key
    for other in list(dead):
        # A register named by a field may be any of its class.
        named = kind and (isinstance(index, str) or isinstance(other[1], str))
        if other == key or (other[0] == kind and named):
            dead.discard(other)
