"""What a region is made of: guest code followed from a head, as micro-ops."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from jitemu.backend_llvm.lifted import GuestCode, Lifted
from jitemu.backend_llvm.loops import Edge, Place, reached, sources_of
from jitemu.backend_llvm.registers import register_of
from jitemu.backend_llvm.request import ReadCode, Request
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.backend_llvm.turning import turn_loops
from jitemu.ir.code import Value
from jitemu.isa import Decoder

INLINE_LIMIT = 80
"""Instructions of a function that is made part of the region that calls it."""
LONGEST_CHAIN = 2000
"""Instructions beyond the limit that close a loop."""
MOST_COMPARED = 4
"""Likely targets that an indirect jump compares with; a switch serves more."""
SWITCH_LIMIT = 1200
"""Instructions of a region with a switch."""
REACH = 2
"""Times the limit: so far code is followed to find the loop that the head is in."""
ENOUGH_SAMPLES = 32
"""Of jumps through tables: a region is made when there are as many."""
INLINE_DEPTH = 3
"""Calls within calls."""


@dataclass(frozen=True)
class Frame:
    """A call of a function that is part of the region; frame 0 is the head's."""

    chain: tuple[int, ...] = ()
    """The functions called, outermost first."""
    back: Place = (0, 0)
    """Where it returns to."""


