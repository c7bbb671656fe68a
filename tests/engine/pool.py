"""Encodings of instructions that random blocks may have, made once."""

from __future__ import annotations

import random
from collections.abc import Iterable

from jitemu.frontends.riscv.state import PINNED, isa
from jitemu.isa import Decoder, Fields, Instruction
from tests.engine.image import RA, RECORD_REGISTER
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
        self.written: dict[bytes, int] = {}
        """By encoding: the x register that it writes, if it does."""
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
                code = data.to_bytes(insn.width // 8, "little")
                decoded = self.decoder.decode(data)
                if decoded is not None and writes_x(decoded.insn):
                    self.written[code] = decoded.fields["rd"]
                return code
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
