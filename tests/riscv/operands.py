"""Operands, instructions and blocks made by a random-number generator.

Guest code that is made here reads and writes memory through ``BASES`` alone, which point
into a scratch area, and loops by counting ``COUNTER`` down, so every block ends.
"""

from __future__ import annotations

import random
from functools import cache

from jitemu.frontends.riscv.state import S
from jitemu.isa import Decoder, Fields, FieldSpec, Instruction

MASK64 = (1 << 64) - 1

CODE = 0x10000
SCRATCH = 0x40000
SCRATCH_SIZE = 0x4000

BASES = (2, 8, 9, 15)
"""Registers that hold addresses of the scratch area (sp, s0, s1, a5) all the time."""
COUNTER = 31
"""Backward branches are taken while this register, counted down, is positive."""
LINK = 30
"""Holds a code address between auipc and jalr."""
ROUNDS = 5

RESERVED = frozenset((*BASES, COUNTER))
FREE = tuple(r for r in range(32) if r not in RESERVED)

WORDS = (
    *(0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256),
    *(0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF, 0x100000000),
    *(0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0x8000000000000001, 0xFFFFFFFF80000000),
    *(0xFFFFFFFF7FFFFFFF, 0xFFFFFFFF00000000, 0xFFFFFFFFFFFFFFFE, MASK64),
    *(0x0123456789ABCDEF, 0x00FF00FF00FF00FF, 0xAAAAAAAAAAAAAAAA, 0x8080808080808080),
)
"""Boundaries of the operand widths."""


def word(rng: random.Random) -> int:
    """A 64-bit operand: a boundary, a small number or anything."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(WORDS)
    if kind < 0.6:
        return rng.randrange(-64, 64) & MASK64
    return rng.getrandbits(64) >> rng.choice((0, 0, 0, 16, 31, 32, 48))


def field_value(rng: random.Random, spec: FieldSpec) -> int:
    """A value that the field can hold: a limit, near zero, or anything."""
    covered = sum(((1 << p.width) - 1) << p.dest for p in spec.pieces)
    top = 1 << (spec.bits - 1)
    value = rng.choice((0, covered, covered & -covered, top, top - 1, rng.getrandbits(spec.bits)))
    if rng.random() < 0.5:
        value = rng.getrandbits(spec.bits)
    value &= covered
    return value - (1 << spec.bits) if spec.signed and value & top else value


def random_fields(rng: random.Random, insn: Instruction) -> Fields:
    """Values for all of a definition's fields."""
    return {spec.name: field_value(rng, spec) for spec in insn.fields}


@cache
def ops_of(insn: Instruction) -> frozenset[str]:
    """The micro-ops that an instruction's body uses in user mode."""
    s = S("user")
    insn.build_open(s)
    return frozenset(op.name for block in s.function.blocks for op in block.ops)


@cache
def writes_x(insn: Instruction) -> bool:
    """Its rd is an integer register."""
    s = S("user")
    insn.build_open(s)
    ops = (op for block in s.function.blocks for op in block.ops)
    return any(op.name == "set" and op.attrs == ("x", "rd") for op in ops)


MEMORY = frozenset(("load", "store", "amo", "casif"))
CONTROL = frozenset(("jump", "branch", "jumpr", "exit", "exitnext", "leave", "leaveif"))


def kind_of(insn: Instruction) -> str:
    """memory, control or plain."""
    ops = ops_of(insn)
    return "memory" if ops & MEMORY else "control" if ops & CONTROL else "plain"


def random_state(rng: random.Random, scratch: int = SCRATCH) -> list[int]:
    """Values of x0 to x31 that ``random_block``'s code can start with."""
    x = [0, *(word(rng) for _ in range(31))]
    for register in BASES:
        x[register] = scratch + SCRATCH_SIZE // 2 + rng.randrange(-16, 16) * 64
    x[COUNTER] = ROUNDS
    return x


def random_block(
    rng: random.Random, decoder: Decoder, length: int, extensions: frozenset[str] | None = None
) -> bytes:
    """About ``length`` instructions, some of them jumps inside the block.

    They run to the end of the block from ``random_state``, at any address; only instructions
    of these extensions are used (all of the decoder's if None).
    """
    return _Generator(rng, decoder, extensions).block(length)


