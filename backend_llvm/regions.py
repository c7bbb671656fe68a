"""Regions: hot code of many blocks lifted to micro-ops together and optimised by LLVM.

Inside a region guest registers are LLVM variables (which become SSA values); it is
entered and left through the convention of all translated code.  Instructions that call
into the runtime (CSRs, system calls) are not lifted: the region ends before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jitemu.backend_llvm.accesses import AccessLowering
from jitemu.backend_llvm.chunks import compare_text, count_text, limit_text
from jitemu.backend_llvm.convention import CC, arguments
from jitemu.backend_llvm.counted import Counted, find_counted
from jitemu.backend_llvm.divisors import guessed_divisor
from jitemu.backend_llvm.lifted import Lifted
from jitemu.backend_llvm.lifting import Lifter, lift
from jitemu.backend_llvm.loops import Place, find_back, find_loops
from jitemu.backend_llvm.lowering import declarations
from jitemu.backend_llvm.objects import Blob, Region, read_object
from jitemu.backend_llvm.polls import polled_edges
from jitemu.backend_llvm.request import ReadCode, Request
from jitemu.backend_llvm.stencils import METADATA, Target
from jitemu.backend_llvm.totals import find_totals
from jitemu.backend_llvm.window_lowering import plain_label
from jitemu.ir.code import Op, Value
from jitemu.isa import Decoder

MASK64 = (1 << 64) - 1


class RegionLowering(AccessLowering):
    """Lowers a region's instructions into one LLVM function."""

    def __init__(
        self, target: Target, request: Request, lifter: Lifter, entries: list[int]
    ) -> None:
        edges = {place: lifter.edges(place) for place in lifter.lifted}
        super().__init__(target, request, lifter.lifted, _with_exits(lifter, edges), entries)
        self.lifter = lifter
        heads = [(0, pc) for pc in entries]
        back = find_back(edges, heads)
        loops = find_loops(edges, heads, back)
        counted = find_counted(self.lifted, edges, loops)
        jumps = [(p, o) for p, others in edges.items() for o in others if lifter.goes_back(p, o)]
        self.polled = polled_edges(edges, back, jumps, loops, counted)

        def goes_on(place: Place, other: Place) -> bool:
            return lifter.goes_on(place, other) and (place, other) not in self.polled

        self.plan_windows(edges, loops, counted, goes_on)
        whole = {latch: loop for latch, loop in counted.items() if not self.shortens(loop.head)}
        self.counted = counted | find_totals(whole, loops, self.lifted, edges, heads)
        """By the branch back."""
        self.limits = {loop.head: loop for loop in self.counted.values()}
        self.unrolled: list[int] = []
        """Of each loop that LLVM is told to unroll: how many iterations become one."""
        self.exits: dict[int, set[Place]] = {}
        """Guest addresses outside, and the instructions that go there."""
        self.switched: list[Place] = []
        """Jumps that share the switch."""
        self.pending: dict[Place, set[Place]] = {}
        """Places that control goes back to, and from where."""
        self.frame = 0
        self.current = 0
        self.following = 0
        self.item: Lifted | None = None

    def op(self, op: Op) -> None:
        guess = guessed_divisor(op, self.request.seen)
        if guess is None:
            super().op(op)
        else:
            self._divide(op, guess)

    def _divide(self, op: Op, guess: Value) -> None:
        """By the divisor that is likely, or by any other."""
        assert op.result is not None
        kind, likely, other, done = self.typed(op.args[1]), *(self.label() for _ in range(3))
        same = self.temp(f"icmp eq {kind}, {self.ref(guess)}")
        self.put(f"br i1 {same}, label %{likely}, label %{other}, !prof !7")
        quotients: list[str] = []
        for label, divisor in ((likely, guess), (other, op.args[1])):
            division = Op(op.name, op.type, (op.args[0], divisor), op.attrs)
            division.result = op.result
            self.put(f"{label}:")
            super().op(division)
            quotients.append(self.names[id(op.result)])
            self.put(f"br label %{done}")
        self.put(f"{done}:")
        ways = f"[ {quotients[0]}, %{likely} ], [ {quotients[1]}, %{other} ]"
        self.names[id(op.result)] = self.temp(f"phi {op.type} {ways}")

    # Control

    def _go(self, pc: int) -> str:
        """The label of an instruction of the same frame, or of the exit to elsewhere."""
        own = self.frame, self.current
        place = self.lifter.goes_to(own, pc)
        if place not in self.lifted:
            self.exits.setdefault(pc, set()).add(own)
            return self.way(f"out.{pc:x}", _outside(pc))
        return self._way([own], place)

    def _way(self, sources: list[Place], place: Place) -> str:
        """The label of an instruction for those that go there, by a look for requests or not."""
        if any((source, place) in self.polled for source in sources):
            self.pending.setdefault(place, set()).update(sources)
            return self.way(f"back.{_name(place)}", place)
        return self.way(f"pc.{_name(place)}", place)

    def op_jump(self, op: Op) -> None:
        target = op.args[0].const or 0
        frame = self.item.frame if self.item is not None else None
        if frame is not None and (frame, target) in self.lifted:
            self.put(f"br label %{self._way([], (frame, target))}")
        else:
            self.put(f"br label %{self._go(target)}")

    def op_branch(self, op: Op) -> None:
        taken, other = self._go(op.args[1].const or 0), self._go(self.following)
        self._go_on()
        self.put(f"br i1 {self.ref(op.args[0])}, label %{taken}, label %{other}")

    def _go_on(self) -> None:
        """At a counted loop's branch: the next iteration of the same chunk."""
        loop = self.counted.get((self.frame, self.current))
        if loop is None:
            return
        name = _name(loop.head)
        limit, out = self.temp(f"load i64, ptr %limit.{name}"), self.label()
        goes_on = f"goes.on.{name}"
        if isinstance(loop.step, int):
            left = self.temp(f"sub i64 {limit}, 1")
            self.put(f"store i64 {left}, ptr %limit.{name}")
            self.put(f"%{goes_on} = icmp ne i64 {left}, 0")
        else:
            value, step = self.read(loop.register), self.read(loop.step)
            self.lines += compare_text(loop, value, step, limit, goes_on)
        unrolled = self._unrolled(loop.copies)
        chunk = self.way(f"chunk.{name}", loop.head)
        self.put(f"br i1 %{goes_on}, label %{chunk}, label %{out}, !prof !7{unrolled}")
        self.put(f"{out}:")

    def _limit(self, loop: Counted) -> None:
        """At a counted loop's head: compute the limit or length of a chunk, and begin it."""
        name = _name(loop.head)
        if loop.total is not None:
            self.find_steady(loop.head, str(loop.total))  # shortens nothing
            self.put(f"store i64 {loop.total}, ptr %limit.{name}")
            self.put(f"br label %chunk.{name}\nchunk.{name}:")
            return
        fixed = isinstance(loop.bound, int)
        bound = self.signed(loop.bound & MASK64) if fixed else self.read(loop.bound)
        start = self.read(loop.register)
        if isinstance(loop.step, int):
            self.lines += count_text(loop, start, bound, f"next.{name}")
        else:
            if loop.step in self.written and not self.is_short(loop.step):
                # or LLVM would have its multiples as variables of the loop around
                same = self.temp(f'call i64 asm "", "=r,0"(i64 {self.read(loop.step)})')
                self.put(f"store i64 {same}, ptr {self.variable(loop.step)}")
            self.lines += limit_text(loop, start, self.read(loop.step), bound, f"next.{name}")
        chunk = self.find_steady(loop.head, f"%next.{name}")
        # LLVM shall not take the limit apart again in the loop
        opaque = self.temp(f'call i64 asm "", "=r,0"(i64 {chunk})')
        self.put(f"store i64 {opaque}, ptr %limit.{name}")
        self.put(f"br label %chunk.{name}")
        self.put(f"chunk.{name}:")

    def _unrolled(self, copies: int) -> str:
        """Of a branch back: LLVM is to make so many iterations one."""
        if copies == 1:
            return ""
        self.unrolled.append(copies)
        return f", !llvm.loop !{FIRST_LOOP + 2 * len(self.unrolled)}"

    def op_skip(self, op: Op) -> None:
        self._go_on()
        go = self.label()
        out = self._go(self.following)
        self.put(f"br i1 {self.ref(op.args[0])}, label %{out}, label %{go}")
        self.put(f"{go}:")

    def op_jumpr(self, op: Op) -> None:
        target, own = self.ref(op.args[0]), (self.frame, self.current)
        if self.lifter.shares_switch(own):
            self.switched.append(own)
            self.put(f"store i64 {target}, ptr %target")
            self.put(f"br label %{self.way('switch', _SWITCH)}")
            return
        for back in self.lifter.jumps_from(own):
            elsewhere = self.label()
            same = self.temp(f"icmp eq i64 {target}, {self.signed(back[1])}")
            inside = back[0] == self.frame
            label = self._go(back[1]) if inside else self._way([], back)
            self.put(f"br i1 {same}, label %{label}, label %{elsewhere}")
            self.put(f"{elsewhere}:")
        self._leave_for(target, [own])

    def _leave_for(self, target: str, sources: Sequence[Place]) -> None:
        """Leave for a computed address.  Leaving is sampled, unlike what stays in regions: who
        leaves this way often needs a region that knows where to."""
        self.reload(self.label(), sources)
        self.set_word("pc", target)
        out, probe = self.label(), self.label()
        self.put(f"br i1 {super()._requested()}, label %{out}, label %{probe}, !prof !8")
        self.put(f"{probe}:")
        self._probe(target)
        self.put(f"{out}:")
        self.set_word("jump_from", self.signed(sources[0][1]))
        self.tail_word("look", self.pins)

    def _sampled(self, pc: int) -> None:
        """Before an exit: look around if that is asked for."""
        out, go = self.label(), self.label()
        self.put(f"br i1 {super()._requested()}, label %{out}, label %{go}, !prof !8")
        self.put(f"{out}:")
        self.set_word("pc", self.signed(pc))
        self.tail_word("look", self.pins)
        self.put(f"{go}:")

    def _switch_jump(self) -> None:
        """The jump of all those with many likely targets."""
        self.begin(_SWITCH)
        other = self.label()
        cases = " ".join(
            f"i64 {self.signed(place[1])}, label %{self._way(self.switched, place)}"
            for place in self.lifter.table_targets
        )
        target = "%switch.target"
        self.put(f"switch:\n{target} = load i64, ptr %target")
        self.put(f"switch i64 {target}, label %{other} [ {cases} ]\n{other}:")
        self._leave_for(target, self.switched)

    def _requested(self) -> str:
        value = self.temp("load atomic i64, ptr @leave monotonic, align 8")
        return self.temp(f"icmp ne i64 {value}, 0")

    # The function

    def text(self) -> str:
        """LLVM text of the region's function."""
        for place, item in self.lifted.items():
            self.item = item
            self.begin(place)
            self.frame, pc = place
            self.current, self.following = pc, item.following
            self.put(f"pc.{_name(place)}:")
            if place in self.limits:
                self._limit(self.limits[place])
            self.look_for_windows(place)
            used = any(op.name in ("set", "vset", "setfield") for op in item.code.ops)
            self.loads = "load" if used and not self.exact else "load volatile"
            self.block(item.code)
            if not item.code.ops or item.code.ops[-1].name not in ("jump", "branch", "jumpr"):
                self.put(f"br label %{self._go(self.following)}")
        self._tails()
        body = self.with_exits(self.lines)
        # so that reads of the state can be moved in front of branches
        state = f"ptr align 8 dereferenceable({self.layout.size}) %s"
        parameters = self.parameters.replace("ptr %s", state, 1)
        head = f"define internal {CC} void @region({parameters}) nounwind {ATTRIBUTES} {{"
        limits = [f"%limit.{_name(head)} = alloca i64" for head in self.limits]
        limits.append("%target = alloca i64")
        limits += self.window_variables()
        entry = self.entry_code()
        wide = self.wide_code() if "begin:" in entry else []
        return "\n".join([head, *limits, *entry, *body, *wide, "}", *self.entry_functions()])

    def _tails(self) -> None:
        if self.switched:
            self._switch_jump()
        for place, sources in sorted(self.pending.items()):
            out, name = self.label(), _name(place)
            self.begin(place)
            self.put(f"back.{name}:")
            self.put(f"br i1 {self._requested()}, label %{out}, label %pc.{name}, !prof !8")
            self.put(f"{out}:")
            self.reload(f"back.{name}", sources)
            self.set_word("pc", self.signed(place[1]))
            self.tail_word("look", self.pins)
        for number, (pc, sources) in enumerate(self.exits.items()):
            self.begin(_outside(pc))
            self.put(f"out.{pc:x}:")
            self.reload(f"out.{pc:x}", sources)
            if pc in self.lifter.around:
                self._sampled(pc)
            self.put(f'musttail call {CC} void @"exit.{number}"({arguments(self.pins)})')
            self.put("ret void")
        for place in self.looks_at():
            self.begin(place)
            self.put(f"{plain_label(place)}:")
            self.reload(plain_label(place), [place])
            self.set_word("pc", self.signed(place[1]))
            self.tail_word("plain", self.pins)
        self.lines += self.extensions()
        if self.target.mode == "system":
            self.put("trap:")
            self.reload("trap", self.lifted)
            self.tail_word("dispatch", self.pins)