class Lifter:
    """Follows control flow from a head, indirect jumps as far as they were seen."""

    def __init__(
        self,
        code: GuestCode,
        request: Request,
        cut: frozenset[int] = frozenset(),
    ) -> None:
        """``cut``: guest addresses where the region ends: the heads of loops around its own."""
        self.code = code
        self.decoder = code.decoder
        self.request = request
        self.lifted: dict[Place, Lifted] = {}
        self.frames = [Frame()]
        self.limit = request.limit
        self.table_jumps: list[Place] = []
        self.cut = cut
        self.around: set[int] = set()
        """Heads of loops that the head is in the midst of; not looked for where there are jumps
        through tables, which lead anywhere."""
        self.ways: dict[tuple[Place, int], Place] = {}
        """Where instructions go for a guest address, if not to that of their own frame."""
        self.unreached: dict[int, None] = {}
        """Guest addresses that were left out, as nothing had run there."""
        self._sizes: dict[int, int] = {}

    def run(self) -> dict[Place, Lifted]:
        """The region's instructions by place; empty if the head cannot be lifted."""
        self._follow()
        self._drop_unreachable()
        left_out = (pc for item in self.lifted.values() for pc in self._left_out(item))
        self.unreached = dict.fromkeys(left_out)
        return self.lifted

    @property
    def is_inner_loop(self) -> bool:
        """The head is that of a loop in others.  As the region is entered there, LLVM would see
        none of these."""
        heads = (other for _, other in self._ways_back())
        return bool(self.around) and (0, self.request.head) in heads

    def _ways_back(self) -> list[Edge]:
        """Jumps back in the head's frame."""
        return [
            (place, other)
            for place in self.lifted
            for other in self.edges(place)
            if place[0] == 0 and self.goes_back(place, other)
        ]

    def _find_around(self) -> list[Edge]:
        """Jumps back of loops around the head.

        What leads back to the head without passing it is part of its own loop, also where that
        goes by a place before the head: a loop may be entered in its midst.
        """
        ways = self._ways_back()
        head = (0, self.request.head)
        found = [(place, other) for place, other in ways if self._is_around(place[1], other[1])]
        before = sources_of(self._edges_but(found))
        latches = [place for place, other in ways if other == head]
        own = reached(latches, before.__getitem__, head)
        return [(place, other) for place, other in found if place not in own]

    def _edges_but(self, edges: Iterable[Edge]) -> dict[Place, list[Place]]:
        """Where control goes in the region, but for these ways."""
        left = {place: self.edges(place) for place in self.lifted}
        for place, other in edges:
            left[place].remove(other)
        return left

    def _drop_unreachable(self) -> None:
        """What is behind a call of a function whose end is beyond the limit, for example."""
        entries = ((0, pc) for pc in self.entries())
        found = reached((entry for entry in entries if entry in self.lifted), self.edges)
        self.lifted = {place: item for place, item in self.lifted.items() if place in found}

    def _is_around(self, pc: int, other: int) -> bool:
        """A jump back from the one to the other closes a loop that the head is in the midst
        of."""
        address_of = self.decoder.address_of
        return address_of(other) < address_of(self.request.head) <= address_of(pc)

    def _follow(self) -> None:
        """Follow control from the head up to the limit, and a bit more for the head's loop."""
        work = self._go_on([(0, self.request.head)])
        if self.request.single:
            return
        first = list(self.lifted)
        if work:
            self._go_on(list(work), further=True)
        around = [] if self.table_jumps else self._find_around()
        self.around.update(other for _, (_, other) in around)
        if not work:
            return
        before = sources_of(self._edges_but(around))
        loop = reached([(0, self.request.head)], before.__getitem__)
        if loop <= set(first) or len(loop) > self.limit:
            self.lifted = {place: self.lifted[place] for place in first}
            self._close(work[0])
        else:
            self.lifted = {place: self.lifted[place] for place in self._loop_first(loop)}

    def _loop_first(self, loop: set[Place]) -> list[Place]:
        """As many places as may be, from the head: a loop's, then what follows it."""
        found = dict[Place, None]()
        inside, outside = deque([(0, self.request.head)]), deque[Place]()
        while (inside or outside) and len(found) < self.limit:
            place = inside.popleft() if inside else outside.popleft()
            if place in found:
                continue
            found[place] = None
            for other in self.edges(place):
                if other in loop:
                    inside.append(other)
                elif other[1] == self.lifted[place].following:
                    outside.appendleft(other)
                else:
                    outside.append(other)
        return list(found)

    def _go_on(self, work: list[Place], further: bool = False) -> list[Place]:
        """Follow control up to the limit, or ``further``; what is left to follow."""
        while work and len(self.lifted) < self.limit * (REACH if further else 1):
            place = work.pop(0)
            frame, pc = place
            found = self.code.at(pc) if place not in self.lifted else None
            if found is None:
                continue
            found = self.lifted[place] = replace(found)
            straight = [(frame, s) for s in found.successors if s == found.following]
            others = [(frame, s) for s in self._taken(found)]
            if frame == 0:
                others = [other for other in others if other[1] not in self.cut]
            if self.request.single:
                work = straight if not others and found.returns is None else []
                continue
            if found.returns is not None:
                straight = self._called(place, found, further)
                if found.frame is None:
                    others, straight = others + straight, []
            if further:
                work += straight + others
            else:
                work = straight + work + others + self._through_table(place, found)
        return work

    def _taken(self, item: Lifted) -> list[int]:
        """Where an instruction jumps to, as far as that has run."""
        left_out = self._left_out(item)
        return [s for s in item.successors if s != item.following and s not in left_out]

    def _left_out(self, item: Lifted) -> list[int]:
        """Where control has not come to yet by a jump or a return."""
        jumps = [s for s in item.successors if s != item.following]
        left_out = [s for s in jumps if not self._has_run(s, self._is_back(item.pc, s))]
        if item.returns is not None and not self._has_run(item.returns):
            left_out.append(item.returns)
        return left_out

    def _has_run(self, pc: int, back: bool = False) -> bool:
        return self.request.has_run(self.decoder.address_of(pc), back)

    def _is_back(self, pc: int, other: int) -> bool:
        return self.decoder.address_of(other) <= self.decoder.address_of(pc)

    def _through_table(self, place: Place, item: Lifted) -> list[Place]:
        """Where an indirect jump goes that is no return, as far as that was seen; regions with
        many such places may be larger."""
        if place[0] or item.returns is not None or not item.ends("jumpr"):
            return []
        if self._goes_home(item):
            return []
        self.table_jumps.append(place)
        found = self._seen(self.table_jumps)
        if len(found) > MOST_COMPARED:
            self.limit = max(self.limit, SWITCH_LIMIT)
        return found

    def _seen(self, jumps: Iterable[Place]) -> list[Place]:
        """Where some indirect jumps went, the most frequent place first."""
        counts = self._counts(jumps)
        return [(0, target) for target in sorted(counts, key=counts.__getitem__, reverse=True)]

    def _counts(self, jumps: Iterable[Place]) -> dict[int, int]:
        """How often they were seen to go where."""
        counts: dict[int, int] = {}
        for _, pc in jumps:
            for target, count in self.request.jumps.get(pc, {}).items():
                counts[target] = counts.get(target, 0) + count
        return counts

    @property
    def premature(self) -> bool:
        """It is not yet known well where the region's jumps through tables go."""
        if not self.table_jumps:
            return False
        return sum(self._counts(self.table_jumps).values()) < ENOUGH_SAMPLES

    def _goes_home(self, item: Lifted) -> bool:
        """A jump to a computed address is a return: by the link register or the stack."""
        value: Value | None = item.code.ops[-1].args[0]
        while value is not None and value.source is not None:
            op = value.source
            if op.name == "get":
                return register_of(op) in self.code.target.home
            value = next((a for a in op.args if a.source is not None), None)
        return False

    def _close(self, place: Place) -> None:
        """The limit is reached: go straight on if that leads back into the region.

        So the whole of a long loop is lifted, of a hash function's rounds for example.
        """
        frame, pc = place
        chain: dict[Place, Lifted] = {}
        while len(chain) < LONGEST_CHAIN and (frame, pc) not in chain:
            item = self.code.at(pc)
            if item is None or item.returns is not None or not item.successors:
                return
            chain[frame, pc] = replace(item)
            on = item.following if item.following in item.successors else item.successors[0]
            back = [
                s
                for s in item.successors
                if (frame, s) in self.lifted and self.goes_back((frame, pc), (frame, s))
            ]
            if back or (frame, on) in self.lifted:
                self.lifted.update(chain)
                return
            pc = on

    def _called(self, place: Place, item: Lifted, further: bool) -> list[Place]:
        """Go on behind a call, and in the function if it can be part of the region."""
        assert item.returns is not None
        if not self._has_run(item.returns):
            return []
        back = place[0], item.returns
        target, chain = item.call, self.frames[place[0]].chain
        if target is None or len(chain) >= INLINE_DEPTH or target in chain:
            return [back]
        room = self.limit * (REACH if further else 1) - len(self.lifted)
        if not self._size(target) <= min(room, INLINE_LIMIT):
            return [back]
        item.frame = self.add_frame(Frame((*chain, target), back))
        return [(item.frame, target), back]

    def _size(self, function: int) -> int:
        """Instructions of a function without those it calls; too many if not all are known."""
        if function not in self._sizes:
            seen: set[int] = set()
            work = [function]
            while work and len(seen) <= INLINE_LIMIT:
                pc = work.pop()
                if pc in seen:
                    continue
                seen.add(pc)
                item = self.code.at(pc)
                if item is not None:
                    work += [s for s in item.successors if s == item.following]
                    work += self._taken(item)
                    if item.returns is not None and self._has_run(item.returns):
                        work.append(item.returns)
            lifted = all(self.code.at(pc) is not None for pc in seen)
            self._sizes[function] = len(seen) if lifted else INLINE_LIMIT + 1
        return self._sizes[function]

    def entries(self) -> list[int]:
        """The head, and where calls come back to.

        Not the heads of inner loops: a loop that is entered in its middle is none for LLVM.
        """
        found = [self.request.head]
        for (frame, _), item in self.lifted.items():
            if frame == 0 and item.frame is None and (0, item.returns) in self.lifted:
                found.append(item.returns or 0)
        return list(dict.fromkeys(found))

    def goes_back(self, place: Place, other: Place) -> bool:
        """Control that goes to the other place of the same frame goes back."""
        return place[0] == other[0] and self._is_back(place[1], other[1])

    def goes_on(self, place: Place, other: Place) -> bool:
        """From the one instruction control always goes to the other."""
        item = self.lifted[place]
        ways = len(item.successors) + (item.call is not None)
        return ways == 1 and self.edges(place) == [other]

    def edges(self, place: Place) -> list[Place]:
        """The places of the region that control goes to from one."""
        frame, item = place[0], self.lifted[place]
        found = [self.goes_to(place, pc) for pc in item.successors]
        if item.call is not None:  # as op_jump goes
            inlined = item.frame or frame
            found.append((inlined if (inlined, item.call) in self.lifted else frame, item.call))
        found += self.jumps_from(place)
        return [other for other in found if other in self.lifted]

    def goes_to(self, place: Place, pc: int) -> Place:
        """Where an instruction that goes on at a guest address does so."""
        return self.ways.get((place, pc), (place[0], pc))

    def add_frame(self, frame: Frame) -> int:
        """The number of a new frame."""
        self.frames.append(frame)
        return len(self.frames) - 1

    def jumps_from(self, place: Place) -> list[Place]:
        """Where a jump to a computed address is likely to go in the region.

        From an inlined function to its call; where a function calls itself, behind that call;
        and where it was seen to go.
        """
        frame, item = place[0], self.lifted[place]
        if item.returns is not None or not item.ends("jumpr"):
            return []
        if place in self.table_jumps:
            return self.table_targets
        found = [self.frames[frame].back] if frame else []
        found += [(frame, pc) for pc in self._recursions.get(frame, ())]
        if frame == 0:
            found += self._seen([place])
        first: dict[int, Place] = {}
        for other in found:
            if other in self.lifted:
                first.setdefault(other[1], other)
        return list(first.values())[:MOST_COMPARED]

    @cached_property
    def table_targets(self) -> list[Place]:
        """Where the jumps through tables go, all of them."""
        return [other for other in self._seen(self.table_jumps) if other in self.lifted]

    def shares_switch(self, place: Place) -> bool:
        """It is a jump to one of many places: such jumps of a region are one switch."""
        return place in self.table_jumps and len(self.table_targets) > MOST_COMPARED

    @cached_property
    def _recursions(self) -> dict[int, list[int]]:
        """By frame: where the calls in it that stay in it come back to."""
        found: dict[int, list[int]] = {}
        for (frame, _), item in self.lifted.items():
            stays = item.frame is None and (frame, item.call) in self.lifted
            if stays and item.returns is not None:
                found.setdefault(frame, []).append(item.returns)
        return found


def lift(target: Target, decoder: Decoder, read: ReadCode, request: Request) -> Lifter:
    """Lift the region of a head, or that of the outermost loop around it which may take its
    place: it has to contain the head."""

    code = GuestCode(target, decoder, read, request.forbidden)

    def lifted(head: int) -> Lifter:
        asked = replace(request, head=head)
        found = Lifter(code, asked)
        found.run()
        if found.is_inner_loop:
            outer = frozenset(found.around)
            found = Lifter(code, asked, outer)
            found.run()
            found.around |= outer
        return found

    def around(inner: Lifter) -> Lifter | None:
        for head in sorted(inner.around - (request.made or frozenset()), key=decoder.address_of):
            if request.has_run(decoder.address_of(head)):
                outer = lifted(head)
                if (0, request.head) in outer.lifted and not outer.table_jumps:
                    return outer
        return None

    found = lifted(request.head)
    while request.made is not None and (outer := around(found)) is not None:
        found = outer
    turn_loops(found)
    return found
