"""Regions: hot code of many blocks lifted to micro-ops together and optimised by LLVM.

Inside a region guest registers are LLVM variables (which become SSA values); it is
entered and left through the convention of all translated code.  Instructions that call
into the runtime (CSRs, system calls) are not lifted: the region ends before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from jitemu.backend_llvm.convention import CC, arguments, parameters
from jitemu.backend_llvm.lowering import declarations
from jitemu.backend_llvm.narrow import Register, narrow_registers
from jitemu.backend_llvm.objects import Region, read_object
from jitemu.backend_llvm.stencils import METADATA, Key, StencilLowering, Target
from jitemu.ir.code import WIDTHS, Block, Op
from jitemu.ir.emitter import Emitter
from jitemu.isa import Decoded, Decoder

MASK64 = (1 << 64) - 1
_NOT_LIFTED = frozenset(("call", "exit", "exitnext", "leave", "leaveif"))

ReadCode = Callable[[int], bytes]
"""Guest bytes at an address: 4, or 2 at the end of what may be lifted, or none."""


@dataclass(frozen=True)
class Request:
    """What to lift."""

    head: int
    """Guest pc of the entry."""
    holes: Mapping[str, int]
    """The context's holes (the access mode and its TLB's offset)."""
    limit: int = 300
    """Instructions."""
    single: bool = False
    """Only the head's block (every block is a region then)."""
    forbidden: frozenset[str] = frozenset()
    """Extensions that the context does not allow."""


@dataclass
class _Lifted:
    """One guest instruction of a region."""

    pc: int
    length: int
    code: Block
    successors: list[int]
    """Guest addresses that control may go to directly."""
    returns: int | None = None
    """Where a call comes back to."""


class Lifter:
    """Follows direct control flow from a head and builds every instruction's micro-ops."""

    def __init__(self, target: Target, decoder: Decoder, read: ReadCode, request: Request) -> None:
        self.target = target
        self.decoder = decoder
        self.read = read
        self.request = request
        self.lifted: dict[int, _Lifted] = {}

    def run(self) -> dict[int, _Lifted]:
        """The region's instructions by pc; empty if the head cannot be lifted."""
        work = [self.request.head]
        while work and len(self.lifted) < self.request.limit:
            pc = work.pop(0)
            if pc in self.lifted:
                continue
            found = self._lift(pc)
            if found is None:
                continue
            self.lifted[pc] = found
            straight = [s for s in found.successors if s == pc + found.length & MASK64]
            others = [s for s in found.successors if s not in straight]
            if not self.request.single:
                work = straight + work + others
                if found.returns is not None:
                    work.append(found.returns)
            elif not others:
                work = straight
        return self.lifted

    def _lift(self, pc: int) -> _Lifted | None:
        code = self.read(pc)
        decoded = self.decoder.decode(int.from_bytes(code, "little")) if len(code) >= 2 else None
        if decoded is None or decoded.length > len(code):
            return None
        if decoded.insn.when in self.request.forbidden:
            return None
        s = self._build(decoded, pc)
        ops = s.block.ops
        if any(op.name in _NOT_LIFTED for op in ops):
            return None
        following = pc + decoded.length & MASK64
        last = ops[-1] if s.ended else None
        if last is None:
            successors = [following]
        elif last.name == "jump":
            successors = [last.args[0].const or 0]
        elif last.name == "branch":
            successors = [following, last.args[1].const or 0]
        else:
            successors = []
        returns = None
        if last is not None and last.name != "branch" and any(op.name == "set" for op in ops):
            successors, returns = [], following
        return _Lifted(pc, decoded.length, s.block, successors, returns)

    def entries(self) -> list[int]:
        """The head, loop heads, and where calls come back to."""
        found = {self.request.head: None}
        for item in self.lifted.values():
            targets = [s for s in item.successors if s <= item.pc]
            if item.returns is not None:
                targets.append(item.returns)
            found.update((t, None) for t in targets if t in self.lifted)
        return list(found)

    def _build(self, decoded: Decoded, pc: int) -> Emitter:
        s = self.target.emitter(self.target.mode)
        s.address = pc
        s.length = decoded.length
        decoded.insn.build(s, decoded.fields)
        return s


