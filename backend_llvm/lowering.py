"""Micro-ops to LLVM text.  What a row's template cannot say, a subclass's method does."""

from __future__ import annotations

import functools
import re

from jitemu.ir.code import BITS, VECTORS, WIDTHS, Block, Op, Value, lanes_of, split_lanes, truth_of
from jitemu.ir.ops import ROWS
from jitemu.ir.ops_vector import order_of
from jitemu.ir.state import Layout

Names = dict[int, str]

_INTRINSIC = re.compile(r"call (\S+|<[^>]+>) @(llvm\.[\w.]+)\((.*)\)")


@functools.cache
def _template(name: str) -> str | None:
    text = ROWS[name].llvm
    return text.replace("{2W}", "{WW}") if text else None


_FLOATS = {16: "half", 32: "float", 64: "double"}


@functools.cache
def llvm_type(type: str) -> str:
    """A micro-op type in LLVM's text."""
    lane, count = lanes_of(type)
    return f"<{count} x {lane}>" if type in VECTORS else type


@functools.cache
def _type_words(type: str, first: str) -> dict[str, object]:
    """What templates say of an op's type and of its first argument's."""
    words: dict[str, object] = {"A": llvm_type(first), "AI": f"i{BITS[first]}" if first else ""}
    words |= {"AN": _mangled(first), "AF": float_type(first), "AFN": _float_name(first)}
    if not type:
        return {**words, "T": "", "W": 64, "WW": 128, "M": 63}
    lane, vector = lanes_of(type)[0], type in VECTORS
    width, kind = WIDTHS[lane], llvm_type(type)

    def constant(value: int) -> object:
        return f"splat ({lane} {value})" if vector else value

    return words | {
        "T": kind,
        "N": _mangled(type),
        "B": llvm_type(truth_of(type)),
        "Z": "zeroinitializer" if vector else 0,
        "W": constant(width),
        "WW": 2 * width,
        "M": constant(width - 1),
        "ONE": constant(1),
        "F": float_type(type),
        "FN": _float_name(type),
        "MAGNITUDE": constant((1 << width - 1) - 1),
        "NORMAL": constant({32: 1 << 23, 64: 1 << 52}.get(width, 0)),
    }


def _mangled(type: str) -> str:
    """A type in an intrinsic's name."""
    lane, count = lanes_of(type)
    return f"v{count}{lane}" if type in VECTORS else lane


def float_type(type: str) -> str:
    """LLVM's float type of a type's size and lanes ("" if there is none)."""
    lane, count = lanes_of(type)
    real = _FLOATS.get(WIDTHS.get(lane, 0), "")
    return f"<{count} x {real}>" if type in VECTORS else real


def _float_name(type: str) -> str:
    """The same in an intrinsic's name."""
    return _mangled(type).replace("i", "f")


_SHIFTS = ("shl", "lshr", "ashr")


def _below(value: Value, limit: int) -> bool:
    """A value is known to be less than a limit, so that a shift by it needs no guard."""
    if value.const is not None:
        return all(lane < limit for lane in split_lanes(value.type, value.const))
    source = value.source
    return source is not None and source.name == "and" and _below(source.args[1], limit)


