"""Forwarding: within a block, a register that was read or written is not read again."""

from __future__ import annotations

from jitemu.ir.code import Attr, Block, Function, Op, Value
from jitemu.ir.passes.replace import Replacements

CLOBBERS = frozenset({"call", "copybytes", "hostcall", "hostsyscall", "hstore", "hxchg", "setelem"})
"""Ops after which any register may be another: natives write the state's arrays."""

Known = dict[tuple[Attr, Attr], Value]


def run(function: Function) -> None:
    """Forward register values in every block."""
    replaced = Replacements()
    for block in function.blocks:
        _forward(block, replaced)
    replaced.apply(function)


def _forward(block: Block, replaced: Replacements) -> None:
    known: Known = {}
    kept: list[Op] = []
    for op in block.ops:
        op.args = replaced.args(op.args)
        if op.name == "get" and op.result is not None:
            key = (op.attrs[0], op.attrs[1])
            if key in known:
                replaced.add(op.result, known[key])
                continue
            known[key] = op.result
        elif op.name == "set":
            _written(known, op)
        elif op.name in CLOBBERS:
            known.clear()
        kept.append(op)
    block.ops = kept


def _written(known: Known, op: Op) -> None:
    kind, index = op.attrs
    for other in list(known):
        # A register named by a field may be any of its class.
        if other[0] == kind and (isinstance(index, str) or isinstance(other[1], str)):
            del known[other]
    known[kind, index] = op.args[0]
