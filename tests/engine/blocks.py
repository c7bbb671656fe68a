"""Random blocks, fast: instructions come from a pool of encodings made once.

A block reads and writes memory through ``BASES`` alone, loops by counting ``COUNTER``
down or another register to a bound, and calls functions behind its end through x1, so it ends.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Container, Sequence

from jitemu.frontends.riscv.state import isa
from tests.engine.image import RA, START_REGISTER, WINDOW, Block, encode, window
from tests.engine.parts import BRANCHES, Count, Draft
from tests.engine.pool import FREE, REGISTERS, Pool
from tests.riscv.operands import BASES, COUNTER

LINK = START_REGISTER
ROUNDS = 4
KEEPERS = (5, 6, 7, 10, 11, 12, 13, 14, 16, 20, 28)
"""Registers that loops count with, and the like: some pinned, some not."""
UNITS = ("sbljcirdtgkf", (66, 10, 4, 3, 3, 3, 3, 2, 1, 1, 2, 2))
"""What blocks are made of, and how often: s straight, b branch forward, l count and branch back,
j jal, i jalr, d compressed jump, r reservation, c call of a leaf, f of a function that calls
others or itself, t jump through a table, g the same that may go back, k counted loop."""
LENGTHS = (2, 4, 8, 12, 16, 24)
"""Units of a block."""
PLAIN_UNITS = ("sbjird", (76, 10, 3, 3, 3, 3))
"""Those that LLVM needs little time for."""
SHORT = (1, 1, 1, 2, 2, 2, 3, 3, 4, 6)
LONG, LONG_SHARE = 330, 0.0005
"""More instructions than a region has by itself, in a loop; rarely."""
MOST_ROUNDS = 300
MANY_ROUNDS = 9000
"""Iterations of counted loops; the greater number, which is more than a chunk, rarely."""


class Generator:
    """Makes blocks from a pool."""

    def __init__(self, pool: Pool, seed: object, short: bool = False, plain: bool = False) -> None:
        self.pool = pool
        self.lengths = SHORT if short else LENGTHS
        self.units = PLAIN_UNITS if plain else UNITS
        self.long_share = 0 if plain else LONG_SHARE
        self.rng = random.Random(f"{seed}")
        names = ("plain", "memory", "short")
        weights = (5, 3, 3 if pool.has_compressed else 0)
        self.kinds = [pool.kinds[n] for n in names if pool.kinds[n]]
        self.weights = [w for n, w in zip(names, weights, strict=True) if pool.kinds[n]]

    def straight(self, kept: Container[int] = ()) -> bytes:
        """An instruction that goes on behind itself, and does not write these registers."""
        rng = self.rng
        while True:
            code = rng.choice(rng.choice(rng.choices(self.kinds, self.weights)[0]))
            if self.pool.written.get(code, -1) not in kept:
                return code

    def some(self, least: int, most: int, kept: Container[int] = ()) -> bytes:
        """So many of them."""
        return b"".join(self.straight(kept) for _ in range(self.rng.randint(least, most)))

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
        x, f, fcsr, memory = self.state(number)
        draft = Draft(x, bytearray(memory), window(number))
        length = rng.choice(self.lengths) if rng.random() >= self.long_share else LONG
        units = rng.choices(*self.units, k=length)
        if length == LONG:
            units[-1] = "l"
        if not self.pool.reservations:
            units = ["s" if u == "r" else u for u in units]
        if not self.pool.has_compressed:
            units = ["b" if u == "d" else u for u in units]
        sizes = {"b": 4, "l": 8, "j": 4, "i": 8, "c": 4, "d": 2, "f": 8, "t": 28, "g": 36}
        bodies = [b""] * length
        starts = [0]
        for n, unit in enumerate(units):
            if unit == "s":
                bodies[n] = self.straight()
            elif unit == "r":
                bodies[n] = self.reservation()
            elif unit == "k":
                bodies[n] = self.counted(draft) or self.straight()
            starts.append(starts[-1] + (len(bodies[n]) or sizes[unit]))
        size = starts[-1]
        for n, unit in enumerate(units):
            here = starts[n]
            if bodies[n]:
                continue
            if unit in "cf":
                bodies[n] = self.call(draft, size + 4 - here, nested=unit == "f")
                draft.sites.append(starts[n + 1])
            elif unit in "tg":
                forward, back = starts[n + 1 : n + 9], starts[max(0, n - 6) : n + 1]
                targets = [*forward, *(back if unit == "g" else ())]
                bodies[n] = self.table(draft, here, targets, guarded=unit == "g")
            else:
                back = max(0, n - 6) if length != LONG else 0
                low = back if unit == "l" else n + 1
                high = n if unit == "l" else min(n + 8, length)
                bodies[n] = self.jump(unit, starts[rng.randint(low, high)] - here)
        draft.returns_seen(rng, size + 4)
        block = Block(b"".join(bodies), x, f, fcsr, bytes(draft.memory), bytes(draft.after))
        block.jumps, block.rounds = draft.jumps, draft.rounds
        return block

    def call(self, draft: Draft, distance: int, nested: bool) -> bytes:
        """A call of a new function, which lies ``distance`` from here plus the others' size.

        It is 8 bytes long if the function may call others.
        """
        rng = self.rng
        if not nested:
            distance += len(draft.after)
            draft.after += self.some(0, 3)
            draft.put_return()
            return encode("jal", rd=RA, imm=distance)
        depth = rng.randint(1, 4)
        stack = draft.take(8 * (ROUNDS + 2)) if depth == 1 else None
        if stack is None:
            at = self.function(draft, depth)
            return self.straight4() + encode("jal", rd=RA, imm=distance - 4 + at)
        base, pointer = rng.choice(BASES), rng.choice(KEEPERS)
        top = encode("addi", rd=pointer, rs1=base, imm=draft.reach(base, stack + 8 * (ROUNDS + 2)))
        at = self.recursive(draft, pointer)
        return top + encode("jal", rd=RA, imm=distance - 4 + at)

    def straight4(self) -> bytes:
        """An instruction of 32 bits."""
        while len(code := self.straight()) != 4:
            pass
        return code

    def function(self, draft: Draft, depth: int) -> int:
        """A function behind the block that calls others, so deep; its offset there."""
        rng = self.rng
        slot = draft.take(8) if depth > 1 else None
        if slot is None:
            at = len(draft.after)
            draft.after += self.some(0, 3)
            if rng.random() < 0.3:  # returns early
                test = encode(rng.choice(BRANCHES), rs1=rng.choice(REGISTERS), rs2=0, imm=8)
                draft.after += test
                draft.put_return()
                draft.after += self.some(0, 2)
            draft.put_return()
            return at
        inner = self.function(draft, depth - 1)
        at, base = len(draft.after), rng.choice(BASES)
        if rng.random() < 0.2:
            draft.after += self.some(0, 2)
            draft.after += encode("jal", rd=0, imm=inner - len(draft.after))  # returns for this
            return at
        place = draft.reach(base, slot)
        draft.after += encode("sd", rs1=base, rs2=RA, imm=place)
        for _ in range(rng.randint(1, 2)):
            draft.after += self.some(0, 2)
            draft.put_call(inner)
        draft.after += self.some(0, 2)
        draft.after += encode("ld", rd=RA, rs1=base, imm=place)
        draft.put_return()
        return at

    def recursive(self, draft: Draft, pointer: int) -> int:
        """A function that calls itself while ``COUNTER`` lasts; its offset."""
        at = len(draft.after)
        before, behind = self.some(0, 3, (pointer,)), self.some(0, 3, (pointer,))
        inside = encode("addi", rd=pointer, rs1=pointer, imm=-8)
        inside += encode("sd", rs1=pointer, rs2=RA, imm=0) + before
        rest = behind + encode("ld", rd=RA, rs1=pointer, imm=0)
        rest += encode("addi", rd=pointer, rs1=pointer, imm=8)
        draft.after += encode("addi", rd=COUNTER, rs1=COUNTER, imm=-1)
        draft.after += encode("bge", rs1=0, rs2=COUNTER, imm=len(inside) + len(rest) + 8)
        draft.after += inside
        draft.put_call(at)
        draft.after += rest
        draft.put_return()
        return at

    def table(self, draft: Draft, here: int, targets: Sequence[int], guarded: bool) -> bytes:
        """A jump through a table of distances, by some bits of a register; where it may go back
        it is done only while ``COUNTER`` lasts."""
        rng = self.rng
        size = rng.choice((2, 4, 8, 16, 16))
        at = draft.take(4 * size)
        if at is None:
            return b"".join(self.straight4() for _ in range(9 if guarded else 7))
        other, base = rng.choice(KEEPERS), rng.choice(BASES)
        code = b""
        if guarded:
            code += encode("addi", rd=COUNTER, rs1=COUNTER, imm=-1)
            code += encode("bge", rs1=0, rs2=COUNTER, imm=32)
        code += encode("andi", rd=LINK, rs1=rng.choice(REGISTERS), imm=size - 1)
        code += encode("slli", rd=LINK, rs1=LINK, shamt=2)
        code += encode("add", rd=LINK, rs1=LINK, rs2=base)
        code += encode("lw", rd=LINK, rs1=LINK, imm=draft.reach(base, at))
        origin = here + len(code)
        code += encode("auipc", rd=other, imm=0)
        code += encode("add", rd=LINK, rs1=LINK, rs2=other)
        code += encode("jalr", rd=0, rs1=LINK, imm=0)
        chosen = rng.choices(targets, k=size)
        distances = (target - origin for target in chosen)
        draft.memory[at : at + 4 * size] = struct.pack(f"<{size}i", *distances)
        known = sorted(set(chosen))
        draft.jumps[origin + 8] = rng.sample(known, rng.randint(0, len(known)))
        return code

    def counted(self, draft: Draft, kept: Sequence[int] = ()) -> bytes:
        """A loop that counts a register to a bound, perhaps with another in it; or nothing."""
        rng = self.rng
        registers = rng.sample([r for r in KEEPERS if r not in kept], 3)
        count, bound, step = registers
        most = 20 if kept else MOST_ROUNDS if rng.random() < 0.95 else MANY_ROUNDS
        found = Count.random(rng, most)
        places = [draft.constant(value) for value in (found.start, found.bound, found.step)]
        base = rng.choice(BASES)
        code = b""
        for register, place in zip(registers, places, strict=True):
            if place is None:
                return b""
            code += encode("ld", rd=register, rs1=base, imm=draft.reach(base, place))
        body = self.some(0, 4, (*kept, *registers))
        kind = rng.random()
        if kind < 0.15 and not kept:
            body += self.counted(draft, registers)
        elif kind < 0.35:
            skipped = self.some(1, 2, (*kept, *registers))
            test = {"rs1": rng.choice(REGISTERS), "rs2": rng.randrange(32)}
            body += encode(rng.choice(BRANCHES), **test, imm=4 + len(skipped)) + skipped
        if found.kind in ("addi", "addiw"):
            update = encode(found.kind, rd=count, rs1=count, imm=found.step)
        else:
            update = encode(found.kind, rd=count, rs1=count, rs2=step)
        behind = self.some(0, 2, (*kept, *registers))
        body += update + behind if rng.random() < 0.7 else behind + update
        operands = (bound, count) if found.swapped else (count, bound)
        back = encode(found.branch, rs1=operands[0], rs2=operands[1], imm=-len(body))
        draft.rounds = max(draft.rounds, found.rounds)
        return code + body + back

    def jump(self, unit: str, distance: int) -> bytes:
        """b: branch forward, l: count and branch back, j: jal, i: jalr, d: compressed."""
        rng = self.rng
        if unit == "b":
            return encode(
                rng.choice(BRANCHES), rs1=rng.choice(REGISTERS), rs2=rng.randrange(32), imm=distance
            )
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
