"""Loads and stores of single registers and of pairs, all addressing modes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jitemu.frontends.arm.shifter import NAMES, by_constant, rrx
from jitemu.frontends.arm.state import S, Word, define, isa, thumb

Offset = Callable[..., Word]
MODES = {"": (1, 0), "_pre": (1, 1), "_post": (0, 0)}
"""Suffix and P, W."""


def _load(s: S, address: Word, width: int, signed: bool) -> Word:
    value = s.load(address.zext(), width)
    return value.sext(32) if signed else value.zext(32)


def access(load: bool, width: int, signed: bool, mode: str, offset: Offset) -> Callable[..., None]:
    """rt = memory, or memory = rt, at rn and an offset."""

    def body(s: S, rt: Any, rn: Any, *operands: Any) -> None:
        base = s.reg(rn)
        moved = base + offset(s, *operands)
        address = base if mode == "_post" else moved
        if load:
            value = _load(s, address, width, signed)
            if mode:
                s.set_reg(rn, moved)
            s.set_reg(rt, value)
        else:
            s.store(address.zext(), s.reg(rt).trunc(width))
            if mode:
                s.set_reg(rn, moved)

    return body


def _constant(s: S, off: Word) -> Word:
    return off.trunc(32)


def _register(sign: int, shifted: Callable[..., Any]) -> Offset:
    def offset(s: S, *operands: Any) -> Word:
        value = shifted(s, *operands)[0]
        return value if sign else -value

    return offset


def _plain(s: S, rm: Any) -> tuple[Word, None]:
    return s.reg(rm), None


def word_or_byte(name: str, byte: int, load: int) -> None:
    """ldr, str, ldrb, strb: 12-bit offsets and shifted registers."""
    for suffix, (p, w) in MODES.items():
        width = 8 if byte else 32
        make = lambda offset: access(bool(load), width, False, suffix, offset)  # noqa: E731, B023
        modes = [(p, w)] if p else [(0, 0), (0, 1)]
        for number, (before, back) in enumerate(modes):
            full = f"{name}{suffix}" + ("_t" if number else "")
            head = f"cond:4 01I {before} U {byte}{back}{load} rn:4 rt:4 "
            i = head.replace("I", "0").replace(" U ", " off[12]=signedoff ")
            define(full, i + "off[11:0]", "rt rn off", make(_constant))
            for up in (0, 1):
                r = head.replace("I", "1").replace(" U ", f" {up} ")
                label = f"{full}_{'+' if up else '-'}"
                define(label + "rm", r + "00000 000 rm:4", "rt rn rm", make(_register(up, _plain)))
                define(label + "rrx", r + "00000 110 rm:4", "rt rn rm", make(_register(up, rrx)))
                for kind, shift in enumerate(NAMES):
                    function = "=full" if kind in (1, 2) else ""
                    pattern = r + f"shamt:5{function} {kind:02b}0 rm:4"
                    body = make(_register(up, by_constant(kind)))
                    define(label + shift, pattern, "rt rn rm shamt", body)


for _name, _byte, _load_bit in (("str", 0, 0), ("ldr", 0, 1), ("strb", 1, 0), ("ldrb", 1, 1)):
    word_or_byte(_name, _byte, _load_bit)

EXTRA = (
    ("strh", 0, "01", 16, False),
    ("ldrh", 1, "01", 16, False),
    ("ldrsb", 1, "10", 8, True),
    ("ldrsh", 1, "11", 16, True),
)


def extra(name: str, load: int, code: str, width: int, signed: bool) -> None:
    """Halfwords and signed bytes: 8-bit offsets and plain registers."""
    for suffix, (p, w) in MODES.items():
        for number, (before, back) in enumerate([(p, w)] if p else [(0, 0), (0, 1)]):
            full = f"{name}{suffix}" + ("_t" if number else "")
            make = lambda offset: access(bool(load), width, signed, suffix, offset)  # noqa: E731, B023
            head = f"cond:4 000 {before} U I{back}{load} rn:4 rt:4 "
            i = head.replace("I", "1").replace(" U ", " off[12]=signedoff ")
            define(full, i + f"off[7:4] 1{code}1 off[3:0]", "rt rn off", make(_constant))
            for up in (0, 1):
                r = head.replace("I", "0").replace(" U ", f" {up} ")
                label = f"{full}_{'+' if up else '-'}rm"
                pattern = r + f"0000 1{code}1 rm:4"
                define(label, pattern, "rt rn rm", make(_register(up, _plain)))


for _row in EXTRA:
    extra(*_row)

# T32

WIDE = {
    **{"strb": "00 0 00 0", "ldrb": "00 0 00 1", "strh": "00 0 01 0", "ldrh": "00 0 01 1"},
    **{"str": "00 0 10 0", "ldr": "00 0 10 1", "ldrsb": "00 1 00 1", "ldrsh": "00 1 01 1"},
}


def wide(name: str, bits: str) -> None:
    """T32's 32-bit forms of a load or store."""
    _, sign, size, load = bits.split()
    head = f"1111100 {sign}"
    thumb(name, f"{head} 1 {size} {load} rn:4 rt:4 low:12".replace("low", "off"), "w12")
    thumb(name, f"{head} 0 {size} {load} rn:4 rt:4 1100 off:8=minus", "w8")
    thumb(name, f"{head} 0 {size} {load} rn:4 rt:4 1110 off:8", "wt")
    for mode, p in (("_pre", 1), ("_post", 0)):
        pattern = f"{head} 0 {size} {load} rn:4 rt:4 1{p} off[12]=signedoff 1 off[7:0]"
        thumb(name + mode, pattern, "w8")
    pattern = f"{head} 0 {size} {load} rn:4 rt:4 000000 shamt:2 rm:4"
    if f"{name}_+lsl" in isa.instructions:
        thumb(f"{name}_+lsl", pattern, "w")
    else:
        width = 8 if name.endswith("b") else 16
        signed = name.startswith("ldrs")
        body = access(load == "1", width, signed, "", _register(1, by_constant(0)))
        isa.define(pattern, name, "t32", f"{name}_+lsl", ("rt", "rn", "rm", "shamt"), body)
    if load == "1":
        literal(name, f"{head} 1 {size} 1 1111 rt:4 off:12")
        thumb(f"{name}_literal", f"{head} 0 {size} 1 1111 rt:4 off:12=minus", "down")
        # whatever the register forms fix of the offset's bits
        for literal_name in (f"{name}_literal", f"{name}_literal.down"):
            isa.instructions[literal_name].first = True


