"""Where a region looks for requests (interrupts, signals, the end of a time slice).

Control must not go round without a look, so each cycle of a region needs one.  Edges that go
back are in every cycle, but not all of them are needed: code that a compiler put aside jumps
back too, and a loop's body may have looked already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jitemu.backend_llvm.loops import GoesBack, Loop, Place

Edge = tuple[Place, Place]


def polled_edges(
    edges: Mapping[Place, Sequence[Place]],
    goes_back: GoesBack,
    loops: Iterable[Loop],
    counted: Iterable[Place],
) -> set[Edge]:
    """The edges with a look, at least one in each cycle.

    Those deepest in loops, which run most often, are the first to do without.  ``counted``: of
    loops whose iterations are counted, the branches back; they look once in a chunk.
    """
    needed = set(counted)
    back = [(place, other) for place in edges for other in edges[place] if goes_back(place, other)]
    bodies = [loop.body for loop in loops]
    back.sort(key=lambda edge: sum(edge[0] in body for body in bodies), reverse=True)
    polled = set(back)
    for edge in back:
        if edge[0] not in needed and not _leads_to(edge[1], edge[0], edges, polled):
            polled.remove(edge)
    return polled


def _leads_to(
    start: Place, end: Place, edges: Mapping[Place, Sequence[Place]], polled: set[Edge]
) -> bool:
    """There is a way from the one place to the other without a look."""
    seen = {start}
    work = [start]
    while work:
        place = work.pop()
        if place == end:
            return True
        for other in edges[place]:
            if other not in seen and (place, other) not in polled:
                seen.add(other)
                work.append(other)
    return False
