"""Filetests: text files of micro-op functions, each with what is expected of it.

Directives are comments before a function:

- ``; run: x[10]=5, m32[0x20000000]=7 -> x[10]=12, next`` runs it and compares;
- ``; pass: fold`` (names in order, or ``default``) and ``; check:`` followed by lines
  ``;   op`` compare the function's ops after these passes.

Left of the arrow: registers, words of the state, memory, parameters.  Right of it: the
same and an outcome as in ``executors.End``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from jitemu.ir.code import Function
from jitemu.ir.passes import PIPELINE, dce, deadstore, fold, forward
from jitemu.ir.text import parse_function, print_function
from tests.ir.executors import MEMORY, PC, End, Start

PASSES = {
    "fold": (fold.run,),
    "dce": (dce.run,),
    "forward": (forward.run,),
    "deadstore": (deadstore.run,),
    "default": PIPELINE,
}
_ITEM = re.compile(r"(?:(x|m8|m16|m32|m64)\[(\w+)\]|(\w+))=(-?\w+)$")


@dataclass
class Case:
    """A function of a file and its directives."""

    name: str
    text: str = ""
    runs: list[str] = field(default_factory=list[str])
    passes: list[str] = field(default_factory=list[str])
    check: list[str] | None = None

    def function(self) -> Function:
        """The function, parsed anew."""
        return parse_function(self.text)

    def optimized(self) -> Function:
        """The function after its passes."""
        function = self.function()
        for name in self.passes:
            for run in PASSES[name]:
                run(function)
        return function


def read(path: Path) -> list[Case]:
    """The cases of a file."""
    cases: list[Case] = []
    case = Case("")
    checking = False
    for line in path.read_text().splitlines():
        if line.startswith(";"):
            word, _, rest = line[1:].strip().partition(":")
            if checking and line.startswith(";   ") and case.check is not None:
                case.check.append(line[1:].strip())
            elif word == "run":
                case.runs.append(rest.strip())
            elif word == "pass":
                case.passes = rest.split()
            elif word == "check":
                case.check, checking = [], True
            continue
        checking = False
        case.text += line + "\n"
        if line == "}":
            function = parse_function(case.text)
            case.name = f"{path.stem}.{function.name}"
            cases.append(case)
            case = Case("")
    return cases


def start_of(run: str, function: Function) -> Start:
    """The state that a run directive begins with."""
    start = Start()
    args: dict[str, int] = {}
    for text in _items(run.partition("->")[0]):
        kind, index, name, value = _item(text)
        if kind == "x":
            start.x[index] = value
        elif kind:
            size = int(kind[1:]) // 8
            for i, byte in enumerate((value & ((1 << 8 * size) - 1)).to_bytes(size, "little")):
                start.memory[index + i] = byte
        elif name in function.params:
            args[name] = value
        else:
            start.fields[name] = value
    start.args = tuple(args[p] for p in function.params)
    return start


def expect(run: str, end: End) -> None:
    """Compare the end of a run with the right side of its directive."""
    wanted = _items(run.partition("->")[2])
    assert wanted, run
    for text in wanted:
        if "=" not in text:
            assert end.outcome == text, run
            continue
        kind, index, name, value = _item(text)
        if kind == "x":
            got = end.x[index]
        elif kind:
            size = int(kind[1:]) // 8
            at = index - MEMORY
            got = int.from_bytes(end.memory[at : at + size], "little")
            value &= (1 << 8 * size) - 1
        else:
            got = end.fields[name]
        assert got == value, f"{run}: {text.split('=')[0]} is {got:#x}"


def ops_of(function: Function) -> list[str]:
    """The lines of a function between its braces."""
    return [line.strip() for line in print_function(function).splitlines()[1:-1]]


def _items(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _item(text: str) -> tuple[str, int, str, int]:
    match = _ITEM.match(text)
    assert match is not None, text
    kind, index, name, value = match.groups()
    number = PC if value == "PC" else int(value, 0)
    return kind or "", int(index, 0) if index else 0, name or "", number & ((1 << 64) - 1)
