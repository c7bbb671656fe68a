"""Stencils as assembly text: from LLVM's output to the forms that are assembled.

LLVM makes each instruction's code once for every pattern of operand places; what differs in
the choice of the pinned registers alone is the same text with the registers renamed, which
costs a fiftieth.  LLVM ends a rare path with a jump of its own behind the hot code; jumps to
such a jump are led straight to its target, so that the hot code ends with its way to @next.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jitemu.backend_llvm.convention import HOST_REGISTERS

Form = list[str]
"""Lines of a function: instructions, mnemonic and operands parted by a tab, and "label:"."""
Permutation = tuple[int, ...]
"""For each pinned register, by number, the one that takes its part."""

CONSTANT = "constant."
"""Of the names of constants in memory: their bytes in hexadecimal follow."""

_FUNCTION = re.compile(r'"?([^\s".][^\s"]*)"?:')
_DATA = {".byte": 1, ".short": 2, ".long": 4, ".quad": 8}
_NO_DATA = {".section", ".p2align", ".text", ".globl", ".type", ".size", ".file"}
_CONSTANT_USE = re.compile(r"\.LCPI\w+")
_ALIGNED = re.compile(r"vmovap[sd]|vmovdqa(?:32|64)?")
_UNALIGNED = {"vmovaps": "vmovups", "vmovapd": "vmovupd", "vmovdqa": "vmovdqu"}
_FIXED = re.compile(r"call|rep|leave|cpuid|xlat|(?:lock\s+)?cmpxchg(?:8|16)b|.*%(?:es:|[abcd]h\b)")
"""Lines whose meaning hangs on registers that they do not name, or cannot name otherwise."""


def forms_of(text: str) -> dict[str, Form]:
    """The functions in LLVM's assembly, by name, each led through by ``tidy``."""
    forms: dict[str, Form] = {}
    constants: dict[str, bytes] = {}
    constant = ""
    form: Form | None = None
    for line in text.split("\n"):
        if line.startswith(".L") and not line.startswith(".Lfunc"):
            if line.startswith(".LCPI"):
                constant = line[:-1]
                constants[constant] = b""
            elif form is not None:
                form.append(line)
        elif line.startswith(".Lfunc_end"):
            form = None
        elif line[:1] not in ("\t", ""):
            found = _FUNCTION.match(line)
            if found is None:
                raise ValueError(f"assembly that is not understood: {line}")
            form = forms[found[1]] = []
        elif form is not None and line[1:2] not in ("#", ".", ""):
            form.append(line[1:])
        elif form is None and constant:
            constants[constant] += _data(line.split())
    for name, lines in forms.items():
        _name_constants(lines, constants)
        forms[name] = tidy(lines, hot=not name.endswith(".cold"))
    return forms


def _data(words: Sequence[str]) -> bytes:
    """The bytes that a directive stands for."""
    if not words or words[0] in _NO_DATA:
        return b""
    value = int(words[1], 0)
    if words[0] == ".zero":
        return bytes(value)
    size = _DATA[words[0]]
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _name_constants(form: Form, constants: dict[str, bytes]) -> None:
    """Have constants named by their bytes, and loaded from any address."""
    for number, line in enumerate(form):
        if ".L" in line and (found := _CONSTANT_USE.search(line)):
            line = line.replace(found[0], CONSTANT + constants[found[0]].hex())
            move, tab, operands = line.partition("\t")
            if _ALIGNED.fullmatch(move):
                move = move.replace(move[:7], _UNALIGNED[move[:7]])
            form[number] = move + tab + operands


def _jump(line: str) -> tuple[str, str]:
    """(mnemonic, symbol or label) of a direct jump; of anything else nothing."""
    if line[0] != "j" or "*" in line:
        return "", ""
    name, to = line.split()
    return name, to


def _outward(line: str) -> str:
    """Where a plain jump out of the form goes."""
    name, to = _jump(line)
    return to if name == "jmp" and not to.startswith(".L") else ""


