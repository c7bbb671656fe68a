"""Advanced SIMD: loads and stores of elements and structures (VLD1 to VLD4, VST1 to VST4).

Every form has two definitions: the base changes by a register, or by a constant (0 where
the encoding has no write-back).  The field ``a`` has the
address bits that must be 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jitemu.frontends.arm.state import S, Word, isa
from jitemu.ir.code import vector_of
from jitemu.ir.native import native
from jitemu.ir.state import RuntimeState

LIST = ("rd", "rx", "ry", "rz")
"""Fields of a list's registers, in order."""

At = Callable[[int], Word]
"""The address of a byte of what is accessed."""
Access = Callable[[S, At, Sequence[Any]], None]
"""Of the addresses and the registers."""


@native
def inword(s: RuntimeState, bits: int) -> int:
    """Address bits that must be 0: none, or those of a word."""
    return bits * 3


@native
def alignment(s: RuntimeState, bits: int) -> int:
    """The same of 8, 16 or 32 bytes."""
    return (1 << bits + 2) - 1 if bits else 0


def define(
    name: str,
    load: int,
    pattern: str,
    access: Access,
    size: int,
    places: Sequence[int],
    aligned: int = 0,
) -> None:
    """``pattern``: bits 23 to 4, with ``D``, ``L`` and ``Vd`` as they are; ``size``: bytes
    that the base moves by; ``places``: of the list's registers, relative to the first;
    ``aligned``: bytes that the address is a multiple of where the bit ``a`` is set, or
    where there is no such field."""
    names = LIST[: len(places)]
    same: dict[str, Any] = {n: f"rd+{p}" for n, p in zip(names, places, strict=True) if p}
    masks = {4: "a:1=inword", 8: "a:1=alignment"}
    pattern = pattern.replace("L", str(load)).replace("a:2", "a:2=alignment")
    pattern = pattern.replace("a:1", masks.get(aligned, "a:1"))
    if "a:" not in pattern:
        same["a"] = aligned - 1 if aligned else 0

    def addresses(s: S, base: Word, a: Word) -> At:
        first = s.aligned(base, a)
        return lambda offset: (base + offset).zext() if offset else first

    def by_register(s: S, rn: Any, rm: Any, a: Word, *registers: Any) -> None:
        base, offset = s.reg(rn), s.reg(rm)
        access(s, addresses(s, base, a), registers)
        s.set_reg(rn, base + offset)

    def by_constant(s: S, rn: Any, off: Word, a: Word, *registers: Any) -> None:
        base = s.reg(rn)
        access(s, addresses(s, base, a), registers)
        s.set_reg(rn, base + off.trunc(32))

    def both(label: str, rm: str, operand: str, body: Callable[..., None], **more: int) -> None:
        operands = ("rn", operand, "a", *names)
        asm = name.partition("_")[0]
        given: dict[str, Any] = {**same, **more}
        isa.define(f"11110100 {pattern} {rm}", asm, "arm", label, operands, body, **given)
        isa.alias(label, f"11111001 {pattern} {rm}", asm, "t32", label + ".t", **given)

    both(name + "_register", "rm:4", "rm", by_register)
    both(name, "1111", "off", by_constant, off=0)
    # The same body: its base moves by the size.
    given: dict[str, Any] = {**same, "off": size}
    asm = name.partition("_")[0]
    isa.alias(name, f"11110100 {pattern} 1101", asm, "arm", name + ".w", **given)
    isa.alias(name, f"11111001 {pattern} 1101", asm, "t32", name + ".wt", **given)


# Several structures: whole registers.


def _load_plain(count: int) -> Access:
    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        values = [s.load(at(8 * n), 64) for n in range(count)]
        for register, value in zip(registers, values, strict=True):
            s.set_view("d", register, value)

    return access


def _store_plain(count: int) -> Access:
    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        for n in range(count):
            s.store(at(8 * n), s.view("d", registers[n]))

    return access


