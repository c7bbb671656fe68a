"""Random blocks, fast: instructions come from a pool of encodings made once.

A block reads and writes memory through ``BASES`` alone, loops by counting ``COUNTER``
down, and calls functions behind its end through x1, so it ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from jitemu.frontends.riscv.state import PINNED, isa
from jitemu.isa import Decoder, Fields, Instruction
from tests.engine.image import (
    RA,
    RECORD_REGISTER,
    START_REGISTER,
    WINDOW,
    Block,
    encode,
    window,
)
from tests.riscv.operands import (
    BASES,
    COUNTER,
    MASK64,
    kind_of,
    random_fields,
    word,
    writes_x,
)

RESERVED = frozenset((*BASES, COUNTER, RA, RECORD_REGISTER))
FREE = tuple(r for r in range(32) if r not in RESERVED)
REGISTERS = (0, 0, *(p for p in PINNED for _ in range(3)), *range(32))
"""Every place an operand can have, the pinned ones often."""
LINK = START_REGISTER
ROUNDS = 4
REACH = 512
"""Loads and stores go at most so far from their base."""

INTEGER = ("i", "m", "a", "c")
"""What Unicorn executes as the specification says."""
QEMU_HAS = (*INTEGER, "f", "d", "zba", "zbb", "zbc", "zbs", "zicsr", "zifencei")
OWN = (*QEMU_HAS, "zicond", "zicboz", "zihintpause")
FLOAT_CSRS = (1, 2, 3)
_ENCODINGS = 80
_VALUES = 8192


def float_word(rng: random.Random) -> int:
    """A register's bits: doubles, boxed singles, limits of both, anything.

    Some differ by half a unit in the last place of 1, so that sums are ties.
    """
    kind = rng.randrange(6)
    if kind < 2:
        exponent = rng.choice((0, 1, 970, 1022, 1023, 1024, 1054, 1086, 2046, 2047))
        fraction = rng.choice((0, 1, 1 << 51, (1 << 52) - 1, rng.getrandbits(52)))
        return rng.getrandbits(1) << 63 | exponent << 52 | fraction
    if kind < 4:
        exponent = rng.choice((0, 1, 103, 126, 127, 128, 157, 190, 254, 255))
        fraction = rng.choice((0, 1, 1 << 22, (1 << 23) - 1, rng.getrandbits(23)))
        return 0xFFFFFFFF << 32 | rng.getrandbits(1) << 31 | exponent << 23 | fraction
    if kind < 5:
        return 0xFFFFFFFF << 32 | rng.getrandbits(32)
    return rng.getrandbits(64)


def x_fields(insn: Instruction) -> list[str]:
    """Register fields of a 32-bit definition (integer or not)."""
    return [spec.name for spec in insn.fields if spec.name[0] == "r" and spec.bits == 5]


class Pool:
    """Encodings to choose from, by kind; the same for the same extensions."""

    def __init__(self, decoder: Decoder, extensions: Iterable[str]) -> None:
        self.decoder = decoder
        self.rng = rng = random.Random("pool")
        self.words = [word(rng) for _ in range(_VALUES)]
        self.ints = [(w & 0xFFFFFFFF ^ 1 << 31) - (1 << 31) & MASK64 for w in self.words]
        self.float_words = [float_word(rng) for _ in range(_VALUES)]
        wanted = frozenset(extensions)
        chosen = [
            i
            for i in isa.instructions.values()
            if i.name in decoder.enabled and i.when in wanted and i.width
        ]
        self.names = frozenset(i.name for i in chosen)
        self.kinds: dict[str, list[list[bytes]]] = {"plain": [], "memory": [], "short": []}
        for insn in chosen:
            self._add(insn)
        self.has_compressed = "c" in wanted
        self.reservations = "a" in wanted

    def _add(self, insn: Instruction) -> None:
        if insn.expansion is not None:
            kind = "short"
        else:
            kind = kind_of(insn)
            if any(f.name == "csr" for f in insn.fields):
                kind = "plain"
            if kind == "control" or insn.name in ("lr.w", "lr.d", "sc.w", "sc.d"):
                return  # pairs of these are units of their own
        words: list[bytes] = []
        while len(words) < _ENCODINGS and (data := self.word(insn)):
            words.append(data)
        if words:
            self.kinds[kind].append(words)

    def word(self, insn: Instruction) -> bytes:
        """An encoding that a block may have, or b""."""
        for _ in range(200):
            data = insn.encode(**self.fields(insn))
            if self.allowed(data):
                return data.to_bytes(insn.width // 8, "little")
        return b""

    def fields(self, insn: Instruction) -> Fields:
        rng = self.rng
        fields = random_fields(rng, insn)
        if insn.expansion is not None:
            return fields
        for name in x_fields(insn):
            if rng.random() < 0.8:
                fields[name] = rng.choice(REGISTERS)
        if rng.random() < 0.1 and "rs2" in fields and "rs1" in fields:
            fields["rs2"] = fields["rs1"]
        if kind_of(insn) == "memory":
            fields["rs1"] = rng.choice(BASES)
            if "imm" in fields:
                fields["imm"] = rng.randrange(-REACH, REACH)
        if "csr" in fields:
            fields["csr"] = rng.choice(FLOAT_CSRS)
        return fields

    def allowed(self, data: int) -> bool:
        """Legal, keeps to its memory, leaves reserved registers and rounding mode alone."""
        decoded = self.decoder.decode(data)
        if decoded is None or decoded.insn.name not in self.names:
            return False
        insn, fields = decoded.insn, decoded.fields
        if insn.name == "ctzw":
            return False  # QEMU 7.2 counts 64 bits; test_instructions.py has it without QEMU
        if "csr" in fields:
            # A reserved rounding mode could come of a write to frm or fcsr.
            reads = insn.name in ("csrr", "csrrc.read", "csrrsi.read", "csrrci.read")
            limit = insn.name == "csrrwi" and fields["csr"] == 2 and fields["uimm"] < 5
            if not (reads or limit or fields["csr"] == 1):
                return False
        elif kind_of(insn) == "control":
            return False
        if writes_x(insn) and fields["rd"] in RESERVED:
            return False
        if kind_of(insn) != "memory":
            return True
        return fields["rs1"] in BASES and -REACH <= fields.get("imm", 0) < REACH


class Generator:
    """Makes blocks from a pool."""

    def __init__(self, pool: Pool, seed: object) -> None:
        self.pool = pool
        self.rng = random.Random(f"{seed}")
        names = ("plain", "memory", "short")
        weights = (5, 3, 3 if pool.has_compressed else 0)
        self.kinds = [pool.kinds[n] for n in names if pool.kinds[n]]
        self.weights = [w for n, w in zip(names, weights, strict=True) if pool.kinds[n]]

    def straight(self) -> bytes:
        """An instruction that goes on behind itself."""
        rng = self.rng
        return rng.choice(rng.choice(rng.choices(self.kinds, self.weights)[0]))

    def reservation(self) -> bytes:
        """A load-reserved, perhaps something between, and a store-conditional."""
        rng = self.rng
        suffix, rd = rng.choice((".w", ".d")), rng.choice(FREE)
        base = rng.choice(BASES)
        code = encode("lr" + suffix, rd=rd, rs1=base)
        if rng.random() < 0.5:
            code += rng.choice(rng.choice(self.pool.kinds["plain"]))
        other = base if rng.random() < 0.8 else rng.choice(BASES)
        return code + encode("sc" + suffix, rd=rng.choice(FREE), rs1=other, rs2=rng.randrange(32))

    def block(self, number: int) -> Block:
        """A block for this place in an image."""
        rng = self.rng
        length = rng.choice((2, 4, 8, 12, 16, 24))
        units = rng.choices("sbljcird", (70, 10, 4, 3, 3, 3, 3, 2), k=length)
        if not self.pool.reservations:
            units = ["s" if u == "r" else u for u in units]
        sizes = {"b": 4, "l": 8, "j": 4, "i": 8, "c": 4, "d": 2}
        if not self.pool.has_compressed:
            units = ["b" if u == "d" else u for u in units]
        bodies = [b""] * length
        starts = [0]
        for n, unit in enumerate(units):
            if unit == "s":
                bodies[n] = self.straight()
            elif unit == "r":
                bodies[n] = self.reservation()
            starts.append(starts[-1] + (sizes.get(unit) or len(bodies[n])))
        size, after = starts[-1], bytearray()
        for n, unit in enumerate(units):
            if unit == "c":
                distance = size + 4 + len(after) - starts[n]
                bodies[n] = encode("jal", rd=RA, imm=distance)
                after += b"".join(self.straight() for _ in range(rng.randrange(4)))
                after += encode("jalr", rd=0, rs1=RA, imm=0)
            elif not bodies[n]:
                low = max(0, n - 6) if unit == "l" else n + 1
                high = n if unit == "l" else min(n + 8, length)
                bodies[n] = self.jump(unit, starts[rng.randint(low, high)] - starts[n])
        x, f, fcsr, memory = self.state(number)
        return Block(b"".join(bodies), x, f, fcsr, memory, bytes(after))

    def jump(self, unit: str, distance: int) -> bytes:
        """b: branch forward, l: count and branch back, j: jal, i: jalr, d: compressed."""
        rng = self.rng
        if unit == "b":
            name = rng.choice(("beq", "bne", "blt", "bge", "bltu", "bgeu"))
            return encode(name, rs1=rng.choice(REGISTERS), rs2=rng.randrange(32), imm=distance)
        if unit == "l":
            count = encode("addi", rd=COUNTER, rs1=COUNTER, imm=-1)
            return count + encode("blt", rs1=0, rs2=COUNTER, imm=distance - 4)
        if unit == "j":
            return encode("jal", rd=rng.choice(FREE), imm=distance)
        if unit == "d":
            return self.short_jump(distance)
        here = encode("auipc", rd=LINK, imm=0)
        return here + encode("jalr", rd=rng.choice(FREE), rs1=LINK, imm=distance)

    def short_jump(self, distance: int) -> bytes:
        name = self.rng.choice(("c.j", "c.beqz", "c.bnez"))
        insn = isa.instructions[name]
        fields = {"imm": distance}
        register = next((f.name for f in insn.fields if f.name[0] == "r"), "")
        if register:
            fields[register] = self.rng.randrange(8)
        return insn.encode(**fields).to_bytes(2, "little")

    def state(self, number: int) -> tuple[list[int], list[int], int, bytes]:
        """Registers, fcsr and scratch window to start with."""
        rng = self.rng
        # Regions hold registers in 32 bits where they can, if they start so.
        x = rng.choices(rng.choice((self.pool.words, self.pool.ints)), k=32)
        for register in BASES:
            x[register] = window(number) + WINDOW // 2 + rng.randrange(-16, 16) * 8
        x[COUNTER] = ROUNDS
        f = rng.choices(self.pool.float_words, k=32)
        return x, f, rng.randrange(5) << 5 | rng.getrandbits(5), rng.randbytes(WINDOW)
