"""The flow graph of a function's blocks."""

from __future__ import annotations

from jitemu.ir.code import Block


def successors(block: Block) -> tuple[str, ...]:
    """Labels that a block can go on at; none if it leaves the function."""
    if not block.ops or block.ops[-1].name not in ("br", "cbr"):
        return ()
    return tuple(str(a) for a in block.ops[-1].attrs)
