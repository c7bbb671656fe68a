"""The language of native functions: each construct, run by the interpreter.

The source is Python's, so where a function uses no intrinsic Python itself says what it
should return.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from jitemu.ir import interp
from jitemu.ir.machine import STATE_ADDRESS, Machine
from jitemu.ir.native import (
    REGISTRY,
    NativeFunction,
    addressof,
    ctz,
    hostcall,
    load8,
    load16,
    load32,
    load64,
    native,
    sar,
    sext32,
    slt,
    store8,
    store16,
    store32,
    store64,
)
from jitemu.ir.passes import optimize
from jitemu.ir.verify import verify

WORD = (1 << 64) - 1
SEVEN = 7


class Bits:
    """Constants by attribute."""

    HIGH = 1 << 40


def native_of(source: Callable[..., Any]) -> NativeFunction:
    """Declared, but kept out of the registry, which others compile as a whole."""
    taken = REGISTRY.pop(source.__name__, None)
    function = native(source)
    del REGISTRY[function.name]
    if taken is not None:
        REGISTRY[function.name] = taken
    return function


def run(source: Callable[..., Any], *args: int, machine: Machine | None = None) -> int:
    """Compile and run, before and after the passes."""
    function = native_of(source).compile()
    verify(function)
    start = Machine() if machine is None else machine
    result = interp.run_function(function, start, *args)
    if machine is None:
        optimize(function)
        verify(function)
        assert interp.run_function(function, Machine(), *args) == result
    return result


def arithmetic(s: Any, a: int, b: int) -> int:
    c = a + b * 3
    c -= a & b
    c ^= (a | 5) << 2
    return (c >> 1) + b // 3 + a % 7 + SEVEN + Bits.HIGH


def choose(s: Any, a: int, b: int) -> int:
    if a < b:
        return 1
    elif a == b:
        return 2
    else:
        result = 3
    return result


def no_else(s: Any, a: int, b: int) -> int:
    result = 10
    if a > b and not a < 5:
        result = 20
    if a >= b or b <= 2:
        result += 1
    if a != b:
        pass
    return result


def loops(s: Any, a: int, b: int) -> int:
    total = 0
    i = 0
    while i < a:
        i += 1
        if i == b:
            continue
        if i > 12:
            break
        j = 0
        while j < i:
            total += j
            j += 2
    return total


def expressions(s: Any, a: int, b: int) -> int:
    larger = a if a > b else b
    both = (a > 3) + (b > 3)
    return larger * 100 + both * 10 + (not a) + (1 if a and b else 0)


def falls_off(s: Any, a: int, b: int) -> int:
    a += b
    return 0


SAMPLES = [(a, b) for a in (0, 1, 2, 5, 13, 20) for b in (0, 1, 3, 5, 14)]


@pytest.mark.parametrize(
    "source",
    [arithmetic, choose, no_else, loops, expressions, falls_off],
    ids=lambda f: f.__name__,
)
def test_as_python(source: Callable[..., int]) -> None:
    for a, b in SAMPLES:
        assert run(source, a, b) == source(None, a, b), (a, b)


def wrap(s: Any, a: int, b: int) -> int:
    return (a * b - 1) ^ ~a ^ -b


def test_words_wrap() -> None:
    rng = Random(1)
    for _ in range(50):
        a, b = rng.getrandbits(64), rng.getrandbits(64)
        assert run(wrap, a, b) == wrap(None, a, b) & WORD


def state_words(s: Any, n: int) -> int:
    s.ctx = n
    s.ctx += 2
    s.scratch[n] = s.ctx
    s.scratch[n] += 1
    return s.scratch[n] + s.ctx


def test_state() -> None:
    machine = Machine()
    python = SimpleNamespace(ctx=0, scratch=[0] * 8)
    assert run(state_words, 3, machine=machine) == state_words(python, 3)
    assert machine.fields["ctx"] == python.ctx
    assert machine.arrays["scratch"] == python.scratch
    with pytest.raises(interp.InterpreterError):
        run(state_words, 8, machine=machine)


def signs(s: Any, a: int, n: int) -> int:
    return slt(a, n) | sar(a, n) << 1 | (sext32(a) >> 60) << 8 | ctz(a) << 16


def test_intrinsics() -> None:
    assert run(signs, 0x8000_0000, 4) == (0x8000_0000 >> 4) << 1 | 15 << 8 | 31 << 16
    assert run(signs, WORD, 0) == 1 | (WORD << 1 & WORD) | 15 << 8
    assert run(signs, 0, 0) == 64 << 16


def memory(s: Any, at: int, value: int) -> int:
    store64(at, value)
    store32(at + 8, value)
    store16(at + 12, value)
    store8(at + 14, value)
    return load8(at + 1) + load16(at + 12) + load32(at + 2) + load64(at + 8)


def of_state(s: Any, value: int) -> int:
    store64(addressof(s.scratch) + 16, value)
    return load32(addressof(s.scratch) + 20)


def test_host_memory() -> None:
    machine = Machine()
    machine.host = ByteMemory()
    value = 0x1122334455667788
    wanted = 0x77 + 0x7788 + 0x33445566 + 0x0088778855667788
    assert run(memory, 0x1000, value, machine=machine) == wanted
    assert run(of_state, value, machine=machine) == 0x11223344
    assert machine.arrays["scratch"][2] == value
    assert machine.address_of("scratch") >= STATE_ADDRESS


class ByteMemory:
    """Host memory as a test may plug it in."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def read(self, addr: int, size: int) -> int:
        return int.from_bytes(bytes(self.bytes.get(addr + i, 0) for i in range(size)), "little")

    def write(self, addr: int, size: int, value: int) -> None:
        for i, byte in enumerate(value.to_bytes(size, "little")):
            self.bytes[addr + i] = byte


