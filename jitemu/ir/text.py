"""The text form of micro-op functions: printer and parser, inverse to each other.

::

    func @example(a, b) {
    entry:
      %0 = get x[11]
      %1 = add.i64 %0, 0x5
      set x[10], %1
      %2 = call @helper(%1, 0x2)
      jump 0x10558
    }

A row's type parameter follows its name; an atomic operation's kind stands between
(``amo.add.i32``).  Attributes come before the arguments, labels after them.  A constant
has its type written (``0x5:i32``) where the row does not fix it.  ``;`` starts a comment.
"""

from __future__ import annotations

import re

from jitemu.ir.code import BITS, Attr, Block, Function, Op, Value, truth_of
from jitemu.ir.meaning import result_type
from jitemu.ir.ops import ROWS, Row


class TextError(ValueError):
    """The text is no function: which line, and why."""


def argument_type(row: Row, op_type: str, index: int) -> str:
    """The type a row demands of an argument: "" where it takes any."""
    name = row.args[min(index, len(row.args) - 1)] if row.args else ""
    if name == "...":
        return "i64"
    if name == "*...":
        return ""
    if name == "B":
        return truth_of(op_type)
    return op_type if name == "T" else "" if name == "*" else name


# Printer


def print_function(function: Function) -> str:
    """The text of a function, its results numbered in order."""
    function.number()
    lines = [f"func @{function.name}({', '.join(function.params)}) {{"]
    for block in function.blocks:
        lines.append(f"{block.label}:")
        lines.extend(f"  {print_op(op)}" for op in block.ops)
    return "\n".join([*lines, "}", ""])


def print_op(op: Op) -> str:
    """The text of one op, whose function has been numbered."""
    row = ROWS[op.name]
    args = [_argument(a, argument_type(row, op.type, i)) for i, a in enumerate(op.args)]
    name, attrs = op.name, [str(a) for a in op.attrs]
    match row.attrs:
        case ("class", "index"):
            operands = [f"{attrs[0]}[{attrs[1]}]", *args]
        case ("kind",):
            name = f"{name}.{attrs[0]}"
            operands = args
        case ("function",):
            operands = [f"@{attrs[0]}({', '.join(args)})"]
        case ("arity",):
            operands = args
        case ("then", "else"):
            operands = [*args, *attrs]
        case _:
            operands = [*attrs, *args]
    left = f"%{op.result.number} = " if op.result is not None else ""
    kind = f".{op.type}" if op.type else ""
    return f"{left}{name}{kind} {', '.join(operands)}".rstrip()


def _argument(value: Value, implied: str) -> str:
    if value.const is None:
        return f"%{value.number}"
    return f"{value.const:#x}" + (f":{value.type}" if value.type != implied else "")


# Parser

_HEAD = re.compile(r"func @([\w.]+)\(([\w, ]*)\) \{$")
_LABEL = re.compile(r"([\w.]+):$")
_OP = re.compile(r"(?:%(\d+) = )?([a-z]\w*)((?:\.\w+)*)(?: (.*))?$")
_REGISTER = re.compile(r"(\w+)\[(\w+)\]$")
_CALL = re.compile(r"@([\w.]+)\((.*)\)$")
_CONST = re.compile(r"(0x[0-9a-f]+|\d+)(?::(i\d+(?:x\d+)?))?$")


def parse_function(text: str) -> Function:
    """The one function of a text.  TextError if there is none or more."""
    functions = parse_functions(text)
    if len(functions) != 1:
        raise TextError(f"{len(functions)} functions where one is wanted")
    return functions[0]


def parse_functions(text: str) -> list[Function]:
    """All functions of a text."""
    functions: list[Function] = []
    parser: _Parser | None = None
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition(";")[0].strip()
        if not line:
            continue
        try:
            if parser is None:
                parser = _Parser(line)
            elif line == "}":
                functions.append(parser.finish())
                parser = None
            else:
                parser.line(line)
        except TextError as error:
            raise TextError(f"line {number}: {error}") from None
    if parser is not None:
        raise TextError(f"function {parser.function.name} has no end")
    return functions


