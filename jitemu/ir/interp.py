"""The reference interpreter: micro-ops run by their Python meanings, slow and exact.

``step`` makes a hart of it, and ``run_native`` runs a native function.  Compiled code is
held against both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from jitemu.ir.code import BITS, WIDTHS, Function, Op, Value
from jitemu.ir.emitter import Emitter
from jitemu.ir.machine import Machine, MemoryFault
from jitemu.ir.meaning import compute, usual_of
from jitemu.ir.native import REGISTRY
from jitemu.ir.ops import ROWS, signed
from jitemu.ir.ops_float import FLOAT
from jitemu.ir.ops_float_lanes import FLOAT_LANES

Values = dict[Value, int]

NATIVE_DEPTH = 100
"""Native functions do not recurse; calls deeper than this are a mistake."""


@dataclass(slots=True)
class Outcome:
    """How an instruction ended."""

    kind: str
    """next, jump (taken jumps of all kinds), exit (not done), exitnext (done), leave
    (at the state's pc), fault (guest memory; not done) or illegal (not decoded)."""
    pc: int
    """Where the guest goes on."""
    reason: int = 0
    """Of exit and exitnext."""
    address: int = 0
    """Of a fault."""
    access: str = ""
    """Of a fault: read, write or fetch."""


class InterpreterError(Exception):
    """The micro-ops are wrong: an unset local, an unknown function, an index too large."""


class _Left(Exception):
    """leaveif was taken."""


class _Frame:
    """One activation: of an instruction's body or of a native function."""

    __slots__ = ("depth", "function", "locals", "machine", "npc", "params", "pc", "sets", "undo")

    def __init__(self, machine: Machine, function: Function, pc: int = 0, npc: int = 0) -> None:
        self.machine = machine
        self.function = function
        self.pc = pc
        self.npc = npc
        self.params: tuple[int, ...] = ()
        self.depth = 0
        self.locals: dict[str, int] = {}
        self.sets: dict[tuple[str, int], int] = {}
        """Registers written, not yet visible to others."""
        self.undo: list[Callable[[], None]] = []
        """How the state words written so far become what they were; shared with callees."""


def evaluate(op: Op, args: list[int]) -> int:
    """The result of a row with a meaning, wrapped to the result's width."""
    return compute(ROWS[op.name], op.type, op.attrs, [a.type for a in op.args], args)


# State.  Every handler takes the frame, the op and its arguments' values.


def _get(f: _Frame, op: Op, a: list[int]) -> int:
    kind, index = op.attrs
    if not isinstance(index, int):
        raise InterpreterError(f"register field {index} is not bound")
    written = f.sets.get((str(kind), index))
    return f.machine.arrays[str(kind)][index] if written is None else written


def _set(f: _Frame, op: Op, a: list[int]) -> None:
    kind, index = op.attrs
    if not isinstance(index, int):
        raise InterpreterError(f"register field {index} is not bound")
    f.sets[str(kind), index] = a[0]


def _bank(f: _Frame, op: Op) -> tuple[str, int, int]:
    """(array, bit of it, bits) of a bank's register."""
    kind, index = op.attrs
    if not isinstance(index, int):
        raise InterpreterError(f"register field {index} is not bound")
    view = f.machine.classes[str(kind)]
    return view.bank, index * view.bits, BITS[op.type]


def _vget(f: _Frame, op: Op, a: list[int]) -> int:
    array, start, bits = _bank(f, op)
    first, words = start // 64, f.machine.arrays[array]
    count = -(-(start % 64 + bits) // 64)
    value = 0
    for n in range(count):
        written = f.sets.get((array, first + n))
        value |= (words[first + n] if written is None else written) << 64 * n
    return value >> start % 64 & (1 << bits) - 1


def _vset(f: _Frame, op: Op, a: list[int]) -> None:
    array, start, bits = _bank(f, op)
    for n in range(start // 64, (start + bits + 63) // 64):
        old = f.sets.get((array, n), f.machine.arrays[array][n])
        mask = (((1 << bits) - 1) << start >> 64 * n) & (1 << 64) - 1
        f.sets[array, n] = (old & ~mask) | (a[0] << start >> 64 * n & mask)


def _field(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.fields[str(op.attrs[0])]


def _setfield(f: _Frame, op: Op, a: list[int]) -> None:
    name, fields = str(op.attrs[0]), f.machine.fields
    old = fields[name]
    f.undo.append(lambda: fields.__setitem__(name, old))
    fields[name] = a[0]


def _elem(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.arrays[str(op.attrs[0])][a[0]]


def _setelem(f: _Frame, op: Op, a: list[int]) -> None:
    array, index = f.machine.arrays[str(op.attrs[0])], a[0]
    old = array[index]
    f.undo.append(lambda: array.__setitem__(index, old))
    array[index] = a[1]


def _local(f: _Frame, op: Op, a: list[int]) -> int:
    return f.locals[str(op.attrs[0])]


def _setlocal(f: _Frame, op: Op, a: list[int]) -> None:
    f.locals[str(op.attrs[0])] = a[0]


def _param(f: _Frame, op: Op, a: list[int]) -> int:
    return f.params[f.function.params.index(str(op.attrs[0]))]


# Guest memory.

AMO: dict[str, Callable[[int, int, int], int]] = {
    "xchg": lambda w, old, new: new,
    "add": lambda w, old, new: old + new,
    "and": lambda w, old, new: old & new,
    "or": lambda w, old, new: old | new,
    "xor": lambda w, old, new: old ^ new,
    "max": lambda w, old, new: max(old, new, key=lambda v: signed(w, v)),
    "min": lambda w, old, new: min(old, new, key=lambda v: signed(w, v)),
    "umax": lambda w, old, new: max(old, new),
    "umin": lambda w, old, new: min(old, new),
}
"""New memory from (width, old memory, operand), before wrapping."""


def _load(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.memory.read(a[0], BITS[op.type] // 8)


def _store(f: _Frame, op: Op, a: list[int]) -> None:
    f.machine.memory.write(a[0], BITS[op.type] // 8, a[1])


def _amo(f: _Frame, op: Op, a: list[int]) -> int:
    width, memory = WIDTHS[op.type], f.machine.memory
    old = _read_to_write(f, a[0], width // 8)
    new = AMO[str(op.attrs[0])](width, old, a[1])
    memory.write(a[0], width // 8, new & ((1 << width) - 1))
    return old


def _casif(f: _Frame, op: Op, a: list[int]) -> int:
    enable, address, expected, new = a
    if not enable:
        return 0
    size = WIDTHS[op.type] // 8
    old = _read_to_write(f, address, size)
    # A failing exchange writes the old value back, as the host's does: it needs the right.
    f.machine.memory.write(address, size, new if old == expected else old)
    return int(old == expected)


def _read_to_write(f: _Frame, address: int, size: int) -> int:
    try:
        return f.machine.memory.read(address, size)
    except MemoryFault as fault:
        raise MemoryFault(fault.address, True) from None


# Host memory and calls.


def _hload(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.host_read(a[0], WIDTHS[op.type] // 8)


def _hstore(f: _Frame, op: Op, a: list[int]) -> None:
    f.machine.host_write(a[0], WIDTHS[op.type] // 8, a[1])


def _hxchg(f: _Frame, op: Op, a: list[int]) -> int:
    old = f.machine.host_read(a[0], 8)
    f.machine.host_write(a[0], 8, a[1])
    return old


def _hostcall(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.host_functions[a[0]](*a[1:]) & ((1 << 64) - 1)


def _addressof(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.address_of(str(op.attrs[0]))


def _call(f: _Frame, op: Op, a: list[int]) -> int:
    if f.depth >= NATIVE_DEPTH:
        raise InterpreterError(f"{op.attrs[0]}: native functions call each other too deep")
    function = _native(str(op.attrs[0]))
    if len(a) != len(function.params):
        raise InterpreterError(f"{function.name} takes {len(function.params)} words, not {len(a)}")
    frame = _Frame(f.machine, function)
    frame.params = tuple(a)
    frame.undo = f.undo
    frame.depth = f.depth + 1
    return _result(frame)


def _slow(f: _Frame, op: Op, args: tuple[Value, ...], values: list[int]) -> int:
    """The result of the native function of a rare or unless."""
    words: list[int] = []
    for arg, value in zip(args, values, strict=True):
        words += [value & (1 << 64) - 1, value >> 64][: 1 + (arg.width > 64)]
    low = _call(f, op, words)
    return (low | f.machine.arrays["operands"][1] << 64) & (1 << BITS[op.type]) - 1


def _rare(f: _Frame, op: Op, a: list[int]) -> int:
    return _slow(f, op, op.args[2:], a[2:]) if a[0] else a[1]


def _unless(f: _Frame, op: Op, a: list[int]) -> int:
    if a[0]:
        return _slow(f, op, op.args[1:], a[1:])
    usual = usual_of(op)
    usual.result = op.result
    args = a[1 : 1 + len(usual.args)]
    return _lanes(f, usual, args) if usual.name in FLOAT_LANES else evaluate(usual, args)


def _float(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.float_unit.run(op.name, tuple(a))


def _lanes(f: _Frame, op: Op, a: list[int]) -> int:
    return f.machine.float_unit.run_lanes(op.name, op.type, [v.type for v in op.args], a)


def _leaveif(f: _Frame, op: Op, a: list[int]) -> None:
    if a[0]:
        raise _Left


_HANDLERS: dict[str, Callable[[_Frame, Op, list[int]], int | None]] = {
    "pc": lambda f, op, a: f.pc,
    "npc": lambda f, op, a: f.npc,
    "get": _get,
    "set": _set,
    "vget": _vget,
    "vset": _vset,
    "native": lambda f, op, a: _slow(f, op, op.args, a),
    "rare": _rare,
    "unless": _unless,
    "field": _field,
    "unusual": lambda f, op, a: int(_field(f, op, a) & a[0] != 0),
    "setfield": _setfield,
    "elem": _elem,
    "setelem": _setelem,
    "local": _local,
    "setlocal": _setlocal,
    "param": _param,
    "load": _load,
    "store": _store,
    "amo": _amo,
    "casif": _casif,
    "fence": lambda f, op, a: None,
    "hload": _hload,
    "hstore": _hstore,
    "hxchg": _hxchg,
    "hostcall": _hostcall,
    "call": _call,
    "addressof": _addressof,
    "leaveif": _leaveif,
    **dict.fromkeys(FLOAT_LANES, _lanes),
    **dict.fromkeys((*FLOAT, "swaprounding", "setfpflags", "fpflags"), _float),
}

# Ends of blocks: a label to go on at, a native function's result, or an outcome.
End = str | int | Outcome

_ENDS: dict[str, Callable[[_Frame, Op, list[int]], End]] = {
    "br": lambda f, op, a: str(op.attrs[0]),
    "cbr": lambda f, op, a: str(op.attrs[0] if a[0] else op.attrs[1]),
    "ret": lambda f, op, a: a[0],
    "jump": lambda f, op, a: Outcome("jump", a[0]),
    "jumpr": lambda f, op, a: Outcome("jump", a[0]),
    "branch": lambda f, op, a: Outcome("jump", a[1]) if a[0] else Outcome("next", f.npc),
    "exit": lambda f, op, a: Outcome("exit", f.pc, int(op.attrs[0])),
    "exitnext": lambda f, op, a: Outcome("exitnext", f.npc, int(op.attrs[0])),
    "leave": lambda f, op, a: Outcome("leave", f.machine.fields["pc"]),
}


def _run(frame: _Frame) -> int | Outcome:
    """Run a function's blocks; running off the end of one goes to the next instruction."""
    blocks = frame.function.blocks
    values: Values = {}
    end = _run_ops(frame, blocks[0].ops, values)
    if isinstance(end, str):
        labels = {block.label: block.ops for block in blocks}
        while isinstance(end, str):
            end = _run_ops(frame, labels[end], values)
    return end


def _run_ops(frame: _Frame, ops: list[Op], values: Values) -> End:
    op, args = None, []
    try:
        for op in ops:
            args = [values[v] if v.const is None else v.const for v in op.args]
            handler = _HANDLERS.get(op.name)
            if handler is not None:
                result = handler(frame, op, args)
            elif op.name == "skip":
                if args[0]:
                    break
                result = None
            elif op.name in _ENDS:
                return _ENDS[op.name](frame, op, args)
            else:
                result = evaluate(op, args)
            if result is not None and op.result is not None:
                values[op.result] = result
    except (KeyError, IndexError, AssertionError) as error:
        what = f"{op.name} {op.attrs} {args}" if op else ""
        raise InterpreterError(f"{frame.function.name}: {what}") from error
    return Outcome("next", frame.npc)


def run_instruction(
    function: Function, machine: Machine, pc: int | None = None, length: int = 4
) -> Outcome:
    """Run an instruction's body, built with constant fields.

    Without ``pc`` the instruction lies at the state's.  Registers change only when it is
    done; a fault takes back all it wrote to the state.  Memory that it wrote before a
    fault stays written.  The state's pc is not moved.
    """
    at = machine.fields["pc"] if pc is None else pc
    frame = _Frame(machine, function, at, (at + length) & ((1 << 64) - 1))
    unit = machine.float_unit
    rounding, flags = unit.rounding, unit.flags
    try:
        outcome = _run(frame)
    except MemoryFault as fault:
        unit.rounding, unit.flags = rounding, flags
        for restore in reversed(frame.undo):
            restore()
        return Outcome("fault", at, 0, fault.address, "write" if fault.write else "read")
    except _Left:
        return Outcome("leave", machine.fields["pc"])
    if isinstance(outcome, int):
        raise InterpreterError(f"{function.name}: ret in an instruction's body")
    if outcome.kind != "exit":
        for (kind, index), value in frame.sets.items():
            machine.arrays[kind][index] = value
    return outcome


def run_function(function: Function, machine: Machine, *args: int) -> int:
    """Run a native function's micro-ops; its result (0 if it returns none)."""
    if len(args) != len(function.params):
        count = len(function.params)
        raise InterpreterError(f"{function.name} takes {count} words, not {len(args)}")
    frame = _Frame(machine, function)
    frame.params = tuple(a & ((1 << 64) - 1) for a in args)
    return _result(frame)


def run_native(name: str, machine: Machine, *args: int) -> int:
    """Run a native function of the registry."""
    return run_function(_native(name), machine, *args)


_compiled: dict[str, Function] = {}


def _native(name: str) -> Function:
    function = _compiled.get(name)
    if function is None:
        if name not in REGISTRY:
            raise InterpreterError(f"there is no native function {name}")
        function = _compiled[name] = REGISTRY[name].compile()
    return function


def _result(frame: _Frame) -> int:
    result = _run(frame)
    if not isinstance(result, int):
        raise InterpreterError(f"{frame.function.name}: {result.kind} in a native function")
    return result


class DecodedWord(Protocol):
    """What a decoder of ``jitemu.isa`` returns."""

    def build(self, s: Emitter) -> None:
        """Run the bodies with the fields' values."""
        ...

    @property
    def length(self) -> int:
        """Bytes."""
        ...


class WordDecoder(Protocol):
    """A decoder of ``jitemu.isa``."""

    def decode(self, word: int) -> DecodedWord | None:
        """The instruction in a word, None if illegal."""
        ...


def translate(decoder: WordDecoder, machine: Machine, word: int) -> tuple[Function, int] | None:
    """(body, length in bytes) of a word, at any address; None if illegal.  Remembered."""
    key = (id(decoder), word)
    if key in machine.bodies:
        return machine.bodies[key]
    decoded = decoder.decode(word)
    body: tuple[Function, int] | None = None
    if decoded is not None:
        s = machine.emitter(machine.mode)
        s.length = decoded.length
        decoded.build(s)
        body = (s.function, decoded.length)
    machine.bodies[key] = body
    return body


def step(decoder: WordDecoder, machine: Machine) -> Outcome:
    """Fetch, decode and run one instruction at the state's pc, and move the pc.

    After exit, fault and illegal the pc is still the instruction's, for the caller to
    act on.  Instructions are little-endian parcels of 16 bits, 32-bit if the low two bits
    are set.
    """
    pc = machine.fields["pc"]
    try:
        word = machine.memory.read(pc, 2)
        if word & 3 == 3:
            word |= machine.memory.read((pc + 2) & ((1 << 64) - 1), 2) << 16
    except MemoryFault as fault:
        return Outcome("fault", pc, 0, fault.address, "fetch")
    body = translate(decoder, machine, word)
    if body is None:
        return Outcome("illegal", pc)
    outcome = run_instruction(body[0], machine, pc, body[1])
    if outcome.kind == "leave":
        machine.fields["trapped"] = 0
    machine.fields["pc"] = outcome.pc
    return outcome