def _load_groups(width: int, count: int) -> Access:
    """Structures of ``count`` elements, eight bytes of each."""
    whole = vector_of(f"i{width}", 128 // width)
    half = vector_of(f"i{width}", 64 // width)

    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        low = s.emit("load", whole, (at(0),))
        high = low
        if count == 3:
            rest = s.load(at(16), 64).cast(half)
            high = rest.shuffle([*range(64 // width)] * 2)
        elif count == 4:
            high = s.emit("load", whole, (at(16),))
        for n, register in enumerate(registers):
            order = [n + count * k for k in range(64 // width)]
            s.set_view("d", register, low.shuffle(order, high))

    return access


def _store_groups(width: int, count: int) -> Access:
    lanes = 64 // width

    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        half = vector_of(f"i{width}", lanes)
        parts = [s.view("d", r, half) for r in registers]
        first = parts[0].shuffle(range(2 * lanes), parts[1])
        second = parts[-2 if count == 4 else -1].shuffle(range(2 * lanes), parts[-1])
        # Element k of register n is lane n * lanes + k of both.
        order = [n * lanes + k for k in range(lanes) for n in range(count)]
        s.store(at(0), first.shuffle(order[: 2 * lanes], second))
        if count > 2:
            rest = first.shuffle(order[2 * lanes :], second)
            s.store(at(16), rest)

    return access


def _twice(load: int, width: int) -> Access:
    """VLD2 and VST2 of four registers: two times two, side by side."""
    pair = (_load_groups if load else _store_groups)(width, 2)

    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        a, b, c, d = registers
        pair(s, at, (a, c))
        pair(s, lambda offset: at(offset + 16), (b, d))

    return access


def _multiple(load: int) -> None:
    verb = "vld" if load else "vst"
    head = "0 rd[4] L 0 rn:4 rd[3:0]"
    for count, kind, align in ((1, "0111", "0 a:1"), (3, "0110", "0 a:1"), (4, "0010", "a:2")):
        access = (_load_plain if load else _store_plain)(count)
        define(
            f"{verb}1_{count}",
            load,
            f"{head} {kind} size:2 {align}",
            access,
            8 * count,
            range(count),
            8,
        )
    access = (_load_plain if load else _store_plain)(2)
    define(f"{verb}1_2", load, f"{head} 1010 size:2 0 a:1", access, 16, range(2), 8)
    # With align = 10 as well, but not 11.
    for label, rm, off in (("_register", "rm:4", None), ("", "1111", 0), ("", "1101", 16)):
        more: dict[str, Any] = {"rx": "rd+1", "a": 15}
        more |= {} if off is None else {"off": off}
        for top, when in (("11110100", "arm"), ("11111001", "t32")):
            base = f"{verb}1_2{label}"
            pattern = f"{top} {head} 1010 size:2 10 {rm}".replace("L", str(load))
            isa.alias(base, pattern, verb + "1", when, f"{base}.{when}{off}", **more)
    for width, size in ((8, "00"), (16, "01"), (32, "10")):
        groups = _load_groups if load else _store_groups
        for step in (1, 2):
            s2, s3, s4 = f"100{step - 1}", f"010{step - 1}", f"000{step - 1}"
            for align, tag, by in (("0 a:1", "", 8), ("10", "a", 16)):
                name = f"{verb}2_{width}_{step}{tag}"
                places = [0, step]
                define(name, load, f"{head} {s2} {size} {align}", groups(width, 2), 16, places, by)
            name = f"{verb}3_{width}_{step}"
            places = [0, step, 2 * step]
            define(name, load, f"{head} {s3} {size} 0 a:1", groups(width, 3), 24, places, 8)
            name = f"{verb}4_{width}_{step}"
            places = [0, step, 2 * step, 3 * step]
            define(name, load, f"{head} {s4} {size} a:2", groups(width, 4), 32, places)
        name = f"{verb}2_{width}_four"
        define(name, load, f"{head} 0011 {size} a:2", _twice(load, width), 32, range(4))


_multiple(0)
_multiple(1)

# One structure to or from one lane: registers of the view of the lane's width.

VIEWS = {8: "b", 16: "h", 32: "s"}


def _lanes(load: int, width: int) -> Access:
    view, size = VIEWS[width], width // 8

    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        if load:
            values = [s.load(at(size * n), width) for n in range(len(registers))]
            for register, value in zip(registers, values, strict=True):
                s.set_view(view, register, value)
        else:
            for n, register in enumerate(registers):
                s.store(at(size * n), s.view(view, register))

    return access


INDEXES: dict[tuple[int, int], tuple[tuple[str, int, int], ...]] = {
    (1, 8): (("rd[2:0] 0", 1, 0),),
    (1, 16): (("rd[1:0] 0 a:1", 1, 2),),
    (1, 32): (("rd[0] 0 00", 1, 0), ("rd[0] 0 11", 1, 4)),
    (2, 8): (("rd[2:0] a:1", 1, 2),),
    (2, 16): (("rd[1:0] 0 a:1", 1, 4), ("rd[1:0] 1 a:1", 2, 4)),
    (2, 32): (("rd[0] 00 a:1", 1, 8), ("rd[0] 10 a:1", 2, 8)),
    (3, 8): (("rd[2:0] 0", 1, 0),),
    (3, 16): (("rd[1:0] 00", 1, 0), ("rd[1:0] 10", 2, 0)),
    (3, 32): (("rd[0] 000", 1, 0), ("rd[0] 100", 2, 0)),
    (4, 8): (("rd[2:0] a:1", 1, 4),),
    (4, 16): (("rd[1:0] 0 a:1", 1, 8), ("rd[1:0] 1 a:1", 2, 8)),
    (4, 32): (
        *(("rd[0] 00 a:1", 1, 8), ("rd[0] 010", 1, 16)),
        *(("rd[0] 10 a:1", 2, 8), ("rd[0] 110", 2, 16)),
    ),
}
"""index_align of structures of so many elements of a width, the step between registers, and
the alignment in bytes."""


def _single(load: int, count: int, width: int) -> None:
    bits = {8: 3, 16: 2, 32: 1}[width]
    size = {8: "00", 16: "01", 32: "10"}[width]
    for number, (index, step, aligned) in enumerate(INDEXES[count, width]):
        pattern = f"1 rd[{bits + 4}] L 0 rn:4 rd[{bits + 3}:{bits}] {size} {count - 1:02b} {index}"
        name = f"{'vld' if load else 'vst'}{count}_lane{width}_{number}"
        places = [n * step << bits for n in range(count)]
        define(name, load, pattern, _lanes(load, width), count * width // 8, places, aligned)


for _load in (0, 1):
    for _count in (1, 2, 3, 4):
        for _width in (8, 16, 32):
            _single(_load, _count, _width)

# One structure to all lanes.


def _to_all(width: int, count: int) -> Access:
    type, size = vector_of(f"i{width}", 64 // width), width // 8

    def access(s: S, at: At, registers: Sequence[Any]) -> None:
        values = [s.load(at(size * n), width).splat(type) for n in range(count)]
        for n, register in enumerate(registers):
            s.set_view("d", register, values[n % count])

    return access


def _all(count: int, width: int) -> None:
    size = {8: "00", 16: "01", 32: "10"}[width]
    align = "0" if count == 3 or (count == 1 and width == 8) else "a:1"
    head = f"1 rd[4] 1 0 rn:4 rd[3:0] 11 {count - 1:02b}"
    size_of = count * width // 8
    for step in (1, 2):
        places = [n * step for n in range(count)] if count > 1 else list(range(step))
        name = f"vld{count}_all{width}_{step}"
        pattern = f"{head} {size} {step - 1} {align}"
        define(name, 1, pattern, _to_all(width, count), size_of, places, min(size_of, 8))
        if count == 4 and width == 32:
            pattern = f"{head} 11 {step - 1} 1"
            define(name + "a", 1, pattern, _to_all(width, count), 16, places, 16)


for _count in (1, 2, 3, 4):
    for _width in (8, 16, 32):
        _all(_count, _width)
