"""Batches of random blocks, run by everything; the first differences as text."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from jitemu.frontends.riscv.extensions import decoder_for
from tests.engine.blocks import MOST_ROUNDS, Generator
from tests.engine.executors import CPU, Qemu, Reference, Unicorn, user_mode
from tests.engine.forced import Forced, run_forced
from tests.engine.image import MAX_BLOCKS, Block, Image, State, place
from tests.engine.pool import INTEGER, OWN, QEMU_HAS, Pool
from tests.engine.system_mode import in_machine_mode, in_supervisor_mode
from tests.riscv.oracle import QEMU

Memory = tuple[bytes, bytes]
OWN_SHARE = 20
"""One batch in so many has instructions that no oracle here knows."""
PLAIN_SHARE = 0.75
"""Of batches of short blocks: no loops and calls."""
OWN_REFERENCE = 100
"""Blocks of such a batch that the reference runs."""

ENGINES = (user_mode, in_machine_mode, in_supervisor_mode)
REGION_ENGINES = (
    *((user_mode, exact) for exact in (False, True) * 4),
    *((engine, False) for engine in (in_machine_mode, in_supervisor_mode) * 2),
)
"""Where regions are run, and whether they are exact."""

reference = cache(Reference)
unicorn = cache(Unicorn)
qemu = cache(Qemu)


@cache
def pool(extensions: tuple[str, ...]) -> Pool:
    """The pool of these extensions."""
    return Pool(decoder_for(CPU), extensions)


@dataclass
class Difference:
    """Two executors disagree about a block."""

    number: int
    block: Block
    names: tuple[str, str]
    states: tuple[State, State]

    def __str__(self) -> str:
        first, second = self.states
        lines = [f"block {self.number}: {self.names[0]} and {self.names[1]} differ"]
        for kind in ("x", "f"):
            values = zip(getattr(first, kind), getattr(second, kind), strict=True)
            for n, (a, b) in enumerate(values):
                if a != b:
                    before = getattr(self.block, kind)[n]
                    lines.append(f"  {kind}{n}: {a:#x}, {b:#x} (before: {before:#x})")
        if first.fcsr != second.fcsr:
            lines.append(f"  fcsr: {first.fcsr:#x}, {second.fcsr:#x}")
        changed = [
            n for n, (a, b) in enumerate(zip(first.memory, second.memory, strict=True)) if a != b
        ]
        if changed:
            lines.append(f"  memory at offsets {changed[:16]} of the window")
        return "\n".join([*lines, *disassembly(self.block)])


def disassembly(block: Block) -> Iterator[str]:
    """A block's instructions."""
    import capstone

    md = capstone.Cs(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC)
    for start, code in ((0, block.code), (len(block.code) + 4, block.after)):
        at = 0
        while at < len(code):
            found = next(md.disasm(code[at:], block.address + start + at, 1), None)
            size = 4 if code[at] & 3 == 3 else 2
            text = f"{found.mnemonic} {found.op_str}" if found else "(unknown to capstone)"
            word = int.from_bytes(code[at : at + size], "little")
            yield f"  {block.address + start + at:#x}  {word:0{2 * size}x}  {text}"
            at += size


def differences(
    image: Image, names: tuple[str, str], first: Memory, second: Memory
) -> list[Difference]:
    """Blocks whose results differ."""
    if first == second:
        return []
    found: list[Difference] = []
    pairs = zip(image.states(*first), image.states(*second), strict=True)
    for number, (a, b) in enumerate(pairs):
        if a != b:
            found.append(Difference(number, image.blocks[number], names, (a, b)))
    return found


def against_reference(
    image: Image, name: str, result: Memory, numbers: Sequence[int]
) -> list[Difference]:
    """Blocks that the interpreter runs otherwise."""
    states = image.states(*result)
    found: list[Difference] = []
    for number in numbers:
        if image.blocks[number].rounds > MOST_ROUNDS:
            continue  # too slow
        state = reference().run_block(image, number)
        if state != states[number]:
            names = ("reference", name)
            found.append(Difference(number, image.blocks[number], names, (state, states[number])))
    return found


class Batch:
    """Up to MAX_BLOCKS random blocks that a seed determines."""

    def __init__(self, seed: int, count: int = MAX_BLOCKS, short: bool = False) -> None:
        self.seed = seed
        rng = random.Random(seed)
        kinds = rng.random()
        self.integer = kinds < 0.4 or QEMU is None
        self.own = kinds > 1 - 1 / OWN_SHARE
        extensions = OWN if self.own else INTEGER if self.integer else QEMU_HAS
        plain = short and rng.random() < PLAIN_SHARE
        generator = Generator(pool(extensions), seed, short, plain)
        self.blocks = [generator.block(n) for n in range(count)]
        self.made = 0
        """Regions made of them."""
        self.engine, exact = rng.choice(REGION_ENGINES)
        self.forced = Forced(count, rng.random() < 0.4, rng.random() < 0.2, exact)

    def check(self, deep: int, regions: int = 0) -> list[Difference]:
        """Run all as stencils and by an oracle; the first ``regions`` ones also as regions in
        one of the engine's modes, many made at once; the first ``deep`` ones as regions made
        one by one and by the reference."""
        image = place(self.blocks)
        found: list[Difference] = []
        process = None if self.integer or self.own else qemu().start(image)
        results: list[tuple[str, Memory]] = []
        for engine in ENGINES:
            made = engine()
            results.append((made.name, made.run(image)))
        if regions:
            how = replace(self.forced, count=regions)
            results.append(self._run_regions(image, how))
        if process is not None:
            oracle = ("qemu", qemu().finish(process, image))
        elif self.own:
            oracle = results[0]
            numbers = range(min(OWN_REFERENCE, len(self.blocks)))
            found += against_reference(image, *oracle, numbers)
        else:
            oracle = ("unicorn", unicorn().run(image))
        for name, result in results:
            found += differences(image, (oracle[0], name), oracle[1], result)
        if deep:
            found += self._check_deep(deep)
        return found

    def _run_regions(self, image: Image, how: Forced) -> tuple[str, Memory]:
        """(name, result) of a run with regions."""
        engine = self.engine()
        result, made = run_forced(engine, image, how)
        self.made += made
        return f"{engine.name}, {how}", result

    def _check_deep(self, deep: int) -> list[Difference]:
        image = place(self.blocks[:deep])
        engine = self.engine()
        result = engine.run(image)
        how = replace(self.forced, count=deep, rest=True, together=False)
        name, regions = self._run_regions(image, how)
        found = differences(image, (engine.name, name), result, regions)
        return found + against_reference(image, engine.name, result, range(len(image.blocks)))
