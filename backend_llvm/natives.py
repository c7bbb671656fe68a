"""The native library of a guest: its native functions and the glue around translated code."""

from __future__ import annotations

from collections.abc import Sequence

from jitemu.backend_llvm.convention import CC, KEEPING, RECORD_BITS, SLOW, arguments, parameters
from jitemu.backend_llvm.lowering import Lowering, declarations
from jitemu.backend_llvm.objects import Blob, read_object
from jitemu.backend_llvm.stencils import Target
from jitemu.ir.code import Function, Op
from jitemu.ir.state import Layout

EXIT_FAULT = 68
"""Exit reason: translated code faulted (user mode)."""

PREFIX = "native."
"""Of native functions' symbols; the glue has plain ones."""
KEPT = "kept."
"""Of those that translated code calls, in the convention for that."""

INLINED_LINES = 50
"""Of LLVM text, that a function has less than if it is inlined without being weighed."""

HOST_MXCSR = 0x1F80
"""Round to nearest, all exceptions masked, no flags: what Python and libc expect."""


class NativeLowering(Lowering):
    """Lowers a native function: a plain C function of the state and words."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.allocas: dict[str, str] = {}

    def _local(self, name: object) -> str:
        return self.allocas.setdefault(str(name), f"%var{len(self.allocas)}")

    def op_local(self, op: Op) -> str:
        return self.temp(f"load i64, ptr {self._local(op.attrs[0])}")

    def op_setlocal(self, op: Op) -> None:
        self.put(f"store i64 {self.ref(op.args[0])}, ptr {self._local(op.attrs[0])}")

    def op_param(self, op: Op) -> str:
        return f"%a.{op.attrs[0]}"

    def op_addressof(self, op: Op) -> str:
        return self.temp(f"ptrtoint ptr {self.word(str(op.attrs[0]))} to i64")

    def op_hload(self, op: Op) -> str:
        p = self.temp(f"inttoptr i64 {self.ref(op.args[0])} to ptr")
        return self.temp(f"load {op.type}, ptr {p}, align 1")

    def op_hstore(self, op: Op) -> None:
        p = self.temp(f"inttoptr i64 {self.ref(op.args[0])} to ptr")
        self.put(f"store {op.type} {self.ref(op.args[1])}, ptr {p}, align 1")

    def op_call(self, op: Op) -> str:
        words = "".join(f", i64 {self.ref(a)}" for a in op.args)
        return self.temp(f"call i64 @{PREFIX}{op.attrs[0]}(ptr %s{words})")

    def op_hostcall(self, op: Op) -> str:
        function = self.temp(f"inttoptr i64 {self.ref(op.args[0])} to ptr")
        words = ", ".join(f"i64 {self.ref(a)}" for a in op.args[1:])
        guest, host = self._local("%mxcsr.guest"), self._local("%mxcsr.host")
        self.put(f"call void @llvm.x86.sse.stmxcsr(ptr {guest})")
        self.put(f"store i32 {HOST_MXCSR}, ptr {host}")
        self.put(f"call void @llvm.x86.sse.ldmxcsr(ptr {host})")
        result = self.temp(f"call i64 {function}({words})")
        self.put(f"call void @llvm.x86.sse.ldmxcsr(ptr {guest})")
        return result

    def op_br(self, op: Op) -> None:
        self.put(f"br label %b.{op.attrs[0]}")

    def op_cbr(self, op: Op) -> None:
        then, other = op.attrs
        self.put(f"br i1 {self.ref(op.args[0])}, label %b.{then}, label %b.{other}")

    def op_ret(self, op: Op) -> None:
        self.put(f"ret i64 {self.ref(op.args[0])}")

    def function(self, function: Function, quick: bool = False) -> str:
        """The LLVM function.  ``quick``: say whether it is to be inlined."""
        for block in function.blocks:
            self.put(f"b.{block.label}:")
            self.block(block)
        params = "".join(f", i64 %a.{p}" for p in function.params)
        variables = "".join(f"{v} = alloca i64\n" for v in self.allocas.values())
        first = function.blocks[0].label
        name = f"@{PREFIX}{function.name}"
        how = " strictfp" if any("constrained" in line for line in self.lines) else ""
        if quick and not how and len(self.lines) < INLINED_LINES:
            how = " alwaysinline"
        return (
            f'define i64 {name}(ptr %s{params}) nounwind{how} "no-jump-tables"="true" {{\n'
            f"{variables}br label %b.{first}\n" + "\n".join(self.lines) + "\n}\n"
        )


def glue(layout: Layout, mode: str, pinned_class: str, pinned: Sequence[int]) -> str:
    """What lies between the engine and translated code, as LLVM text.

    ``enter(state, code)``: a C function that runs translated code until it leaves;
    ``exit`` and the others: where translated code jumps to (their addresses
    are in the state).
    """
    low = Lowering(layout)
    params = parameters(len(pinned))
    pins = [f"%p{i}" for i in range(len(pinned))]

    low.put("%stack = call ptr @llvm.stacksave.p0()")
    low.put("%entry = getelementptr i8, ptr %stack, i64 -8")
    low.put(f"store ptr %entry, ptr {low.word('host_stack')}")
    low.put(f"call void @llvm.x86.sse.stmxcsr(ptr {low.word('host_mxcsr')})")
    low.put(f"call void @llvm.x86.sse.ldmxcsr(ptr {low.word('guest_mxcsr')})")
    loaded = [low.temp(f"load i64, ptr {low.word(pinned_class, r)}") for r in pinned]
    low.put(f"call {CC} void %code({arguments(loaded)})")
    low.put(f"call void @llvm.x86.sse.stmxcsr(ptr {low.word('guest_mxcsr')})")
    low.put(f"call void @llvm.x86.sse.ldmxcsr(ptr {low.word('host_mxcsr')})")
    reason = low.get_word("exit_reason")
    enter = "\n".join(low.lines)
    low.lines = []
    for register, pin in zip(pinned, pins, strict=True):
        low.put(f"store i64 {pin}, ptr {low.word(pinned_class, register)}")
    leave = "\n".join(low.lines)
    text = (
        f"define i64 @enter(ptr %s, ptr %code) nounwind {{\n{enter}\nret i64 {reason}\n}}\n"
        f"define {CC} void @exit({params}) nounwind {{\n{leave}\nret void\n}}\n"
    )
    if mode == "user":
        low.lines = []
        code = low.temp(f"call i64 @{PREFIX}user_system_call(ptr %s)")
        at = low.temp(f"inttoptr i64 {code} to ptr")
        fresh = [low.temp(f"load i64, ptr {low.word(pinned_class, r)}") for r in pinned]
        served = "\n".join(low.lines)
        text += (
            f"define {CC} void @system_call({params}) nounwind {{\n{leave}\n{served}\n"
            f"musttail call {CC} void {at}({arguments(fresh)})\nret void\n}}\n"
        )
    for name, function in (
        ("dispatch", f"{mode}_find_block"),
        ("look", f"{mode}_look_around"),
        ("link", f"{mode}_link_block"),
        ("crossed", f"{mode}_crossed"),
        ("plain", f"{mode}_find_plain"),
    ):
        if name == "plain" and mode == "user":
            continue
        text += (
            f"define {CC} void @{name}({params}) nounwind {{\n"
            f"%code = call i64 @{PREFIX}{function}(ptr %s)\n%at = inttoptr i64 %code to ptr\n"
            f"musttail call {CC} void %at({arguments(pins)})\nret void\n}}\n"
        )
    return text


_GREGS = 40
"""Offset of the general registers in ucontext_t (x86-64 Linux)."""
_R13, _RSP, _RIP = _GREGS + 5 * 8, _GREGS + 15 * 8, _GREGS + 16 * 8


_SEGV_ACCERR, _READ_WRITE = 2, 3


_COPY = (
    "define dso_local i64 @copy_bytes(i64 %to, i64 %from, i64 %count) naked noinline nounwind {\n"
    'call void asm sideeffect "movq %rdx, %rcx\\0Arep movsb\\0Amovq %rcx, %rax\\0Aret", ""()\n'
    "unreachable\n}\n"
)
_COPYING, _COPIED = 3, 5
"""Where in it the instruction that copies is, and what comes behind."""


def fault_handler(layout: Layout, reason: int) -> str:
    """LLVM text of ``on_fault(signal, siginfo, ucontext)``.

    A fault in translated code becomes an exit with ``reason``: the registers are those of
    the faulting instruction, so the exit stub saves the pinned ones as they were.  A
    write to a page that is guarded because of its code goes through instead.  One in
    ``copy_bytes`` ends the copy.  A fault elsewhere is the host's own: the default action
    follows.
    """
    low = Lowering(layout)

    def at(base: str, offset: int, type: str = "i64") -> str:
        p = low.temp(f"getelementptr i8, ptr {base}, i64 {offset}")
        return low.temp(f"load {type}, ptr {p}")

    def put(base: str, offset: int, value: str) -> None:
        p = low.temp(f"getelementptr i8, ptr {base}, i64 {offset}")
        low.put(f"store i64 {value}, ptr {p}")

    low.put("%sp = call ptr @llvm.stacksave.p0()")
    low.put("%spi = ptrtoint ptr %sp to i64")
    low.put(f"%ri = and i64 %spi, {-(1 << RECORD_BITS)}")
    low.put("%record = inttoptr i64 %ri to ptr")
    low.put("%s = load ptr, ptr %record")
    rip = at("%context", _RIP)
    offset = low.temp(f"sub i64 {rip}, {at('%record', 8)}")
    inside = low.temp(f"icmp ult i64 {offset}, {at('%record', 16)}")
    low.put(f"br i1 {inside}, label %guest, label %host")
    low.put("host:")
    low.put(f"call ptr {at('%record', 24, 'ptr')}(i32 %signal, ptr null)")
    low.put("ret void")
    low.put("guest:")
    host_address, code = at("%info", 16), at("%info", 8, "i32")
    address = low.temp(f"sub i64 {host_address}, {low.get_word('guest_base')}")
    low.put(f"%denied = icmp eq i32 {code}, {_SEGV_ACCERR}")
    low.put("br i1 %denied, label %denial, label %fault")
    low.put("denial:")
    low.put(f"%through = call i64 @{PREFIX}user_write(ptr %s, i64 {address})")
    low.put("%again = icmp ne i64 %through, 0")
    low.put("br i1 %again, label %open, label %fault")
    low.put("open:")
    page = low.temp(f"and i64 {host_address}, -4096")
    low.put(f"call i32 {at('%record', 32, 'ptr')}(i64 {page}, i64 4096, i32 {_READ_WRITE})")
    low.put("ret void")
    low.put("fault:")
    low.put("%copy = ptrtoint ptr @copy_bytes to i64")
    low.put(f"%copies = add i64 %copy, {_COPYING}")
    low.put(f"%copying = icmp eq i64 {rip}, %copies")
    low.put("br i1 %copying, label %short, label %leave")
    low.put("short:")
    put("%context", _RIP, low.temp(f"add i64 %copy, {_COPIED}"))
    low.put("ret void")
    low.put("leave:")
    low.set_word("fault_host_pc", rip)
    low.set_word("fault_address", address)
    low.set_word("fault_code", low.temp(f"sext i32 {code} to i64"))
    low.set_word("fault_signal", low.temp("zext i32 %signal to i64"))
    low.set_word("exit_reason", str(reason))
    put("%context", _R13, low.temp("ptrtoint ptr %s to i64"))
    put("%context", _RSP, low.get_word("host_stack"))
    put("%context", _RIP, low.get_word("exit"))
    low.put("ret void")
    text = "\n".join(low.lines)
    return f"define void @on_fault(i32 %signal, ptr %info, ptr %context) nounwind {{\n{text}\n}}\n"


def kept(function: Function) -> str:
    """What translated code calls: the function, with all general registers preserved.

    So a call on a rare path does not disturb the registers of the usual one.
    """
    words = "".join(f", i64 %a.{p}" for p in function.params)
    return (
        f"define {KEEPING} i64 @{KEPT}{function.name}(ptr %s{words}) nounwind {{\n"
        f"%r = call i64 @{PREFIX}{function.name}(ptr %s{words})\nret i64 %r\n}}\n"
    )


def slow(layout: Layout, function: Function) -> str:
    """What translated code calls in rare ways: operands and result are in the state."""
    low = Lowering(layout)
    places = [low.word("operands", n) for n in range(len(function.params))]
    words = "".join(f", i64 {low.temp(f'load i64, ptr {place}')}" for place in places)
    result = low.temp(f"call i64 @{PREFIX}{function.name}(ptr %s{words})")
    low.put(f"store i64 {result}, ptr {low.word('operands')}")
    text = "\n".join(low.lines)
    name = f"@{KEPT}{function.name}{SLOW}"
    return f"define {KEEPING} void {name}(ptr %s) nounwind {{\n{text}\nret void\n}}\n"


def library_text(target: Target, functions: Sequence[Function], quick: bool) -> str:
    """LLVM text of the whole library."""
    body = glue(target.layout, target.mode, target.pinned_class, target.pinned)
    if target.mode == "user":
        body += _COPY + fault_handler(target.layout, EXIT_FAULT)
    for function in functions:
        body += NativeLowering(target.layout).function(function, quick)
        if function.name in target.functions:
            body += kept(function)
        if function.name + SLOW in target.functions:
            body += slow(target.layout, function)
    return declarations(body) + "\n" + body


def build_library(target: Target, functions: Sequence[Function], quick: bool) -> Blob:
    """Compile and lay out the library.  ``quick``: in a third of the time, for code that makes
    blocks a twentieth slower."""
    from jitemu.backend_llvm.target import compile_text

    text = library_text(target, functions, quick)
    return read_object(compile_text(text, "quick" if quick else "default"))
