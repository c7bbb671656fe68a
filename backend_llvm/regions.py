"""Regions: hot code of many blocks lifted to micro-ops together and optimised by LLVM.

Inside a region guest registers are LLVM variables (which become SSA values); it is
entered and left through the convention of all translated code.  Instructions that call
into the runtime (CSRs, system calls) are not lifted: the region ends before them.
"""

from __future__ import annotations

from collections.abc import Iterable

from jitemu.backend_llvm.banks import Banks
from jitemu.backend_llvm.convention import CC, arguments, parameters
from jitemu.backend_llvm.counted import Counted, compare_text, find_counted, limit_text
from jitemu.backend_llvm.lifting import Lifted, Lifter, ReadCode, Request
from jitemu.backend_llvm.loops import Place, find_loops
from jitemu.backend_llvm.lowering import declarations, llvm_type
from jitemu.backend_llvm.narrow import Register, narrow_registers
from jitemu.backend_llvm.objects import Region, read_object
from jitemu.backend_llvm.stencils import METADATA, Key, StencilLowering, Target
from jitemu.ir.code import WIDTHS, Op
from jitemu.isa import Decoder

MASK64 = (1 << 64) - 1


class RegionLowering(StencilLowering):
    """Lowers a region's instructions into one LLVM function."""

    def __init__(
        self, target: Target, request: Request, lifter: Lifter, entries: list[int]
    ) -> None:
        super().__init__(target, Key("region", ""), (), cold=False)
        self.branches = True
        self.goes_back = lifter.goes_back
        self.request = request
        self.lifted = lifter.lifted
        self.banks = Banks(target, [item.code for item in self.lifted.values()])
        self.frames = lifter.frames
        self.entries = entries
        self.narrow = narrow_registers(item.code for item in self.lifted.values())
        edges = {place: lifter.edges(place) for place in self.lifted}
        loops = find_loops(edges, [(0, pc) for pc in entries], lifter.goes_back)
        self.counted = find_counted(self.lifted, edges, loops)
        """By the branch back."""
        self.limits = {loop.head: loop for loop in self.counted.values()}
        self.unrolled: list[int] = []
        """Of each loop that LLVM is told to unroll: how many iterations become one."""
        self.settings: set[tuple[str, int]] = set()
        """(word of the state, bits that must be 0 in it)"""
        self.exits: dict[int, int] = {}
        self.pending: set[Place] = set()
        self.registers: set[Register] = set()
        self.dirty: set[Register] = set()
        self.frame = 0
        self.current = 0
        self.following = 0
        self.item: Lifted | None = None
        self.registers.update((target.pinned_class, pin) for pin in target.pinned)

    # Registers are variables

    @staticmethod
    def _variable(kind: object, index: object) -> str:
        return f"%{kind}.{index}"

    def op_get(self, op: Op) -> str:
        kind, index = op.attrs
        self.registers.add((str(kind), int(index)))
        return self._read((str(kind), int(index)))

    def _read(self, register: Register) -> str:
        """A register's 64-bit value."""
        name = self._variable(*register)
        if not self._is_short(register):
            return self.temp(f"load i64, ptr {name}")
        half = self.temp(f"load i32, ptr {name}")
        return self.temp(f"{self._extension(register)} i32 {half} to i64")

    def _is_short(self, register: Register) -> bool:
        """Its variable has 32 bits."""
        return register in self.narrow or self._is_word(register)

    def _is_word(self, register: Register) -> bool:
        kind, index = register
        return index < self.target.classes[kind].words

    def _extension(self, register: Register) -> str:
        """How the variable becomes the register's 64 bits."""
        return "zext" if self._is_word(register) else "sext"

    def op_set(self, op: Op) -> None:
        kind, index = op.attrs
        self._note(str(kind), int(index), self.ref(op.args[0]))
        self.registers.add((str(kind), int(index)))
        self.dirty.add((str(kind), int(index)))
        name, value = self._variable(kind, index), self.ref(op.args[0])
        if self._is_short((str(kind), int(index))):
            self.put(f"store i32 {self.temp(f'trunc i64 {value} to i32')}, ptr {name}")
        else:
            self.put(f"store i64 {value}, ptr {name}")

    def op_unusual(self, op: Op) -> str:
        """0: at the entry the state's word is checked, and nothing in a region changes it."""
        self.settings.add((str(op.attrs[0]), op.args[0].const or 0))
        return "false"

    def op_vget(self, op: Op) -> str:
        return self.banks.get(self, op)

    def op_vset(self, op: Op) -> None:
        self.banks.set(self, op)
        if self._exact:
            at = self.temp(f"getelementptr i8, ptr %s, i64 {self.banks.state_offset(op)}")
            self.put(f"store {self.typed(op.args[0])}, ptr {at}, align 1")

    # What a handler of faults sees: the registers in the state and pc, at each access

    @property
    def _exact(self) -> int:
        return self.request.holes.get("exact", 0)

    def _note(self, kind: str, index: int, value: str) -> None:
        """A register's value for the fault handler; pinned ones lie in ``scratch``, as the
        exit from a fault writes host registers over those of the state."""
        if self._exact:
            place = (kind, index)
            if self._is_pinned(place):
                place = ("scratch", self.target.pinned.index(index))
            self.put(f"store i64 {value}, ptr {self.word(*place)}")

    def _note_place(self) -> None:
        """The next access may fault: what was noted stays before it."""
        if self._exact:
            self.set_word("pc", self._signed(self.current))
            self.put('fence syncscope("singlethread") seq_cst')

    def _is_pinned(self, register: tuple[str, int]) -> bool:
        kind, index = register
        return kind == self.target.pinned_class and index in self.target.pinned

    # Control

    def _go(self, pc: int) -> str:
        """The label of an instruction of the same frame, or of the exit to elsewhere."""
        place = self.frame, pc
        if place not in self.lifted:
            self.exits.setdefault(pc, len(self.exits))
            return f"out.{pc:x}"
        if self.goes_back((self.frame, self.current), place):
            self.pending.add(place)
            return f"back.{_name(place)}"
        return f"pc.{_name(place)}"

    def op_jump(self, op: Op) -> None:
        target = op.args[0].const or 0
        frame = self.item.frame if self.item is not None else None
        if frame is not None and (frame, target) in self.lifted:
            self.put(f"br label %pc.{_name((frame, target))}")
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
        value, step = self._read(loop.register), self._fixed(loop.step)
        goes_on = f"goes.on.{name}"
        self.lines += compare_text(loop, value, step, limit, goes_on)
        unrolled = self._unrolled(loop.copies)
        self.put(f"br i1 %{goes_on}, label %chunk.{name}, label %{out}, !prof !7{unrolled}")
        self.put(f"{out}:")

    def _fixed(self, operand: int | Register) -> str:
        """A counted loop's bound or step."""
        return self._signed(operand & MASK64) if isinstance(operand, int) else self._read(operand)

    def _limit(self, loop: Counted) -> None:
        """At a counted loop's head: compute the limit of a chunk, and begin it."""
        bound, step = self._fixed(loop.bound), self._fixed(loop.step)
        name = _name(loop.head)
        self.lines += limit_text(loop, self._read(loop.register), step, bound, f"next.{name}")
        # LLVM shall not take the limit apart again in the loop
        opaque = self.temp(f'call i64 asm "", "=r,0"(i64 %next.{name})')
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
        target = self.ref(op.args[0])
        back = self.frames[self.frame].back
        returning = self.frame and self.item is not None and self.item.returns is None
        if returning and back in self.lifted:
            elsewhere = self.label()
            same = self.temp(f"icmp eq i64 {target}, {self._signed(back[1])}")
            labels = f"label %pc.{_name(back)}, label %{elsewhere}"
            self.put(f"br i1 {same}, {labels}, !prof !7")
            self.put(f"{elsewhere}:")
        self._reload()
        self.set_word("pc", target)
        out, probe = self.label(), self.label()
        self.put(f"br i1 {self._requested()}, label %{out}, label %{probe}, !prof !8")
        self.put(f"{probe}:")
        self._probe(target)
        self.put(f"{out}:")
        self.tail_word("look", self.pins)

    def _requested(self) -> str:
        value = self.temp("load atomic i64, ptr @leave monotonic, align 8")
        return self.temp(f"icmp ne i64 {value}, 0")

    def _reload(self) -> None:
        """Write the state's registers back and take the pinned ones for a tail call."""
        self.put("@@WRITEBACK")
        self.pins = [self._read((self.target.pinned_class, r)) for r in self.target.pinned]

    # Memory

    @staticmethod
    def hole(name: str) -> str:
        raise NotImplementedError

    def pointer(self, address: str, size: int, write: bool, atomic: bool) -> str:
        if self.target.mode == "user":
            self._note_place()
            return self.temp(f"getelementptr i8, {self.ptr} null, i64 {address}")
        hit, entry = self.tlb_probe(address, size, write, atomic, str(self.request.holes["tlb"]))
        fast, slow, done = self.label(), self.label(), self.label()
        self.put(f"br i1 {hit}, label %{fast}, label %{slow}, !prof !7")
        self.put(f"{slow}:")
        self.set_word("pc", self._signed(self.current))
        host = self._native("slow_address", address, str(size), self._mode())
        self._leave_trapped()
        at = self.temp(f"inttoptr i64 {host} to ptr")
        last = self.label()
        self.put(f"br label %{last}")
        self.put(f"{last}:")
        self.put(f"br label %{done}")
        self.put(f"{fast}:")
        quick = self.tlb_pointer(entry, address)
        self.put(f"br label %{done}")
        self.put(f"{done}:")
        return self.temp(f"phi ptr [ {quick}, %{fast} ], [ {at}, %{last} ]")

    @staticmethod
    def _signed(value: int) -> str:
        return str(value - (1 << 64) if value >> 63 else value)

    def _mode(self) -> str:
        return str(self.request.holes["mode"])

    def _leave_trapped(self) -> None:
        trapped = self.temp(f"icmp ne i64 {self.get_word('trapped')}, 0")
        go = self.label()
        self.put(f"br i1 {trapped}, label %trap, label %{go}, !prof !8")
        self.put(f"{go}:")

    def op_aligned(self, op: Op) -> str:
        """A branch costs less than arithmetic: to an access that faults."""
        address, wrong = map(self.ref, op.args)
        bad, go = self.label(), self.label()
        misaligned = self.temp(f"icmp ne i64 {wrong}, 0")
        self.put(f"br i1 {misaligned}, label %{bad}, label %{go}, !prof !8")
        self.put(f"{bad}:")
        p = self.pointer(super().aligned_address(op), 1, write=False, atomic=False)
        self.temp(f"load volatile i8, {self.ptr} {p}")
        self.put("call void @llvm.trap()")
        self.put("unreachable")
        self.put(f"{go}:")
        return address

    def aligned_address(self, op: Op) -> str:
        return self.guest_address(op.args[0])

    def op_load(self, op: Op) -> str:
        if self.target.mode == "user":
            p = self.pointer(self.guest_address(op.args[0]), 1, write=False, atomic=False)
            tags = "align 1, !alias.scope !11, !noalias !12"
            return self.temp(f"{self.loads} {llvm_type(op.type)}, {self.ptr} {p}, {tags}")
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        hit, entry = self.tlb_probe(address, size, False, False, str(self.request.holes["tlb"]))
        fast, slow, done = self.label(), self.label(), self.label()
        self.put(f"br i1 {hit}, label %{fast}, label %{slow}, !prof !7")
        self.put(f"{slow}:")
        self.set_word("pc", self._signed(self.current))
        value = self._native("slow_load", address, str(size), self._mode())
        self._leave_trapped()
        if op.type != "i64":
            value = self.temp(f"trunc i64 {value} to {op.type}")
        last = self.label()
        self.put(f"br label %{last}")
        self.put(f"{last}:")
        self.put(f"br label %{done}")
        self.put(f"{fast}:")
        p = self.tlb_pointer(entry, address)
        quick = self.temp(f"load {op.type}, ptr {p}, align 1, !alias.scope !11, !noalias !12")
        self.put(f"br label %{done}")
        self.put(f"{done}:")
        return self.temp(f"phi {op.type} [ {quick}, %{fast} ], [ {value}, %{last} ]")

    def op_store(self, op: Op) -> None:
        value = self.ref(op.args[1])
        how = "volatile " if self._exact else ""
        stored = f"store {how}{self.typed(op.args[1])}, {self.ptr}"
        tags = "align 1, !alias.scope !11, !noalias !12"
        if self.target.mode == "user":
            p = self.pointer(self.guest_address(op.args[0]), 1, write=True, atomic=False)
            self.put(f"{stored} {p}, {tags}")
            return
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        hit, entry = self.tlb_probe(address, size, True, False, str(self.request.holes["tlb"]))
        fast, slow, done = self.label(), self.label(), self.label()
        self.put(f"br i1 {hit}, label %{fast}, label %{slow}, !prof !7")
        self.put(f"{slow}:")
        self.set_word("pc", self._signed(self.current))
        word = value if op.type == "i64" else self.temp(f"zext {op.type} {value} to i64")
        self._native("slow_store", address, str(size), word, self._mode())
        self._leave_trapped()
        self.put(f"br label %{done}")
        self.put(f"{fast}:")
        self.put(f"{stored} {self.tlb_pointer(entry, address)}, {tags}")
        self.put(f"br label %{done}")
        self.put(f"{done}:")

    # The function

    def text(self) -> str:
        """LLVM text of the region's function."""
        for place, item in self.lifted.items():
            self.item = item
            self.frame, pc = place
            self.current, self.following = pc, item.following
            self.put(f"pc.{_name(place)}:")
            if place in self.limits:
                self._limit(self.limits[place])
            used = any(op.name in ("set", "vset", "setfield") for op in item.code.ops)
            self.loads = "load" if used and not self._exact else "load volatile"
            self.block(item.code)
            if not item.code.ops or item.code.ops[-1].name not in ("jump", "branch", "jumpr"):
                self.put(f"br label %{self._go(self.following)}")
        self._tails()
        body: list[str] = []
        for line in self.lines:
            body.extend(self._writeback() if line == "@@WRITEBACK" else (line,))
        params = parameters(len(self.target.pinned))
        head = f"define internal {CC} void @region({params}) nounwind {ATTRIBUTES} {{"
        entry = self._entry()
        wide = self._wide() if "begin:" in entry else []
        text = [head, *entry, *body, *wide, "}"]
        arguments_ = arguments(self.entry)
        for number in range(len(self.entries)):
            text += [
                f'define {CC} void @"entry.{number}"({params}) nounwind {{',
                f"%at = getelementptr i8, ptr %s, i64 {self.layout.of('region_entry')}",
                f"store i64 {number}, ptr %at",
                f"musttail call {CC} void @region({arguments_})",
                "ret void",
                "}",
            ]
        return "\n".join(text)

    def _tails(self) -> None:
        for place in sorted(self.pending):
            out, name = self.label(), _name(place)
            self.put(f"back.{name}:")
            self.put(f"br i1 {self._requested()}, label %{out}, label %pc.{name}, !prof !8")
            self.put(f"{out}:")
            self._reload()
            self.set_word("pc", self._signed(place[1]))
            self.tail_word("look", self.pins)
        for pc, number in self.exits.items():
            self.put(f"out.{pc:x}:")
            self._reload()
            self.put(f'musttail call {CC} void @"exit.{number}"({arguments(self.pins)})')
            self.put("ret void")
        if self.target.mode == "system":
            self.put("trap:")
            self._reload()
            self.tail_word("dispatch", self.pins)

    def _entry(self) -> list[str]:
        """Registers into variables; narrow ones are checked; on to the entry asked for."""
        lines: list[str] = []
        checks: list[str] = []
        for kind, index in sorted(self.registers):
            name = self._variable(kind, index)
            narrow = self._is_short((kind, index))
            lines.append(f"{name} = alloca {'i32' if narrow else 'i64'}")
            if self._is_pinned((kind, index)):
                value = f"%p{self.target.pinned.index(index)}"
                lines += self._noted_at_entry(name, value, index)
            else:
                offset = self.target.layout.of(kind, index)
                lines.append(f"{name}.at = getelementptr i8, ptr %s, i64 {offset}")
                lines.append(f"{name}.in = load i64, ptr {name}.at, !alias.scope !12, !noalias !11")
                value = f"{name}.in"
            if narrow:
                lines.append(f"{name}.n = trunc i64 {value} to i32")
                if not self._is_word((kind, index)):
                    lines.append(f"{name}.s = sext i32 {name}.n to i64")
                    lines.append(f"{name}.d = xor i64 {name}.s, {value}")
                    checks.append(f"{name}.d")
                lines.append(f"store i32 {name}.n, ptr {name}")
            else:
                lines.append(f"store i64 {value}, ptr {name}")
        lines += [f"%limit.{_name(head)} = alloca i64" for head in self.limits]
        lines += self.banks.entry()
        for number, (name, bits) in enumerate(sorted(self.settings)):
            at, word = f"%setting.{number}.at", f"%setting.{number}"
            lines.append(f"{at} = getelementptr i8, ptr %s, i64 {self.layout.of(name)}")
            lines.append(f"{word}.in = load i64, ptr {at}")
            lines.append(f"{word} = and i64 {word}.in, {bits}")
            checks.append(word)
        at = self.target.layout.of("region_entry")
        lines.append(f"%entry.at = getelementptr i8, ptr %s, i64 {at}")
        lines.append("%entry = load i64, ptr %entry.at")
        if checks:
            lines += self._check(checks)
        lines += self._switch("pc.0", self.entries)
        return lines

    def _noted_at_entry(self, name: str, value: str, index: int) -> list[str]:
        if not self._exact:
            return []
        offset = self.target.layout.of("scratch", self.target.pinned.index(index))
        return [
            f"{name}.note = getelementptr i8, ptr %s, i64 {offset}",
            f"store i64 {value}, ptr {name}.note",
        ]

    @staticmethod
    def _check(checks: list[str]) -> list[str]:
        """Go on at %begin if all of these are 0, else at the entry's baseline code."""
        lines: list[str] = []
        total = checks[0]
        for number, check in enumerate(checks[1:]):
            lines.append(f"%wide.{number} = or i64 {total}, {check}")
            total = f"%wide.{number}"
        lines.append(f"%narrow = icmp eq i64 {total}, 0")
        lines.append("br i1 %narrow, label %begin, label %wide, !prof !7")
        lines.append("begin:")
        return lines

    @staticmethod
    def _switch(prefix: str, entries: list[int]) -> list[str]:
        first = f"label %{prefix}.{entries[0]:x}"
        if len(entries) == 1:
            return [f"br {first}"]
        cases = " ".join(f"i64 {n}, label %{prefix}.{pc:x}" for n, pc in enumerate(entries) if n)
        return [f"switch i64 %entry, {first} [ {cases} ]"]

    def _wide(self) -> list[str]:
        """Where entries go whose registers do not fit: the baseline code of their block."""
        lines = ["wide:", *self._switch("wide", self.entries)]
        for number, pc in enumerate(self.entries):
            lines.append(f"wide.{pc:x}:")
            lines.append(f'musttail call {CC} void @"wide.{number}"({arguments(self.entry)})')
            lines.append("ret void")
        return lines

    def _writeback(self) -> list[str]:
        lines: list[str] = []
        for kind, index in sorted(self.dirty):
            if self._is_pinned((kind, index)):
                continue
            name = self._variable(kind, index)
            self.temps += 1
            value = f"%w{self.temps}"
            if self._is_short((kind, index)):
                lines.append(f"{value}.n = load i32, ptr {name}")
                how = self._extension((kind, index))
                lines.append(f"{value} = {how} i32 {value}.n to i64")
            else:
                lines.append(f"{value} = load i64, ptr {name}")
            lines.append(f"store i64 {value}, ptr {name}.at, !alias.scope !12, !noalias !11")
        return lines + self.banks.back(self)


