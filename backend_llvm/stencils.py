"""Stencils: an instruction's body compiled once, its operands left open as holes.

A stencil is made for an instruction and the places of its register operands: pinned in a
host register, zero, or in the state.  Its hot form is what the block translator copies;
its cold form, placed out of line, is the same body for the rare way (a TLB miss, a
request to look around).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jitemu.backend_llvm.convention import CC, KEEPING, arguments, parameters
from jitemu.backend_llvm.lowering import declarations, llvm_type
from jitemu.backend_llvm.rare_ways import RareLowering
from jitemu.backend_llvm.stencil_keys import Key, Target
from jitemu.backend_llvm.stencil_keys import parse_key as parse_key
from jitemu.ir.code import WIDTHS, Op
from jitemu.ir.emitter import Emitter
from jitemu.ir.state import EXIT_COUNTED, EXIT_SYSCALL, EXIT_UNBUILT, JUMP_CACHE_ENTRIES
from jitemu.isa import Instruction

Relocation = tuple[int, str, str, int]
Stencil = tuple[bytes, tuple[Relocation, ...], bytes, tuple[Relocation, ...]]
"""(hot code, its relocations, cold code, its relocations)"""


class StencilLowering(RareLowering):
    """Lowers one body to a stencil's hot or cold function."""

    def __init__(self, target: Target, key: Key, operands: Sequence[str], cold: bool) -> None:
        super().__init__(target.layout)
        self.target = target
        self.based = target.based
        self.key = key
        registers = [o for o in operands if o[0] == "r"]
        self.places = dict(zip(registers, key.places, strict=True))
        self.cold = cold
        self.branches = cold
        self.entry = [f"%p{i}" for i in range(len(target.pinned))]
        self.pins = list(self.entry)
        self.stores: list[tuple[str, str]] = []
        """(field, typed value) of registers in the state."""
        self.fixed: dict[tuple[str, int], tuple[str, str]] = {}
        """(pointer, typed value) of registers that the body itself names."""
        self.wants_cold = False
        if self.places.get("rd") == "z":
            self.loads = "load volatile"

    # Values of the instruction

    @staticmethod
    def hole(name: str) -> str:
        """A 32-bit hole, sign-extended."""
        return f"ptrtoint (ptr @h_{name} to i64)"

    def op_hole(self, op: Op) -> str:
        return self.hole(str(op.attrs[0]))

    def op_trunc(self, op: Op) -> str:
        source = op.args[0].source
        if source is not None and source.name == "hole":
            return f"ptrtoint (ptr @h_{source.attrs[0]} to {op.type})"
        return self.temp(f"trunc {self.typed(op.args[0])} to {llvm_type(op.type)}")

    def address(self, what: str) -> str:
        """A guest address, 64 bits wide: holes in other instructions have 32."""
        return self.temp(f'call i64 asm "movabsq $1, $0", "=r,i"(ptr @h_{what})')

    def op_pc(self, op: Op) -> str:
        return self.address("pc")

    def op_npc(self, op: Op) -> str:
        return self.address("npc")

    def op_add(self, op: Op) -> str:
        if pc_relative(op):
            return self.address("target")
        return self.temp(f"add {self.typed(op.args[0])}, {self.ref(op.args[1])}")

    # Registers

    def _slot(self, field: str) -> str:
        return self.temp(f"getelementptr i8, ptr %s, i64 ptrtoint (ptr @h_{field} to i64)")

    def op_get(self, op: Op) -> str:
        kind, index = op.attrs
        if isinstance(index, int):
            return self._get_fixed(str(kind), index)
        place = self.places[index]
        if place == "z":
            return "0"
        if place != "m":
            return self.pins[int(place)]
        return self.temp(f"load i64, ptr {self._slot(index)}")

    def _get_fixed(self, kind: str, index: int) -> str:
        if kind == self.target.pinned_class and index in self.target.pinned:
            return self.pins[self.target.pinned.index(index)]
        if (kind, index) in self.fixed:  # the body has written it
            return self.fixed[kind, index][1].removeprefix("i64 ")
        return self.temp(f"load i64, ptr {self.word(kind, index)}")

    def holds_words(self, op: Op) -> bool:
        kind, index = op.attrs
        words = self.target.classes[str(kind)].words
        return words > (index if isinstance(index, int) else 0)

    def op_set(self, op: Op) -> None:
        kind, index = op.attrs
        value = self.ref(op.args[0])
        if isinstance(index, int):
            if kind == self.target.pinned_class and index in self.target.pinned:
                self.pins[self.target.pinned.index(index)] = value
            else:
                self._write_fixed(str(kind), index, self.word(str(kind), index), f"i64 {value}")
            return
        place = self.places[index]
        if place == "m":
            self.stores.append((index, f"i64 {value}"))
        elif place != "z":
            self.pins[int(place)] = value

    def _write_fixed(self, kind: str, index: int, pointer: str, value: str) -> None:
        self.fixed.pop((kind, index), None)  # the last write of views that overlap stays last
        self.fixed[kind, index] = pointer, value

    def op_vget(self, op: Op) -> str:
        return self.temp(f"load {llvm_type(op.type)}, ptr {self._view(op)}, align 1")

    def op_vset(self, op: Op) -> None:
        index = op.attrs[1]
        if isinstance(index, int):
            self._write_fixed(str(op.attrs[0]), index, self._view(op), self.typed(op.args[0]))
        else:
            self.stores.append((index, self.typed(op.args[0])))

    def _view(self, op: Op) -> str:
        """Pointer to a bank's register in the state."""
        kind, index = op.attrs
        if not isinstance(index, int):
            return self._slot(index)
        view = self.target.classes[str(kind)]
        offset = self.layout.of(view.bank) + index * view.bits // 8
        return self.temp(f"getelementptr i8, ptr %s, i64 {offset}")

    def _commit(self) -> None:
        """Registers in the state are written last, so that a fault finds the old ones."""
        for field, value in self.stores:
            self.put(f"store {value}, ptr {self._slot(field)}, align 1")
        for pointer, value in self.fixed.values():
            self.put(f"store {value}, ptr {pointer}, align 1")
        self.stores, self.fixed = [], {}

    def op_skip(self, op: Op) -> None:
        out, go = self.label(), self.label()
        self.put(f"br i1 {self.ref(op.args[0])}, label %{out}, label %{go}")
        self.put(f"{out}:")
        self._tail("after", self.pins)
        self.put(f"{go}:")

    # Memory

    def pointer(self, address: str, size: int, write: bool, atomic: bool) -> str:
        if self.target.mode == "user":
            return self.temp(f"inttoptr i64 {address} to {self.ptr}")
        if self.cold:
            host = self._native("slow_address", address, str(size), self._mode())
            self.leave_if_trapped()
            return self.temp(f"inttoptr i64 {host} to ptr")
        hit, entry = self.tlb_probe(address, size, write, atomic, self.hole("tlb"))
        self.wants_cold = True
        miss, go = self.label(), self.label()
        self.put(f"br i1 {hit}, label %{go}, label %{miss}, !prof !7")
        self.put(f"{miss}:")
        self._tail("cold", self.entry)
        self.put(f"{go}:")
        return self.tlb_pointer(entry, address)

    def _mode(self) -> str:
        return self.hole("mode")

    def op_load(self, op: Op) -> str:
        if self.target.mode == "user" or not self.cold:
            return super().op_load(op)
        self.set_word("pc", self.address("pc"))
        size = str(WIDTHS[op.type] // 8)
        value = self._native("slow_load", self.ref(op.args[0]), size, self._mode())
        self.leave_if_trapped()
        return value if op.type == "i64" else self.temp(f"trunc i64 {value} to {op.type}")

    def op_store(self, op: Op) -> None:
        if self.target.mode == "user" or not self.cold:
            super().op_store(op)
            return
        self.set_word("pc", self.address("pc"))
        value = self.ref(op.args[1])
        if op.type != "i64":
            value = self.temp(f"zext {op.type} {value} to i64")
        size = str(WIDTHS[op.type] // 8)
        self._native("slow_store", self.ref(op.args[0]), size, value, self._mode())
        self.leave_if_trapped()

    def op_amo(self, op: Op) -> str:
        self._pc_for_fault()
        return self.undoable_amo(op) if self.target.mode == "user" else super().op_amo(op)

    def op_casif(self, op: Op) -> str:
        self._pc_for_fault()
        return super().op_casif(op)

    def _pc_for_fault(self) -> None:
        if self.cold and self.target.mode == "system":
            self.set_word("pc", self.address("pc"))

    def way_out(self) -> None:
        self.wants_cold = True
        self._tail("cold", self.entry)

    # Calls and control

    def _native(self, name: str, *args: str) -> str:
        at = self.word("functions", self.target.functions[name])
        function = self.temp(f"load ptr, ptr {at}")
        words = "".join(f", i64 {a}" for a in args)
        return self.temp(f"call {KEEPING} i64 {function}(ptr %s{words})")

    def op_call(self, op: Op) -> str:
        return self._native(str(op.attrs[0]), *map(self.ref, op.args))

    def leave_if_trapped(self) -> None:
        self._leave_if(self.temp(f"icmp ne i64 {self.get_word('trapped')}, 0"))

    def _leave_if(self, condition: str) -> None:
        out, go = self.label(), self.label()
        self.put(f"br i1 {condition}, label %{out}, label %{go}, !prof !8")
        self.put(f"{out}:")
        self.tail_word("dispatch", self.entry)
        self.put(f"{go}:")

    def op_leaveif(self, op: Op) -> None:
        self._leave_if(self.ref(op.args[0]))

    def _tail(self, name: str, pins: Sequence[str]) -> None:
        self.put(f"musttail call {CC} void @{name}({arguments(pins)})")
        self.put("ret void")

    def tail_word(self, name: str, pins: Sequence[str]) -> None:
        code = self.get_word(name, "ptr")
        self.put(f"musttail call {CC} void {code}({arguments(pins)})")
        self.put("ret void")

    def next(self) -> None:
        """Go on with the next instruction."""
        self._commit()
        self._tail("next", self.pins)

    def _requested(self) -> str:
        """i1: someone wants the engine to look around."""
        return self.temp(f"icmp ne i64 {self.get_word('exit_request')}, 0")

    def _taken(self) -> None:
        if not self.key.backward:
            self._tail("taken", self.pins)
            return
        self.wants_cold = True
        self._unless(self._requested(), "taken")

    def _unless(self, rare: str, symbol: str) -> None:
        """Go on at a symbol, or in the cold form in the rare case."""
        out, go = self.label(), self.label()
        self.put(f"br i1 {rare}, label %{out}, label %{go}, !prof !8")
        self.put(f"{out}:")
        self._tail("cold", self.pins)
        self.put(f"{go}:")
        self._tail(symbol, self.pins)

    def look(self) -> None:
        """The cold form of a backward jump: the registers are those after it."""
        self.set_word("pc", self.address("target"))
        self.tail_word("look", self.entry)

    def op_jump(self, op: Op) -> None:
        self._commit()
        self._taken()

    def op_branch(self, op: Op) -> None:
        self._commit()
        taken, other = self.label(), self.label()
        self.put(f"br i1 {self.ref(op.args[0])}, label %{taken}, label %{other}")
        self.put(f"{taken}:")
        self._taken()
        self.put(f"{other}:")
        self._tail("next", self.pins)

    def op_jumpr(self, op: Op) -> None:
        target = self.ref(op.args[0])
        self._commit()
        self.set_word("pc", target)
        out, probe = self.label(), self.label()
        self.put(f"br i1 {self._requested()}, label %{out}, label %{probe}, !prof !8")
        self.put(f"{probe}:")
        self._probe(target)
        self.put(f"{out}:")
        self.set_word("jump_from", self.address("pc"))
        self.tail_word("look", self.pins)

    def _probe(self, target: str) -> None:
        """Go to the block at a guest address (already in pc) by the jump cache."""
        go = self.label()
        entry = self._jump_cache_entry(target)
        tag = self.temp(f"load i64, ptr {entry}")
        wanted = target
        if self.target.mode == "system":
            wanted = self.temp(f"xor i64 {target}, {self.get_word('ctx_tag')}")
        hit = self.temp(f"icmp eq i64 {tag}, {wanted}")
        miss = self.label()
        self.put(f"br i1 {hit}, label %{go}, label %{miss}, !prof !7")
        self.put(f"{miss}:")
        self.tail_word("dispatch", self.pins)
        self.put(f"{go}:")
        at = self.temp(f"getelementptr i8, ptr {entry}, i64 8")
        code = self.temp(f"load ptr, ptr {at}")
        self.put(f"musttail call {CC} void {code}({arguments(self.pins)})")
        self.put("ret void")

    def link(self) -> None:
        """The stub of a direct exit that is not linked yet."""
        self.set_word("pc", self.address("target"))
        self.set_word("link_site", self.address("site"))
        self.tail_word("link", self.pins)

    def guard(self) -> None:
        """Before an instruction that crosses a page: is the second one where it was?"""
        entry = self.temp(f"getelementptr i8, ptr %s, i64 {self.layout.of('tlb')}")
        entry = self.temp(f"getelementptr i8, ptr {entry}, i64 {self.hole('entry')}")
        tag_at = self.temp(f"getelementptr i8, ptr {entry}, i64 24")
        delta_at = self.temp(f"getelementptr i8, ptr {entry}, i64 16")
        tag, delta = (self.temp(f"load i64, ptr {at}") for at in (tag_at, delta_at))
        same_tag = self.temp(f"icmp eq i64 {tag}, {self.address('target')}")
        same_delta = self.temp(f"icmp eq i64 {delta}, {self.address('delta')}")
        same = self.temp(f"and i1 {same_tag}, {same_delta}")
        go, out = self.label(), self.label()
        self.put(f"br i1 {same}, label %{go}, label %{out}")
        self.put(f"{out}:")
        self.set_word("pc", self.address("pc"))
        self.tail_word("crossed", self.pins)
        self.put(f"{go}:")
        self._tail("next", self.pins)

    def count(self) -> None:
        """Take an instruction from the budget, or (the cold form) leave before it."""
        if self.cold:
            self.set_word("budget", "0")
            self.set_word("pc", self.address("pc"))
            self.set_word("exit_reason", str(EXIT_COUNTED))
            self.tail_word("exit", self.pins)
            return
        left = self.temp(f"sub i64 {self.get_word('budget')}, 1")
        self.set_word("budget", left)
        self._unless(self.temp(f"icmp slt i64 {left}, 0"), "next")

    def unbuilt(self) -> None:
        """Stands for an instruction whose stencils have not been built yet."""
        self.set_word("pc", self.address("pc"))
        self.set_word("unbuilt", self.hole("index"))
        self.set_word("exit_reason", str(EXIT_UNBUILT))
        self.tail_word("exit", self.pins)

    def far(self) -> None:
        """A direct exit to another page (whose mapping may change)."""
        target = self.address("target")
        self.set_word("pc", target)
        self._probe(target)

    def _jump_cache_entry(self, target: str) -> str:
        """Pointer to the jump cache entry of an address (runtime/lookup.py has the same)."""
        if self.target.mode == "user":
            index = self.temp(f"shl i64 {target}, 3")
            index = self.temp(f"and i64 {index}, {(JUMP_CACHE_ENTRIES - 1) << 4}")
        else:
            page = self.temp(f"lshr i64 {target}, 2")
            page = self.temp(f"and i64 {page}, {63 << 10}")
            within = self.temp(f"shl i64 {target}, 3")
            within = self.temp(f"and i64 {within}, {63 << 4}")
            index = self.temp(f"or i64 {page}, {within}")
        return self.temp(f"getelementptr i8, ptr {self.word('jump_cache')}, i64 {index}")

    def op_exit(self, op: Op) -> None:
        self._exit(op, "pc")

    def op_exitnext(self, op: Op) -> None:
        self._commit()
        self._exit(op, "npc")

    def _exit(self, op: Op, where: str) -> None:
        self.set_word("pc", self.address(where))
        self.set_word("exit_reason", str(op.attrs[0]))
        place = "exit"
        if op.attrs[0] == EXIT_SYSCALL and self.target.mode == "user":
            place = "system_call"
        self.tail_word(place, self.pins if where == "npc" else self.entry)

    def op_leave(self, op: Op) -> None:
        self._commit()
        self.tail_word("dispatch", self.pins)


UNBUILT = "unbuilt"
"""The stencil that stands for an instruction without one; its hole is that one's table index."""

RANGES = {"shamt": "!5"}
"""Holes whose values are known to be small, which gives shorter code."""

METADATA = """
!5 = !{i64 0, i64 64}
!6 = !{i64 -2147483648, i64 2147483648}
!7 = !{!"branch_weights", i32 100000, i32 1}
!8 = !{!"branch_weights", i32 1, i32 100000}
"""


@dataclass(frozen=True)
class Shape:
    """What an instruction's open body shows about its stencils."""

    registers: tuple[tuple[str, str], ...]
    """(register field, class), in operand order; "" where the body does not use it."""
    target: str | None
    """The immediate field that is added to the pc."""
    jumps: bool
    """That sum is where it jumps to."""
    ends: bool
    """It does not go on to the next instruction by itself."""
    falls: bool
    """It ends with a conditional branch, so the next instruction may follow."""
    written: tuple[str, ...]
    """Register fields that are written."""
    named: frozenset[int]
    """Pinned registers, by number, that the body itself names."""


@functools.cache
def open_body(target: Target, insn: Instruction) -> Emitter:
    """The instruction's micro-ops with its fields left open.  They are remembered, as they are
    looked at several times."""
    s = target.emitter(target.mode)
    insn.build_open(s)
    return s


@functools.cache
def shape_of(target: Target, insn: Instruction) -> Shape:
    """Look at an instruction's open body."""
    s = open_body(target, insn)
    classes = {o: "" for o in insn.operands if o[0] == "r"}
    relative: str | None = None
    written: list[str] = []
    named: set[int] = set()
    for op in s.block.ops:
        if op.name in ("set", "vset") and isinstance(op.attrs[1], str):
            written.append(op.attrs[1])
        if op.name in ("get", "set", "vget", "vset"):
            kind, index = op.attrs
            if isinstance(index, str):
                classes[index] = str(kind)
            elif kind == target.pinned_class and index in target.pinned:
                named.add(target.pinned.index(index))
        relative = pc_relative(op) or relative
    last = s.block.ops[-1].name if s.ended else ""
    jumps = last in ("jump", "branch")
    assert relative or not jumps, f"{insn.name}: a direct jump goes to pc + field"
    falls, registers = last == "branch", tuple(classes.items())
    return Shape(registers, relative, jumps, s.ended, falls, tuple(written), frozenset(named))


def pc_relative(op: Op) -> str | None:
    """The field, if an op adds one to the pc."""
    sources = [a.source for a in op.args]
    if op.name == "add" and sources[0] and sources[1] and sources[0].name == "pc":
        return str(sources[1].attrs[0]) if sources[1].name == "hole" else None
    return None


def _function(target: Target, insn: Instruction, key: Key, cold: bool) -> tuple[str, bool]:
    s = open_body(target, insn)
    low = StencilLowering(target, key, insn.operands, cold)
    jumps = s.ended and s.block.ops[-1].name in ("jump", "branch")
    if cold and jumps:
        low.look()
    else:
        low.block(s.block)
        if not s.ended:
            low.next()
    suffix = ".cold" if cold else ""
    head = f'define {CC} void @"{key}{suffix}"({parameters(len(target.pinned))}) optsize nounwind'
    body = "\n".join(low.lines)
    return f"{head} {{\n{body}\n}}\n", low.wants_cold


def _special(target: Target, name: str) -> str:
    """Stencils that belong to no instruction (see SPECIALS)."""
    low = StencilLowering(target, Key(name, ""), (), cold=name.endswith(".cold"))
    kind, _, index = name.partition(".")
    bodies = {
        **{"link": low.link, "far": low.far, "guard": low.guard, "count": low.count},
        UNBUILT: low.unbuilt,
    }
    if kind in bodies:
        bodies[kind]()
    else:
        slot = low.word(target.pinned_class, target.pinned[int(index)])
        if kind == "spill":
            low.put(f"store i64 {low.pins[int(index)]}, ptr {slot}")
        else:
            low.pins[int(index)] = low.temp(f"load i64, ptr {slot}")
        low.next()
    head = f'define {CC} void @"{name}"({parameters(len(target.pinned))}) optsize nounwind'
    return f"{head} {{\n" + "\n".join(low.lines) + "\n}\n"


def specials(target: Target) -> list[str]:
    """link: leave so that the engine links this exit to its target; far: go to a target in
    another page through the jump cache; guard: check the page behind; count: an instruction;
    spill.N and fill.N: a pinned register to and from its word in the state."""
    pins = [f"{k}.{i}" for k in ("spill", "fill") for i in range(len(target.pinned))]
    return ["link", "far", "guard", "count", *pins]


def module_text(
    target: Target, items: Sequence[tuple[Instruction, Key]], special: bool = False
) -> str:
    """LLVM text of a module with these stencils' hot and cold forms."""
    names = [*specials(target), "count.cold", UNBUILT] if special else []
    parts = [_special(target, name) for name in names]
    for insn, key in items:
        hot, wants_cold = _function(target, insn, key, cold=False)
        parts.append(hot)
        if wants_cold:
            parts.append(_function(target, insn, key, cold=True)[0])
    body = "".join(parts)
    holes = sorted({re.split(r"\W", w, maxsplit=1)[0] for w in body.split("@h_")[1:]})
    lines = [
        f"@h_{h} = external dso_local global i8, !absolute_symbol {RANGES.get(h, '!6')}"
        for h in holes
    ]
    params = parameters(len(target.pinned))
    for name in ("next", "taken", "cold", "after"):
        lines.append(f"declare dso_local {CC} void @{name}({params})")
    return "\n".join(lines) + "\n" + declarations(body) + "\n" + body + METADATA