def tidy(form: Form, hot: bool) -> Form:
    """A form with its jumps led through; a hot one falls through to what is next."""
    lead: dict[str, str] = {}
    for number in range(len(form) - 1, -1, -1):
        if form[number].endswith(":"):
            behind = next((x for x in form[number:] if not x.endswith(":")), "ret")
            if to := _outward(behind):
                lead[form[number][:-1]] = to
    wanted: set[str] = set()
    lines: Form = []
    for line in form:
        name, to = _jump(line)
        if name:
            line = f"{name}\t{lead.get(to, to)}"
            wanted.add(lead.get(to, to))
        lines.append(line)
    lines = _reached(lines, wanted)
    if hot:
        _fall(lines)
    return lines


def _reached(form: Form, wanted: set[str]) -> Form:
    kept: Form = []
    dead = False
    for line in form:
        if line.endswith(":"):
            if line[:-1] not in wanted:
                continue
            dead = False
        if not dead:
            kept.append(line)
            dead = line.startswith(("jmp", "ret"))
    return kept


def _fall(form: Form) -> None:
    """Drop a last jump to next; ``jcc next; jmp X`` at the end becomes ``jncc X``."""
    if len(form) > 1 and _outward(form[-1]) not in ("", "next"):
        name, to = _jump(form[-2])
        if name not in ("", "jmp") and to == "next":
            form[-2:] = [f"{negated(name)}\t{_outward(form[-1])}"]
            return
    if _outward(form[-1]) == "next":
        form.pop()


def negated(jump: str) -> str:
    """The conditional jump for the opposite condition."""
    condition = jump[1:]
    return "j" + (condition[1:] if condition[0] == "n" else "n" + condition)


# Renaming


def _names(register: str) -> list[str]:
    """A 64-bit register's names, for 64, 32, 16 and 8 bits."""
    if register[1:].isdigit():
        return [register, register + "d", register + "w", register + "b"]
    short = register[1:]
    return [register, "e" + short, short, (short[0] if short[1] == "x" else short) + "l"]


_PINS = HOST_REGISTERS[1:9]
_PINNED_NAMES = [_names(register) for register in _PINS]
_RENAMED = re.compile(r"(?<=%)(?:" + "|".join(n for ns in _PINNED_NAMES for n in ns) + r")\b")
_LABEL = re.compile(r"\.L\w+")


def renamed(form: Form, to: Permutation, suffix: str) -> Form:
    """The form with the pinned registers' parts exchanged; its labels get a suffix."""
    text = "\n".join(form)
    if ".L" in text:
        text = _LABEL.sub(lambda m: m[0] + suffix, text)
    if all(number == new for number, new in enumerate(to)):
        return text.split("\n")
    if any(_FIXED.match(line) for line in form):
        return _exchanged(text.split("\n"), to, suffix)
    names = {
        old: new
        for number, other in enumerate(to)
        for old, new in zip(_PINNED_NAMES[number], _PINNED_NAMES[other], strict=True)
    }
    return _RENAMED.sub(lambda m: names[m[0]], text).split("\n")


def _exchanged(form: Form, to: Permutation, suffix: str) -> Form:
    """The same for a form in which registers cannot be renamed: they change places before
    and behind it."""
    now = list(range(len(to)))
    enter: Form = []
    for number, wanted in enumerate(to):
        other = now.index(wanted)
        if other != number:
            now[number], now[other] = now[other], now[number]
            enter.append(f"xchgq\t%{_PINS[number]}, %{_PINS[other]}")
    leave = enter[::-1]
    lines = list(enter)
    for line in form:
        name, target = _jump(line)
        if name not in ("", "jmp") and not target.startswith(".L"):
            around = f".Laround{len(lines)}{suffix}"
            lines += [f"{negated(name)}\t{around}", *leave, f"jmp\t{target}", f"{around}:"]
            continue
        if line.startswith("jmp") and not target.startswith(".L"):
            lines += leave
        lines.append(line)
    if not form or not form[-1].startswith(("jmp", "ret")):
        lines += leave
    return lines


def module_of(forms: Iterable[tuple[str, Form]]) -> str:
    """LLVM text of a module that is nothing but these forms, each behind a symbol."""
    lines: Form = []
    for name, form in forms:
        lines.append(f'"{name}":')
        lines += form
    text = "\n".join(lines).replace("\\", "\\5C").replace('"', "\\22").replace("\n", "\\0A")
    return f'module asm "{text}"\n'