_SWITCH = -1, 0
"""Where the jumps that share the switch meet."""


def _outside(pc: int) -> Place:
    """The exit to a guest address."""
    return -2, pc


def _with_exits(lifter: Lifter, edges: Mapping[Place, list[Place]]) -> dict[Place, list[Place]]:
    """Where control goes from each place, exits and what jumps share included."""
    found = {place: list(others) for place, others in edges.items()}
    for place, item in lifter.lifted.items():
        for pc in (*item.successors, *([] if item.call is None else [item.call])):
            if lifter.goes_to(place, pc) not in edges:
                found[place].append(_outside(pc))
        if lifter.shares_switch(place):
            found[place].append(_SWITCH)
            found[_SWITCH] = lifter.table_targets
    outside = {other for others in found.values() for other in others if other not in found}
    return found | {place: [] for place in outside}


def _name(place: Place) -> str:
    return f"{place[0]}.{place[1]:x}"


ATTRIBUTES = '"no-builtins" null_pointer_is_valid'
"""Guest address 0 is an address like others."""

PASSES = "region"
"""The pipeline of ``compile_text`` for regions."""

FIRST_LOOP = 100
"""Number of the metadata before those of loops, two for each."""

_ALIAS = """
!11 = !{!13}
!12 = !{!14}
!13 = distinct !{!13, !15, !"guest memory"}
!14 = distinct !{!14, !15, !"state"}
!15 = distinct !{!15, !"region"}
!20 = !{}
"""


