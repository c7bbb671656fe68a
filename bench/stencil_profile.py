"""Which stencils are worth building at first use: counted in real guest code.

    python -m bench.stencil_profile [--top N] FILE... > frontends/riscv/stencil_profile.txt

FILE is a riscv64 ELF file (its executable sections are read) or a raw kernel Image; with
``--guest arm`` one whose code is T32, with ``--guest arm-a32`` one whose code is A32.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from jitemu.backend_llvm.stencil_keys import Key, parse_key, place_letter
from jitemu.backend_llvm.stencils import Shape, shape_of
from jitemu.backend_llvm.stencilset import general_of
from jitemu.frontends.arm.cpu import parse_cpu as parse_arm
from jitemu.frontends.riscv.cpu import parse_cpu
from jitemu.runtime.guest import Guest
from jitemu.runtime.guest_arm import arm_user
from jitemu.runtime.guests import riscv64_user

GUESTS = {
    "riscv64": (lambda: riscv64_user(parse_cpu("rv64")), 0),
    "arm": (lambda: arm_user(parse_arm("max")), 1),
    "arm-a32": (lambda: arm_user(parse_arm("max")), 0),
}
"""How it is made, and the pc word to begin at."""


def code_of(path: Path) -> Iterator[bytes]:
    """The executable parts of a file."""
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as f:
        if f.read(4) != b"\x7fELF":
            f.seek(0)
            yield f.read(12 << 20)
            return
        for section in ELFFile(f).iter_sections():
            if section["sh_flags"] & 4 and section["sh_type"] == "SHT_PROGBITS":
                yield section.data()


def count(guest: Guest, code: bytes, counts: Counter[str], start: int = 0) -> None:
    """Add the stencils that a piece of code wants, in linear order from pc word ``start``."""
    shapes: dict[str, Shape] = {}
    pc = start
    step = 4 if guest.address_bits >> 32 == 0 and not start & 1 else 2
    while (at := guest.decoder.address_of(pc)) + 4 <= len(code):
        decoded = guest.decoder.decode_at(pc, code[at : at + 4])
        if decoded is None:
            pc = (at + step) | start
            continue
        pc = guest.decoder.following(pc, decoded)
        for insn, fields in decoded.parts or ((decoded.insn, decoded.fields),):
            name = insn.stencil
            if name not in shapes:
                shapes[name] = shape_of(guest.target, insn)
            shape = shapes[name]
            places = "".join(
                place_letter(guest.target, kind, fields[field]) for field, kind in shape.registers
            )
            backward = shape.jumps and fields[shape.target or ""] <= 0
            counts[str(Key(name, places, backward))] += 1


def general(guest: Guest, total: Mapping[str, float], least: float) -> list[str]:
    """The general stencils of the instructions that occur so often; the first set has them."""
    names: dict[str, float] = defaultdict(float)
    for key, n in total.items():
        names[parse_key(key).name] += n
    insns = [guest.isa.instructions[name] for name, n in names.items() if n >= least]
    return [str(general_of(guest.target, insn)[0]) for insn in insns]


def main() -> None:
    """Print the most frequent keys, one a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--top", type=int, default=6000, help="how many keys (%(default)s)")
    parser.add_argument(
        "--least",
        type=float,
        default=3,
        help="so often in a million an instruction has its general stencil (%(default)s)",
    )
    parser.add_argument("file", nargs="+", type=Path)
    parser.add_argument("--guest", choices=GUESTS, default="riscv64", help="(%(default)s)")
    args = parser.parse_args()
    make, start = GUESTS[args.guest]
    guest = make()
    total: dict[str, float] = defaultdict(float)
    for path in args.file:
        counts: Counter[str] = Counter()
        for code in code_of(path):
            count(guest, code, counts, start)
        size = counts.total()
        for key, n in counts.items():
            total[key] += n * 1_000_000 / size / len(args.file)  # every program weighs the same
    order = sorted(total, key=lambda key: (-total[key], key))
    chosen = order[: args.top]
    covered = sum(total[key] for key in chosen) / sum(total.values())
    print(f"{len(chosen)} of {len(total)} keys, {covered:.2%} of the instructions", file=sys.stderr)
    print("\n".join([*chosen, *general(guest, total, args.least)]))


if __name__ == "__main__":
    main()
