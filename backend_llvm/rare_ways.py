"""What is rare: values that native functions make, and the branches to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jitemu.backend_llvm.convention import KEEPING, SLOW
from jitemu.backend_llvm.guest_memory import MemoryLowering
from jitemu.backend_llvm.lowering import float_type, llvm_type
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.ir.code import BITS, Op, Value
from jitemu.ir.meaning import usual_of
from jitemu.ir.ops_float_lanes import FLOAT_LANES


def is_real(value: Value) -> bool:
    """A value is made by floating-point arithmetic, or comes from a bank of registers."""
    op = value.source
    if op is None:
        return False
    return (
        op.name in FLOAT_LANES
        or op.name == "vget"
        or (op.name == "unless" and op.attrs[1] in FLOAT_LANES)
    )


class RareLowering(MemoryLowering):
    """Lowering with native, rare, unless and unusual."""

    target: Target
    branches = True
    """Rare ways are branches of this code (else the cold form has them)."""

    def way_out(self) -> None:
        """End a block: go to the cold form, the registers as they were at the start."""
        raise NotImplementedError

    def op_native(self, op: Op) -> str:
        return self._slow(op, op.args, llvm_type(op.type))

    def op_rare(self, op: Op) -> str:
        real = is_real(op.args[1])
        return self._rarely(op, lambda: self.ref(op.args[1]), op.args[2:], real)

    def op_unless(self, op: Op) -> str:
        def usual() -> str:
            inner = usual_of(op)
            inner.result = Value(op.type, None, inner)
            self.op(inner)
            return self.ref(inner.result)

        return self._rarely(op, usual, op.args[1:], op.attrs[1] in FLOAT_LANES)

    def _rarely(self, op: Op, usual: Callable[[], str], args: Sequence[Value], real: bool) -> str:
        """The usual value, in hot code with a way out to the cold form, else with a branch.

        ``real``: it is a float, so that the host should hold it as one.
        """
        slow, go = self.label(), self.label()
        self.put(f"br i1 {self.ref(op.args[0])}, label %{slow}, label %{go}, !prof !8")
        self.put(f"{slow}:")
        if not self.branches:
            self.way_out()
            self.put(f"{go}:")
            return usual()
        kind = float_type(op.type) if real and BITS[op.type] <= 64 else llvm_type(op.type)
        other = self._slow(op, args, kind)
        done, go_end = self.label(), self.label()
        self.put(f"br label %{done}\n{go}:")
        value = usual()
        value = self.temp(f"bitcast {llvm_type(op.type)} {value} to {kind}")
        self.put(f"br label %{go_end}\n{go_end}:\nbr label %{done}\n{done}:")
        value = self.temp(f"phi {kind} [ {other}, %{slow} ], [ {value}, %{go_end} ]")
        return self.temp(f"bitcast {kind} {value} to {llvm_type(op.type)}")

    def _slow(self, op: Op, args: Sequence[Value], kind: str) -> str:
        """A native function's result, as an LLVM type of the op's size."""
        at = 0
        for arg in args:
            self.put(f"store {self.typed(arg)}, ptr {self.word('operands', at)}, align 8")
            if arg.width < 64:
                upper = self.temp(
                    f"getelementptr i8, ptr {self.word('operands', at)}, i64 {arg.width // 8}"
                )
                self.put(f"store i{64 - arg.width} 0, ptr {upper}, align 1")
            at += 1 + (arg.width > 64)
        place = self.word("functions", self.target.functions[f"{op.attrs[0]}{SLOW}"])
        function = self.temp(f"load ptr, ptr {place}")
        self.put(f"call {KEEPING} void {function}(ptr %s)")
        return self.temp(f"load {kind}, ptr {self.word('operands')}, align 8")

    def op_unusual(self, op: Op) -> str:
        word = self.get_word(str(op.attrs[0]))
        found = self.temp(f"and i64 {word}, {self.ref(op.args[0])}")
        return self.temp(f"icmp ne i64 {found}, 0")
