"""Windows (windows.py) as LLVM text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from jitemu.backend_llvm.boundary import BoundaryLowering
from jitemu.backend_llvm.convention import KEEPING
from jitemu.backend_llvm.counted import Counted
from jitemu.backend_llvm.guest_memory import ENTRY_SHIFT
from jitemu.backend_llvm.loops import Loop, Place
from jitemu.backend_llvm.registers import Register
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.backend_llvm.windows import Span, Steady, Window, Windows
from jitemu.ir.code import Op
from jitemu.ir.state import TLB_ENTRIES

PROBES = ("window.read", "window.write")
"""What is called for a window that is read, or written."""
CALL = "memory(none) nounwind willreturn"


class WindowLowering(BoundaryLowering):
    """Looks for windows, and leaves where one is not found."""

    frame: int
    current: int
    windows: Windows | None
    """None in user mode."""
    steady: dict[Place, list[Steady]]
    """By the head of a counted loop."""
    last_found: dict[tuple[Register, Span, bool], str]
    """Of windows that move: the name of the variables for the page found last."""

    def plan_windows(
        self,
        edges: Mapping[Place, list[Place]],
        loops: Iterable[Loop],
        counted: Mapping[Place, Counted],
        goes_on: Callable[[Place, Place], bool],
    ) -> None:
        """Decide where they are looked for; in user mode there are none."""
        self.windows, self.steady, self.last_found = None, {}, {}
        if self.target.mode == "user":
            return
        starts = [(0, pc) for pc in self.entries]
        self.windows = Windows(self.lifted, edges, starts, goes_on, loops)
        for loop in loops:
            found = counted.get(loop.latch)
            if found is None or found.head != loop.head or loop.nests:
                continue
            if isinstance(found.step, int):
                self.steady[loop.head] = self.windows.take_steady(loop, edges)
        steady = (each.window for found in self.steady.values() for each in found)
        placed = (window for found in self.windows.at.values() for window in found)
        for number, window in enumerate((*steady, *placed)):
            window.distance = f"%window.{number}"  # an access may be lowered before the look

    def look_for_windows(self, place: Place) -> None:
        """Before an instruction: leave where what is to be accessed is not in the TLB."""
        found = self.windows.at.get(place, []) if self.windows is not None else []
        for window in found:
            find = self._find_moving if window.moves else self._find
            self._name(window, find(window, plain_label(place)))

    def _name(self, window: Window, distance: str) -> None:
        self.put(f"{window.distance} = getelementptr i8, ptr {distance}, i64 0")

    def shortens(self, head: Place) -> bool:
        """Windows that end may end a chunk of the loop with this head."""
        return any(steady.step for steady in self.steady.get(head, ()))

    def find_steady(self, head: Place, chunk: str) -> str:
        """Before a chunk of a loop with this head, find windows; the iterations for which they
        and the chunk last."""
        for number, steady in enumerate(self.steady.get(head, ())):
            chunk = self._find_steady(steady, head, f"room.{number}.{head[0]}.{head[1]:x}", chunk)
        return chunk

    def _find_steady(self, steady: Steady, head: Place, name: str, chunk: str) -> str:
        base = self.read(steady.window.register)
        if steady.ahead:
            base = self.temp(f"add i64 {base}, {steady.ahead}")
        self._name(steady.window, self._find(steady.window, plain_label(head), base))
        if not steady.step:
            return chunk
        self.lines += _room_text(steady, base, name)
        return self.temp(f"call i64 @llvm.umin.i64(i64 {chunk}, i64 %{name})")

    def _find(self, window: Window, plain: str, base: str = "") -> str:
        """A window's distance to the host's memory; leave by ``plain`` where there is none."""
        low, last = window.span
        base = f"i64 {base or self.read(window.register)}"
        call = f"call ptr @{PROBES[window.write]}(ptr %s, {base}, i64 {low}, i64 {last}) {CALL}"
        distance, go = self.temp(call), self.label()
        missing = self.temp(f"icmp eq ptr {distance}, null")
        self.put(f"br i1 {missing}, label %{plain}, label %{go}, !prof !8")
        self.put(f"{go}:")
        return distance

    def _find_moving(self, window: Window, plain: str) -> str:
        """The same, in the page found last if it is there."""
        low, last = window.span
        key = window.register, window.span, window.write
        name = self.last_found.setdefault(key, f"%last.{len(self.last_found)}")
        first = self.temp(f"add i64 {self.read(window.register)}, {low}")
        page = self.temp(f"load i64, ptr {name}.page")
        inside = self.temp(f"add i64 {first}, {page}")
        same = self.temp(f"icmp ult i64 {inside}, {4096 - (last - low)}")
        go, other = self.label(), self.label()
        self.put(f"br i1 {same}, label %{go}, label %{other}, !prof !7")
        self.put(f"{other}:")
        found = self._find(window, plain)
        start = self.temp(f"and i64 {first}, -4096")
        negative = self.temp(f"sub i64 0, {start}")
        self.put(f"store i64 {negative}, ptr {name}.page")
        self.put(f"store ptr {found}, ptr {name}.distance")
        self.put(f"br label %{go}")
        self.put(f"{go}:")
        return self.temp(f"load ptr, ptr {name}.distance")

    def looks_at(self) -> list[Place]:
        """Before what windows are looked for."""
        found = [place for place, steady in self.steady.items() if steady]
        if self.windows is not None:
            found += [place for place, windows in self.windows.at.items() if windows]
        return list(dict.fromkeys(found))

    def in_window(self, op: Op) -> str | None:
        """The host's pointer of an access whose window has been found."""
        if (
            self.windows is None
            or (window := self.windows.of((self.frame, self.current), op)) is None
        ):
            return None
        return self.temp(f"getelementptr i8, ptr {window.distance}, i64 {self.ref(op.args[0])}")

    def window_functions(self) -> tuple[str, str]:
        """LLVM text: declarations of what is called for windows, and what they become late."""
        if not self.looks_at():
            return "", ""
        declared = "".join(f"declare ptr @{probe}(ptr, i64, i64, i64)\n" for probe in PROBES)
        return declared, _probes(self.target, self.request.holes["tlb"], self.request.holes["mode"])

    def window_variables(self) -> list[str]:
        """LLVM text before everything else."""
        if not self.last_found:
            return []
        lines = _nowhere_text(self.layout.of("ctx_secret"))
        for last in self.last_found.values():
            lines.append(f"{last}.page = alloca i64\n{last}.distance = alloca ptr")
            lines.append(
                f"store i64 %nowhere, ptr {last}.page\nstore ptr null, ptr {last}.distance"
            )
        return lines


