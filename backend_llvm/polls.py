"""Where a region looks for requests (interrupts, signals, the end of a time slice).

Control must not go round without a look, so each cycle of a region needs one.  Edges that go
back are in every cycle, but not all of them are needed: code that a compiler put aside jumps
back too, and a loop's body may have looked already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from jitemu.backend_llvm.loops import Edge, GoesBack, Loop, Place, leads_to


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

    def unseen(place: Place) -> list[Place]:
        return [other for other in edges[place] if (place, other) not in polled]

    for latch, head in back:
        if latch not in needed and latch != head and not leads_to(head, latch, unseen):
            polled.remove((latch, head))
    return polled