def _name(place: Place) -> str:
    return f"{place[0]}.{place[1]:x}"


ATTRIBUTES = '"no-jump-tables"="true" "no-builtins" null_pointer_is_valid'
"""Guest address 0 is an address like others."""

FIRST_LOOP = 100
"""Number of the metadata before those of loops, two for each."""

_ALIAS = """
!11 = !{!13}
!12 = !{!14}
!13 = distinct !{!13, !15, !"guest memory"}
!14 = distinct !{!14, !15, !"state"}
!15 = distinct !{!15, !"region"}
"""


def region_text(
    target: Target, request: Request, lifter: Lifter, entries: list[int]
) -> tuple[str, list[int]]:
    """(LLVM text of the module, guest targets of its exits)."""
    low = RegionLowering(target, request, lifter, entries)
    body = low.text()
    params = parameters(len(target.pinned))
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
    return head + declarations(body) + "\n" + body + metadata, exits


def compile_region(
    target: Target, decoder: Decoder, read: ReadCode, request: Request
) -> Region | None:
    """Lift and compile; None if there is nothing to lift at the head."""
    from jitemu.backend_llvm.target import compile_text

    lifter = Lifter(target, decoder, read, request)
    lifted = lifter.run()
    if not lifted:
        return None
    entries = lifter.entries()
    text, exits = region_text(target, request, lifter, entries)
    blob = read_object(compile_text(text, "region"))
    covered = merge_spans((decoder.address_of(item.pc), item.length) for item in lifted.values())
    return Region(request.head, blob, exits, entries, covered, len(lifted))


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
