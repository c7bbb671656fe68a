"""Loops turned: what comes before the branch that counts is copied to where the loop is entered.

``while (i < n) { ... }`` is entered at its test, or behind it where that holds at first.  With a
copy of the way to the branch for those that enter, the loop itself begins behind the branch and
ends with it: it is a counted one (counted.py), of which LLVM makes more.  If it can be left
elsewhere too, by the first iteration perhaps, that iteration is the copy: only the others are
done in chunks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jitemu.backend_llvm.counted import ends_early, find_counted, passed_once
from jitemu.backend_llvm.loops import Loop, Place, find_back, reached, sources_of

if TYPE_CHECKING:
    from jitemu.backend_llvm.lifting import Lifter

MOST_COPIED = 64
"""Guest instructions that are copied of a loop."""
MOST_OF_REGION = 128
"""The same of all loops of a region."""
MOST_OF_FIRST = 16
"""The same where a first iteration is the copy: what that saves is little."""
Edges = Mapping[Place, list[Place]]


@dataclass(frozen=True)
class _Turn:
    """A loop to be turned."""

    body: frozenset[Place]
    counts: Place
    """The branch that will be its last instruction."""
    entered: frozenset[Place]
    """Where control comes to it, to be replaced by copies."""
    copied: frozenset[Place]


def turn_loops(lifter: Lifter) -> None:
    """Turn the loops of a region that have to be."""
    done: set[Place] = set()
    room = MOST_OF_REGION
    while True:
        turns = (turn for turn in _turns(lifter) if turn.counts not in done)
        found = next((turn for turn in turns if len(turn.copied) <= room), None)
        if found is None:
            return
        done.add(found.counts)
        room -= len(found.copied)
        _copy(lifter, found)


def _turns(lifter: Lifter) -> Iterator[_Turn]:
    """The loops that would be counted ones if they were turned, or already are."""
    edges = {place: lifter.edges(place) for place in lifter.lifted}
    entries = [(0, pc) for pc in lifter.entries() if (0, pc) in edges]
    for loop, entered in _inner_loops(edges, entries):
        within = {p: [o for o in edges[p] if o in loop.body] for p in loop.body}
        others = entered - {loop.head}
        if others:  # the region's entry is another one
            ends = [(loop.latch, others)] if _counts(loop, lifter, edges) else []
        else:
            ends = [(place, {loop.head}) for place in _branches(loop, lifter, edges)]
        for counts, replaced in ends:
            first, copied = within[counts][0], loop.body
            if first not in replaced:
                copied = frozenset(reached(replaced, within.__getitem__, first))
            turn = _Turn(loop.body, counts, frozenset(replaced), copied)
            if not replaced.intersection(entries) and _can_be_copied(lifter, turn, edges):
                yield turn


def _inner_loops(edges: Edges, entries: list[Place]) -> Iterator[tuple[Loop, set[Place]]]:
    """Loops with none among their instructions, and where they are entered: in the midst, too."""
    back = dict.fromkeys(find_back(edges, entries))
    onward = {p: [o for o in others if (p, o) not in back] for p, others in edges.items()}
    before = sources_of(onward)
    for latch, head in back:
        body = reached([head], onward.__getitem__) & reached([latch], before.__getitem__)
        if not body:
            continue
        first, last = min(body), max(body)
        among = (first <= place <= last and first <= other <= last for place, other in back)
        if sum(among) == 1:
            outside = (other for place in edges if place not in body for other in edges[place])
            entered = body.intersection(outside) | body.intersection(entries)
            yield Loop(head, latch, frozenset(body), False), entered


def _branches(loop: Loop, lifter: Lifter, edges: Edges) -> Iterator[Place]:
    """The branches that a loop entered at its head may count by and end with."""
    for place in loop.body:
        inside = [other for other in edges[place] if other in loop.body]
        if len(inside) != 1 or len(lifter.lifted[place].successors) != 2:
            continue
        if place == loop.latch:
            if len(loop.body) > MOST_OF_FIRST or not ends_early(loop, lifter.lifted, edges):
                continue
        elif not passed_once(place, loop, edges):
            continue
        if _counts(replace(loop, head=inside[0], latch=place), lifter, edges):
            yield place


def _counts(loop: Loop, lifter: Lifter, edges: Edges) -> bool:
    return bool(find_counted(lifter.lifted, edges, [loop]))


def _can_be_copied(lifter: Lifter, turn: _Turn, edges: Edges) -> bool:
    """It is little, without calls, and entered by branches, by jumps and straight on only."""
    frames = {place[0] for place in turn.copied}
    if len(turn.copied) > MOST_COPIED or frames != {turn.counts[0]}:
        return False
    for place in turn.copied:
        item = lifter.lifted[place]
        if item.call is not None or item.returns is not None or item.ends("jumpr"):
            return False
    return all(
        place in turn.body or other in _straight(lifter, place)
        for place in edges
        for other in turn.entered.intersection(edges[place])
    )


def _straight(lifter: Lifter, place: Place) -> list[Place]:
    return [lifter.goes_to(place, pc) for pc in lifter.lifted[place].successors]


def _copy(lifter: Lifter, turn: _Turn) -> None:
    """Who enters goes by a copy, in a frame of its own."""
    frame = lifter.add_frame(lifter.frames[turn.counts[0]])
    for place, item in list(lifter.lifted.items()):
        if place in turn.copied:
            lifter.lifted[frame, place[1]] = replace(item)
        for pc in item.successors:
            other = lifter.goes_to(place, pc)
            if place not in turn.body and other in turn.entered:
                lifter.ways[place, pc] = frame, other[1]
            if place in turn.copied:
                stays = other in turn.copied and place != turn.counts
                lifter.ways[(frame, place[1]), pc] = (frame, other[1]) if stays else other
