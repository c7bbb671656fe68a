"""Dead code: ops without effect whose results nobody uses, and blocks nobody reaches."""

from __future__ import annotations

from jitemu.ir.code import Function, Op, Value
from jitemu.ir.flow import successors
from jitemu.ir.ops import ROWS


def run(function: Function) -> None:
    """Drop dead blocks, then dead ops."""
    _drop_blocks(function)
    live: set[Value] = set()
    work = [op for b in function.blocks for op in b.ops if ROWS[op.name].effect]
    while work:
        for value in work.pop().args:
            if value.source is not None and value not in live:
                live.add(value)
                work.append(value.source)
    for block in function.blocks:
        block.ops = [op for op in block.ops if _kept(op, live)]


def _kept(op: Op, live: set[Value]) -> bool:
    return ROWS[op.name].effect or op.result in live


def _drop_blocks(function: Function) -> None:
    blocks = {block.label: block for block in function.blocks}
    work = [function.blocks[0].label]
    reached: set[str] = set()
    while work:
        label = work.pop()
        if label not in reached:
            reached.add(label)
            work.extend(successors(blocks[label]))
    function.blocks = [b for b in function.blocks if b.label in reached]
