"""Random words: which are instructions, by Unicorn and by the decoder of each model;
``python -m tests.arm.undefined MODEL COUNT SEED`` is the long form."""

from __future__ import annotations

import random
import sys
from collections import Counter

from tests.arm.oracle import (
    AT,
    Case,
    Oracle,
    Reference,
    predictable,
    random_case,
    several_predictable,
)

ALLOWED = {
    "setend": "data in the other byte order, which ARMv8 leaves to the implementation",
    "p14": "registers of the debugger, which programs need not reach",
}
"""What Unicorn executes and is undefined here."""


def random_code(rng: random.Random) -> tuple[bytes, bool]:
    """Any word of A32 or T32, (bytes, T32)."""
    kind = rng.randrange(4)
    word = rng.getrandbits(32)
    if kind < 2:
        top = rng.choice((0xE, 0xE, 0xE, 0xF)) << 28
        return (word & 0x0FFFFFFF | top).to_bytes(4, "little"), False
    if kind == 2:
        return (word & 0xFFFF).to_bytes(2, "little") + b"\x00\xbf", True
    head = rng.choice((0xE800, 0xF000, 0xF800)) | word >> 16 & 0x7FF
    return head.to_bytes(2, "little") + (word & 0xFFFF).to_bytes(2, "little"), True


def wide(case: Case) -> int:
    """The word, as manuals show it."""
    if not case.thumb:
        return int.from_bytes(case.code, "little")
    first, second = (int.from_bytes(case.code[i : i + 2], "little") for i in (0, 2))
    return first << 16 | second if first >> 11 >= 0x1D else first


def floating(case: Case) -> bool:
    """It belongs to floating point and SIMD, which fp_compare looks at."""
    word = wide(case)
    if case.thumb and word >> 16 == 0:
        return False
    top, coprocessor = word >> 24, word >> 8 & 15
    simd = (0xEF, 0xFF, 0xF9) if case.thumb else (0xF2, 0xF3, 0xF4)
    if top in simd and (top not in (0xF9, 0xF4) or not word >> 20 & 1):
        return True
    return top & 15 in (12, 13, 14) and top & 0xE0 == 0xE0 and coprocessor in range(8, 14)


def defined_wrongly(case: Case, reference: Reference) -> bool:
    """What is defined here only is not one of the manual's UNPREDICTABLE words, which QEMU
    holds for undefined, nor a hint (IT without a mask is one), at which Unicorn leaves."""
    decoded = reference.decoder.decode_at(AT | case.thumb, case.code)
    assert decoded is not None
    name, f = decoded.insn.stencil, decoded.fields
    if name.startswith(("ldrex", "strex", "lda", "stl")):
        return False  # not aligned
    if "ex" in name[:5]:
        numbers = [v for n, v in f.items() if n[0] == "r"]
        return 15 not in numbers and f.get("rd") not in (f.get("rn"), f.get("rt"), 13)
    if decoded.insn.steps is not None:
        return f.get("rn", 13) != 15 and several_predictable(decoded.insn, f)
    return name not in ("nop", "it") and predictable(decoded.insn, case, reference.decoder)


def disagreements(model: str, count: int, seed: int) -> list[Case]:
    """Words that one of the two holds for undefined."""
    rng = random.Random(seed)
    oracle, reference = Oracle(model), Reference(model)
    found: list[Case] = []
    for _ in range(count):
        case = random_case(rng, *random_code(rng))
        if floating(case):
            continue
        mine = reference.decoder.decode_at(AT | case.thumb, case.code) is None
        theirs = oracle.run(case).how == "illegal"
        differ = mine != theirs and (mine or defined_wrongly(case, reference))
        if differ and not any(word in describe(case, not mine) for word in ALLOWED):
            found.append(case)
    return found


def describe(case: Case, mine: bool) -> str:
    """A line about a word."""
    import capstone

    mode = capstone.CS_MODE_THUMB if case.thumb else capstone.CS_MODE_ARM
    md = capstone.Cs(capstone.CS_ARCH_ARM, mode | capstone.CS_MODE_V8)
    text = next((f"{i.mnemonic} {i.op_str}" for i in md.disasm(case.code, 0)), "?")
    who = "only here" if mine else "only there"
    return f"{'T32' if case.thumb else 'A32'} {wide(case):08x} {text}: defined {who}"


def main() -> int:
    """Print what differs, counted by mnemonic."""
    model, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    found = disagreements(model, count, seed)
    reference = Reference(model)
    kinds: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for case in found:
        mine = reference.decoder.decode_at(AT | case.thumb, case.code) is not None
        line = describe(case, mine)
        words = line.split()
        key = f"{words[0]} {words[2]} {mine}"
        kinds[key] += 1
        shown.setdefault(key, line)
    for key, number in kinds.most_common():
        print(number, shown[key])
    print(f"{count} words, {len(found)} differ")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
