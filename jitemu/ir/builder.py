"""Building micro-ops: values with operators, folded where the arguments are constants."""

from __future__ import annotations

from collections.abc import Sequence

from jitemu.ir import ops_vector as ops_vector  # for its rows
from jitemu.ir.code import (
    WIDTHS,
    Attr,
    Block,
    Function,
    Op,
    Value,
    join_lanes,
    lanes_of,
    vector_of,
)
from jitemu.ir.meaning import compute, has_meaning, result_type
from jitemu.ir.ops import ROWS, Row

TYPE_OF = {width: name for name, width in WIDTHS.items()}


def fold(row: Row, type: str, args: tuple[Value, ...], attrs: tuple[Attr, ...] = ()) -> int:
    """The result of a pure op on constants, from its Python meaning."""
    return compute(row, type, attrs, [a.type for a in args], [a.const or 0 for a in args])


class Builder:
    """Appends ops to a function's current block."""

    def __init__(self, function: Function | None = None) -> None:
        self.function = function or Function("code")
        self.block = Block("entry")
        self.function.blocks.append(self.block)

    def start(self, label: str) -> None:
        """Go on in a new block."""
        self.block = Block(label)
        self.function.blocks.append(self.block)

    @property
    def ended(self) -> bool:
        """The current block's last op leaves it."""
        return bool(self.block.ops) and ROWS[self.block.ops[-1].name].ends

    def const(self, value: int, type: str = "i64") -> V:
        """A constant, wrapped to its type; of a vector, in every lane."""
        return V(self, type, join_lanes(type, [value] * lanes_of(type)[1]))

    def own(self, value: Value) -> V:
        """A value of this function, with operators."""
        return value if isinstance(value, V) else V(self, value.type, value.const, value.source)

    def emit(
        self, name: str, type: str, args: tuple[Value, ...], attrs: tuple[Attr, ...] = ()
    ) -> V:
        """Append an op (or fold it); its result, meaningless where the row has none."""
        row = ROWS[name]
        result = result_type(row, type)
        if has_meaning(row):
            if all(a.const is not None for a in args):
                return V(self, result, fold(row, type, args, attrs))
            same = identity(name, args)
            if same is not None:
                return self.own(same)
        op = Op(name, type, args, attrs)
        self.block.ops.append(op)
        value = V(self, result or "i64", None, op)
        if result:
            op.result = value
        return value


def identity(name: str, args: tuple[Value, ...]) -> Value | None:
    """The argument that an op returns unchanged, if that is known from a constant."""
    if len(args) == 2:
        right = args[1].const
        if right == 0 and name in ("add", "sub", "or", "xor", "shl", "lshr", "ashr"):
            return args[0]
        left = args[0].const
        if left == 0 and name in ("add", "or", "xor"):
            return args[1]
    return None


