"""Data processing: arithmetic and logic with a flexible second operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.registers import C, V
from jitemu.frontends.arm.shifter import NAMES, by_constant, by_register, rrx
from jitemu.frontends.arm.state import S, Word, define, isa, since, thumb


def _sum(s: S, a: Word, b: Word, flags: bool) -> Word:
    result = a + b
    if flags:
        carry, overflow = result.ult(a), s.emit("addo", "i32", (a, b))
        s.set_nz(result)
        s.set_flag(C, carry)
        s.set_flag(V, overflow)
    return result


def _difference(s: S, a: Word, b: Word, flags: bool) -> Word:
    result = a - b
    if flags:
        s.set_nz(result)
        s.set_flag(C, b.ule(a))
        s.set_flag(V, s.emit("subo", "i32", (a, b)))
    return result


def _with_carry(s: S, a: Word, b: Word, flags: bool) -> Word:
    wide = a.zext() + b.zext() + s.flag(C).zext()
    result = wide.trunc(32)
    if flags:
        s.set_nz(result)
        s.set_flag(C, (wide >> 32).trunc(32))
        s.set_flag(V, ((a ^ result) & (b ^ result)) >> 31)
    return result


Arithmetic = Callable[[S, Word, Word, bool], Word]
ARITHMETIC: dict[str, tuple[int, Arithmetic]] = {
    "sub": (2, _difference),
    "rsb": (3, lambda s, a, b, f: _difference(s, b, a, f)),
    "add": (4, _sum),
    "adc": (5, _with_carry),
    "sbc": (6, lambda s, a, b, f: _with_carry(s, a, ~b, f)),
    "rsc": (7, lambda s, a, b, f: _with_carry(s, b, ~a, f)),
}
LOGIC: dict[str, tuple[int, Callable[[Word, Word], Word]]] = {
    "and": (0, lambda a, b: a & b),
    "eor": (1, lambda a, b: a ^ b),
    "orr": (12, lambda a, b: a | b),
    "mov": (13, lambda a, b: b),
    "bic": (14, lambda a, b: a & ~b),
    "mvn": (15, lambda a, b: ~b),
    "orn": (-1, lambda a, b: a | ~b),
}
COMPARE: dict[str, tuple[int, str]] = {
    "tst": (8, "and"),
    "teq": (9, "eor"),
    "cmp": (10, "sub"),
    "cmn": (11, "add"),
}
T32_CODES = {
    **{"and": 0, "bic": 1, "orr": 2, "mov": 2, "orn": 3, "mvn": 3, "eor": 4},
    **{"add": 8, "adc": 10, "sbc": 11, "sub": 13, "rsb": 14},
    **{"tst": 0, "teq": 4, "cmn": 8, "cmp": 13},
}


def _body(name: str, what: str, flags: bool, second: Callable[..., Any]) -> Callable[..., None]:
    """rd = rn op second; ``what``: which of rd and rn there are."""
    arithmetic = ARITHMETIC.get(COMPARE[name][1] if name in COMPARE else name)
    logic = LOGIC.get(COMPARE[name][1] if name in COMPARE else name)

    def body(s: S, *operands: Any) -> None:
        given = dict(zip(what.split(), operands, strict=False))
        b, carry = second(s, *operands[len(given) :])
        a = s.reg(given["rn"]) if "rn" in given else b
        if arithmetic is not None:
            result = arithmetic[1](s, a, b, flags)
        else:
            assert logic is not None
            result = logic[1](a, b)
            if flags:
                s.set_nz(result)
                if carry is not None:
                    s.set_flag(C, carry)
        if "rd" in given:
            s.set_reg(given["rd"], result)

    return body


def _constant(s: S, val: Word) -> tuple[Word, Word | None]:
    return val.trunc(32), None


def _turned(s: S, val: Word) -> tuple[Word, Word | None]:
    """A modified immediate that is not just 8 bits leaves its top bit in the carry."""
    return val.trunc(32), val.trunc(32) >> 31


def _registers(name: str) -> tuple[str, str, str]:
    """(operands, A32 fields, T32 fields of the second half) of an operation."""
    if name in COMPARE:
        return "rn", "rn:4 0000", "1111"
    if name in ("mov", "mvn"):
        return "rd", "0000 rd:4", "rd:4"
    return "rd rn", "rn:4 rd:4", "rd:4"


def _operation(name: str, code: int, flags: bool) -> None:
    what, fields, dest = _registers(name)
    label = name + ("s" if flags and name not in COMPARE else "")
    head = f"cond:4 00I {code & 15:04b} {int(flags)} {fields}"
    source = "rn:4" if "rn" in what else "1111"
    t32 = f"{T32_CODES.get(name, 0):04b} {int(flags)} {source}"
    has_t32, has_a32 = name in T32_CODES, code >= 0
    logical = name in LOGIC or name in ("tst", "teq")

    def form(suffix: str, operand: str, second: Callable[..., Any], a32: str, wide: str) -> None:
        full = f"{label}_{suffix}"
        operands = f"{what} {operand}"
        body = _body(name, what, flags, second)
        pattern = head.replace("I", "1" if suffix[0] == "i" else "0") + " " + a32
        if has_a32:
            define(full, pattern, operands, body)
            if has_t32 and wide:
                thumb(full, wide)
        elif wide:
            isa.define(wide, label, "t32", full, tuple(operands.split()), body)

    immediate = f"11110 val[11] 0 {t32} 0 val[10:8]=replicated {dest} val[7:0]"
    if logical and flags:
        plain = f"11110 0 0 {t32} 0 0 val[9:8]=replicated {dest} val[7:0]"
        form("imm8", "val", _constant, "0000 val:8", plain)
        form("imm", "val", _turned, "val:12=rotated", immediate)
    else:
        form("imm", "val", _constant, "val:12=rotated", immediate)
    shifted = f"1110101 {t32} 0 shamt[4:2] {dest} shamt[1:0] "
    wide = f"1110101 {t32} 0 000 {dest} 00 00 rm:4"
    plain_second = lambda s, rm: (s.reg(rm), None)  # noqa: E731
    form("reg", "rm", plain_second, "00000 000 rm:4", wide)
    form("rrx", "rm", rrx, "00000 110 rm:4", f"1110101 {t32} 0 000 {dest} 00 11 rm:4")
    for kind, shift in enumerate(NAMES):
        function = "=full" if kind in (1, 2) else ""
        form(
            shift,
            "rm shamt",
            by_constant(kind),
            f"shamt:5{function} {kind:02b}0 rm:4",
            shifted.replace("shamt[4:2]", f"shamt[4:2]{function}") + f"{kind:02b} rm:4",
        )
        form(
            f"{shift}r",
            "rm rs",
            by_register(kind, logical and flags),
            f"rs:4 0 {kind:02b} 1 rm:4",
            "",
        )


for _name, (_code, _) in {**ARITHMETIC, **LOGIC}.items():
    for _flags in (False, True):
        _operation(_name, _code, _flags)
for _name, (_code, _) in COMPARE.items():
    _operation(_name, _code, True)


def move_wide(name: str, code: str) -> None:
    """movw: rd = 16 bits; movt: its upper half."""

    def body(s: S, rd: Any, val: Word) -> None:
        if name == "movw":
            s.set_reg(rd, val.trunc(32))
        else:
            s.set_reg(rd, (s.reg(rd) & 0xFFFF) | val.trunc(32) << 16)

    define(name, f"cond:4 0011 0{code}00 val[15:12] rd:4 val[11:0]", "rd val", body)
    thumb(name, f"11110 val[11] 10 {code} 100 val[15:12] 0 val[10:8] rd:4 val[7:0]")


move_wide("movw", "0")
move_wide("movt", "1")
since("v6t2", "movw", "movt")

# T32's additions of 12 plain bits, and addresses relative to the pc.


def _near(s: S) -> Word:
    return s.pc_read & -4


def add_wide(name: str, code: str) -> None:
    """rd = rn +- 12 bits; rd = address of the word +- 12 bits."""
    f = ARITHMETIC[name][1]

    def body(s: S, rd: Any, rn: Any, val: Word) -> None:
        s.set_reg(rd, f(s, s.reg(rn), val.trunc(32), False))

    def adr(s: S, rd: Any, val: Word) -> None:
        s.set_reg(rd, f(s, _near(s), val.trunc(32), False))

    bits = "0 val[10:8] rd:4 val[7:0]"
    isa.define(
        f"11110 val[11] 10 {code} rn:4 {bits}", name, "t32", name + "w", ("rd", "rn", "val"), body
    )
    isa.define(
        f"11110 val[11] 10 {code} 1111 {bits}", "adr", "t32", "adr_" + name, ("rd", "val"), adr
    )


add_wide("add", "0000")
add_wide("sub", "1010")
thumb("adr_add", "10100 rd:3 val[9:2]", "t1")

# 16-bit encodings.  Outside an IT block most set the flags: those have the pattern of the
# flag-setting definition in one tree and of the other in another (see decoder.py).


def both(name: str, form: str, pattern: str, **same: str | int) -> None:
    """A 16-bit encoding that sets the flags outside IT blocks only."""
    for flags, when in (("s", "t16"), ("", "it16")):
        base = f"{name}{flags}_{form}"
        isa.alias(base, pattern, name, when, f"{base}.{when}.{pattern}", **same)


both("mov", "reg", "0000000000 rm:3 rd:3")
for _kind, _function in enumerate(("", "=full", "=full")):
    both("mov", NAMES[_kind], f"000 {_kind:02b} shamt:5{_function} rm:3 rd:3")
for _name, _bit in (("add", 0), ("sub", 1)):
    both(_name, "reg", f"000110{_bit} rm:3 rn:3 rd:3")
    both(_name, "imm", f"000111{_bit} val:3 rn:3 rd:3")
    both(_name, "imm", f"0011{_bit} rd:3 val:8", rn="rd")
isa.alias("movs_imm8", "00100 rd:3 val:8", "mov", "t16", "movs_imm8.t16")
isa.alias("mov_imm", "00100 rd:3 val:8", "mov", "it16", "mov_imm.it16")
thumb("cmp_imm", "00101 rn:3 val:8", "t1")
for _code, _name in ((0, "and"), (1, "eor"), (5, "adc"), (6, "sbc"), (12, "orr"), (14, "bic")):
    both(_name, "reg", f"010000 {_code:04b} rm:3 rd:3", rn="rd")
both("mvn", "reg", "010000 1111 rm:3 rd:3")
for _code, _name in ((2, "lsl"), (3, "lsr"), (4, "asr"), (7, "ror")):
    both("mov", _name + "r", f"010000 {_code:04b} rs:3 rd:3", rm="rd")
both("rsb", "imm", "010000 1001 rn:3 rd:3", val=0)
for _code, _name in ((8, "tst"), (10, "cmp"), (11, "cmn")):
    thumb(f"{_name}_reg", f"010000 {_code:04b} rm:3 rn:3", "t1")
thumb("cmp_reg", "01000101 rn[3] rm:4 rn[2:0]", "t2")
for _code, _name in ((0, "lsl"), (1, "lsr"), (2, "asr"), (3, "ror")):
    for _flags in (0, 1):
        _base = ("movs_" if _flags else "mov_") + _name + "r"
        thumb(_base, f"11111010 0{_code:02b} {_flags} rm:4 1111 rd:4 0000 rs:4")
thumb("add_imm", "10101 rd:3 val[9:2]", "t1", rn=13)
thumb("add_imm", "101100000 val[8:2]", "t2", rd=13, rn=13)
thumb("sub_imm", "101100001 val[8:2]", "t1", rd=13, rn=13)


def high(name: str, pattern: str, operation: Any) -> None:
    """T32's add and mov of any register: to r15 they stay in T32."""

    def body(s: S, rd: Any, rm: Any) -> None:
        s.set_reg(rd, operation(s, rd, rm))

    def jump(s: S, rm: Any) -> None:
        s.interwork(operation(s, 15, rm) | 1)

    if name == "add":
        isa.define(pattern, name, "t32", "add_high", ("rd", "rm"), body)
    else:
        thumb("mov_reg", pattern, "high")
    literal = pattern.replace("rd[3]", "1").replace("rd[2:0]", "111")
    isa.define(literal, name, "t32", f"{name}_pc", ("rm",), jump)


high(
    "add",
    "01000100 rd[3] rm:4 rd[2:0]",
    lambda s, rd, rm: (s.pc_read if rd == 15 else s.reg(rd)) + s.reg(rm),
)
high("mov", "01000110 rd[3] rm:4 rd[2:0]", lambda s, rd, rm: s.reg(rm))
