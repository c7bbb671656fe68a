"""The micro-op table.

Each row: name, signature, prose, Python meaning, LLVM lowering.  From the signature come
verifier, printer and parser; from the meaning constant folding and the reference
interpreter; from the lowering stencils, regions and native functions.

Signature: argument types, ``->``, result type.  ``T`` is the op's type parameter, ``*``
any type, ``B`` an i1 for each lane of T.  ``@`` words before the arguments are static
attributes.

Meaning: a function of the width of T (bits) and the arguments as unsigned integers; its
result is wrapped to the result's width.  Where T can be a vector (``lanes``), that is the
meaning of each lane.  ``whole`` is the meaning of a row that mixes lanes: a function of
the op's type, its attributes and the arguments' types and values.  Rows without any act
on the machine (state, memory, control): the interpreter has a method for each.

Lowering: LLVM text, a line an instruction: ``{r}`` result, ``{0}``.. arguments, ``{T}``
type, ``{N}`` its name in intrinsics, ``{B}`` its i1s, ``{Z}`` zero, ``{W}`` its (lanes')
width, ``{A}`` type of the first argument, ``{2W}`` twice the width, ``{F}`` the float type
of T's size, ``{FN}`` its name in intrinsics.  Every op is total: what LLVM leaves undefined
is guarded here.  Rows without one are lowered by the environment (a stencil, a region and
a native function reach state and memory in different ways).
"""

# The meanings are one-line lambdas over plain integers.
# pyright: reportUnknownLambdaType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One micro-op's definition."""

    name: str
    attrs: tuple[str, ...]
    args: tuple[str, ...]
    result: str
    prose: str
    meaning: Callable[..., int] | None
    llvm: str | None
    effect: bool
    """It changes or observes something besides its result, so it is never dropped."""
    ends: bool
    """It ends a block."""
    lanes: bool
    """T can be a vector."""
    whole: Callable[..., int] | None


ROWS: dict[str, Row] = {}


def row(
    name: str,
    signature: str,
    prose: str,
    meaning: Callable[..., int] | None = None,
    llvm: str | None = None,
    *,
    effect: bool = False,
    ends: bool = False,
    lanes: bool = False,
    whole: Callable[..., int] | None = None,
) -> None:
    """Declare a micro-op."""
    left, _, result = signature.partition("->")
    words = left.split()
    attrs = tuple(w[1:] for w in words if w[0] == "@")
    args = tuple(w for w in words if w[0] != "@")
    assert name not in ROWS, name
    ROWS[name] = Row(
        *(name, attrs, args, result.strip(), prose, meaning, llvm, effect or ends, ends),
        *(lanes or whole is not None, whole),
    )


def signed(width: int, a: int) -> int:
    """The two's complement reading of an unsigned value."""
    return a - (1 << width) if a >> (width - 1) & 1 else a


def _div(a: int, b: int) -> int:
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def _sdiv(w: int, a: int, b: int) -> int:
    return -1 if b == 0 else _div(signed(w, a), signed(w, b))


def _srem(w: int, a: int, b: int) -> int:
    if b == 0:
        return a
    x, y = signed(w, a), signed(w, b)
    return x - _div(x, y) * y


def _clmul(a: int, b: int) -> int:
    r = 0
    while b:
        low = b & -b
        r ^= a * low
        b ^= low
    return r


def _simple(name: str, prose: str, meaning: Callable[..., int], llvm: str) -> None:
    row(name, "T T -> T", prose, meaning, f"{{r}} = {llvm} {{T}} {{0}}, {{1}}", lanes=True)


_simple("add", "Sum, wrapping.", lambda w, a, b: a + b, "add")
_simple("sub", "Difference, wrapping.", lambda w, a, b: a - b, "sub")
_simple("mul", "Product, wrapping.", lambda w, a, b: a * b, "mul")
_simple("and", "Bitwise and.", lambda w, a, b: a & b, "and")
_simple("or", "Bitwise or.", lambda w, a, b: a | b, "or")
_simple("xor", "Bitwise exclusive or.", lambda w, a, b: a ^ b, "xor")

