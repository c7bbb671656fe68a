"""Random instructions by Unicorn and the interpreter; ``python -m tests.arm.compare COUNT SEED
[MODEL]`` is the long form: so many cases of each encoding."""

from __future__ import annotations

import random
import sys

from jitemu.frontends.arm.cpu import parse_cpu
from jitemu.frontends.arm.decoder import ArmDecoder
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
from tests.arm.rounds import run_rounds

ALIGNED = ("ldrex", "lda", "stl")
"""Beginnings of the names of what faults where its address is not aligned."""
FLOATING = ("v", "aes", "sha1", "sha256")
"""Beginnings of the names that fp_compare looks at."""


def encodings(model: str = "max") -> list[Instruction]:
    """All that one instruction of a model outside an IT block can be, but for floating point."""
    chosen = ArmDecoder(parse_cpu(model)).instructions
    insns = [i for i in chosen if i.width and i.when != "it16"]
    return [i for i in insns if not i.name.startswith((*ANY_PC, *FLOATING))]


def differences(
    insns: list[Instruction], count: int, seed: int, model: str = "max"
) -> tuple[int, list[str]]:
    """(cases compared, what differed)."""
    rng = random.Random(seed)
    oracle, reference = Oracle(model), Reference(model)
    compared = 0
    found: list[str] = []
    for insn in insns:
        for _ in range(count):
            case = random_case(rng, *random_word(rng, insn))
            if not predictable(insn, case, reference.decoder):
                continue
            a, b = oracle.run(case), reference.run(case)
            compared += 1
            if b.how == "misaligned" and insn.stencil.startswith(ALIGNED):
                continue
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
    model = sys.argv[3] if len(sys.argv) > 3 else "max"
    insns = encodings(model)
    return run_rounds(lambda n, s: differences(insns, n, s, model), count, seed)


if __name__ == "__main__":
    sys.exit(main())
