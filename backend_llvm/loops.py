"""Loops of a region: the body of each branch back, and which are small and innermost.

A small innermost loop looks for requests only once in so many iterations, which a count in a
register tells, and LLVM makes several iterations one: the count is then seen to once in these,
and what is added to addresses becomes part of them.  (LLVM's own choice of loops to unroll
makes regions slower more often than faster.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Place = tuple[int, int]
"""(frame, guest pc)."""
UNROLLED = ((12, 4), (24, 2))
"""Guest instructions of a loop at most, and iterations that are made one."""
SHORT = 12
"""Guest instructions of a loop whose iterations are counted for that."""
ITERATIONS = 64
"""Between two looks for requests: a multiple of those made one."""


@dataclass(frozen=True)
class Loop:
    """What reaches a branch back without passing its target, the head."""

    head: Place
    latch: Place
    body: frozenset[Place]
    nests: bool
    """Another edge in it goes back."""

    @property
    def copies(self) -> int:
        """Iterations that LLVM is to make one."""
        if self.nests:
            return 1
        return next((copies for most, copies in UNROLLED if len(self.body) <= most), 1)


def find_loops(
    items: Iterable[Place], edges: Mapping[Place, list[Place]], entries: Iterable[Place]
) -> list[Loop]:
    """The loops of edges back that are entered at their heads only."""
    before: dict[Place, list[Place]] = {place: [] for place in items}
    for place, following in edges.items():
        for other in following:
            before[other].append(place)
    found: list[Loop] = []
    for latch, following in edges.items():
        for head in following:
            if head[0] != latch[0] or head[1] > latch[1]:
                continue
            body = _body(head, latch, before)
            if not any(entry in body and entry != head for entry in entries):
                found.append(Loop(head, latch, body, _nests(body, head, latch, edges)))
    return found


def short_loops(loops: Iterable[Loop]) -> dict[Place, Loop]:
    """The small innermost loops by their heads."""
    return {loop.head: loop for loop in loops if loop.copies > 1 and len(loop.body) <= SHORT}


def _body(head: Place, latch: Place, before: Mapping[Place, list[Place]]) -> frozenset[Place]:
    body = {head, latch}
    work = [latch] if latch != head else []
    while work:
        for place in before[work.pop()]:
            if place not in body:
                body.add(place)
                work.append(place)
    return frozenset(body)


def _nests(
    body: frozenset[Place], head: Place, latch: Place, edges: Mapping[Place, list[Place]]
) -> bool:
    return any(
        other in body and other[0] == place[0] and other[1] <= place[1]
        for place in body
        for other in edges[place]
        if (place, other) != (latch, head)
    )