def literal(name: str, pattern: str) -> None:
    """A load relative to the pc, whose low two bits count as 0."""
    width = 8 if name.endswith("b") else 16 if name.endswith("h") else 32

    def body(s: S, rt: Any, off: Word) -> None:
        address = (s.pc_read & -4) + off.trunc(32)
        s.set_reg(rt, _load(s, address, width, name.startswith("ldrs")))

    isa.define(pattern, name, "t32", f"{name}_literal", ("rt", "off"), body)


for _name, _bits in WIDE.items():
    wide(_name, _bits)
thumb("ldr_literal", "01001 rt:3 off[9:2]", "t1")
for _code, _name in enumerate(("str", "strh", "strb", "ldrsb", "ldr", "ldrh", "ldrb", "ldrsh")):
    thumb(f"{_name}_+rm", f"0101 {_code:03b} rm:3 rn:3 rt:3", "t1")
for _code, _name, _scale in (
    *(("01100", "str", 2), ("01101", "ldr", 2), ("01110", "strb", 0)),
    *(("01111", "ldrb", 0), ("10000", "strh", 1), ("10001", "ldrh", 1)),
):
    thumb(_name, f"{_code} off[{_scale + 4}:{_scale}] rn:3 rt:3", "t1")
thumb("str", "10010 rt:3 off[9:2]", "t2", rn=13)
thumb("ldr", "10011 rt:3 off[9:2]", "t2", rn=13)

# Pairs: T32 names both registers, A32 an even one.


def pair(load: bool, mode: str, offset: Offset) -> Callable[..., None]:
    """rt and rb at two words."""

    def body(s: S, rt: Any, rb: Any, rn: Any, *operands: Any) -> None:
        base = s.reg(rn)
        moved = base + offset(s, *operands)
        address = base if mode == "_post" else moved
        if load:
            low = _load(s, address, 32, False)
            high = _load(s, address + 4, 32, False)
            if mode:
                s.set_reg(rn, moved)
            s.set_reg(rt, low)
            s.set_reg(rb, high)
        else:
            s.store(address.zext(), s.reg(rt))
            s.store((address + 4).zext(), s.reg(rb))
            if mode:
                s.set_reg(rn, moved)

    return body


for _name, _load_bit, _code in (("ldrd", 1, "10"), ("strd", 0, "11")):
    for _mode, (_p, _w) in MODES.items():
        _back = _w or not _p
        _pattern = (
            f"1110100 {_p} off[8]=signedquad 1 {int(_back)} {_load_bit} rn:4 rt:4 rb:4 off[7:0]"
        )
        isa.define(
            _pattern,
            _name,
            "t32",
            _name + _mode,
            ("rt", "rb", "rn", "off"),
            pair(bool(_load_bit), _mode, _constant),
        )
        _head = f"cond:4 000 {_p} U I{_w}0 rn:4 rt[3:1] 0 "
        _i = _head.replace("I", "1").replace(" U ", " off[12]=signedoff ")
        isa.alias(
            _name + _mode,
            _i + f"off[7:4] 1{_code}1 off[3:0]",
            _name,
            "arm",
            _name + _mode + ".a",
            rb="rt+1",
        )
        for _up in (0, 1):
            _r = _head.replace("I", "0").replace(" U ", f" {_up} ")
            _full = f"{_name}{_mode}_{'+' if _up else '-'}rm"
            _body = pair(bool(_load_bit), _mode, _register(_up, _plain))
            isa.define(
                _r + f"0000 1{_code}1 rm:4",
                _name,
                "arm",
                _full,
                ("rt", "rb", "rn", "rm"),
                _body,
                rb="rt+1",
            )


def _pair_literal() -> None:
    """T32's ldrd relative to the pc, whose low two bits count as 0."""

    def body(s: S, rt: Any, rb: Any, off: Word) -> None:
        address = (s.pc_read & -4) + off.trunc(32)
        low, high = _load(s, address, 32, False), _load(s, address + 4, 32, False)
        s.set_reg(rt, low)
        s.set_reg(rb, high)

    pattern = "1110100 1 off[8]=signedquad 1 0 1 1111 rt:4 rb:4 off[7:0]"
    isa.define(pattern, "ldrd", "t32", "ldrd_literal", ("rt", "rb", "off"), body)


_pair_literal()
