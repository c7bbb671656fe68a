"""Native functions from their Python source: the syntax tree becomes micro-ops."""

from __future__ import annotations

import ast

from jitemu.ir.builder import Builder, V
from jitemu.ir.code import Function
from jitemu.ir.native import NativeFunction
from jitemu.ir.ops import ROWS


def compile_native(native: NativeFunction) -> Function:
    """The micro-ops of a native function."""
    tree = ast.parse(native.text()).body[0]
    assert isinstance(tree, ast.FunctionDef)
    return _Compiler(native, tree).run()


_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "lshr",
    ast.FloorDiv: "udiv",
    ast.Mod: "urem",
}
_COMPARE: dict[type[ast.cmpop], tuple[str, bool]] = {
    ast.Eq: ("eq", False),
    ast.NotEq: ("ne", False),
    ast.Lt: ("ult", False),
    ast.LtE: ("ule", False),
    ast.Gt: ("ult", True),
    ast.GtE: ("ule", True),
}


class _Compiler:
    def __init__(self, native: NativeFunction, tree: ast.FunctionDef) -> None:
        self.native = native
        self.tree = tree
        self.scope = native.scope
        self.function = Function(native.name, native.params)
        self.builder = Builder(self.function)
        self.labels = 0
        self.loops: list[tuple[str, str]] = []
        self.state = tree.args.args[0].arg

    def run(self) -> Function:
        for name in self.native.params:
            self._set_local(name, self.builder.emit("param", "", (), (name,)))
        self._body(self.tree.body)
        if not self.builder.ended:
            self.builder.emit("ret", "", (self.builder.const(0),))
        return self.function

    def _error(self, node: ast.AST, text: str) -> Exception:
        line = getattr(node, "lineno", 0)
        return SyntaxError(f"native function {self.native.name}, line {line}: {text}")

    def _label(self, word: str) -> str:
        self.labels += 1
        return f"{word}{self.labels}"

    def _set_local(self, name: str, value: V) -> None:
        self.builder.emit("setlocal", "", (value,), (name,))

    # Statements

    def _body(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if self.builder.ended:
                raise self._error(statement, "cannot be reached")
            method = getattr(self, f"_do_{type(statement).__name__}", None)
            if method is None:
                raise self._error(statement, f"{type(statement).__name__} is not in the language")
            method(statement)

    def _do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self._word(node.value)

    def _do_Pass(self, node: ast.Pass) -> None:
        pass

    def _do_Return(self, node: ast.Return) -> None:
        value = self._word(node.value) if node.value else self.builder.const(0)
        self.builder.emit("ret", "", (value,))

    def _do_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets[0], self._word(node.value))

    def _do_AugAssign(self, node: ast.AugAssign) -> None:
        old = self._word(node.target)
        new = self._word(node.value)
        self._assign(node.target, old.op(_BINARY[type(node.op)], new))

    def _assign(self, target: ast.expr, value: V) -> None:
        if isinstance(target, ast.Name):
            self._set_local(target.id, value)
        elif isinstance(target, ast.Attribute):
            self.builder.emit("setfield", "", (value,), (target.attr,))
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Attribute):
            index = self._word(target.slice)
            self.builder.emit("setelem", "", (index, value), (target.value.attr,))
        else:
            raise self._error(target, "cannot be assigned to")

    def _do_If(self, node: ast.If) -> None:
        then, other, end = self._label("then"), self._label("else"), self._label("end")
        self._condition(node.test, then, other if node.orelse else end)
        self.builder.start(then)
        self._body(node.body)
        reached = not self.builder.ended or not node.orelse
        if not self.builder.ended:
            self.builder.emit("br", "", (), (end,))
        if node.orelse:
            self.builder.start(other)
            self._body(node.orelse)
            if not self.builder.ended:
                reached = True
                self.builder.emit("br", "", (), (end,))
        if reached:
            self.builder.start(end)

    def _do_While(self, node: ast.While) -> None:
        head, body, end = self._label("while"), self._label("do"), self._label("done")
        self.builder.emit("br", "", (), (head,))
        self.builder.start(head)
        self._condition(node.test, body, end)
        self.builder.start(body)
        self.loops.append((head, end))
        self._body(node.body)
        self.loops.pop()
        if not self.builder.ended:
            self.builder.emit("br", "", (), (head,))
        self.builder.start(end)

    def _do_Break(self, node: ast.Break) -> None:
        self.builder.emit("br", "", (), (self.loops[-1][1],))

    def _do_Continue(self, node: ast.Continue) -> None:
        self.builder.emit("br", "", (), (self.loops[-1][0],))

    # Conditions: control flow, so that and/or are short-circuit.

    def _condition(self, node: ast.expr, then: str, other: str) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values[:-1]:
                more = self._label("more")
                if isinstance(node.op, ast.And):
                    self._condition(value, more, other)
                else:
                    self._condition(value, then, more)
                self.builder.start(more)
            self._condition(node.values[-1], then, other)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._condition(node.operand, other, then)
        else:
            self.builder.emit("cbr", "", (self._bool(node),), (then, other))

    def _bool(self, node: ast.expr) -> V:
        if isinstance(node, ast.Compare):
            return self._compare(node)
        return self._word(node).ne(0)

    def _compare(self, node: ast.Compare) -> V:
        if len(node.ops) != 1:
            raise self._error(node, "one comparison at a time")
        name, swap = _COMPARE[type(node.ops[0])]
        a, b = self._word(node.left), self._word(node.comparators[0])
        return b.op(name, a) if swap else a.op(name, b)

    # Expressions

    def _word(self, node: ast.expr) -> V:
        method = getattr(self, f"_of_{type(node).__name__}", None)
        if method is None:
            raise self._error(node, f"{type(node).__name__} is not in the language")
        return method(node)

    def _of_Constant(self, node: ast.Constant) -> V:
        if not isinstance(node.value, int):
            raise self._error(node, "only integers")
        return self.builder.const(int(node.value))

    def _of_Name(self, node: ast.Name) -> V:
        value = self.scope.get(node.id)
        if isinstance(value, int):
            return self.builder.const(value)
        return self.builder.emit("local", "", (), (node.id,))

    def _of_Attribute(self, node: ast.Attribute) -> V:
        if isinstance(node.value, ast.Name) and node.value.id == self.state:
            return self.builder.emit("field", "", (), (node.attr,))
        owner = self.scope.get(node.value.id) if isinstance(node.value, ast.Name) else None
        value = getattr(owner, node.attr, None)
        if not isinstance(value, int):
            raise self._error(node, f"{ast.unparse(node)} is not a state word or a constant")
        return self.builder.const(int(value))

    def _of_Subscript(self, node: ast.Subscript) -> V:
        if not isinstance(node.value, ast.Attribute):
            raise self._error(node, "only arrays of the state have elements")
        return self.builder.emit("elem", "", (self._word(node.slice),), (node.value.attr,))

    def _of_BinOp(self, node: ast.BinOp) -> V:
        left = self._word(node.left)
        return left.op(_BINARY[type(node.op)], self._word(node.right))

    def _of_UnaryOp(self, node: ast.UnaryOp) -> V:
        if isinstance(node.op, ast.Not):
            return self._word(node.operand).eq(0).zext()
        value = self._word(node.operand)
        return ~value if isinstance(node.op, ast.Invert) else -value

    def _of_Compare(self, node: ast.Compare) -> V:
        return self._compare(node).zext()

    def _of_IfExp(self, node: ast.IfExp) -> V:
        then, other, end = self._label("then"), self._label("else"), self._label("end")
        result = self._label("%if")
        self._condition(node.test, then, other)
        for label, value in ((then, node.body), (other, node.orelse)):
            self.builder.start(label)
            self._set_local(result, self._word(value))
            self.builder.emit("br", "", (), (end,))
        self.builder.start(end)
        return self.builder.emit("local", "", (), (result,))

    def _of_BoolOp(self, node: ast.BoolOp) -> V:
        return self._of_IfExp(ast.IfExp(node, ast.Constant(1), ast.Constant(0)))

    def _of_Call(self, node: ast.Call) -> V:
        assert isinstance(node.func, ast.Name), ast.unparse(node)
        name = node.func.id
        if name == "addressof":
            assert isinstance(node.args[0], ast.Attribute)
            return self.builder.emit("addressof", "", (), (node.args[0].attr,))
        target = self.scope.get(name)
        if isinstance(target, NativeFunction):
            args = tuple(self._word(a) for a in node.args[1:])
            if len(args) != len(target.params):
                raise self._error(node, f"{name} takes {len(target.params)} words")
            return self.builder.emit("call", "", args, (name,))
        args = tuple(self._word(a) for a in node.args)
        return self._intrinsic(node, name, args)

    def _intrinsic(self, node: ast.Call, name: str, args: tuple[V, ...]) -> V:
        emit = self.builder.emit
        if name.startswith("load"):
            return emit("hload", f"i{name[4:]}", args).zext()
        if name.startswith("store"):
            width = int(name[5:])
            return emit("hstore", f"i{width}", (args[0], args[1].trunc(width)))
        if name == "slt":
            return args[0].slt(args[1]).zext()
        if name == "sar":
            return args[0].sar(args[1])
        if name == "sext32":
            return args[0].sx(32)
        if name == "ctz":
            return args[0].op("ctz")
        if name == "hostcall":
            return emit("hostcall", "", args, (len(args) - 1,))
        if name == "hostsyscall":
            return emit("hostsyscall", "", args)
        if name == "copy_bytes":
            return emit("copybytes", "", args)
        if name == "exchange":
            return emit("hxchg", "", args)
        if name.startswith("host_"):
            return self._float_unit(name, args)
        from jitemu.ir.ops_float import FLOAT

        if name in FLOAT:
            kinds = (int(kind[1:]) for kind in ROWS[name].args)
            return emit(
                name, "", tuple(a.trunc(w) for a, w in zip(args, kinds, strict=True))
            ).zext()
        raise self._error(node, f"{name} is not a native function or an intrinsic")

    def _float_unit(self, name: str, args: tuple[V, ...]) -> V:
        from jitemu.ir import ops_float as ops_float  # for its rows

        if name == "host_fp_flags":
            return self.builder.emit("fpflags", "", ())
        if name == "host_set_flags":
            return self.builder.emit("setfpflags", "", args)
        if name == "host_swap_rounding":
            return self.builder.emit("swaprounding", "", args)
        self.builder.emit("setfpflags", "", args[:1])
        return self.builder.emit("swaprounding", "", args[1:])