_WIDE = "{r}.m = and {T} {1}, {M}\n{r}.s = OP {T} {0}, {r}.m\n{r}.c = icmp ult {T} {1}, {W}\n"
row(
    "shl",
    "T T -> T",
    "Shift left; by the width or more gives 0.",
    lambda w, a, b: a << b if b < w else 0,
    _WIDE.replace("OP", "shl") + "{r} = select {B} {r}.c, {T} {r}.s, {T} {Z}",
    lanes=True,
)
row(
    "lshr",
    "T T -> T",
    "Logical shift right; by the width or more gives 0.",
    lambda w, a, b: a >> b if b < w else 0,
    _WIDE.replace("OP", "lshr") + "{r} = select {B} {r}.c, {T} {r}.s, {T} {Z}",
    lanes=True,
)
row(
    "ashr",
    "T T -> T",
    "Arithmetic shift right; by the width or more gives copies of the sign.",
    lambda w, a, b: signed(w, a) >> min(b, w),
    "{r}.c = icmp ult {T} {1}, {W}\n{r}.m = select {B} {r}.c, {T} {1}, {T} {M}\n"
    "{r} = ashr {T} {0}, {r}.m",
    lanes=True,
)
row(
    "rotl",
    "T T -> T",
    "Rotate left by an amount modulo the width.",
    lambda w, a, b: a << (b % w) | a >> (w - b % w),
    "{r} = call {T} @llvm.fshl.{T}({T} {0}, {T} {0}, {T} {1})",
)

_BY_ZERO = "{r}.z = icmp eq {T} {1}, 0\n"
_UNSIGNED = _BY_ZERO + "{r}.d = select i1 {r}.z, {T} 1, {T} {1}\n"
_SIGNED = (
    _BY_ZERO + "{r}.n = icmp eq {T} {1}, -1\n{r}.u = or i1 {r}.z, {r}.n\n"
    "{r}.d = select i1 {r}.u, {T} 1, {T} {1}\n"
)
row(
    "udiv",
    "T T -> T",
    "Unsigned quotient; by zero gives all ones.",
    lambda w, a, b: a // b if b else -1,
    _UNSIGNED + "{r}.q = udiv {T} {0}, {r}.d\n{r} = select i1 {r}.z, {T} -1, {T} {r}.q",
)
row(
    "urem",
    "T T -> T",
    "Unsigned remainder; by zero gives the dividend.",
    lambda w, a, b: a % b if b else a,
    _UNSIGNED + "{r}.q = urem {T} {0}, {r}.d\n{r} = select i1 {r}.z, {T} {0}, {T} {r}.q",
)
row(
    "sdiv",
    "T T -> T",
    "Signed quotient, towards zero; by zero gives -1, the overflow wraps.",
    _sdiv,
    _SIGNED + "{r}.q = sdiv {T} {0}, {r}.d\n{r}.m = sub {T} 0, {0}\n"
    "{r}.s = select i1 {r}.n, {T} {r}.m, {T} {r}.q\n{r} = select i1 {r}.z, {T} -1, {T} {r}.s",
)
row(
    "srem",
    "T T -> T",
    "Signed remainder, sign of the dividend; by zero gives the dividend, by -1 zero.",
    _srem,
    _SIGNED + "{r}.q = srem {T} {0}, {r}.d\n{r} = select i1 {r}.z, {T} {0}, {T} {r}.q",
)

for _name, _ext, _meaning in (
    ("mulhu", ("zext", "zext"), lambda w, a, b: a * b >> w),
    ("mulhs", ("sext", "sext"), lambda w, a, b: signed(w, a) * signed(w, b) >> w),
    ("mulhsu", ("sext", "zext"), lambda w, a, b: signed(w, a) * b >> w),
):
    row(
        _name,
        "T T -> T",
        f"Upper half of the product ({_ext[0]} by {_ext[1]}).",
        _meaning,
        f"{{r}}.a = {_ext[0]} {{T}} {{0}} to i{{2W}}\n{{r}}.b = {_ext[1]} {{T}} {{1}} to i{{2W}}\n"
        "{r}.p = mul i{2W} {r}.a, {r}.b\n{r}.h = lshr i{2W} {r}.p, {W}\n"
        "{r} = trunc i{2W} {r}.h to {T}",
    )

for _name, _half, _what in (("clmul", 0, "Lower"), ("clmulh", 1, "Upper")):
    row(
        _name,
        "i64 i64 -> i64",
        f"{_what} half of the carry-less product.",
        (lambda w, a, b: _clmul(a, b)) if not _half else (lambda w, a, b: _clmul(a, b) >> 64),
        "{r}.a = insertelement <2 x i64> zeroinitializer, i64 {0}, i32 0\n"
        "{r}.b = insertelement <2 x i64> zeroinitializer, i64 {1}, i32 0\n"
        "{r}.p = call <2 x i64> @llvm.x86.pclmulqdq(<2 x i64> {r}.a, <2 x i64> {r}.b, i8 0)\n"
        f"{{r}} = extractelement <2 x i64> {{r}}.p, i32 {_half}",
    )