class _Parser:
    """One function; arguments are looked up at its end, as uses may precede definitions."""

    def __init__(self, line: str) -> None:
        head = _HEAD.match(line)
        if head is None:
            raise TextError(f"not a function's head: {line}")
        params = tuple(p.strip() for p in head[2].split(",") if p.strip())
        self.function = Function(head[1], params)
        self.values: dict[int, Value] = {}
        self.waiting: list[tuple[Op, list[str]]] = []

    def line(self, line: str) -> None:
        """A label or an op."""
        label = _LABEL.match(line)
        if label is not None:
            self.function.blocks.append(Block(label[1]))
            return
        if not self.function.blocks:
            raise TextError(f"no label before {line}")
        match = _OP.match(line)
        if match is None or match[2] not in ROWS:
            raise TextError(f"not a micro-op: {line}")
        row = ROWS[match[2]]
        words = match[3].split(".")[1:]
        kind = words.pop() if words and words[-1] in BITS else ""
        attrs, args = _operands(row, words, match[4] or "")
        op = Op(row.name, kind, (), attrs)
        if (match[1] is None) != (row.result == ""):
            raise TextError(f"{row.name} has {'no' if match[1] else 'a'} result")
        if match[1] is not None:
            result = result_type(row, kind)
            if not result:
                raise TextError(f"{row.name} needs a type")
            op.result = Value(result, None, op)
            if self.values.setdefault(int(match[1]), op.result) is not op.result:
                raise TextError(f"%{match[1]} is defined twice")
        self.function.blocks[-1].ops.append(op)
        self.waiting.append((op, args))

    def finish(self) -> Function:
        """The function with all arguments in place."""
        for op, args in self.waiting:
            row = ROWS[op.name]
            op.args = tuple(
                self._value(a, argument_type(row, op.type, i), op) for i, a in enumerate(args)
            )
        self.function.number()
        return self.function

    def _value(self, text: str, implied: str, op: Op) -> Value:
        if text[:1] == "%" and text[1:].isdigit():
            value = self.values.get(int(text[1:]))
            if value is None:
                raise TextError(f"{op.name} uses {text}, which nothing defines")
            return value
        match = _CONST.match(text)
        if match is None:
            raise TextError(f"{op.name}: {text!r} is neither a value nor a constant")
        kind = match[2] or implied
        if kind not in BITS:
            raise TextError(f"{op.name}: the constant {text} needs a type")
        return Value(kind, int(match[1], 0))


def _operands(row: Row, words: list[str], text: str) -> tuple[tuple[Attr, ...], list[str]]:
    """(attributes, texts of the arguments) of an op."""
    if row.attrs == ("function",):
        call = _CALL.match(text)
        if call is None:
            raise TextError(f"call takes @function(arguments), not {text!r}")
        return (call[1],), _split(call[2])
    parts = _split(text)
    if row.attrs == ("kind",):
        return tuple(words), parts
    if words:
        raise TextError(f"{row.name} is not followed by .{words[0]}")
    if row.attrs == ("arity",):
        return (len(parts) - 1,), parts
    if row.attrs == ("class", "index"):
        register = _REGISTER.match(parts[0]) if parts else None
        if register is None:
            raise TextError(f"{row.name} takes class[index]")
        return (register[1], _attr(register[2])), parts[1:]
    if len(parts) < len(row.attrs):
        raise TextError(f"{row.name} takes {', '.join(row.attrs)}")
    if row.attrs == ("then", "else"):
        return tuple(parts[-2:]), parts[:-2]
    count = len(row.attrs)
    return tuple(map(_attr, parts[:count])), parts[count:]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _attr(text: str) -> Attr:
    return int(text) if text.isdigit() else text