def plain_label(place: Place) -> str:
    """Of the exit to the block of an instruction."""
    return f"plain.{place[0]}.{place[1]:x}"


def _room_text(steady: Steady, base: str, name: str) -> list[str]:
    """LLVM text of ``%{name}``: so many iterations, at least 1, stay in the window's page."""
    low, last = steady.window.span
    step, up = abs(steady.step), steady.step > 0
    inside = f"%{name}.inside"
    lines = [
        f"%{name}.at = add i64 {base}, {last if up else low}",
        f"{inside} = and i64 %{name}.at, 4095",
    ]
    if up:
        lines.append(f"%{name}.room = sub i64 4095, {inside}")
        inside = f"%{name}.room"
    lines.append(f"%{name}.steps = udiv i64 {inside}, {step}")
    lines.append(f"%{name} = add i64 %{name}.steps, 1")
    return lines


def _nowhere_text(secret: int) -> list[str]:
    """LLVM text of ``%nowhere``: 0 less a page that no address space has, so that no access is
    in it by mistake; and one that the guest does not know.  ``secret``: the word's offset."""
    return [
        f"%nowhere.at = getelementptr i8, ptr %s, i64 {secret}",
        "%nowhere.in = load i64, ptr %nowhere.at",
        f"%nowhere.low = and i64 %nowhere.in, {(1 << 62) - 4096}",
        f"%nowhere.page = or i64 %nowhere.low, {1 << 62}",
        "%nowhere = sub i64 0, %nowhere.page",
    ]


_PROBE = """
define linkonce_odr ptr @{name}(ptr %s, i64 %base, i64 %low, i64 %last) alwaysinline nounwind {{
%first = add i64 %base, %low
%end = add i64 %base, %last
%number = lshr i64 %first, {shift}
%index = and i64 %number, {mask}
%table = getelementptr i8, ptr %s, i64 {tlb}
%entry = getelementptr i8, ptr %table, i64 %index
%tag.at = getelementptr i8, ptr %entry, i64 {tag}
%tag = load i64, ptr %tag.at
%page = and i64 %end, -4096
%there = icmp eq i64 %tag, %page
br i1 %there, label %hit, label %miss, !prof !7
hit:
%distance.at = getelementptr i8, ptr %entry, i64 16
%distance = load ptr, ptr %distance.at, !nonnull !20
ret ptr %distance
miss:
%function.at = getelementptr i8, ptr %s, i64 {function}
%function = load ptr, ptr %function.at
%found = call {keeping} i64 %function(ptr %s, i64 %first, i64 %end, i64 {write}, i64 {mode})
%other = inttoptr i64 %found to ptr
ret ptr %other
}}
"""
_METADATA = """
!7 = !{!"branch_weights", i32 100000, i32 1}
!20 = !{}
"""


def _probes(target: Target, tlb: int, mode: int) -> str:
    """LLVM text of what the calls for windows become.  ``tlb``: the TLB's offset in the state."""
    function = target.layout.of("functions", target.functions["find_window"])
    places = {"tlb": tlb, "function": function, "mode": mode, "keeping": KEEPING}
    places |= {"shift": 12 - ENTRY_SHIFT, "mask": TLB_ENTRIES - 1 << ENTRY_SHIFT}
    return _METADATA + "".join(
        _PROBE.format(name=name, write=write, tag=8 * write, **places)
        for write, name in enumerate(PROBES)
    )