def region_text(
    target: Target, request: Request, lifter: Lifter, entries: list[int]
) -> tuple[str, str, list[int]]:
    """(LLVM text of the module, that of what is inlined at last, guest targets of its exits)."""
    low = RegionLowering(target, request, lifter, entries)
    body = low.text()
    params = low.parameters
    exits = list(low.exits)
    names = [f"exit.{n}" for n in range(len(exits))]
    if "wide:" in body:
        names += [f"wide.{n}" for n in range(len(entries))]
    head = "".join(f'declare dso_local {CC} void @"{n}"({params})\n' for n in names)
    if "constrained" in body:
        body = body.replace(") nounwind", ") nounwind strictfp", 1)
    head += "@leave = external dso_local global i64\n"
    metadata = METADATA + _ALIAS
    for number, copies in enumerate(low.unrolled, 1):
        n = FIRST_LOOP + 2 * number
        metadata += f"!{n} = distinct !{{!{n}, !{n + 1}}}\n"
        metadata += f'!{n + 1} = !{{!"llvm.loop.unroll.count", i32 {copies}}}\n'
    declared, late = low.window_functions()
    return head + declared + declarations(body) + "\n" + body + metadata, late, exits


@dataclass(frozen=True)
class Draft:
    """A region before LLVM: its module, and what becomes of the code made from that."""

    request: Request
    text: str
    late: str
    """Functions that are inlined at last."""
    exits: list[int]
    entries: list[int]
    covered: list[tuple[int, int]]
    instructions: int
    unreached: list[int]

    def region(self, blob: Blob) -> Region:
        """The region, with its code."""
        rest = (self.exits, self.entries, self.covered, self.instructions, self.unreached)
        return Region(self.request.head, blob, *rest)


