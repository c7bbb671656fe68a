"""How translated code reaches guest memory, in user and in system mode."""

from __future__ import annotations

from jitemu.backend_llvm.lowering import Lowering, llvm_type
from jitemu.ir.code import BITS, WIDTHS, Op, Value
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
EXCHANGE = {"add": "lock xadd", "xchg": "xchg"}
"""Those that are one instruction."""
NEAR = range(-0xF000, 0xF001)
"""Distances that cannot lead out of a 4 GiB guest's reservation with its guards."""
ENTRY_SHIFT = 5
"""A TLB entry is 32 bytes: read tag, write tag, host delta, fetch tag."""


class MemoryLowering(Lowering):
    """Lowering with the guest memory ops; a subclass says how an address becomes a pointer."""

    loads = "load"
    """Volatile where the value is not used: the access may fault all the same."""
    based = False
    """Guest memory begins at the GS segment's base."""

    @property
    def ptr(self) -> str:
        """The type of pointers to guest memory."""
        return "ptr addrspace(256)" if self.based else "ptr"

    def guest_address(self, value: Value) -> str:
        """A guest address as a 64-bit name.

        32-bit ones that are a register, or a register and a constant, need no instruction of
        their own: the host's addressing mode does it.  (It does not wrap, but beyond the 4 GiB
        nothing is mapped, as there is nothing at the guest's ends.)
        """
        if self.based and value.source and value.source.name == "aligned":
            return self.aligned_address(value.source)
        word = value.source.args[0] if value.source and value.source.name == "zext" else None
        if not self.based or word is None or word.source is None or word.width != 32:
            return self.ref(value)
        op = word.source
        plain = self._plain_register(word)
        if plain is not None:
            return plain
        if op.name != "add" or (plain := self._plain_register(op.args[0])) is None:
            return self.ref(value)
        distance = self._distance(op.args[1])
        return self.temp(f"add i64 {plain}, {distance}") if distance else self.ref(value)

    def aligned_address(self, op: Op) -> str:
        """The address that an op ``aligned`` gives."""
        wrong = self.temp(f"shl i64 {self.ref(op.args[1])}, 59")
        return self.temp(f"add i64 {self.guest_address(op.args[0])}, {wrong}")

    def _plain_register(self, word: Value) -> str | None:
        """The 64-bit value of a register, zero-extended, if that is what the 32 bits are."""
        op = word.source
        if op is None or op.name != "trunc" or (source := op.args[0].source) is None:
            return None
        if source.name != "get" or not self.holds_words(source):
            return None
        return self.ref(op.args[0])

    def holds_words(self, op: Op) -> bool:
        """A get is of a register that holds 32 bits, zero-extended."""
        raise NotImplementedError

    def _distance(self, word: Value) -> str | None:
        if word.const is not None:
            signed = word.const - (word.const >> 31 << 32)
            return str(signed) if signed in NEAR else None
        op = word.source
        source = op.args[0].source if op is not None and op.name == "trunc" else None
        return self.ref(op.args[0]) if op and source and source.name == "hole" else None

    def pointer(self, address: str, size: int, write: bool, atomic: bool) -> str:
        """A host pointer to guest memory that can be accessed."""
        raise NotImplementedError

    def op_load(self, op: Op) -> str:
        size = BITS[op.type] // 8
        p = self.pointer(self.guest_address(op.args[0]), size, write=False, atomic=False)
        return self.temp(f"{self.loads} {llvm_type(op.type)}, {self.ptr} {p}, align 1")

    def op_store(self, op: Op) -> None:
        size = BITS[op.type] // 8
        p = self.pointer(self.guest_address(op.args[0]), size, write=True, atomic=False)
        self.put(f"store {self.typed(op.args[1])}, {self.ptr} {p}, align 1")

    def op_amo(self, op: Op) -> str:
        size = WIDTHS[op.type] // 8
        p = self.pointer(self.ref(op.args[0]), size, write=True, atomic=True)
        kind = AMO[str(op.attrs[0])]
        value = f"{op.type} {self.ref(op.args[1])}"
        return self.temp(f"atomicrmw {kind} {self.ptr} {p}, {value} seq_cst, align {size}")

    def undoable_amo(self, op: Op) -> str:
        """As op_amo, with no pinned register changed before the access is done.

        LLVM's own loop makes the new value in the register that shall hold the old one at
        the end, which is a pinned one, and a fault would show it.
        """
        kind = str(op.attrs[0])
        if kind in EXCHANGE:
            return self._exchange(EXCHANGE[kind], op)
        if kind not in COMBINE or op.type not in ("i32", "i64"):
            return MemoryLowering.op_amo(self, op)
        wide = op.type == "i64"
        size, old, new = ("q", "%rax", "%r11") if wide else ("l", "%eax", "%r11d")
        combine = COMBINE[kind].format(s=size, new=new)
        at = "%gs:($1)" if self.based else "($1)"
        loop = (
            f"mov{size} {at}, {old}\n1: mov{size} {old}, {new}\n{combine}\n"
            f"lock cmpxchg{size} {new}, {at}\njne 1b"
        ).replace("\n", r"\0A")
        address, value = map(self.ref, op.args)
        p = self.pointer(address, 4 << wide, write=True, atomic=True)
        outside = '"=&{ax},r,r,~{r11},~{memory},~{flags}"'
        arguments = f"({self.ptr} {p}, {op.type} {value})"
        return self.temp(f'call {op.type} asm sideeffect "{loop}", {outside}{arguments}')

    def _exchange(self, instruction: str, op: Op) -> str:
        """The same for what is one instruction, which leaves the old value in its operand."""
        address, value = map(self.ref, op.args)
        p = self.pointer(address, BITS[op.type] // 8, write=True, atomic=True)
        text = f"{instruction} $0, {'%gs:($1)' if self.based else '($1)'}"
        outside = '"={ax},r,0,~{memory},~{flags}"'
        arguments = f"({self.ptr} {p}, {op.type} {value})"
        return self.temp(f'call {op.type} asm sideeffect "{text}", {outside}{arguments}')

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
            f"cmpxchg {self.ptr} {p}, {op.type} {expected}, {op.type} {new} "
            f"seq_cst seq_cst, align {size}"
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

    def tlb_distance(self, entry: str) -> str:
        """From the guest's memory to the host's, of an entry that was hit."""
        at = self.temp(f"getelementptr i8, ptr {entry}, i64 16")
        return self.temp(f"load ptr, ptr {at}")

    def tlb_pointer(self, entry: str, address: str) -> str:
        """The host pointer from an entry that was hit."""
        return self.temp(f"getelementptr i8, ptr {self.tlb_distance(entry)}, i64 {address}")
