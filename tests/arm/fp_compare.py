"""Random floating-point and SIMD instructions by Unicorn and the interpreter.

``python -m tests.arm.fp_compare COUNT SEED [NAME]`` is the long form: so many cases of each
encoding (whose name begins so).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable

from jitemu.frontends.arm import decoder as decoder  # for all definitions
from jitemu.frontends.arm.state import isa
from jitemu.isa import Instruction
from tests.arm.fp_oracle import FpAfter, FpCase, FpOracle, FpReference, random_fp_case
from tests.arm.oracle import AT
from tests.arm.rounds import run_rounds


def encodings(prefix: str = "") -> list[Instruction]:
    """All of floating point and SIMD."""
    named = [i for i in isa.instructions.values() if i.width and i.name.startswith(prefix)]
    return [i for i in named if i.name.startswith(("v", "aes", "sha1", "sha256"))]


LISTED = ("rx", "ry", "rz")
"""Fields of the registers of a list behind its first."""


ROUNDED_OTHERWISE = {
    f"vcvt_f{width}_{sign}{size}_fixed" for width in (32, 64) for sign in "su" for size in (16, 32)
}
"""VFP's conversions of fixed point round to nearest; Unicorn's as FPSCR says."""
SHORT_VECTORS = 0x00370000
"""FPSCR's LEN and STRIDE, which Unicorn's processor has."""


def is_structure(insn: Instruction) -> bool:
    """VLD1 to VST4."""
    return insn.match >> 24 in (0xF4, 0xF9)


def core_fields(insn: Instruction) -> list[str]:
    """The fields of an encoding that name core registers."""
    names = [f.name for f in insn.fields]
    if insn.steps is not None:
        return ["rn"]
    if is_structure(insn):
        return [n for n in names if n in ("rn", "rm")]
    found = [n for n in names if n in ("rt", "ru")]
    return [*found, "rn"] if "off" in names and "rn" in names else found


def limit_of(insn: Instruction) -> int:
    """How many registers the view of a list's has."""
    bits = next((8 * int(w) for w in ("1", "2", "4") if f"_lane{8 * int(w)}_" in insn.name), 64)
    return 32 * 64 // bits


def predictable(insn: Instruction, case: FpCase, reference: FpReference) -> bool:
    """The architecture says what the instruction does."""
    decoded = reference.decoder.decode_at(AT | case.thumb, case.code)
    if decoded is None:  # of lists too long the architecture says nothing
        return insn.steps is None
    f = decoded.fields
    core = [f[n] for n in core_fields(decoded.insn)]
    if is_structure(decoded.insn) and (f["rn"] == 15 or f.get("rm") == f["rn"]):
        return False
    if 15 in core and not decoded.insn.name.startswith("vmrs_flags"):
        return False
    if case.thumb and 13 in core:
        return False
    if "ru" in f and (f["rt"] == f["ru"] and "to_core" in decoded.insn.name):
        return False
    if "rp" in f and f["rp"] > 31:
        return False
    name = decoded.insn.stencil
    if name.startswith(("vtrn", "vuzp", "vzip")) and f["rd"] == f["rm"]:
        return False
    if name.startswith(("vtb", "vld", "vst")) and any(
        v >= limit_of(decoded.insn) for n, v in f.items() if n in LISTED
    ):
        return False
    if decoded.insn.steps is not None and f["words"] > 32:
        return False
    if name in ROUNDED_OTHERWISE and case.fpscr >> 22 & 3:
        return False
    if name == "vmsr" and case.registers[f["rt"]] & SHORT_VECTORS:
        return False
    if f.get("rn") == 15 and decoded.insn.operands[:1] != ("rn",) and "off" in f:
        return not case.thumb or "literal" in decoded.insn.name
    if decoded.insn.steps is not None:
        return f["rn"] != 15
    return True


def misaligned(case: FpCase, reference: FpReference) -> bool:
    """The address is not as the access asks for, which Unicorn does not look at."""
    decoded = reference.decoder.decode_at(AT | case.thumb, case.code)
    if decoded is None or "rn" not in decoded.fields:
        return False
    f, name = decoded.fields, decoded.insn.name
    if name.startswith(("vldr", "vstr", "vldm", "vstm")):
        return f["rn"] < 15 and case.registers[f["rn"]] & 3 != 0
    return is_structure(decoded.insn) and bool(case.registers[f["rn"]] & f["a"])


def explain(insn: Instruction, case: FpCase, got: FpAfter, wanted: FpAfter) -> str:
    """A difference in one line."""
    parts = [f"{insn.name} {'T32' if case.thumb else 'A32'} {case.code.hex()}"]
    parts.append(f"fpscr {case.fpscr:#x}")
    if got.core != wanted.core:
        a, b = got.core, wanted.core
        parts.append(f"{a.how}, not {b.how}")
        if a.how == b.how:
            for n, (x, y) in enumerate(zip(a.registers, b.registers, strict=True)):
                if x != y:
                    parts.append(f"r{n} {x:#x}, not {y:#x}")
            parts.append(f"pc {a.pc:#x} {b.pc:#x} flags {a.flags:#x} {b.flags:#x}")
            if a.memory != b.memory:
                parts.append("memory")
    for n, (x, y) in enumerate(zip(got.d, wanted.d, strict=False)):
        if x != y:
            parts.append(f"d{n} {x:#x}, not {y:#x}")
    if got.fpscr != wanted.fpscr:
        parts.append(f"fpscr {got.fpscr:#x}, not {wanted.fpscr:#x}")
    if got.d or wanted.d:
        code = int.from_bytes(case.code, "little")
        if case.thumb:
            code = code >> 16 | (code & 0xFFFF) << 16
        for letter, low, bit in (("d", 12, 22), ("n", 16, 7), ("m", 0, 5)):
            number = code >> low & 15 | (code >> bit & 1) << 4
            single = (code >> low & 15) << 1 | code >> bit & 1
            parts.append(
                f"{letter}: d{number}={case.d[number]:#x} s{single}="
                f"{case.d[single // 2] >> 32 * (single % 2) & 0xFFFFFFFF:#x}"
            )
    return "; ".join(parts)


def differences(insns: Iterable[Instruction], count: int, seed: int) -> tuple[int, list[str]]:
    """(cases compared, what differed)."""
    rng = random.Random(seed)
    oracle, reference = FpOracle(), FpReference()
    compared = 0
    found: list[str] = []
    for insn in insns:
        for _ in range(count):
            case = random_fp_case(rng, insn)
            if not predictable(insn, case, reference):
                continue
            wanted, got = oracle.run_fp(case), reference.run_fp(case)
            compared += 1
            if misaligned(case, reference):
                skipped = got == wanted and not is_structure(insn)
                if got.core.how != "misaligned" and not skipped:
                    found.append(explain(insn, case, got, wanted))
            elif wanted != got:
                found.append(explain(insn, case, got, wanted))
    return compared, found


def main() -> int:
    """Compare, and print what differs."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    prefix = sys.argv[3] if len(sys.argv) > 3 else ""
    insns = encodings(prefix)
    return run_rounds(lambda n, s: differences(insns, n, s), count, seed)


if __name__ == "__main__":
    sys.exit(main())