def calls_host(s: Any, function: int, a: int) -> int:
    return hostcall(function, a, a + 1) + 1


def test_hostcall() -> None:
    machine = Machine()
    machine.host_functions[0x5000] = int.__mul__
    assert run(calls_host, 0x5000, 6, machine=machine) == 43
    with pytest.raises(interp.InterpreterError):
        run(calls_host, 0x5001, 6, machine=machine)


def twice_source(s: Any, a: int) -> int:
    s.ctx += 1
    return a * 2


twice_source.__name__ = "twice"
twice: Any = native_of(twice_source)


def calls_native(s: Any, a: int) -> int:
    return twice(s, a + 1) + twice(s, 3)


def too_few_words(s: Any) -> int:
    return twice(s)


def test_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, "twice", twice)
    machine = Machine()
    assert run(calls_native, 5, machine=machine) == 18
    assert machine.fields["ctx"] == 2
    assert interp.run_native("twice", machine, 4) == 8
    with pytest.raises(interp.InterpreterError):
        interp.run_native("thrice", machine)
    with pytest.raises(interp.InterpreterError):
        interp.run_native("twice", machine)


def for_loop(s: Any, a: int) -> int:
    for i in range(a):
        a += i
    return a


def chained(s: Any, a: int) -> int:
    return 1 < a < 3


def text(s: Any) -> Any:
    return "text"


def unreachable(s: Any) -> int:
    return 1
    return 2


def assigns_other(s: Any, a: Any) -> int:
    a.b.c = 1
    a[0] = 2
    return 0


def other_call(s: Any) -> int:
    return len("")


@pytest.mark.parametrize(
    "source",
    [for_loop, chained, text, unreachable, assigns_other, other_call, too_few_words],
    ids=lambda f: f.__name__,
)
def test_what_is_not_in_the_language(source: Callable[..., Any]) -> None:
    with pytest.raises(SyntaxError, match=source.__name__):
        native_of(source).compile()


def test_not_called_from_python() -> None:
    with pytest.raises(TypeError):
        twice(None, 1)
