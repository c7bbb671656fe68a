"""What is known of the guest's running code when a block of it becomes hot."""

from __future__ import annotations

from jitemu.ir.state import JUMP_SAMPLES
from jitemu.runtime.engine import PAGE, Processor
from jitemu.runtime.layouts import MASK_BYTES
from jitemu.runtime.records import NativeMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from jitemu.runtime.records import Record

NEAR_PAGES = 2
"""So many pages before and behind that of a hot block may be part of its region."""
MOST_PAGES = 32
"""Of code that is called from these, and from that: about so many pages."""
_CALLS = 3
_answer = NativeMemory(PAGE)
"""What native functions fill, for whoever has the lock of the space's code."""


def called_pages(block: Record, processor: Processor) -> set[int]:
    """Numbers of the pages near a block, and of those that control went to from these; in system
    mode its own."""
    middle = processor.space.guest.address_of(block.pc) // PAGE
    if processor.paged:
        return {middle}
    found = set(range(middle - NEAR_PAGES, middle + NEAR_PAGES + 1))
    last = found
    for _ in range(_CALLS):
        targets: set[int] = set()
        for number in last:
            count = processor.native("page_targets", number, _answer.address, PAGE // 8)
            targets.update(_answer.words[:count].tolist())
        last = targets - found
        if not last or len(found) + len(last) > MOST_PAGES:
            break
        found |= last
    return found


def reached_code(
    block: Record, pages: Collection[int], processor: Processor
) -> dict[int, tuple[int, int]]:
    """For ``Request.reached``: which code of some pages, near a block's, has run."""
    space = processor.space
    distance = block.physical // PAGE - space.guest.address_of(block.pc) // PAGE
    found: dict[int, tuple[int, int]] = {}
    for number in pages:
        masks = _answer.bytes[: 2 * MASK_BYTES]
        masks[:] = bytes(len(masks))
        processor.native("page_blocks", number + distance, _answer.address)
        begins = int.from_bytes(masks[:MASK_BYTES], "little")
        inside = int.from_bytes(masks[MASK_BYTES:], "little")
        lifted = space.lifted.get(number + distance, 0)
        found[number] = begins | lifted, inside | lifted
    return found


def sampled_jumps(processor: Processor) -> dict[int, dict[int, int]]:
    """Where indirect jumps went lately, and how often."""
    state = processor.state
    start = state.at["jump_samples"]
    words = state.words[start : start + 2 * min(state["jump_count"], JUMP_SAMPLES)].tolist()
    counts: dict[int, dict[int, int]] = {}
    for source, target in zip(words[::2], words[1::2], strict=True):
        found = counts.setdefault(source, {})
        found[target] = found.get(target, 0) + 1
    return counts


def register_values(processor: Processor) -> dict[tuple[str, int], int]:
    """What the integer registers hold."""
    target = processor.space.guest.target
    kind = target.pinned_class
    start = processor.state.at[kind]
    words = processor.state.words[start : start + target.classes[kind].count].tolist()
    return {(kind, number): word for number, word in enumerate(words)}


def pages_of(covered: Collection[tuple[int, int]]) -> set[int]:
    """Numbers of the pages that guest code, (address, bytes), is in."""
    return {n for at, size in covered for n in range(at // PAGE, (at + size - 1) // PAGE + 1)}