for _name, _pred, _cmp in (
    ("eq", "eq", lambda w, a, b: a == b),
    ("ne", "ne", lambda w, a, b: a != b),
    ("ult", "ult", lambda w, a, b: a < b),
    ("ule", "ule", lambda w, a, b: a <= b),
    ("slt", "slt", lambda w, a, b: signed(w, a) < signed(w, b)),
    ("sle", "sle", lambda w, a, b: signed(w, a) <= signed(w, b)),
):
    row(
        _name,
        "T T -> B",
        f"1 if {_pred}, else 0.",
        _cmp,
        f"{{r}} = icmp {_pred} {{T}} {{0}}, {{1}}",
        lanes=True,
    )

row(
    "select",
    "B T T -> T",
    "The second argument if the first is 1, else the third.",
    lambda w, c, a, b: a if c else b,
    "{r} = select {B} {0}, {T} {1}, {T} {2}",
    lanes=True,
)
for _name, _op, _meaning in (
    ("addo", "sadd", lambda w, a, b: signed(w, a) + signed(w, b)),
    ("subo", "ssub", lambda w, a, b: signed(w, a) - signed(w, b)),
):
    row(
        _name,
        "T T -> i1",
        f"1 if the signed {_op[1:]} overflows.",
        lambda w, a, b, f=_meaning: not -(1 << w - 1) <= f(w, a, b) < 1 << w - 1,
        f"{{r}}.p = call {{{{{{T}},i1}}}} @llvm.{_op}.with.overflow.{{T}}"
        "({T} {0}, {T} {1})\n"
        "{r} = extractvalue {{{T},i1}} {r}.p, 1",
    )
