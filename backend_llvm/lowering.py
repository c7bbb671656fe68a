"""Micro-ops to LLVM text.  What a row's template cannot say, a subclass's method does."""

from __future__ import annotations

import functools
import re

from jitemu.ir.code import WIDTHS, Block, Op, Value
from jitemu.ir.ops import ROWS
from jitemu.ir.state import Layout

Names = dict[int, str]

_INTRINSIC = re.compile(r"call (\S+|<[^>]+>) @(llvm\.[\w.]+)\(([^)]*)\)")


@functools.cache
def _template(name: str) -> str | None:
    text = ROWS[name].llvm
    return text.replace("{2W}", "{WW}") if text else None


_SHIFTS = ("shl", "lshr", "ashr")


def _below(value: Value, limit: int) -> bool:
    """A value is known to be less than a limit, so that a shift by it needs no guard."""
    if value.const is not None:
        return value.const < limit
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
        if value.const is not None:
            if value.type == "i1":
                return "true" if value.const else "false"
            const = value.const
            return str(const - (1 << value.width) if const >> (value.width - 1) else const)
        return self.names[id(value)]

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
        width = WIDTHS[op.type] if op.type else 64
        if op.name in _SHIFTS and _below(op.args[1], width):
            template = f"{{r}} = {op.name} {{T}} {{0}}, {{1}}"
        text = template.format(
            *map(self.ref, op.args),
            r=result,
            T=op.type,
            W=width,
            WW=2 * width,
            M=width - 1,
            A=op.args[0].type if op.args else "",
        )
        self.lines.extend(text.split("\n"))
        if op.result is not None:
            self.names[id(op.result)] = result

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
        depth += (char in "<{") - (char in ">}")
        current += char
    if current.strip():
        parts.append(current.strip())
    return parts


def _type_of(argument: str) -> str:
    if argument.startswith("<"):
        return argument[: argument.index(">") + 1]
    return argument.split()[0]
