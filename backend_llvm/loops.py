"""Loops of a region: the body of each branch back, and how often LLVM unrolls it.

Only counted loops are unrolled (counted.py): what is added to addresses becomes part of the
accesses.  Others, and LLVM's own choice, make regions slower more often than faster.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

Place = tuple[int, int]
"""(frame, guest pc)."""
Edge = tuple[Place, Place]
Following = Callable[[Place], Iterable[Place]]
UNROLLED = ((12, 4), (24, 2))
"""Guest instructions of a loop at most, and iterations that are made one."""


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

    def leads_to(
        self,
        place: Place,
        other: Place,
        edges: Mapping[Place, Iterable[Place]],
        but: Place | None = None,
    ) -> bool:
        """In one iteration control can go from a place to another, not by way of a third."""

        def following(at: Place) -> list[Place]:
            ways = [following for following in edges[at] if following in self.body]
            return [way for way in ways if way != but and (at, way) != (self.latch, self.head)]

        return leads_to(place, other, following)


def sources_of(edges: Mapping[Place, Iterable[Place]]) -> dict[Place, list[Place]]:
    """By place: those that control comes from."""
    found: dict[Place, list[Place]] = {place: [] for place in edges}
    for place, following in edges.items():
        for other in following:
            found[other].append(place)
    return found


def reached(places: Iterable[Place], following: Following, but: Place | None = None) -> set[Place]:
    """These places, and those that one comes to from them, not by way of another."""
    found = set(places) - {but}
    work = list(found)
    while work:
        for place in following(work.pop()):
            if place not in found and place != but:
                found.add(place)
                work.append(place)
    return found


def leads_to(start: Place, end: Place, following: Following) -> bool:
    """There is a way of one step or more from a place to another, or to itself."""
    return end in reached(following(start), following)


def find_back(edges: Mapping[Place, Iterable[Place]], entries: Iterable[Place]) -> list[Edge]:
    """Edges that lead back to a place on the way to them: one at least in every cycle.

    It is the way that counts, not the addresses: what a compiler puts aside jumps back, too, and
    a loop may be entered in its midst.
    """
    found: list[Edge] = []
    seen, way = set[Place](), set[Place]()
    for entry in entries:
        work = [] if entry in seen else [(entry, iter(edges[entry]))]
        seen.update(place for place, _ in work)
        way.update(place for place, _ in work)
        while work:
            place, others = work[-1]
            other = next(others, None)
            if other is None:
                work.pop()
                way.remove(place)
            elif other in way:
                found.append((place, other))
            elif other not in seen:
                seen.add(other)
                way.add(other)
                work.append((other, iter(edges[other])))
    return found


def find_loops(
    edges: Mapping[Place, list[Place]], entries: Iterable[Place], back: Collection[Edge]
) -> list[Loop]:
    """The loops of edges back that are entered at their heads only, smaller ones first."""
    before = sources_of(edges)
    found: list[Loop] = []
    for latch, head in back:
        body = frozenset(reached([latch], before.__getitem__, head) | {head})
        if not any(entry in body and entry != head for entry in entries):
            others = (edge for edge in back if edge != (latch, head))
            nests = any(place in body and other in body for place, other in others)
            found.append(Loop(head, latch, body, nests))
    return sorted(found, key=lambda loop: len(loop.body))