class _Generator:
    def __init__(
        self, rng: random.Random, decoder: Decoder, extensions: frozenset[str] | None
    ) -> None:
        self.rng = rng
        self.decoder = decoder
        enabled = [i for i in decoder.isa.instructions.values() if i.name in decoder.enabled]
        chosen = [i for i in enabled if extensions is None or i.when in extensions]
        self.chosen = frozenset(i.name for i in chosen)
        self.plain = [i for i in chosen if i.expansion is None and kind_of(i) == "plain"]
        # A store-conditional narrower than its load-reserved may succeed or fail.
        other = rng.choice((("lr.w", "sc.w"), ("lr.d", "sc.d")))
        self.memory = [
            i
            for i in chosen
            if i.expansion is None and kind_of(i) == "memory" and i.name not in other
        ]
        self.short = [i for i in chosen if i.expansion is not None]
        self.branches = [i for i in chosen if i.expansion is None and "branch" in ops_of(i)]

    def insn(self, name: str, **fields: int) -> bytes:
        return self.decoder.isa.instructions[name].encode(**fields).to_bytes(4, "little")

    def straight(self) -> bytes:
        """An instruction that goes on behind itself."""
        pool = self.rng.choices((self.plain, self.memory, self.short), (5, 3, 3))[0]
        while True:
            insn = self.rng.choice(pool or self.plain)
            fields = self.fields(insn)
            data = insn.encode(**fields)
            if self.allowed(data):
                return data.to_bytes(insn.width // 8, "little")

    def fields(self, insn: Instruction) -> Fields:
        fields = random_fields(self.rng, insn)
        if insn.expansion is None and kind_of(insn) == "memory":
            fields["rs1"] = self.rng.choice(BASES)
        if insn.expansion is None and writes_x(insn) and fields["rd"] in RESERVED:
            fields["rd"] = self.rng.choice(FREE)
        return fields

    def allowed(self, word: int) -> bool:
        """Legal, keeps to the scratch area, leaves reserved registers alone."""
        decoded = self.decoder.decode(word)
        if decoded is None or decoded.insn.name not in self.chosen:
            return False
        if kind_of(decoded.insn) == "control":
            return False
        fields = decoded.fields
        if writes_x(decoded.insn) and fields["rd"] in RESERVED:
            return False
        return kind_of(decoded.insn) != "memory" or fields["rs1"] in BASES

    def block(self, length: int) -> bytes:
        """Units of one or more instructions; jumps go from unit to unit."""
        units = [self.rng.choices("sblji", (70, 12, 4, 3, 3))[0] for _ in range(length)]
        bodies = [self.straight() if u == "s" else b"" for u in units]
        sizes = {"b": 4, "l": 8, "j": 4, "i": 8}
        starts = [0]
        for unit, body in zip(units, bodies, strict=True):
            starts.append(starts[-1] + (len(body) or sizes[unit]))
        for n, unit in enumerate(units):
            if unit != "s":
                target = self.rng.randrange(max(0, n - 6), n + 1) if unit == "l" else None
                if target is None:
                    target = self.rng.randrange(n + 1, min(n + 8, length) + 1)
                bodies[n] = self.jump(unit, starts[target] - starts[n])
        return b"".join(bodies)

    def jump(self, unit: str, distance: int) -> bytes:
        """b: branch forward, l: count and branch back, j: jal, i: jalr."""
        rng = self.rng
        if unit == "b":
            rs1, rs2 = rng.randrange(32), rng.randrange(32)
            name = rng.choice(self.branches).name
            return self.insn(name, rs1=rs1, rs2=rs2, imm=distance)
        if unit == "l":
            count = self.insn("addi", rd=COUNTER, rs1=COUNTER, imm=-1)
            return count + self.insn("blt", rs1=0, rs2=COUNTER, imm=distance - 4)
        if unit == "j":
            return self.insn("jal", rd=rng.choice(FREE), imm=distance)
        here = self.insn("auipc", rd=LINK, imm=0)
        return here + self.insn("jalr", rd=rng.choice(FREE), rs1=LINK, imm=distance)
