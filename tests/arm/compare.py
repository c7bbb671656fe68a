"""Random instructions by Unicorn and the interpreter; ``python -m tests.arm.compare COUNT SEED``
is the long form: so many cases of each encoding."""

from __future__ import annotations

import random
import sys

from jitemu.frontends.arm.state import isa
from jitemu.isa import Instruction
from tests.arm.oracle import (
    ANY_PC,
    Oracle,
    Reference,
    aligned_target,
    predictable,
    random_case,
    random_word,
)


def encodings() -> list[Instruction]:
    """All that one instruction outside an IT block can be."""
    insns = [i for i in isa.instructions.values() if i.width and i.when != "it16"]
    return [i for i in insns if not i.name.startswith(ANY_PC)]


def differences(insns: list[Instruction], count: int, seed: int) -> tuple[int, list[str]]:
    """(cases compared, what differed)."""
    rng = random.Random(seed)
    oracle, reference = Oracle(), Reference()
    compared = 0
    found: list[str] = []
    for insn in insns:
        for _ in range(count):
            case = random_case(rng, *random_word(rng, insn))
            if not predictable(insn, case, reference.decoder):
                continue
            a, b = oracle.run(case), reference.run(case)
            compared += 1
            if a.how == b.how == "fault" or aligned_target(a, b) or a == b:
                continue
            where = "T32" if case.thumb else "A32"
            changed = [
                f"r{n}: {x:#x}, not {y:#x}"
                for n, (x, y) in enumerate(zip(b.registers, a.registers, strict=False))
                if x != y
            ]
            found.append(
                f"{insn.name} {where} {case.code.hex()}: {b.how}, not {a.how}; pc {b.pc:#x}, not "
                f"{a.pc:#x}; flags {b.flags:#x}, not {a.flags:#x}; {', '.join(changed)}"
            )
    return compared, found


def main() -> int:
    """Compare, and print what differs."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    compared, found = differences(encodings(), count, seed)
    print("\n".join([*found, f"{compared} compared, {len(found)} differ"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
