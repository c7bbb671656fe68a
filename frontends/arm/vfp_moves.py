"""VFP and SIMD registers to and from memory and core registers; FPSCR."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.floats import AHP, DN, FZ, RMODE
from jitemu.frontends.arm.fp import FORMATS, Precision, define, fill, reg
from jitemu.frontends.arm.registers import ArmState
from jitemu.frontends.arm.state import S, Word, isa
from jitemu.ir.native import host_fp_flags, host_set_fp, native
from jitemu.ir.state import RuntimeState

# Loads and stores


def _single_access(p: Precision) -> None:
    def place(s: S, rn: Any, off: Word) -> Word:
        """Offsets are whole words."""
        return s.aligned(s.reg(rn) + off.trunc(32), 3, s.reg(rn))

    def load(s: S, rd: Any, rn: Any, off: Word) -> None:
        p.set(s, rd, s.load(place(s, rn, off), p.width))

    def literal(s: S, rd: Any, off: Word) -> None:
        p.set(s, rd, s.load(((s.pc_read & -4) + off.trunc(32)).zext(), p.width))

    def store(s: S, rd: Any, rn: Any, off: Word) -> None:
        s.store(place(s, rn, off), p.get(s, rd))

    head = "cond:4 1101 off[8]=signedquad D 0"
    tail = f"Vd 101 {p.bit} off[7:0]"
    define(f"vldr_{p.width}", fill(f"{head}1 rn:4 {tail}", p.kind), "rd rn off", load)
    define(f"vldr_{p.width}_literal", fill(f"{head}1 1111 {tail}", p.kind), "rd off", literal)
    define(f"vstr_{p.width}", fill(f"{head}0 rn:4 {tail}", p.kind), "rd rn off", store)


for _p in FORMATS:
    _single_access(_p)


@native
def vmultiple(s: RuntimeState, word: int, k: int) -> int:
    """The k-th step of VLDM or VSTM: a VLDR or VSTR for each register, then the base."""
    double = word >> 8 & 1
    words = word & 0xFF
    count = words >> double
    first = word >> 12 & 15
    number = first << 1 | word >> 22 & 1
    if double:
        number = word >> 22 & 1
        number = number << 4 | first
    up = word >> 23 & 1
    base = word >> 16 & 15
    if count == 0 or number + count > 32 or (double and count > 16):
        return 0
    if k >= count:
        if k > count or (word >> 21 & 1) == 0:
            return 0
        change = 0xE2800F00 if up else 0xE2400F00
        return change | base << 16 | base << 12 | words
    number += k
    place = (number & 15) << 12 | (number >> 4) << 22
    if double == 0:
        place = (number >> 1) << 12 | (number & 1) << 22
    offset = k << double
    if word >> 24 & 1:
        offset = words - offset
        if offset >> 63:
            return 0
        return 0xED000A00 | word & 0x00100000 | base << 16 | place | double << 8 | offset
    return 0xED800A00 | word & 0x00100000 | base << 16 | place | double << 8 | offset


for _name, _load in (("vstm", 0), ("vldm", 1)):
    for _tag, _pu, _w in (("ia", "01", "w:1"), ("db", "10", "1")):
        _pattern = f"110 {_pu} d:1 {_w} {_load} rn:4 vd:4 101 sz:1 words:8"
        isa.steps(f"cond:4 {_pattern}", _name, "arm", _name + _tag, vmultiple)
        isa.steps(f"1110 {_pattern}", _name, "t32", f"{_name}{_tag}.t", vmultiple)

# Core registers


def to_core(s: S, rn: Any, rt: Any) -> None:
    """rt = a single register."""
    s.set_reg(rt, s.view("s", rn))


def from_core(s: S, rn: Any, rt: Any) -> None:
    """A single register = rt."""
    s.set_view("s", rn, s.reg(rt))


def _n(pattern: str, kind: str) -> str:
    extra, four = reg("rn", kind)
    return pattern.replace(" N ", f" {extra} ").replace("Vn", four)


define("vmov_to_core", _n("cond:4 1110 0001 Vn rt:4 1010 N 00 1 0000", "s"), "rn rt", to_core)
define("vmov_from_core", _n("cond:4 1110 0000 Vn rt:4 1010 N 00 1 0000", "s"), "rn rt", from_core)


def pair_to_core(s: S, rt: Any, ru: Any, rm: Any) -> None:
    """rt and ru = a double register."""
    value = s.view("d", rm)
    s.set_reg(rt, value.trunc(32))
    s.set_reg(ru, (value >> 32).trunc(32))


def pair_from_core(s: S, rt: Any, ru: Any, rm: Any) -> None:
    """A double register = rt and ru."""
    s.set_view("d", rm, s.reg(ru).zext() << 32 | s.reg(rt).zext())


def two_to_core(s: S, rt: Any, ru: Any, rm: Any, rp: Any) -> None:
    """rt and ru = two single registers."""
    s.set_reg(rt, s.view("s", rm))
    s.set_reg(ru, s.view("s", rp))


def two_from_core(s: S, rt: Any, ru: Any, rm: Any, rp: Any) -> None:
    """Two single registers = rt and ru."""
    s.set_view("s", rm, s.reg(rt))
    s.set_view("s", rp, s.reg(ru))


_PAIR = "cond:4 1100 010{} ru:4 rt:4 101{} 00 M 1 Vm"
define("vmov_pair_to_core", fill(_PAIR.format(1, 1), "  d"), "rt ru rm", pair_to_core)
define("vmov_pair_from_core", fill(_PAIR.format(0, 1), "  d"), "rt ru rm", pair_from_core)
for _bit, _label, _both in ((1, "to", two_to_core), (0, "from", two_from_core)):
    _pattern = fill(_PAIR.format(_bit, 0), "  s")
    define(f"vmov_two_{_label}_core", _pattern, "rt ru rm rp", _both, rp="rm+1")

# Scalars of vectors: a register of the view of their width.

_SCALARS = {
    8: ("b", "1 rn[2]", "rn[1:0]"),
    16: ("h", "0 rn[1]", "rn[0] 1"),
    32: ("s", "0 rn[0]", "00"),
}


def _scalar(width: int) -> None:
    kind, high, low = _SCALARS[width]
    bits = {8: 3, 16: 2, 32: 1}[width]
    register = f"rn[{bits + 3}:{bits}]"
    extra = f"rn[{bits + 4}]"

    def set_lane(s: S, rn: Any, rt: Any) -> None:
        s.set_view(kind, rn, s.reg(rt).trunc(width))

    pattern = f"cond:4 1110 0 {high} 0 {register} rt:4 1011 {extra} {low} 1 0000"
    define(f"vmov_lane_{width}", pattern, "rn rt", set_lane)
    for unsigned in (0, 1) if width < 32 else (0,):

        def get_lane(s: S, rn: Any, rt: Any, unsigned: int = unsigned) -> None:
            value = s.view(kind, rn)
            s.set_reg(rt, value.zext(32) if unsigned else value.sext(32))

        pattern = f"cond:4 1110 {unsigned} {high} 1 {register} rt:4 1011 {extra} {low} 1 0000"
        define(f"vmov_{'su'[unsigned]}{width}_lane", pattern, "rn rt", get_lane)

    for quad in (0, 1):
        wide = "q" if quad else "d"

        def duplicate(s: S, rn: Any, rt: Any, wide: str = wide, quad: int = quad) -> None:
            lanes = (64 << quad) // width
            s.set_view(wide, rn, s.reg(rt).trunc(width).splat(f"i{width}x{lanes}"))

        b, e = {8: (1, 0), 16: (0, 1), 32: (0, 0)}[width]
        pattern = _n(f"cond:4 1110 1{b}{quad}0 Vn rt:4 1011 N 0{e} 1 0000", wide)
        define(f"vdup_{wide}{width}_core", pattern, "rn rt", duplicate)


for _width in (8, 16, 32):
    _scalar(_width)

# FPSCR: N Z C V QC, AHP DN FZ RMode, and the cumulative flags.  There are no short vectors.

MODE = AHP | DN | FZ | RMODE


@native
def reversed_flags(s: RuntimeState, flags: int) -> int:
    """The five flags in the opposite order: NX UF OF DZ NV, or IOC DZC OFC UFC IXC."""
    ends = (flags & 1) << 4 | flags >> 4 & 1
    return ends | (flags & 2) << 2 | flags >> 2 & 2 | flags & 4


@native
def read_fpscr(s: ArmState) -> int:
    """FPSCR."""
    saturated = s.fp[1] != 0
    flags = reversed_flags(s, host_fp_flags()) | s.idc << 7
    return s.fp[0] | saturated << 27 | s.fpmode | flags


@native
def write_fpscr(s: ArmState, value: int) -> None:
    """FPSCR = value.  (RMode: nearest, up, down, zero; the unit has nearest, zero, down, up.)"""
    s.fp[0] = value & 0xF000_0000
    s.fp[1] = value >> 27 & 1
    s.idc = value >> 7 & 1
    s.fpmode = value & MODE
    rounding = value >> 22 & 3
    if rounding & 1:
        rounding = rounding ^ 2
    host_set_fp(reversed_flags(s, value & 31), rounding)


def vmrs(s: S, rt: Any) -> None:
    """rt = FPSCR."""
    s.set_reg(rt, s.call("read_fpscr").trunc(32))


def vmrs_flags(s: S) -> None:
    """The flags = FPSCR's."""
    s.write_nzcv(s.fp_flags)


def vmsr(s: S, rt: Any) -> None:
    """FPSCR = rt."""
    s.call("write_fpscr", s.reg(rt).zext())


define("vmrs", "cond:4 1110 1111 0001 rt:4 1010 0001 0000", "rt", vmrs)
define("vmrs_flags", "cond:4 1110 1111 0001 1111 1010 0001 0000", "", vmrs_flags)
define("vmsr", "cond:4 1110 1110 0001 rt:4 1010 0001 0000", "rt", vmsr)
