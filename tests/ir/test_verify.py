"""What the verifier and the parser refuse."""

from __future__ import annotations

import pytest

from jitemu.ir.code import Block, Function, Op, Value
from jitemu.ir.text import TextError, parse_function, parse_functions, print_function
from jitemu.ir.verify import VerifyError, verify


def body(*lines: str) -> Function:
    """A function of these lines."""
    return parse_function("\n".join(["func @f(a) {", "entry:", *lines, "}"]))


WRONG = [
    ("is i32, not i64", ["%0 = add.i64 0x1:i32, 0x2"]),
    ("is i64, not i1", ["%0 = get x[1]", "branch %0, 0x10"]),
    ("1 arguments, not 2", ["%0 = add.i64 0x1"]),
    ("2 arguments, not 1", ["jump 0x1, 0x2"]),
    ("does not fit", ["%0 = add.i8 0x100, 0x1"]),
    ("no type", ["store 0x10, 0x1:i32"]),
    ("not defined on every path", ["%1 = add.i64 %0, 0x1", "%0 = get x[1]"]),
    (
        "not defined on every path",
        ["cbr 0x1, b, c", "b:", "%0 = get x[1]", "br c", "c:", "set x[2], %0"],
    ),
    ("more follows", ["jump 0x10", "set x[1], 0x1"]),
    ("no label nowhere", ["br nowhere"]),
    ("no kind nand", ["%0 = amo.nand.i32 0x10, 0x1"]),
    ("no parameter b", ["%0 = param b", "ret %0"]),
    ("not narrower", ["%0 = zext.i32 0x1:i32"]),
    ("not wider", ["%0 = trunc.i32 0x1:i16"]),
    ("no bytes", ["%0 = load.i1 0x10"]),
    ("no order", ["%0 = bswap.i8 0x1"]),
    ("reason cannot be soon", ["exit soon"]),
    ("the block has no end", ["cbr 0x1, b, c", "b:", "ret 0x1", "c:"]),
    ("a label is there twice", ["br entry", "entry:"]),
]


@pytest.mark.parametrize("why,lines", WRONG, ids=[" ".join(w[1])[:40] for w in WRONG])
def test_refused(why: str, lines: list[str]) -> None:
    function = body(*lines)
    with pytest.raises(VerifyError, match=why) as error:
        verify(function)
    assert "\n" not in str(error.value) and "@f" in str(error.value)


def test_refused_beyond_text() -> None:
    op = Op("get", "", (), ("x", 1))
    op.result = Value("i64", None, op)
    for ops, why in (
        ([Op("nothing", "", (), ())], "not in the table"),
        ([Op("get", "", (), ("x",))], "1 attributes, not 2"),
        ([Op("get", "", (), ("x", 1))], "its result is not i64"),
        ([op, op], "defined twice"),
    ):
        with pytest.raises(VerifyError, match=why):
            verify(Function("f", (), [Block("entry", list(ops))]))
    with pytest.raises(VerifyError, match="no blocks"):
        verify(Function("f"))


def test_dominance_through_loops_and_layout() -> None:
    verify(
        parse_function(
            """
            func @f(n) {
            entry:
              %0 = param n
              br head
            body:                 ; lies before its head, which defines %1
              setlocal n, %1
              br head
            head:
              %1 = add.i64 %0, 0x1
              %2 = ult.i64 %1, 0x5
              cbr %2, body, end
            end:
              ret %1
            }
            """
        )
    )


@pytest.mark.parametrize(
    "text,why",
    [
        ("func f() {\n}", "line 1: not a function's head"),
        ("func @f() {\nset x[1], 0x1\n}", "line 2: no label"),
        ("func @f() {\nentry:\n  frob 0x1\n}", "line 3: not a micro-op"),
        ("func @f() {\nentry:\n  get x[1]\n}", "line 3: get has a result"),
        ("func @f() {\nentry:\n  %0 = fence\n}", "line 3: fence has no result"),
        ("func @f() {\nentry:\n  %0 = get x1\n}", "takes class"),
        ("func @f() {\nentry:\n  %0 = add 0x1, 0x2\n}", "needs a type"),
        ("func @f() {\nentry:\n  %0 = zext.i64 0x1\n}", "needs a type"),
        ("func @f() {\nentry:\n  set x[1], %7\n}", "nothing defines"),
        ("func @f() {\nentry:\n  set x[1], y\n}", "neither a value nor a constant"),
        ("func @f() {\nentry:\n  %0 = pc\n  %0 = pc\n}", "line 4: %0 is defined twice"),
        ("func @f() {\nentry:\n", "has no end"),
        ("", "0 functions"),
    ],
)
def test_text_errors(text: str, why: str) -> None:
    with pytest.raises(TextError, match=why):
        parse_function(text)


def test_every_shape_of_op_round_trips() -> None:
    text = """func @all(a, b) {
entry:
  %0 = param a
  setlocal %if1, %0
  %1 = local %if1
  %2 = get x[rs1]
  set f[3], %2
  %3 = hole imm
  %4 = zext.i64 0x5:i32
  %5 = amo.add.i32 %0, 0x1
  %6 = call @helper(%1, 0x2)
  %7 = hostcall %6, %1, 0x3
  %8 = hostcall %6
  %9 = elem scratch, 0x1
  setelem scratch, %9, 0x2
  %10 = eq.i32 %5, 0xffffffff
  %11 = select.i8 %10, 0x1, 0x2
  hstore.i8 %0, %11
  fence
  cbr %10, left, right
left:
  ret %7
right:
  exit 3
}
"""
    (function,) = parse_functions(text)
    assert print_function(function) == text
    assert print_function(parse_function(print_function(function))) == text
