"""How translated code reaches guest memory, in user and in system mode."""

from __future__ import annotations

from jitemu.backend_llvm.lowering import Lowering, llvm_type
from jitemu.ir.code import BITS, WIDTHS, Op
from jitemu.ir.state import TLB_ENTRIES

AMO = {
    "xchg": "xchg",
    "add": "add",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "max": "max",
    "min": "min",
    "umax": "umax",
    "umin": "umin",
}
COMBINE = {
    "and": "and{s} $2, {new}",
    "or": "or{s} $2, {new}",
    "xor": "xor{s} $2, {new}",
    "max": "cmp{s} {new}, $2\ncmovg{s} $2, {new}",
    "min": "cmp{s} {new}, $2\ncmovl{s} $2, {new}",
    "umax": "cmp{s} {new}, $2\ncmova{s} $2, {new}",
    "umin": "cmp{s} {new}, $2\ncmovb{s} $2, {new}",
}
"""The kinds that take a loop on the host: how the new value is made of the old one."""
ENTRY_SHIFT = 5
"""A TLB entry is 32 bytes: read tag, write tag, host delta, fetch tag."""


class MemoryLowering(Lowering):
    """Lowering with the guest memory ops; a subclass says how an address becomes a pointer."""

    loads = "load"
    """Volatile where the value is not used: the access may fault all the same."""

    def pointer(self, address: str, size: int, write: bool, atomic: bool) -> str:
        """A host pointer to guest memory that can be accessed."""
        raise NotImplementedError

    def op_load(self, op: Op) -> str:
        size = BITS[op.type] // 8
        p = self.pointer(self.ref(op.args[0]), size, write=False, atomic=False)
        return self.temp(f"{self.loads} {llvm_type(op.type)}, ptr {p}, align 1")

    def op_store(self, op: Op) -> None:
        size = BITS[op.type] // 8
        p = self.pointer(self.ref(op.args[0]), size, write=True, atomic=False)
        self.put(f"store {self.typed(op.args[1])}, ptr {p}, align 1")

    def op_amo(self, op: Op) -> str:
        size = WIDTHS[op.type] // 8
        p = self.pointer(self.ref(op.args[0]), size, write=True, atomic=True)
        kind = AMO[str(op.attrs[0])]
        value = f"{op.type} {self.ref(op.args[1])}"
        return self.temp(f"atomicrmw {kind} ptr {p}, {value} seq_cst, align {size}")

    def undoable_amo(self, op: Op) -> str:
        """As op_amo, with no pinned register changed before the access is done.

        LLVM's own loop makes the new value in the register that shall hold the old one at
        the end, which is a pinned one, and a fault would show it.
        """
        kind = str(op.attrs[0])
        if kind not in COMBINE or op.type not in ("i32", "i64"):
            return MemoryLowering.op_amo(self, op)
        wide = op.type == "i64"
        size, old, new = ("q", "%rax", "%r11") if wide else ("l", "%eax", "%r11d")
        combine = COMBINE[kind].format(s=size, new=new)
        loop = (
            f"mov{size} ($1), {old}\n1: mov{size} {old}, {new}\n{combine}\n"
            f"lock cmpxchg{size} {new}, ($1)\njne 1b"
        ).replace("\n", r"\0A")
        address, value = map(self.ref, op.args)
        p = self.pointer(address, 4 << wide, write=True, atomic=True)
        outside = '"=&{ax},r,r,~{r11},~{memory},~{flags}"'
        arguments = f"(ptr {p}, {op.type} {value})"
        return self.temp(f'call {op.type} asm sideeffect "{loop}", {outside}{arguments}')

    def op_casif(self, op: Op) -> str:
        size = WIDTHS[op.type] // 8
        enable, address, expected, new = map(self.ref, op.args)
        done, do, skip = self.label(), self.label(), self.label()
        self.put(f"br i1 {enable}, label %{do}, label %{skip}")
        self.put(f"{skip}:")
        self.put(f"br label %{done}")
        self.put(f"{do}:")
        p = self.pointer(address, size, write=True, atomic=True)
        pair = self.temp(
            f"cmpxchg ptr {p}, {op.type} {expected}, {op.type} {new} seq_cst seq_cst, align {size}"
        )
        won = self.temp(f"extractvalue {{{op.type}, i1}} {pair}, 1")
        last = self.label()
        self.put(f"br label %{last}")
        self.put(f"{last}:")
        self.put(f"br label %{done}")
        self.put(f"{done}:")
        return self.temp(f"phi i1 [ false, %{skip} ], [ {won}, %{last} ]")

    def tlb_probe(
        self, address: str, size: int, write: bool, atomic: bool, tlb: str
    ) -> tuple[str, str]:
        """(i1 hit, pointer to the entry) of the inline TLB test.

        ``tlb`` is the byte offset of the access mode's TLB in the state.  The tag is
        compared with the page of the last byte, so accesses that cross a page miss; an
        atomic one must be aligned as well.
        """
        index = self.temp(f"lshr i64 {address}, {12 - ENTRY_SHIFT}")
        index = self.temp(f"and i64 {index}, {(TLB_ENTRIES - 1) << ENTRY_SHIFT}")
        entry = self.temp(f"getelementptr i8, ptr %s, i64 {index}")
        entry = self.temp(f"getelementptr i8, ptr {entry}, i64 {tlb}")
        if atomic:
            page = self.temp(f"and i64 {address}, {-4096 | size - 1}")
        else:
            last = self.temp(f"add i64 {address}, {size - 1}") if size > 1 else address
            page = self.temp(f"and i64 {last}, -4096")
        tag_at = self.temp(f"getelementptr i8, ptr {entry}, i64 8") if write else entry
        tag = self.temp(f"load i64, ptr {tag_at}")
        return self.temp(f"icmp eq i64 {tag}, {page}"), entry

    def tlb_pointer(self, entry: str, address: str) -> str:
        """The host pointer from an entry that was hit."""
        at = self.temp(f"getelementptr i8, ptr {entry}, i64 16")
        delta = self.temp(f"load ptr, ptr {at}")
        return self.temp(f"getelementptr i8, ptr {delta}, i64 {address}")