class RegionLowering(StencilLowering):
    """Lowers a region's instructions into one LLVM function."""

    def __init__(
        self, target: Target, request: Request, lifted: dict[int, _Lifted], entries: list[int]
    ) -> None:
        super().__init__(target, Key("region", ""), (), cold=False)
        self.request = request
        self.lifted = lifted
        self.entries = entries
        self.narrow = narrow_registers(item.code for item in lifted.values())
        self.exits: dict[int, int] = {}
        self.pending: set[int] = set()
        self.registers: set[Register] = set()
        self.dirty: set[Register] = set()
        self.current = 0
        self.following = 0
        for number, pin in enumerate(target.pinned):
            self.registers.add((target.pinned_class, pin))
            del number

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
        if register not in self.narrow:
            return self.temp(f"load i64, ptr {name}")
        return self.temp(f"sext i32 {self.temp(f'load i32, ptr {name}')} to i64")

    def op_set(self, op: Op) -> None:
        kind, index = op.attrs
        self.registers.add((str(kind), int(index)))
        self.dirty.add((str(kind), int(index)))
        name, value = self._variable(kind, index), self.ref(op.args[0])
        if (str(kind), int(index)) in self.narrow:
            self.put(f"store i32 {self.temp(f'trunc i64 {value} to i32')}, ptr {name}")
        else:
            self.put(f"store i64 {value}, ptr {name}")

    def _is_pinned(self, register: tuple[str, int]) -> bool:
        kind, index = register
        return kind == self.target.pinned_class and index in self.target.pinned

    # Control

    def _go(self, pc: int) -> str:
        """The label of an instruction of the region, or of the exit to elsewhere."""
        if pc in self.lifted:
            if pc <= self.current:
                self.pending.add(pc)
                return f"back.{pc:x}"
            return f"pc.{pc:x}"
        self.exits.setdefault(pc, len(self.exits))
        return f"out.{pc:x}"

    def op_jump(self, op: Op) -> None:
        self.put(f"br label %{self._go(op.args[0].const or 0)}")

    def op_branch(self, op: Op) -> None:
        taken, other = self._go(op.args[1].const or 0), self._go(self.following)
        self.put(f"br i1 {self.ref(op.args[0])}, label %{taken}, label %{other}")

    def op_jumpr(self, op: Op) -> None:
        target = self.ref(op.args[0])
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
            return self.temp(f"getelementptr i8, ptr null, i64 {address}")
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

    def op_load(self, op: Op) -> str:
        if self.target.mode == "user":
            p = self.pointer(self.ref(op.args[0]), 1, write=False, atomic=False)
            tags = "align 1, !alias.scope !11, !noalias !12"
            return self.temp(f"{self.loads} {op.type}, ptr {p}, {tags}")
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
        address, value = map(self.ref, op.args)
        stored = f"store {op.type} {value}, ptr"
        tags = "align 1, !alias.scope !11, !noalias !12"
        if self.target.mode == "user":
            p = self.pointer(address, 1, write=True, atomic=False)
            self.put(f"{stored} {p}, {tags}")
            return
        size = WIDTHS[op.type] // 8
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
        for pc in self.lifted:
            item = self.lifted[pc]
            self.current, self.following = pc, pc + item.length & MASK64
            self.put(f"pc.{pc:x}:")
            used = any(op.name in ("set", "setfield") for op in item.code.ops)
            self.loads = "load" if used else "load volatile"
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
        for pc in sorted(self.pending):
            out = self.label()
            self.put(f"back.{pc:x}:")
            self.put(f"br i1 {self._requested()}, label %{out}, label %pc.{pc:x}, !prof !8")
            self.put(f"{out}:")
            self._reload()
            self.set_word("pc", self._signed(pc))
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
            narrow = (kind, index) in self.narrow
            lines.append(f"{name} = alloca {'i32' if narrow else 'i64'}")
            if self._is_pinned((kind, index)):
                value = f"%p{self.target.pinned.index(index)}"
            else:
                offset = self.target.layout.of(kind, index)
                lines.append(f"{name}.at = getelementptr i8, ptr %s, i64 {offset}")
                lines.append(f"{name}.in = load i64, ptr {name}.at, !alias.scope !12, !noalias !11")
                value = f"{name}.in"
            if narrow:
                lines.append(f"{name}.n = trunc i64 {value} to i32")
                lines.append(f"{name}.s = sext i32 {name}.n to i64")
                lines.append(f"{name}.d = xor i64 {name}.s, {value}")
                checks.append(f"{name}.d")
                lines.append(f"store i32 {name}.n, ptr {name}")
            else:
                lines.append(f"store i64 {value}, ptr {name}")
        at = self.target.layout.of("region_entry")
        lines.append(f"%entry.at = getelementptr i8, ptr %s, i64 {at}")
        lines.append("%entry = load i64, ptr %entry.at")
        if checks:
            lines += self._check(checks)
        lines += self._switch("pc", self.entries)
        return lines

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
            if (kind, index) in self.narrow:
                lines.append(f"{value}.n = load i32, ptr {name}")
                lines.append(f"{value} = sext i32 {value}.n to i64")
            else:
                lines.append(f"{value} = load i64, ptr {name}")
            lines.append(f"store i64 {value}, ptr {name}.at, !alias.scope !12, !noalias !11")
        return lines


ATTRIBUTES = '"no-jump-tables"="true" null_pointer_is_valid'
"""Guest address 0 is an address like others."""

_ALIAS = """
!11 = !{!13}
!12 = !{!14}
!13 = distinct !{!13, !15, !"guest memory"}
!14 = distinct !{!14, !15, !"state"}
!15 = distinct !{!15, !"region"}
"""


def region_text(
    target: Target, request: Request, lifted: dict[int, _Lifted], entries: list[int]
) -> tuple[str, list[int]]:
    """(LLVM text of the module, guest targets of its exits)."""
    low = RegionLowering(target, request, lifted, entries)
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
    return head + declarations(body) + "\n" + body + METADATA + _ALIAS, exits


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
    text, exits = region_text(target, request, lifted, entries)
    blob = read_object(compile_text(text, "region"))
    covered = merge_spans((item.pc, item.length) for item in lifted.values())
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
