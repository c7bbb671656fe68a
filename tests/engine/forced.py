"""Images whose blocks are made regions, one by one or many at once."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass

from jitemu.backend_llvm.regions import Draft, draft_region
from jitemu.runtime.engine import PAGE
from jitemu.runtime.records import Record
from tests.engine.executors import Engine, Profile, UserMode
from tests.engine.image import Block, Image
from tests.engine.together import MOST, compile_together

TRIED_ENDS = 20
"""Of so many blocks in an image the jump behind them is made a region as well."""


@dataclass(frozen=True)
class Forced:
    """Which regions are made of an image's blocks."""

    count: int
    """Of the image's first so many blocks."""
    single: bool = False
    """Each block the engine made is a region, as with a threshold of 1; else one region of
    each random block, which follows its control flow."""
    rest: bool = True
    """In the latter case: so are the other blocks, in the middle of loops and functions."""
    exact: bool = False
    """In user mode: as for a guest that handles faults."""
    together: bool = True
    """Many regions are one LLVM module."""

    def __str__(self) -> str:
        words = ["regions of blocks" if self.single else "regions"]
        words += ["alone"] if not self.single and not self.rest else []
        words += ["exact"] if self.exact else []
        return ", ".join(words)


def run_forced(engine: Engine, image: Image, how: Forced) -> tuple[tuple[bytes, bytes], int]:
    """Run an image as blocks, make regions, and run it again: (that result, regions made)."""
    engine.run(image)
    if isinstance(engine, UserMode):
        engine.thread.user_space.exact = how.exact
    try:
        count = _force(engine, image, how)
        engine.load_data(image)
        engine.go()
    finally:
        if isinstance(engine, UserMode):
            engine.thread.user_space.exact = False
    return engine.result(image), count


def _force(engine: Engine, image: Image, how: Forced) -> int:
    """Make the regions; how many."""
    blocks = {block.address: block for block in image.blocks[: how.count]}
    # The jump behind each random block is the same everywhere.
    ends = {block.address + len(block.code) for block in image.blocks[TRIED_ENDS:]}
    records = [record for record in engine.made() if record.pc not in ends]
    if how.count < len(image.blocks):
        end = image.blocks[how.count].address
        records = [record for record in records if record.pc < end]
    count = 0
    starts = [block.address for block in image.blocks]
    drafts: list[tuple[Record, Draft]] = []
    for record in sorted(records, key=lambda r: (r.pc not in blocks, r.pc)):
        is_head = record.pc in blocks
        if record.region or not (is_head or how.single or how.rest):
            continue
        block = image.blocks[bisect_right(starts, record.pc) - 1]
        profile = Profile() if how.single else _profile(block, record.pc)
        if not how.together:
            count += engine.force_region(record, how.single, profile)
            continue
        draft = draft_region(*engine.region_request(record, how.single, profile))
        if draft is not None:
            drafts.append((record, draft))
        if len(drafts) == MOST:
            count += _install(engine, drafts)
    return count + _install(engine, drafts)


def _install(engine: Engine, drafts: list[tuple[Record, Draft]]) -> int:
    """Compile regions together and put them in place; how many."""
    count = 0
    for late in sorted({draft.late for _, draft in drafts}):
        alike = [(record, draft) for record, draft in drafts if draft.late == late]
        # Another one each time is also compiled alone.
        alone = alike[0][0].pc // 2 % len(alike)
        regions = compile_together([draft for _, draft in alike], alone)
        for (record, _), region in zip(alike, regions, strict=True):
            if not record.region:  # none of the regions before has an entry there
                engine.install(region, record)
                count += 1
    drafts.clear()
    return count


def _profile(block: Block, pc: int) -> Profile:
    """What is said to be known of a block; half of the times also which of its code has run."""
    rng, reached = random.Random(pc), None
    if rng.random() < 0.5:
        pages = range(pc // PAGE - 1, pc // PAGE + 2)
        reached = {page: (_most(rng), _most(rng)) for page in pages}
    return Profile(_jumps(block), _registers(block), reached)


def _most(rng: random.Random) -> int:
    """A mask for a page's instructions, most of them set."""
    bits = PAGE // 2
    return rng.getrandbits(bits) | rng.getrandbits(bits) | rng.getrandbits(bits)


def _jumps(block: Block) -> dict[int, dict[int, int]]:
    """Where a block's indirect jumps are said to have gone."""
    at = block.address
    return {
        at + jump: {at + target: 9 for target in targets} for jump, targets in block.jumps.items()
    }


def _registers(block: Block) -> dict[tuple[str, int], int]:
    """What the registers are said to have held."""
    return {("x", number): value for number, value in enumerate(block.x)}