row("zext", "* -> T", "Widen with zeros.", lambda w, a: a, "{r} = zext {A} {0} to {T}", lanes=True)
row(
    "sext",
    "* -> T",
    "Widen with copies of the sign.",
    None,
    "{r} = sext {A} {0} to {T}",
    lanes=True,
)
row("trunc", "* -> T", "The low bits.", lambda w, a: a, "{r} = trunc {A} {0} to {T}", lanes=True)
row(
    "ctz",
    "T -> T",
    "Trailing zeros; the width for 0.",
    lambda w, a: (a & -a).bit_length() - 1 if a else w,
    "{r} = call {T} @llvm.cttz.{N}({T} {0}, i1 false)",
    lanes=True,
)
row(
    "clz",
    "T -> T",
    "Leading zeros; the width for 0.",
    lambda w, a: w - a.bit_length(),
    "{r} = call {T} @llvm.ctlz.{N}({T} {0}, i1 false)",
    lanes=True,
)
row(
    "popcount",
    "T -> T",
    "Number of ones.",
    lambda w, a: a.bit_count(),
    "{r} = call {T} @llvm.ctpop.{N}({T} {0})",
    lanes=True,
)
row(
    "bswap",
    "T -> T",
    "Bytes in reverse order.",
    lambda w, a: int.from_bytes(a.to_bytes(w // 8, "little"), "big"),
    "{r} = call {T} @llvm.bswap.{T}({T} {0})",
)

# What belongs to the instruction being translated.
row(
    "aligned",
    "i64 i64 -> i64",
    "An address, or one that no host has if bits of the low five that it must not have are set.",
    lambda w, a, b: a + (b << 59),
    "{r}.w = shl i64 {1}, 59\n{r} = add i64 {0}, {r}.w",
)

row("hole", "@field -> i64", "An immediate field of the instruction, sign-extended.")
row("pc", "-> i64", "The address of this instruction.")
row("npc", "-> i64", "The address of the next instruction in memory.")

# State.
row("get", "@class @index -> i64", "Read a guest register.")
row("set", "@class @index i64 ->", "Write a guest register.", effect=True)
row("vget", "@class @index -> T", "Read a register of a bank, as wide as T.", lanes=True)
row("vset", "@class @index T ->", "Write a register of a bank.", effect=True, lanes=True)
row("field", "@name -> i64", "Read a word of the state.", effect=True)
row(
    "unusual",
    "@name i64 -> i1",
    "1 if a word of the state has any of these bits: which only ``call`` can change.",
    effect=True,
)
row("setfield", "@name i64 ->", "Write a word of the state.", effect=True)
row("elem", "@name i64 -> i64", "Read a word of an array of the state.", effect=True)
row("setelem", "@name i64 i64 ->", "Write a word of an array of the state.", effect=True)
row("local", "@name -> i64", "Read a local variable of a native function.", effect=True)
row("setlocal", "@name i64 ->", "Write a local variable of a native function.", effect=True)
row("param", "@name -> i64", "A parameter of a native function.")

# Guest memory: addresses are guest-virtual; a fault leaves the instruction undone.
row("load", "i64 -> T", "Read guest memory, little-endian, any alignment.", effect=True)
row("store", "i64 T ->", "Write guest memory, little-endian, any alignment.", effect=True)
row("amo", "@kind i64 T -> T", "Atomically combine with memory; the old value.", effect=True)
row(
    "casif",
    "i1 i64 T T -> i1",
    "If enabled and memory holds the expected value, atomically write the new one; 1 if written.",
    effect=True,
)
row("fence", "->", "Order all earlier accesses before all later ones.", effect=True)

# Host memory (native functions and frontends' tables only; addresses are trusted).
row("hload", "i64 -> T", "Read host memory.", effect=True)
row("hstore", "i64 T ->", "Write host memory.", effect=True)
row(
    "hxchg",
    "i64 i64 -> i64",
    "Atomically write 8 bytes of host memory; the old ones.",
    None,
    "{r}.p = inttoptr i64 {0} to ptr\n{r} = atomicrmw xchg ptr {r}.p, i64 {1} seq_cst, align 8",
    effect=True,
)
row(
    "hostsyscall",
    "i64 i64 i64 i64 i64 i64 i64 -> i64",
    "A call of the host's system: its number, six arguments; the result.",
    None,
    '{r} = call i64 asm sideeffect "syscall", "={{rax}},{{rax}},{{rdi}},{{rsi}},{{rdx}},{{r10}},'
    '{{r8}},{{r9}},~{{rcx}},~{{r11}},~{{memory}},~{{dirflag}},~{{fpsr}},~{{flags}}"'
    "(i64 {0}, i64 {1}, i64 {2}, i64 {3}, i64 {4}, i64 {5}, i64 {6})",
    effect=True,
)
row(
    "copybytes",
    "i64 i64 i64 -> i64",
    "Copy guest memory: to, from, how many bytes; how many are left where there is none.",
    None,
    "{r} = call i64 @copy_bytes(i64 {0}, i64 {1}, i64 {2})",
    effect=True,
)
row("hostcall", "@arity i64 ... -> i64", "Call a C function by its address.", effect=True)
row("call", "@function ... -> i64", "Call a native function with the state.", effect=True)
row(
    "native",
    "@function *... -> T",
    "A native function's result for values (words; of 128 bits two).",
    effect=True,
    lanes=True,
)
row(
    "rare",
    "@function i1 T *... -> T",
    "The second argument or, if the first is 1, a native function's result for the others.",
    effect=True,
    lanes=True,
)
row(
    "unless",
    "@function @usual i1 *... -> T",
    "A usual op's result for its arguments or, if the first is 1, a native function's for all.",
    effect=True,
    lanes=True,
)
row("addressof", "@name -> i64", "The host address of a word of the state.")

# Control.
row("br", "@label ->", "Go on at a label.", ends=True)
row("cbr", "@then @else i1 ->", "Go on at the first label if 1, else at the second.", ends=True)
row("ret", "i64 ->", "Leave a native function with a result.", ends=True)
row("jump", "i64 ->", "Go on at a known guest address.", ends=True)
row("branch", "i1 i64 ->", "Go on at a known guest address if 1, else at the next.", ends=True)
row("jumpr", "i64 ->", "Go on at a computed guest address.", ends=True)
row("exit", "@reason ->", "Leave to the engine, this instruction not done.", ends=True)
row("exitnext", "@reason ->", "Leave to the engine, this instruction done.", ends=True)
row("leave", "->", "Go on at the state's pc (a native function has set it).", ends=True)
row("skip", "i1 ->", "If 1, the rest of the instruction is not done.", effect=True)
row("leaveif", "i1 ->", "The same if 1: a native function trapped.", effect=True)
