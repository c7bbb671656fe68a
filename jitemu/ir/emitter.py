"""What an instruction's body is given: the builder, with the guest's registers on it."""

from __future__ import annotations

from jitemu.ir.builder import Builder, V
from jitemu.ir.code import Attr, Function
from jitemu.ir.state import RegisterClass

Register = int | str
"""A register's index, or the name of the field that holds it (a stencil's hole)."""


class RegisterFile:
    """``s.x[rd] = s.x[rs1] + 1``."""

    def __init__(self, builder: Builder, kind: RegisterClass) -> None:
        self.builder = builder
        self.kind = kind

    def __getitem__(self, index: Register) -> V:
        if index == self.kind.zero and isinstance(index, int):
            return self.builder.const(0)
        return self.builder.emit("get", "", (), (self.kind.name, index))

    def __setitem__(self, index: Register, value: V | int) -> None:
        if index == self.kind.zero and isinstance(index, int):
            return
        word = self.builder.const(value) if isinstance(value, int) else value
        self.builder.emit("set", "", (word,), (self.kind.name, index))


class Emitter(Builder):
    """Builds the micro-ops of guest instructions.

    ``mode`` is "user" or "system".  With ``address`` given (regions, traces, the
    reference) the pc is a constant; without (stencils) it is filled in when a block is
    put together.
    """

    def __init__(self, mode: str, address: int | None = None, function: Function | None = None):
        super().__init__(function)
        self.mode = mode
        self.address = address
        self.length = 4

    @property
    def pc(self) -> V:
        """This instruction's address."""
        return self.emit("pc", "", ()) if self.address is None else self.const(self.address)

    @property
    def npc(self) -> V:
        """The address after this instruction."""
        if self.address is None:
            return self.emit("npc", "", ())
        return self.const(self.address + self.length)

    def load(self, address: V, width: int) -> V:
        """Guest memory, as a value of so many bits."""
        return self.emit("load", f"i{width}", (address,))

    def store(self, address: V, value: V) -> None:
        """Write guest memory; the value's type is the access's width."""
        self.emit("store", value.type, (address, value))

    def amo(self, kind: str, address: V, value: V) -> V:
        """Atomic read-modify-write; kind is xchg add and or xor max min umax umin."""
        return self.emit("amo", value.type, (address, value), (kind,))

    def casif(self, enable: V, address: V, expected: V, value: V) -> V:
        """Compare and swap, if enabled: i1, whether it was written."""
        return self.emit("casif", value.type, (enable, address, expected, value))

    def field(self, name: str) -> V:
        """A word of the state."""
        return self.emit("field", "", (), (name,))

    def set_field(self, name: str, value: V | int) -> None:
        """Write a word of the state."""
        word = self.const(value) if isinstance(value, int) else value
        self.emit("setfield", "", (word,), (name,))

    def unusual(self, name: str, bits: int) -> V:
        """i1: a word of the state has any of these bits.  (Regions are made for none.)"""
        return self.emit("unusual", "", (self.const(bits),), (name,))

    def native_value(self, function: str, type: str, *args: V) -> V:
        """A native function's result for values (words; of 128 bits two)."""
        return self.emit("native", type, args, (function,))

    def rare(self, function: str, condition: V, usual: V, *args: V) -> V:
        """A value or, under a condition that is rare, a native function's result."""
        return self.emit("rare", usual.type, (condition, usual, *args), (function,))

    def unless(self, function: str, condition: V, usual: str, type: str, *args: V) -> V:
        """An op's result or, under a condition that is rare, a native function's."""
        return self.emit("unless", type, (condition, *args), (function, usual))

    def call(self, function: str, *args: V | int) -> V:
        """Call a native function with the state and these words."""
        words = tuple(self.const(a) if isinstance(a, int) else a for a in args)
        return self.emit("call", "", words, (function,))

    def leave_if_trapped(self) -> None:
        """After a native function that may raise an exception."""
        self.emit("leaveif", "", (self.field("trapped").ne(0),))

    def skip(self, condition: V) -> None:
        """The rest of the instruction is not done if the condition holds."""
        self.emit("skip", "", (condition,))

    def finish(self) -> None:
        """After all of an instruction's bodies: a frontend may add what writes imply."""

    def jump(self, target: V) -> None:
        """End: go on at pc plus a field."""
        self.emit("jump", "", (target,))

    def branch(self, condition: V, target: V) -> None:
        """End: go on at pc plus a field if the condition holds, else at the next."""
        self.emit("branch", "", (condition, target))

    def jump_register(self, target: V) -> None:
        """End: go on at a computed address."""
        self.emit("jumpr", "", (target,))

    def leave(self) -> None:
        """End: go on at the state's pc."""
        self.emit("leave", "", ())

    def exit(self, reason: int, *, done: bool = False) -> None:
        """End: hand over to the engine, before this instruction or after it."""
        self.emit("exitnext" if done else "exit", "", (), (reason,))

    def fence(self) -> None:
        """Order memory accesses."""
        self.emit("fence", "", ())

    def raw(self, name: str, type: str, *args: V, attrs: tuple[Attr, ...] = ()) -> V:
        """Any row of the table."""
        return self.emit(name, type, args, attrs)
