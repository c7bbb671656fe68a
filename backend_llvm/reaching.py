"""Which writes of a region reach which of its places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from jitemu.backend_llvm.loops import Place
from jitemu.backend_llvm.registers import Register
from jitemu.ir.code import Op

Written = TypeVar("Written")


def may_be_written(
    own: Mapping[Place, set[Written]], edges: Mapping[Place, list[Place]]
) -> dict[Place, set[Written]]:
    """By place: what its instruction writes, or another on some way to it."""
    found = {place: set(written) for place, written in own.items()}
    work = list(own)
    while work:
        place = work.pop()
        for other in edges[place]:
            if not found[place] <= found[other]:
                found[other] |= found[place]
                work.append(other)
    return found


def unwritten_at(
    codes: Mapping[Place, Sequence[Op]],
    sets: Mapping[Place, set[Register]],
    edges: Mapping[Place, list[Place]],
    entries: Iterable[Place],
) -> dict[Place, set[Register]]:
    """By place: the registers that may still hold there what they did at an entry, of those
    that are written anywhere.  Places that no entry leads to are missing."""
    found = {place: set[Register]().union(*sets.values()) for place in entries}
    work = list(found)
    while work:
        place = work.pop()
        skipped = any(op.name == "skip" for op in codes[place])
        left = found[place] if skipped else found[place] - sets[place]
        for other in edges[place]:
            if other not in found or not left <= found[other]:
                found.setdefault(other, set()).update(left)
                work.append(other)
    return found
