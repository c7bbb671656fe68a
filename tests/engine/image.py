"""A batch of guest blocks as a memory image, with the guest code that runs them in turn.

The image is the same for every executor and lies at the same addresses.  ``HARNESS``
loads all registers from a block's record, goes to the block, and stores them back when
the block ends (it jumps to ``end``).  x3 holds the record's address meanwhile, x30 the
block's at its start.  Records and scratch windows after the run are the result.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from jitemu.frontends.riscv.extensions import isa

BASE = 0x8000_0000
HARNESS = BASE
BLOCKS = BASE + 0x1000
BLOCKS_END = BASE + 0xF0000
DONE = BLOCKS_END
"""Where the guest goes behind the last block: each executor's own page."""
RECORDS = BASE + 0x10_0000
SCRATCH = BASE + 0x20_0400
"""Not on a page boundary, so that half of the windows have one in their middle."""
MEMORY_SIZE = 0x70_0000
MAX_BLOCKS = 1000

WINDOW = 2048
"""Bytes of a block's own scratch memory; its base registers point near the middle."""
RECORD = struct.Struct("<32Q32QQ56x")
STRIDE = 576
FCSR_AT = 512
RA, RECORD_REGISTER, START_REGISTER = 1, 3, 30


@dataclass
class Block:
    """Guest code that ends behind its last byte, and the state it starts with."""

    code: bytes
    x: list[int]
    """32 values; those of x0, x3 and x30 are the harness's."""
    f: list[int]
    fcsr: int
    memory: bytes
    """The scratch window."""
    after: bytes = b""
    """Code behind the end, which the block calls."""
    address: int = 0
    jumps: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """By the offset of an indirect jump: offsets that it is said to have gone to."""
    rounds: int = 0
    """Iterations of its counted loops, at most."""


@dataclass
class State:
    """What a block left behind."""

    x: list[int]
    f: list[int]
    fcsr: int
    memory: bytes


def encode(name: str, **fields: int) -> bytes:
    """A 32-bit instruction."""
    return isa.instructions[name].encode(**fields).to_bytes(4, "little")


@cache
def harness() -> tuple[bytes, int, int]:
    """(code, address of its entry, address where blocks end)."""
    others = [n for n in range(1, 32) if n != RECORD_REGISTER]
    end = [encode("sd", rs1=3, rs2=n, imm=8 * n) for n in others]
    end += [encode("fsd", rs1=3, rs2=n, imm=256 + 8 * n) for n in range(32)]
    end += [encode("csrr", rd=RA, csr=3), encode("sd", rs1=3, rs2=RA, imm=FCSR_AT)]
    end.append(encode("addi", rd=3, rs1=3, imm=STRIDE))
    start = [encode("ld", rd=RA, rs1=3, imm=8 * START_REGISTER)]
    start.append(encode("bne", rs1=RA, rs2=0, imm=8))
    leave = len(end) + len(start)
    start.append(encode("jal", rd=0, imm=DONE - HARNESS - 4 * leave))
    start += [encode("ld", rd=RA, rs1=3, imm=FCSR_AT), encode("csrrw", rd=0, csr=3, rs1=RA)]
    start.append(encode("sc.d", rd=0, rs1=3, rs2=0))  # ends any reservation
    start += [encode("fld", rd=n, rs1=3, imm=256 + 8 * n) for n in range(32)]
    start += [encode("ld", rd=n, rs1=3, imm=8 * n) for n in others]
    start.append(encode("jalr", rd=0, rs1=START_REGISTER, imm=0))
    here = len(end) + len(start)
    distance = RECORDS - HARNESS - 4 * here
    upper = distance + 0x800 & -4096
    entry = [encode("auipc", rd=3, imm=upper)]
    entry.append(encode("addi", rd=3, rs1=3, imm=distance - upper))
    entry.append(encode("jal", rd=0, imm=4 * (len(end) - here - 2)))
    return b"".join(end + start + entry), HARNESS + 4 * here, HARNESS


@dataclass
class Image:
    """Blocks placed in memory."""

    blocks: list[Block]
    code: bytearray = field(default_factory=bytearray)
    """From HARNESS on."""
    records: bytearray = field(default_factory=bytearray)
    scratch: bytearray = field(default_factory=bytearray)

    def states(self, records: bytes, scratch: bytes) -> list[State]:
        """The result of a run by its memory."""
        found: list[State] = []
        for n in range(len(self.blocks)):
            words = RECORD.unpack_from(records, n * STRIDE)
            memory = scratch[n * WINDOW : (n + 1) * WINDOW]
            found.append(State(list(words[:32]), list(words[32:64]), words[64], memory))
        return found


def place(blocks: Sequence[Block]) -> Image:
    """Lay blocks out one behind the other, on addresses that are even."""
    assert len(blocks) <= MAX_BLOCKS
    text, _, end = harness()
    image = Image(list(blocks))
    image.code += text.ljust(BLOCKS - HARNESS, b"\0")
    for n, block in enumerate(blocks):
        at = block.address = HARNESS + len(image.code)
        jump = encode("jal", rd=0, imm=end - (at + len(block.code)))
        image.code += block.code + jump + block.after
        block.x[0] = 0
        block.x[RECORD_REGISTER] = RECORDS + n * STRIDE
        block.x[START_REGISTER] = at
        image.records += RECORD.pack(*block.x, *block.f, block.fcsr)
        image.scratch += block.memory
    image.records += bytes(STRIDE)
    assert HARNESS + len(image.code) <= BLOCKS_END
    return image


def window(number: int) -> int:
    """Address of a block's scratch window."""
    return SCRATCH + number * WINDOW