def draft_region(
    target: Target, decoder: Decoder, read: ReadCode, request: Request
) -> Draft | None:
    """Lift; None if there is nothing to lift at the head, or not yet."""
    lifter = lift(target, decoder, read, request)
    lifted, request = lifter.lifted, lifter.request
    if not lifted or (request.patient and lifter.premature):
        return None
    entries = lifter.entries()
    text, late, exits = region_text(target, request, lifter, entries)
    inside = {pc for _, pc in lifted}
    covered = merge_spans((decoder.address_of(item.pc), item.length) for item in lifted.values())
    unreached = [pc for pc in lifter.unreached if pc not in inside]
    return Draft(request, text, late, exits, entries, covered, len(lifted), unreached)


def compile_region(
    target: Target, decoder: Decoder, read: ReadCode, request: Request
) -> Region | None:
    """Lift and compile; None if there is nothing to lift at the head, or not yet."""
    from jitemu.backend_llvm.target import compile_text

    draft = draft_region(target, decoder, read, request)
    if draft is None:
        return None
    return draft.region(read_object(compile_text(draft.text, PASSES, late=draft.late)))


def merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same (address, bytes) in order, and those that touch as one."""
    merged: list[tuple[int, int]] = []
    for start, size in sorted(spans):
        if merged and sum(merged[-1]) >= start:
            first = merged[-1][0]
            merged[-1] = (first, max(sum(merged[-1]), start + size) - first)
        else:
            merged.append((start, size))
    return merged
