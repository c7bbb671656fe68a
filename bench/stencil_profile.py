"""Which stencils are worth building at first use: counted in real guest code.

    python -m bench.stencil_profile [--top N] FILE... > frontends/riscv/stencil_profile.txt

FILE is a riscv64 ELF file (its executable sections are read) or a raw kernel Image.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jitemu.backend_llvm.stencil_keys import Key, place_letter
from jitemu.backend_llvm.stencils import Shape, shape_of
from jitemu.frontends.riscv.cpu import parse_cpu
from jitemu.runtime.guest import Guest
from jitemu.runtime.guests import riscv64_user


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


def count(guest: Guest, code: bytes, counts: Counter[str]) -> None:
    """Add the stencils that a piece of code wants, in linear order."""
    shapes: dict[str, Shape] = {}
    at = 0
    while at + 4 <= len(code):
        decoded = guest.decoder.decode(int.from_bytes(code[at : at + 4], "little"))
        if decoded is None:
            at += 2
            continue
        at += decoded.length
        name = decoded.insn.name
        if name not in shapes:
            shapes[name] = shape_of(guest.target, decoded.insn)
        shape = shapes[name]
        places = "".join(
            place_letter(guest.target, kind, decoded.fields[field])
            for field, kind in shape.registers
        )
        backward = shape.jumps and decoded.fields[shape.target or ""] <= 0
        counts[str(Key(name, places, backward))] += 1


def main() -> None:
    """Print the most frequent keys, one a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--top", type=int, default=4000, help="how many keys (%(default)s)")
    parser.add_argument("file", nargs="+", type=Path)
    args = parser.parse_args()
    guest = riscv64_user(parse_cpu("rv64"))
    total: Counter[str] = Counter()
    for path in args.file:
        counts: Counter[str] = Counter()
        for code in code_of(path):
            count(guest, code, counts)
        size = counts.total()
        for key, n in counts.items():
            total[key] += n * 1_000_000 // size  # every program weighs the same
    chosen = [key for key, _ in total.most_common(args.top)]
    covered = sum(total[key] for key in chosen) / total.total()
    print(f"{len(chosen)} of {len(total)} keys, {covered:.2%} of the instructions", file=sys.stderr)
    print("\n".join(chosen))


if __name__ == "__main__":
    main()
