"""Calls of the system, status, hints, barriers, exclusive accesses."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.actions import EXIT_BREAKPOINT
from jitemu.frontends.arm.registers import GE
from jitemu.frontends.arm.shifter import rotated as rotated
from jitemu.frontends.arm.state import NEEDS, S, Word, define, isa, since, thumb
from jitemu.ir.native import native
from jitemu.ir.state import EXIT_SYSCALL, RuntimeState


@isa.insn("cond:4 1111 number:24", "svc", "arm")
def svc(s: S) -> None:
    """System call."""
    s.exit(EXIT_SYSCALL)


thumb("svc", "11011111 number:8", "t1")


@isa.insn("1110 00010010 number:12 0111 low:4", "bkpt", "arm")
def bkpt(s: S) -> None:
    """Breakpoint."""
    s.exit(EXIT_BREAKPOINT)


thumb("bkpt", "10111110 number:8", "t1")


@isa.insn("cond:4 00010000 1111 rd:4 0000 0000 0000", "mrs {rd}, apsr", "arm")
def mrs(s: S, rd: Any) -> None:
    """rd = the flags; the mode bits say user mode."""
    s.set_reg(rd, s.read_apsr() | 0x10 | (s.pc.trunc(32) & 1) << 5)


def write_status(flags: int, ge: int) -> None:
    """msr cpsr_..., rn: N Z C V Q and GE; user mode cannot change the rest."""
    name = "msr_" + ("f" if flags else "") + ("s" if ge else "")

    def write(s: S, value: Word) -> None:
        if flags:
            s.write_apsr(value)
        if ge:
            s.set_flag(GE, value >> 16 & 15)

    def register(s: S, rn: Any) -> None:
        write(s, s.reg(rn))

    def immediate(s: S, val: Word) -> None:
        write(s, val.trunc(32))

    define(name, f"cond:4 00010010 {flags}{ge} other:2 1111 0000 0000 rn:4", "rn", register)
    thumb(name, f"111100111000 rn:4 1000 {flags}{ge} other:2 0000 0000")
    if flags or ge:
        pattern = f"cond:4 00110010 {flags}{ge} other:2 1111 val:12=rotated"
        define(name + "_imm", pattern, "val", immediate)


for _flags in (0, 1):
    for _ge in (0, 1):
        write_status(_flags, _ge)


def status_immediate(s: S) -> None:
    """msr of control bits, which user mode cannot change."""
    s.set_field("trapped", 0)


for _bits in ("01", "10", "11"):
    define("msr_c" + _bits, f"cond:4 00110010 00{_bits} 1111 val:12", "", status_immediate)

thumb("mrs", "111100111110 1111 1000 rd:4 0000 0000")


@isa.insn("cond:4 00110010 0000 1111 0000 hint:8", "nop", "arm")
def nop(s: S) -> None:
    """Hints do nothing."""
    s.set_field("trapped", 0)


thumb("nop", "111100111010 1111 10000000 hint:8")


def _nops(pattern: str, tag: str, base: str = "nop") -> None:
    isa.alias(base, pattern, base, "arm" if tag[0] == "a" else "t32", f"{base}.{tag}")


_nops("11110 101 u:1 r:1 01 rn:4 1111 off:12", "a_pld")
_nops("11110 111 u:1 r:1 01 rn:4 1111 shamt:5 ty:2 0 rm:4", "a_pldr")
_nops("11110 100 u:1 101 rn:4 1111 off:12", "a_pli")
_nops("11110 110 u:1 101 rn:4 1111 shamt:5 ty:2 0 rm:4", "a_plir")
# Hints that are not allocated.
_nops("11110 100 u:1 001 any:20", "a_hint")
_nops("11110 110 u:1 001 any:15 0 rm:4", "a_hintr")
for _sign in (0, 1):
    for _size in ("00", "01"):
        _head = f"1111100 {_sign}"
        _nops(f"{_head} 1 {_size} 1 rn:4 1111 off:12", f"t_pld{_sign}{_size}")
        _nops(f"{_head} 0 {_size} 1 rn:4 1111 1100 off:8", f"t_pldm{_sign}{_size}")
        _nops(f"{_head} 0 {_size} 1 rn:4 1111 000000 shamt:2 rm:4", f"t_pldr{_sign}{_size}")
        for _up in (0, 1):
            _nops(f"{_head} {_up} {_size} 1 1111 1111 off:12", f"t_pldl{_up}{_sign}{_size}")
            isa.instructions[f"nop.t_pldl{_up}{_sign}{_size}"].first = True


@isa.insn("1111 01010111 1111 1111 0000 0100 option:4", "dsb", "arm")
def dsb(s: S) -> None:
    """Barriers order memory accesses."""
    s.fence()


_nops("1111 01010111 1111 1111 0000 0101 option:4", "a_dmb", "dsb")
_nops("1111 01010111 1111 1111 0000 0110 option:4", "a_isb", "dsb")
for _number, _name in enumerate(("dsb", "dmb", "isb"), 4):
    _nops(f"111100111011 1111 1000 1111 {_number:04b} option:4", f"t_{_name}", "dsb")


# In user mode it does nothing.
_nops("1111 00010000 mode:2 0 0 0000 000 aif:3 0 number:5", "a_cps")
_nops("1111 00010000 mode:2 1 0 0000 000 aif:3 0 number:5", "a_cpsm")
for _mode in ("001", "010", "011", "100", "101", "110", "111"):
    _nops(f"111100111010 1111 10000 {_mode} aif:3 number:5", f"t_cps{_mode}")
thumb("nop", "10110110 011 enable:1 0 aif:3", "t1cps")


@isa.insn("1111 01010111 1111 1111 0000 0001 1111", "clrex", "arm")
def clrex(s: S) -> None:
    """Forget the reservation."""
    s.set_field("reservation", -1)


thumb("clrex", "111100111011 1111 1000 1111 0010 1111")


@native
def words(s: RuntimeState, bits: int) -> int:
    """An offset in words."""
    return bits << 2


def _exclusive(width: int, code: str, t32: str) -> None:
    suffix = {8: "b", 16: "h", 32: ""}[width]

    def ldrex(s: S, rt: Any, rn: Any, off: Word) -> None:
        word = s.reg(rn) + off.trunc(32)
        address = word.zext()
        value = s.load(s.aligned(word, width // 8 - 1), width).zext()
        s.set_field("reservation", address)
        s.set_field("reserved_value", value)
        s.set_reg(rt, value.trunc(32))

    def strex(s: S, rd: Any, rt: Any, rn: Any, off: Word) -> None:
        address = (s.reg(rn) + off.trunc(32)).zext()
        reserved = s.field("reservation").eq(address)
        expected = s.field("reserved_value").trunc(width)
        written = s.casif(reserved, address, expected, s.reg(rt).trunc(width))
        s.set_field("reservation", -1)
        s.set_reg(rd, (written ^ 1).zext(32))

    load = ("ldrex" + suffix, ("rt", "rn", "off"), ldrex)
    store = ("strex" + suffix, ("rd", "rt", "rn", "off"), strex)
    isa.define(f"cond:4 0001 1{code}1 rn:4 rt:4 1111 1001 1111", load[0], "arm", *load, off=0)
    isa.define(f"cond:4 0001 1{code}0 rn:4 rd:4 1111 1001 rt:4", store[0], "arm", *store, off=0)
    if width == 32:
        thumb("ldrex", "111010000101 rn:4 rt:4 1111 off:8=words")
        thumb("strex", "111010000100 rn:4 rt:4 rd:4 off:8=words")
    else:
        thumb(load[0], f"111010001101 rn:4 rt:4 1111 {t32} 1111", off=0)
        thumb(store[0], f"111010001100 rn:4 rt:4 1111 {t32} rd:4", off=0)


_exclusive(32, "00", "")
_exclusive(8, "10", "0100")
_exclusive(16, "11", "0101")


def _ordered(width: int, code: str, t32: str) -> None:
    """Load-acquire, store-release; the host's loads and stores are, among themselves."""
    suffix = {8: "b", 16: "h", 32: ""}[width]

    def lda(s: S, rt: Any, rn: Any) -> None:
        s.set_reg(rt, s.load(s.aligned(s.reg(rn), width // 8 - 1), width).zext(32))

    def stl(s: S, rt: Any, rn: Any) -> None:
        s.store(s.aligned(s.reg(rn), width // 8 - 1), s.reg(rt).trunc(width))
        s.fence()

    load, store = "lda" + suffix, "stl" + suffix
    define(load, f"cond:4 0001 1{code}1 rn:4 rt:4 1100 1001 1111", "rt rn", lda)
    define(store, f"cond:4 0001 1{code}0 rn:4 1111 1100 1001 rt:4", "rt rn", stl)
    thumb(load, f"111010001101 rn:4 rt:4 1111 10{t32} 1111")
    thumb(store, f"111010001100 rn:4 rt:4 1111 10{t32} 1111")
    since("v8", load, store)
    exclusive = ("ldrex" + suffix, "strex" + suffix)
    for base, pattern, tag in (
        (exclusive[0], f"cond:4 0001 1{code}1 rn:4 rt:4 1110 1001 1111", "a"),
        (exclusive[1], f"cond:4 0001 1{code}0 rn:4 rd:4 1110 1001 rt:4", "a"),
        (exclusive[0], f"111010001101 rn:4 rt:4 1111 11{t32} 1111", "t"),
        (exclusive[1], f"111010001100 rn:4 rt:4 1111 11{t32} rd:4", "t"),
    ):
        name = f"{base}.acquire.{tag}"
        isa.alias(base, pattern, base, "arm" if tag == "a" else "t32", name, off=0)
        NEEDS[name] = "v8"


_ordered(32, "00", "10")
_ordered(8, "10", "00")
_ordered(16, "11", "01")


def _swap(name: str, bit: int, width: int) -> None:
    def swp(s: S, rt: Any, rb: Any, rn: Any) -> None:
        old = s.amo("xchg", s.reg(rn).zext(), s.reg(rb).trunc(width))
        s.set_reg(rt, old.zext(32))

    define(name, f"cond:4 00010{bit}00 rn:4 rt:4 0000 1001 rb:4", "rt rb rn", swp)
    since("swp", name)


_swap("swp", 0, 32)
_swap("swpb", 1, 8)


def _exclusive_pair() -> None:
    def ldrexd(s: S, rt: Any, rb: Any, rn: Any) -> None:
        address = s.reg(rn).zext()
        value = s.load(s.aligned(s.reg(rn), 7), 64)
        s.set_field("reservation", address)
        s.set_field("reserved_value", value)
        s.set_reg(rt, value.trunc(32))
        s.set_reg(rb, (value >> 32).trunc(32))

    def strexd(s: S, rd: Any, rt: Any, rb: Any, rn: Any) -> None:
        address = s.reg(rn).zext()
        value = s.reg(rb).zext() << 32 | s.reg(rt).zext()
        reserved = s.field("reservation").eq(address)
        written = s.casif(reserved, address, s.field("reserved_value"), value)
        s.set_field("reservation", -1)
        s.set_reg(rd, (written ^ 1).zext(32))

    define("ldrexd", "1110 10001101 rn:4 rt:4 rb:4 0111 1111", "rt rb rn", ldrexd)
    define("strexd", "1110 10001100 rn:4 rt:4 rb:4 0111 rd:4", "rd rt rb rn", strexd)
    load, store = isa.instructions["ldrexd"], isa.instructions["strexd"]
    load.when = store.when = "t32"
    isa.alias(
        "ldrexd",
        "cond:4 0001 1011 rn:4 rt:4 1111 1001 1111",
        "ldrexd",
        "arm",
        "ldrexd.a",
        rb="rt+1",
    )
    isa.alias(
        "strexd",
        "cond:4 0001 1010 rn:4 rd:4 1111 1001 rt:4",
        "strexd",
        "arm",
        "strexd.a",
        rb="rt+1",
    )
    for base, pattern, when, same in (
        ("ldrexd", "cond:4 0001 1011 rn:4 rt:4 1110 1001 1111", "arm", {"rb": "rt+1"}),
        ("strexd", "cond:4 0001 1010 rn:4 rd:4 1110 1001 rt:4", "arm", {"rb": "rt+1"}),
        ("ldrexd", "1110 10001101 rn:4 rt:4 rb:4 1111 1111", "t32", {}),
        ("strexd", "1110 10001100 rn:4 rt:4 rb:4 1111 rd:4", "t32", {}),
    ):
        isa.alias(base, pattern, base, when, f"{base}.acquire.{when}", **same)
        NEEDS[f"{base}.acquire.{when}"] = "v8"


_exclusive_pair()

since("v7", "dsb")
