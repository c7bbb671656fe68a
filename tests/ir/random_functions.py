"""Random functions over the op table, valid by construction."""

from __future__ import annotations

from random import Random

from jitemu.ir.builder import TYPE_OF
from jitemu.ir.code import WIDTHS, Attr, Block, Function, Op, Value
from jitemu.ir.interp import AMO
from jitemu.ir.meaning import result_type
from jitemu.ir.ops import ROWS, Row
from tests.ir.executors import MEMORY, READ_ONLY, SIZE, Start

PURE = [row for row in ROWS.values() if row.meaning is not None or row.name == "sext"]
REGISTERS = range(1, 8)
FIELDS = ("frm", "fflags", "reservation")
EDGES = (
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    32,
    63,
    64,
    -1,
    -2,
    0x7F,
    0x80,
    0xFF,
    1 << 31,
    1 << 63,
    (1 << 63) - 1,
)


def widths_of(row: Row) -> list[int]:
    """The widths that a row's type parameter can have (0: it has none)."""
    if "T" not in (*row.args, row.result):
        return [0]
    low = {"bswap": 16, "zext": 8, "sext": 8}.get(row.name, 1)
    high = 32 if row.name == "trunc" else 64
    return [w for w in TYPE_OF if low <= w <= high]


def random_word(rng: Random, width: int = 64) -> int:
    """A word, often near an edge."""
    if rng.random() < 0.6:
        word = rng.choice(EDGES) + rng.choice((0, 0, 0, 1, -1))
    else:
        word = rng.getrandbits(rng.choice((8, 32, 64)))
    return word & ((1 << width) - 1)


def random_start(rng: Random) -> Start:
    """Registers and memory for a random function."""
    start = Start({r: random_word(rng) for r in REGISTERS}, {f: random_word(rng) for f in FIELDS})
    for address in (MEMORY, MEMORY + SIZE - 4, READ_ONLY):
        for i in range(4):
            start.memory[address + i] = rng.getrandbits(8)
    return start


class Generator:
    """Makes one function; values in ``pool`` dominate the block being filled."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.function = Function("random")
        self.pool: list[Value] = []
        self.ops: list[Op] = []

    def start(self, label: str) -> None:
        """Go on in a new block."""
        self.ops = []
        self.function.blocks.append(Block(label, self.ops))

    def emit(self, name: str, type: str, args: list[Value], attrs: tuple[Attr, ...] = ()) -> Value:
        """Append an op, without any folding."""
        row = ROWS[name]
        op = Op(name, type, tuple(args), attrs)
        self.ops.append(op)
        result = result_type(row, type)
        value = Value(result or "i64", None, op)
        if result:
            op.result = value
            self.pool.append(value)
        return value

    def value(self, type: str) -> Value:
        """A value of a type: one of the pool or a constant."""
        have = [v for v in self.pool if v.type == type]
        if have and self.rng.random() < 0.75:
            return self.rng.choice(have[-6:])
        return Value(type, random_word(self.rng, WIDTHS[type]))

    def pure(self) -> None:
        """An op with a meaning."""
        row = self.rng.choice(PURE)
        width = self.rng.choice(widths_of(row))
        type = TYPE_OF[width] if width else ""
        args: list[Value] = []
        for wanted in row.args:
            if wanted == "*":
                wider = row.name == "trunc"
                others = [t for t, w in WIDTHS.items() if (w > width if wider else w < width)]
                wanted = self.rng.choice(others)
            args.append(self.value({"T": type, "B": "i1"}.get(wanted, wanted)))
        self.emit(row.name, type, args)

    def address(self) -> Value:
        """Usually mapped."""
        bases = (MEMORY, MEMORY + SIZE - 4, READ_ONLY)
        if self.rng.random() < 0.05:
            return self.value("i64")
        return Value("i64", self.rng.choice(bases) + self.rng.randrange(4))

    def machine(self) -> None:
        """An op on registers, words of the state or memory."""
        rng = self.rng
        register = ("x", rng.choice(REGISTERS))
        type = rng.choice(("i8", "i16", "i32", "i64"))
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                self.emit("get", "", [], register)
            case 4 | 5 | 6:
                self.emit("set", "", [self.value("i64")], register)
            case 7:
                self.emit("field", "", [], (rng.choice(FIELDS),))
            case 8:
                self.emit("setfield", "", [self.value("i64")], (rng.choice(FIELDS),))
            case 9:
                self.emit("load", type, [self.address()])
            case 10:
                self.emit("store", type, [self.address(), self.value(type)])
            case _:
                type = rng.choice(("i32", "i64"))
                kind = rng.choice(list(AMO))
                self.emit("amo", type, [self.address(), self.value(type)], (kind,))

    def fill(self, count: int) -> None:
        """So many ops."""
        for _ in range(count):
            (self.pure if self.rng.random() < 0.6 else self.machine)()

    def finish(self) -> None:
        """End as instructions do, or run off the end."""
        match self.rng.randrange(6):
            case 0:
                self.emit("branch", "", [self.value("i1"), Value("i64", 0x1_2344)])
            case 1:
                self.emit("jumpr", "", [self.value("i64")])
            case 2:
                self.emit("exitnext", "", [], (7,))
            case _:
                pass


def random_instruction(rng: Random, count: int = 14) -> Function:
    """One block, like an instruction's body."""
    g = Generator(rng)
    g.start("entry")
    g.fill(count)
    g.finish()
    return g.function


def random_diamonds(rng: Random) -> Function:
    """Blocks in a row of diamonds; values of a branch stay in it."""
    g = Generator(rng)
    g.start("entry")
    for i in range(3):
        g.fill(5)
        g.emit("cbr", "", [g.value("i1")], (f"then{i}", f"else{i}"))
        outer = list(g.pool)
        for side in ("then", "else"):
            g.pool = list(outer)
            g.start(f"{side}{i}")
            g.fill(3)
            g.emit("br", "", [], (f"join{i}",))
        g.pool = outer
        g.start(f"join{i}")
    g.finish()
    return g.function