class Lowering:
    """One LLVM function in the making."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.lines: list[str] = []
        self.names: Names = {}
        self.temps = 0

    def temp(self, text: str = "") -> str:
        """A fresh SSA name, defined by this text if given."""
        self.temps += 1
        name = f"%t{self.temps}"
        if text:
            self.lines.append(f"{name} = {text}")
        return name

    def label(self) -> str:
        """A fresh label."""
        self.temps += 1
        return f"L{self.temps}"

    def put(self, text: str) -> None:
        """A line without a result."""
        self.lines.append(text)

    def ref(self, value: Value) -> str:
        """How LLVM text names a value."""
        if value.const is None:
            return self.names[id(value)]
        if value.type not in VECTORS:
            return _constant(value.type, value.const)
        lane, _ = lanes_of(value.type)
        lanes = [f"{lane} {_constant(lane, n)}" for n in split_lanes(value.type, value.const)]
        return f"splat ({lanes[0]})" if len(set(lanes)) == 1 else f"<{', '.join(lanes)}>"

    def typed(self, value: Value) -> str:
        """The same with its type before it."""
        return f"{llvm_type(value.type)} {self.ref(value)}"

    def block(self, block: Block) -> None:
        """Lower a block's ops."""
        for op in block.ops:
            self.op(op)

    def op(self, op: Op) -> None:
        """Lower one op, by its row's template or by the method of its name."""
        template = _template(op.name)
        method = getattr(self, f"op_{op.name}", None)
        if template is None or method is not None:
            assert method is not None, f"nothing lowers {op.name}"
            name = method(op)
            if op.result is not None:
                self.names[id(op.result)] = name
            return
        self.temps += 1
        result = f"%t{self.temps}"
        if op.name in _SHIFTS and _below(op.args[1], WIDTHS[lanes_of(op.type)[0]]):
            template = f"{{r}} = {op.name} {{T}} {{0}}, {{1}}"
        words = _type_words(op.type, op.args[0].type if op.args else "")
        text = template.format(*map(self.ref, op.args), r=result, **words)
        self.lines.extend(text.split("\n"))
        if op.result is not None:
            self.names[id(op.result)] = result

    # Lanes

    def op_shuffle(self, op: Op) -> str:
        order = order_of(op.attrs[0])
        numbers = ", ".join(f"i32 {n}" for n in order)
        mask = f"<{len(order)} x i32> <{numbers}>"
        return self.temp(f"shufflevector {', '.join(map(self.typed, op.args))}, {mask}")

    def op_splat(self, op: Op) -> str:
        kind = llvm_type(op.type)
        count = lanes_of(op.type)[1]
        one = self.temp(f"insertelement {kind} poison, {self.typed(op.args[0])}, i32 0")
        return self.temp(
            f"shufflevector {kind} {one}, {kind} poison, <{count} x i32> zeroinitializer"
        )

    def op_lane(self, op: Op) -> str:
        return self.temp(f"extractelement {self.typed(op.args[0])}, i32 {op.attrs[0]}")

    def op_setlane(self, op: Op) -> str:
        whole, part = map(self.typed, op.args)
        return self.temp(f"insertelement {whole}, {part}, i32 {op.attrs[0]}")

    # State words

    def word(self, name: str, index: int = 0) -> str:
        """Pointer to a word of the state."""
        return self.temp(f"getelementptr i8, ptr %s, i64 {self.layout.of(name, index)}")

    def get_word(self, name: str, type: str = "i64") -> str:
        """Read a word of the state."""
        return self.temp(f"load {type}, ptr {self.word(name)}")

    def set_word(self, name: str, value: str) -> None:
        """Write a word of the state."""
        self.put(f"store i64 {value}, ptr {self.word(name)}")

    def op_field(self, op: Op) -> str:
        return self.get_word(str(op.attrs[0]))

    def op_setfield(self, op: Op) -> None:
        self.set_word(str(op.attrs[0]), self.ref(op.args[0]))

    def _element(self, op: Op) -> str:
        base = self.word(str(op.attrs[0]))
        return self.temp(f"getelementptr i64, ptr {base}, i64 {self.ref(op.args[0])}")

    def op_elem(self, op: Op) -> str:
        return self.temp(f"load i64, ptr {self._element(op)}")

    def op_setelem(self, op: Op) -> None:
        self.put(f"store i64 {self.ref(op.args[1])}, ptr {self._element(op)}")

    def op_fence(self, op: Op) -> None:
        self.put("fence seq_cst")


def _constant(type: str, value: int) -> str:
    """A scalar constant."""
    if type == "i1":
        return "true" if value else "false"
    width = WIDTHS[type]
    return str(value - (1 << width) if value >> (width - 1) else value)


def declarations(body: str) -> str:
    """Declarations of the LLVM intrinsics that a module's text calls."""
    seen: dict[str, str] = {}
    for result, name, args in _INTRINSIC.findall(body):
        types = [_type_of(a) for a in _split(args)]
        seen[name] = f"declare {result} @{name}({', '.join(types)})"
    return "\n".join(seen.values())


def _split(args: str) -> list[str]:
    parts: list[str] = []
    depth = 0
    current = ""
    for char in args:
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
            continue
        depth += (char in "<{(") - (char in ">})")
        current += char
    if current.strip():
        parts.append(current.strip())
    return parts


def _type_of(argument: str) -> str:
    if argument.startswith("<"):
        return argument[: argument.index(">") + 1]
    return argument.split()[0]
