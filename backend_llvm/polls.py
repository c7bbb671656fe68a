"""Where a region looks for requests (interrupts, signals, the end of a time slice).

Control must not go round without a look, so each cycle of a region needs one.  Edges that go
back are in every cycle, but not all of them are needed: code that a compiler put aside jumps
back too, and a loop's body may have looked already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from jitemu.backend_llvm.loops import Edge, Loop, Place, leads_to


def polled_edges(
    edges: Mapping[Place, Sequence[Place]],
    back: Collection[Edge],
    jumps: Collection[Edge],
    loops: Iterable[Loop],
    counted: Iterable[Place],
) -> set[Edge]:
    """The edges with a look, at least one in each cycle.

    ``back``: edges that go back as loops.find_back has it, at least one in each cycle;
    ``jumps``: those to lower addresses, which are preferred.  Of either kind those deepest in
    loops, which run most often, are the first to do without.  ``counted``: of loops whose
    iterations are counted, the branches back; they look once in a chunk.
    """
    needed = set(counted)
    bodies = [loop.body for loop in loops]
    polled = {*back, *jumps}

    def rank(edge: Edge) -> tuple[bool, int]:
        return edge in jumps, -sum(edge[0] in body for body in bodies)

    def unseen(place: Place) -> list[Place]:
        return [other for other in edges[place] if (place, other) not in polled]

    for latch, head in sorted(dict.fromkeys((*jumps, *back)), key=rank):
        if latch not in needed and latch != head and not leads_to(head, latch, unseen):
            polled.remove((latch, head))
    return polled