class V(Value):
    """A value that knows its builder, so that it has operators."""

    __slots__ = ("builder",)

    def __init__(
        self, builder: Builder, type: str, const: int | None = None, source: Op | None = None
    ) -> None:
        super().__init__(type, const, source)
        self.builder = builder

    def _other(self, other: V | int) -> V:
        return self.builder.const(other, self.type) if isinstance(other, int) else other

    def _binary(self, name: str, other: V | int) -> V:
        return self.builder.emit(name, self.type, (self, self._other(other)))

    def __add__(self, other: V | int) -> V:
        return self._binary("add", other)

    def __radd__(self, other: int) -> V:
        return self._binary("add", other)

    def __sub__(self, other: V | int) -> V:
        return self._binary("sub", other)

    def __rsub__(self, other: int) -> V:
        return self._other(other)._binary("sub", self)

    def __mul__(self, other: V | int) -> V:
        return self._binary("mul", other)

    def __and__(self, other: V | int) -> V:
        return self._binary("and", other)

    def __or__(self, other: V | int) -> V:
        return self._binary("or", other)

    def __xor__(self, other: V | int) -> V:
        return self._binary("xor", other)

    def __invert__(self) -> V:
        return self._binary("xor", -1)

    def __neg__(self) -> V:
        return self._other(0)._binary("sub", self)

    def __lshift__(self, other: V | int) -> V:
        return self._binary("shl", other)

    def __rshift__(self, other: V | int) -> V:
        return self._binary("lshr", other)

    def sar(self, other: V | int) -> V:
        """Arithmetic shift right."""
        return self._binary("ashr", other)

    def rotl(self, other: V | int) -> V:
        """Rotate left."""
        return self._binary("rotl", other)

    def udiv(self, other: V | int) -> V:
        """Unsigned quotient."""
        return self._binary("udiv", other)

    def urem(self, other: V | int) -> V:
        """Unsigned remainder."""
        return self._binary("urem", other)

    def sdiv(self, other: V | int) -> V:
        """Signed quotient."""
        return self._binary("sdiv", other)

    def srem(self, other: V | int) -> V:
        """Signed remainder."""
        return self._binary("srem", other)

    def op(self, name: str, *others: V | int) -> V:
        """Any other row whose arguments have this value's type."""
        return self.builder.emit(name, self.type, (self, *(self._other(o) for o in others)))

    def eq(self, other: V | int) -> V:
        """Equal: i1."""
        return self._binary("eq", other)

    def ne(self, other: V | int) -> V:
        """Not equal: i1."""
        return self._binary("ne", other)

    def ult(self, other: V | int) -> V:
        """Unsigned less: i1."""
        return self._binary("ult", other)

    def ule(self, other: V | int) -> V:
        """Unsigned less or equal: i1."""
        return self._binary("ule", other)

    def uge(self, other: V | int) -> V:
        """Unsigned greater or equal: i1."""
        return self._other(other)._binary("ule", self)

    def slt(self, other: V | int) -> V:
        """Signed less: i1."""
        return self._binary("slt", other)

    def sge(self, other: V | int) -> V:
        """Signed greater or equal: i1."""
        return self._other(other)._binary("sle", self)

    def select(self, then: V | int, otherwise: V | int) -> V:
        """This i1 chooses between two values of one type (i64 for plain numbers)."""
        kind = (
            then.type
            if isinstance(then, V)
            else otherwise.type
            if isinstance(otherwise, V)
            else "i64"
        )
        a = self.builder.const(then, kind) if isinstance(then, int) else then
        b = self.builder.const(otherwise, kind) if isinstance(otherwise, int) else otherwise
        return self.builder.emit("select", kind, (self, a, b))

    @property
    def lanes(self) -> int:
        """How many lanes it has: 1 for a scalar."""
        return lanes_of(self.type)[1]

    @property
    def lane_width(self) -> int:
        """Bits of a lane."""
        return WIDTHS[lanes_of(self.type)[0]]

    def _convert(self, name: str, width: int) -> V:
        if width == self.lane_width:
            return self
        return self.builder.emit(name, vector_of(TYPE_OF[width], self.lanes), (self,))

    def cast(self, type: str) -> V:
        """The same bits as another type."""
        return self if type == self.type else self.builder.emit("cast", type, (self,))

    def lane(self, number: int) -> V:
        """One lane of a vector."""
        if self.lanes == 1:
            return self
        return self.builder.emit("lane", lanes_of(self.type)[0], (self,), (number,))

    def splat(self, type: str) -> V:
        """A vector with this in all lanes (itself, if it is of the type)."""
        return self if type == self.type else self.builder.emit("splat", type, (self,))

    def shuffle(self, order: Sequence[int], other: V | None = None) -> V:
        """A vector of lanes of this one and of another, whose lanes have the numbers after."""
        lane = lanes_of(self.type)[0]
        attr = ".".join(map(str, order))
        kind = vector_of(lane, len(order))
        return self.builder.emit("shuffle", kind, (self, other or self), (attr,))

    def any(self) -> V:
        """i1: any lane, an i1 each, is 1."""
        return self if self.type == "i1" else self.builder.emit("any", "", (self,))

    def zext(self, width: int = 64) -> V:
        """Widened (each lane) with zeros to so many bits."""
        return self._convert("zext", width)

    def sext(self, width: int = 64) -> V:
        """Widened with the sign to so many bits."""
        return self._convert("sext", width)

    def trunc(self, width: int) -> V:
        """The low bits, as a narrower type."""
        return self._convert("trunc", width)

    def sx(self, width: int) -> V:
        """The low bits, sign-extended back to this type."""
        return self.trunc(width).sext(self.lane_width)

    def zx(self, width: int) -> V:
        """The low bits, zero-extended back to this type."""
        return self.trunc(width).zext(self.lane_width)
