"""Accesses to guest memory in regions."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.backend_llvm.lowering import llvm_type
from jitemu.backend_llvm.window_lowering import WindowLowering
from jitemu.ir.code import WIDTHS, Op

_TAGS = "align 1, !alias.scope !11, !noalias !12"
"""Of an access: any address; guest memory is apart from the state."""


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
        test = (address, size, write, atomic)
        slow = ("slow_address", address, str(size), self._mode())
        return self._by_tlb("ptr", test, slow, lambda entry: self.tlb_pointer(entry, address))

    def _by_tlb(
        self,
        kind: str,
        test: tuple[str, int, bool, bool],
        slow: tuple[str, ...],
        fast: Callable[[str], str],
    ) -> str:
        """An access's result, of this LLVM type ("" for none): if the test of the TLB finds an
        entry, that of ``fast``; else that of a native function, which may trap."""
        hit, entry = self.tlb_probe(*test, str(self.request.holes["tlb"]))
        found, missing, served, done = (self.label() for _ in range(4))
        self.put(f"br i1 {hit}, label %{found}, label %{missing}, !prof !7")
        self.put(f"{missing}:")
        self.set_word("pc", self.signed(self.current))
        word = self._native(*slow)
        self._leave_trapped()
        if kind == "ptr":
            word = self.temp(f"inttoptr i64 {word} to ptr")
        elif kind not in ("", "i64"):
            word = self.temp(f"trunc i64 {word} to {kind}")
        self.put(f"br label %{served}\n{served}:\nbr label %{done}")
        self.put(f"{found}:")
        quick = fast(entry)
        self.put(f"br label %{done}\n{done}:")
        return self.temp(f"phi {kind} [ {quick}, %{found} ], [ {word}, %{served} ]") if kind else ""

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
            return self.temp(f"{self.loads} {llvm_type(op.type)}, {self.ptr} {p}, {_TAGS}")

        def load(p: str) -> str:
            return self.temp(f"load {op.type}, ptr {p}, {_TAGS}")

        if (p := self.in_window(op)) is not None:
            return load(p)
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        slow = ("slow_load", address, str(size), self._mode())
        test = (address, size, False, False)
        return self._by_tlb(op.type, test, slow, lambda e: load(self.tlb_pointer(e, address)))

    def op_store(self, op: Op) -> None:
        value = self.ref(op.args[1])
        how = "volatile " if self.exact else ""

        def store(p: str) -> str:
            self.put(f"store {how}{self.typed(op.args[1])}, {self.ptr} {p}, {_TAGS}")
            return ""

        if self.target.mode == "user":
            store(self.pointer(self.guest_address(op.args[0]), 1, write=True, atomic=False))
            return
        if (p := self.in_window(op)) is not None:
            store(p)
            return
        size, address = WIDTHS[op.type] // 8, self.ref(op.args[0])
        word = value if op.type == "i64" else self.temp(f"zext {op.type} {value} to i64")
        slow = ("slow_store", address, str(size), word, self._mode())
        test = (address, size, True, False)
        self._by_tlb("", test, slow, lambda entry: store(self.tlb_pointer(entry, address)))
