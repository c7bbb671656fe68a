"""Native functions: page walks, traps, CSRs and the engine's own loops, in Python's syntax.

A function decorated with ``@native`` is never run by Python: its syntax tree is turned
into micro-ops, which the backend compiles and the interpreter can run.  The language:

- every value is an unsigned 64-bit word; ``//`` and ``%`` are unsigned, ``>>`` logical;
- the first parameter is the state: ``s.field``, ``s.array[i]``, both assignable;
- ``if``/``elif``/``else``, ``while``, ``break``, ``continue``, ``return``, assignment and
  augmented assignment, ``and``/``or``/``not``, comparisons, conditional expressions;
- calls of other native functions (with ``s`` first), of the intrinsics below and of the rows
  of ``ops_float``, by name;
- module-level integer constants.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.ir.code import Function

REGISTRY: dict[str, NativeFunction] = {}
_NO_STATE = object()
"""What ``evaluate`` passes for the state."""


class NativeFunction:
    """A native function: its Python source, and its micro-ops when asked for."""

    def __init__(
        self, name: str, params: tuple[str, ...], scope: dict[str, Any], text: Callable[[], str]
    ) -> None:
        self.name = name
        self.params = params
        """Its words, the state not among them."""
        self.scope = scope
        self.text = text
        self.source: Callable[..., int | None] | None = None

    def __call__(self, *args: Any) -> int:
        if args and args[0] is _NO_STATE:  # from another one that is evaluated
            return self.evaluate(*args[1:])
        raise TypeError(f"native function {self.name} is compiled, not called from Python")

    def evaluate(self, *words: int) -> int:
        """The result for these words of a function that reads no state, run by Python."""
        assert self.source is not None, f"{self.name} has no source"
        return (self.source(_NO_STATE, *words) or 0) & (1 << 64) - 1

    def compile(self) -> Function:
        """The micro-ops."""
        from jitemu.ir.native_compiler import compile_native

        return compile_native(self)


def native(source: Callable[..., int | None]) -> NativeFunction:
    """Declare a native function."""
    code = source.__code__
    params = code.co_varnames[1 : code.co_argcount]

    def text() -> str:
        import inspect
        import textwrap

        return textwrap.dedent(inspect.getsource(source))

    function = NativeFunction(source.__name__, params, source.__globals__, text)
    function.source = source
    return _register(function)


def native_source(
    name: str, params: tuple[str, ...], body: str, scope: dict[str, Any]
) -> NativeFunction:
    """Declare a native function made from a table: its body is text (``s`` is the state)."""
    lines = "\n".join("    " + line for line in body.splitlines())
    text = f"def {name}({', '.join(('s', *params))}):\n{lines}"
    return _register(NativeFunction(name, params, scope, lambda: text))


def _register(function: NativeFunction) -> NativeFunction:
    assert function.name not in REGISTRY, function.name
    REGISTRY[function.name] = function
    return function


def extern(name: str, *params: str) -> NativeFunction:
    """A native function that another part of the program defines under this name."""
    function = NativeFunction.__new__(NativeFunction)
    function.name = name
    function.params = params
    return function


# Intrinsics: for the type checker; the compiler knows them by name.
def load8(address: int) -> int:
    """Read a byte of host memory."""
    raise NotImplementedError


def load16(address: int) -> int:
    """Read 2 bytes of host memory."""
    raise NotImplementedError


def load32(address: int) -> int:
    """Read 4 bytes of host memory."""
    raise NotImplementedError


def load64(address: int) -> int:
    """Read 8 bytes of host memory."""
    raise NotImplementedError


def store8(address: int, value: int) -> None:
    """Write a byte of host memory."""


def store16(address: int, value: int) -> None:
    """Write 2 bytes of host memory."""


def store32(address: int, value: int) -> None:
    """Write 4 bytes of host memory."""


def store64(address: int, value: int) -> None:
    """Write 8 bytes of host memory."""


def slt(a: int, b: int) -> int:
    """1 if a < b as signed words."""
    raise NotImplementedError


def sar(a: int, n: int) -> int:
    """Arithmetic shift right."""
    raise NotImplementedError


def sext32(a: int) -> int:
    """The low 32 bits, sign-extended."""
    raise NotImplementedError


def ctz(a: int) -> int:
    """Trailing zeros; 64 for 0."""
    raise NotImplementedError


def hostcall(function: int, *args: int) -> int:
    """Call a C function by address (MXCSR is the host's meanwhile)."""
    raise NotImplementedError


def hostsyscall(number: int, a: int, b: int, c: int, d: int, e: int, f: int) -> int:
    """A call of the host's system; a failure is the negative errno."""
    raise NotImplementedError


def copy_bytes(to: int, start: int, count: int) -> int:
    """Copy at host addresses that are the guest's; how many bytes could not be accessed."""
    raise NotImplementedError


def exchange(address: int, value: int) -> int:
    """Atomically write 8 bytes of host memory; the old ones.  A full barrier."""
    raise NotImplementedError


def host_set_flags(flags: int) -> None:
    """Replace the host FP unit's sticky flags."""


def host_swap_rounding(rounding: int) -> int:
    """Set the host FP unit's rounding mode; the old one."""
    raise NotImplementedError


def host_fp_flags() -> int:
    """The host FP unit's sticky flags, in the order of RISC-V's fflags."""
    raise NotImplementedError


def host_set_fp(flags: int, rounding: int) -> None:
    """Set the host FP unit's sticky flags and rounding mode, numbered as RISC-V's are."""


def addressof(word: object) -> int:
    """Host address of a state word: ``addressof(s.tlb)``."""
    raise NotImplementedError
