"""The verifier: holds a function against the micro-op table and the rules of SSA."""

from __future__ import annotations

from jitemu.ir.code import BITS, VECTORS, WIDTHS, Function, Op, Value, lanes_of
from jitemu.ir.flow import successors
from jitemu.ir.interp import AMO
from jitemu.ir.meaning import result_type
from jitemu.ir.ops import ROWS, Row
from jitemu.ir.ops_vector import check_vector
from jitemu.ir.text import argument_type, print_op

MEMORY_OPS = ("load", "store", "amo", "casif", "hload", "hstore", "bswap")
"""Ops on whole bytes."""


class VerifyError(Exception):
    """A function is wrong: one line that says where and why."""


class _Wrong(Exception):
    """Why an op is wrong."""


def verify(function: Function) -> None:
    """Check a function; VerifyError if it breaks a rule.

    Rules: rows of the table with their attributes, argument and result types; constants in
    range; ops that end a block only at its end; labels that exist, once each; values
    defined once and before use on every path.  Where ``ret`` occurs (a native function)
    each block ends; elsewhere running off a block's end is going on to the next
    instruction.
    """
    labels = [block.label for block in function.blocks]
    if not labels:
        raise VerifyError(f"func @{function.name}: no blocks")
    if len(set(labels)) != len(labels):
        raise VerifyError(f"func @{function.name}: a label is there twice")
    function.number()
    native = any(op.name == "ret" for block in function.blocks for op in block.ops)
    available = _available(function)
    defined: set[Value] = set()
    for block in function.blocks:
        visible = available[block.label] - {op.result for op in block.ops}
        for at, op in enumerate(block.ops):
            try:
                _check_row(op, function, labels)
                _check_place(op, at == len(block.ops) - 1)
                _check_uses(op, visible)
                if op.result is not None:
                    if op.result in defined:
                        raise _Wrong("its value is defined twice")
                    defined.add(op.result)
                    visible.add(op.result)
            except _Wrong as wrong:
                row = ROWS.get(op.name)
                whole = row is not None and len(row.attrs) == len(op.attrs)
                text = print_op(op) if whole else op.name
                where = f"func @{function.name}, {block.label}, op {at}"
                raise VerifyError(f"{where} `{text}`: {wrong}") from None
        if native and not (block.ops and ROWS[block.ops[-1].name].ends):
            raise VerifyError(f"func @{function.name}, {block.label}: the block has no end")


def _check_row(op: Op, function: Function, labels: list[str]) -> None:
    row = ROWS.get(op.name)
    if row is None:
        raise _Wrong("not in the table")
    _check_attributes(op, row, function, labels)
    if "T" in (*row.args, row.result) and op.type not in BITS:
        raise _Wrong("no type")
    if op.type and op.type not in BITS:
        raise _Wrong(f"{op.type} is not a type")
    if op.type in VECTORS and not row.lanes:
        raise _Wrong(f"it is not for {op.type}")
    more = bool(row.args) and row.args[-1].endswith("...")
    fixed = len(row.args) - more
    if len(op.args) < fixed or (len(op.args) > fixed and not more):
        raise _Wrong(f"{len(op.args)} arguments, not {fixed}")
    for index, value in enumerate(op.args):
        wanted = argument_type(row, op.type, index)
        if wanted and value.type != wanted:
            raise _Wrong(f"argument {index} is {value.type}, not {wanted}")
        if value.const is not None and value.const >> value.width:
            raise _Wrong(f"argument {index} does not fit {value.type}")
    _check_widths(op)
    result = result_type(row, op.type)
    if (op.result.type if op.result is not None else "") != result:
        raise _Wrong(f"its result is not {result or 'none'}")
    if op.result is not None and (op.result.const is not None or op.result.source is not op):
        raise _Wrong("its result is not its own")


def _check_attributes(op: Op, row: Row, function: Function, labels: list[str]) -> None:
    if len(op.attrs) != len(row.attrs):
        raise _Wrong(f"{len(op.attrs)} attributes, not {len(row.attrs)}")
    for name, value in zip(row.attrs, op.attrs, strict=True):
        if name == "index":
            good = isinstance(value, str) or value >= 0
        elif name in ("reason", "arity"):
            good = isinstance(value, int)
        else:
            good = isinstance(value, str)
        if not good:
            raise _Wrong(f"{name} cannot be {value}")
        if name in ("label", "then", "else") and value not in labels:
            raise _Wrong(f"there is no label {value}")
    if op.name == "amo" and op.attrs[0] not in AMO:
        raise _Wrong(f"there is no kind {op.attrs[0]}")
    if op.name == "param" and op.attrs[0] not in function.params:
        raise _Wrong(f"there is no parameter {op.attrs[0]}")
    if op.name == "hostcall" and op.attrs[0] != len(op.args) - 1:
        raise _Wrong(f"{len(op.args) - 1} words are passed, not {op.attrs[0]}")


def _check_widths(op: Op) -> None:
    """What a row's signature cannot say."""
    if op.name in ("zext", "sext", "trunc"):
        (given, count), (lane, wanted) = lanes_of(op.args[0].type), lanes_of(op.type)
        if count != wanted:
            raise _Wrong(f"{op.args[0].type} has not {wanted} lanes")
        if op.name != "trunc" and WIDTHS[given] >= WIDTHS[lane]:
            raise _Wrong(f"{op.args[0].type} is not narrower")
        if op.name == "trunc" and WIDTHS[given] <= WIDTHS[lane]:
            raise _Wrong(f"{op.args[0].type} is not wider")
    why = check_vector(op.name, op.type, [a.type for a in op.args])
    if why:
        raise _Wrong(why)
    if op.name in MEMORY_OPS and BITS[op.type] < 8:
        raise _Wrong("the type has no bytes")
    if op.name == "bswap" and op.type == "i8":
        raise _Wrong("one byte has no order")


def _check_place(op: Op, last: bool) -> None:
    if ROWS[op.name].ends and not last:
        raise _Wrong("it ends the block, but more follows")


def _check_uses(op: Op, visible: set[Value]) -> None:
    for value in op.args:
        if value.const is None and value not in visible:
            raise _Wrong(f"%{value.number} is not defined on every path to here")


def _available(function: Function) -> dict[str, set[Value]]:
    """Values defined on every path to each block's start (all, where no path leads)."""
    own = {b.label: {op.result for op in b.ops if op.result is not None} for b in function.blocks}
    everything = set[Value]().union(*own.values())
    available = {block.label: everything for block in function.blocks}
    available[function.blocks[0].label] = set()
    changed = True
    while changed:
        changed = False
        for block in function.blocks:
            out = available[block.label] | own[block.label]
            for label in successors(block):
                if label in available and not available[label] <= out:
                    available[label] = available[label] & out
                    changed = True
    return available
