"""Accesses to guest memory in regions."""

from __future__ import annotations

from jitemu.backend_llvm.lowering import llvm_type
from jitemu.backend_llvm.window_lowering import WindowLowering
from jitemu.ir.code import WIDTHS, Op


class AccessLowering(WindowLowering):
    """Lowers loads and stores: in user mode to the host's, in system mode in a window of the TLB
    or by a test of it."""

    loads: str
    """How LLVM loads: volatile where nothing uses the result, as a fault would not show."""

    def _note_place(self) -> None:
        """The next access may fault: what was noted stays before it."""
        if self.exact:
            self.set_word("pc", self.signed(self.current))
            self.put('fence syncscope("singlethread") seq_cst')

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
        self.set_word("pc", self.signed(self.current))
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
    def signed(value: int) -> str:
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
        if (p := self.in_window(op)) is not None:
            return self.temp(f"load {op.type}, ptr {p}, align 1, !alias.scope !11, !noalias !12")
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        hit, entry = self.tlb_probe(address, size, False, False, str(self.request.holes["tlb"]))
        fast, slow, done = self.label(), self.label(), self.label()
        self.put(f"br i1 {hit}, label %{fast}, label %{slow}, !prof !7")
        self.put(f"{slow}:")
        self.set_word("pc", self.signed(self.current))
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
        how = "volatile " if self.exact else ""
        stored = f"store {how}{self.typed(op.args[1])}, {self.ptr}"
        tags = "align 1, !alias.scope !11, !noalias !12"
        if self.target.mode == "user":
            p = self.pointer(self.guest_address(op.args[0]), 1, write=True, atomic=False)
            self.put(f"{stored} {p}, {tags}")
            return
        if (p := self.in_window(op)) is not None:
            self.put(f"{stored} {p}, {tags}")
            return
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        hit, entry = self.tlb_probe(address, size, True, False, str(self.request.holes["tlb"]))
        fast, slow, done = self.label(), self.label(), self.label()
        self.put(f"br i1 {hit}, label %{fast}, label %{slow}, !prof !7")
        self.put(f"{slow}:")
        self.set_word("pc", self.signed(self.current))
        word = value if op.type == "i64" else self.temp(f"zext {op.type} {value} to i64")
        self._native("slow_store", address, str(size), word, self._mode())
        self._leave_trapped()
        self.put(f"br label %{done}")
        self.put(f"{fast}:")
        self.put(f"{stored} {self.tlb_pointer(entry, address)}, {tags}")
        self.put(f"br label %{done}")
        self.put(f"{done}:")
