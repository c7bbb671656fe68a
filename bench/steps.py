"""``python -m bench.steps STEP PROGRAM``: what a step of translation costs.

The guest code is a program's executable segment.  The baseline tier's steps are native, so
loops of native code run them: of each loop one step more is in it than in the one before,
and the difference is the step.  It prints guest instructions a second of processor time.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jitemu.ir.native import load16, load32, load64, native, store64
from jitemu.ir.state import RuntimeState
from jitemu.runtime.layouts import BlockRecord, Control
from jitemu.runtime.pieces import choose, decode
from jitemu.runtime.translate import (
    context_at,
    fetch_word,
    place_word,
    room,
    translate,
    word_length,
)
from jitemu.runtime.translator_layouts import PAGE, PC_AT, Context, Insn

if TYPE_CHECKING:
    from jitemu.backend_llvm.request import Request
    from jitemu.runtime.user_processor import UserProcessor

ROUNDS = 9
BASELINE = ("decode", "choose", "copy", "finish")
REGION = ("lift", "write", "parse", "optimise", "emit", "link")
HEADS = 40
LEAST = 20
"""Instructions of a region that is measured."""


@native
def bench_word(s: RuntimeState, context: int, pc: int) -> int:
    """The word at a pc as decoders take it, 32 bits."""
    word = fetch_word(s, context, pc & ~(PAGE - 1), pc & PAGE - 1, (pc & ~(PAGE - 1)) + PAGE)
    if word_length(s, context, word) == 2:
        return load32(load64(s.code + Control.SHORT) + word * 4)
    return word


@native
def bench_decode(s: RuntimeState, pc: int, end: int) -> int:
    """Decode all; how many."""
    count = 0
    total = 0
    context = context_at(s, pc)
    tree = load64(context + Context.TREE)
    while pc < end:
        word = bench_word(s, context, pc)
        total += load32(context + Context.INSTEAD + decode(s, tree, word) * 4)
        pc += word_length(s, context, load16(pc))
        count += 1
    s.scratch[0] = total
    return count


@native
def bench_choose(s: RuntimeState, pc: int, end: int) -> int:
    """The same, and choose their stencils."""
    count = 0
    total = 0
    context = context_at(s, pc)
    tree = load64(context + Context.TREE)
    insns = load64(s.code + Control.INSNS)
    note = load64(s.code + Control.WORK)
    while pc < end:
        word = bench_word(s, context, pc)
        index = load32(context + Context.INSTEAD + decode(s, tree, word) * 4)
        total += choose(s, insns + index * Insn.LENGTH, note, word)
        pc += word_length(s, context, load16(pc))
        count += 1
    s.scratch[0] = total
    return count


@native
def bench_copy(s: RuntimeState, pc: int, end: int) -> int:
    """The same, and copy them, over and over to one place."""
    count = 0
    context = context_at(s, pc)
    note = load64(s.code + Control.WORK)
    start = load64(s.code + Control.NEXT)
    while pc < end:
        at = pc & ~(PAGE - 1)
        store64(note + PC_AT, pc)
        place_word(s, note, fetch_word(s, context, at, pc & PAGE - 1, at + PAGE))
        store64(s.code + Control.NEXT, start)
        pc += word_length(s, context, load16(pc))
        count += 1
    return count


@native
def bench_finish(s: RuntimeState, pc: int, end: int) -> int:
    """Blocks, one behind the other, until there is no room for more."""
    count = 0
    while pc < end and room(s):
        page = pc & ~(PAGE - 1)
        crossing = pc - page == PAGE - 2 and load16(pc) & 3 == 3
        record = translate(s, pc, pc, pc, page, page + PAGE if crossing else 0, pc + 2)
        pc += load64(record + BlockRecord.SIZE)
        count += load64(record + BlockRecord.INSNS)
    return count


class Code:
    """A program's code in memory, and a processor that could run it."""

    base = 0

    def __init__(self, program: Path) -> None:
        from elftools.elf.elffile import ELFFile

        from jitemu.frontends.riscv.cpu import parse_cpu
        from jitemu.runtime.guests import riscv64_user
        from jitemu.runtime.setup import translation_for
        from jitemu.runtime.user_processor import UserProcessor, UserSpace

        with program.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".text")
            assert section is not None
            data = section.data()
        self.memory = mmap.mmap(-1, len(data) + 2 * PAGE)
        self.memory[: len(data)] = data
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.end = self.start + len(data)
        guest = riscv64_user(parse_cpu("rv64"))
        self.space = UserSpace(guest, translation_for(guest), self)
        self.processor: UserProcessor = UserProcessor(self.space)

    def code_size(self, pc: int) -> int:
        """As all of it may be executed."""
        return max(self.end + PAGE - pc, 0)

    def mapped(self, address: int) -> bool:
        """There is nothing else."""
        return self.start <= address < self.end

    def writable(self, address: int) -> bool:
        """Nothing is written."""
        return False

    def shared(self, address: int) -> bool:
        """Nothing is written."""
        return False

    def read(self, pc: int) -> bytes:
        """Code that regions may be made from."""
        at = pc - self.start
        return self.memory[at : at + 4] if 0 <= at < self.end - self.start else b""


def baseline(code: Code) -> dict[str, float]:
    """Seconds by guest instruction of each step, and of a whole block."""
    loops = _load(code)
    costs: dict[str, float] = {}
    before = 0.0
    for name in BASELINE:
        best = float("inf")
        for _ in range(ROUNDS):
            code.space.flush()
            begun = time.process_time()
            count = loops[name](code.processor.state.address, code.start, code.end)
            best = min(best, (time.process_time() - begun) / count)
        costs[name] = max(best - before, 1e-12)
        before = best
    return {**costs, "block": before}


def _load(code: Code) -> dict[str, Callable[..., int]]:
    """The loops, compiled and put into the arena."""
    from jitemu.backend_llvm.lowering import declarations
    from jitemu.backend_llvm.natives import PREFIX, NativeLowering
    from jitemu.backend_llvm.objects import place, read_object
    from jitemu.backend_llvm.stencilset import library_functions
    from jitemu.backend_llvm.target import compile_text

    space = code.space
    layout = space.guest.target.layout
    functions = library_functions([f"bench_{name}" for name in BASELINE])
    text = "".join(NativeLowering(layout).function(function, False) for function in functions)
    blob = read_object(compile_text(f"{declarations(text)}\n{text}", "default"))
    base = space.tables.get(Control.NEXT) + 63 & ~63
    space.arena.write(base, place(blob, base, {}))
    space.floor = base + len(blob.code) + 63 & ~63
    kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)
    return {n: kind(base + blob.symbols[f"{PREFIX}bench_{n}"]) for n in BASELINE}


def regions(code: Code) -> dict[str, float]:
    """The same of regions whose heads are called functions."""
    from jitemu.backend_llvm.request import Request
    from jitemu.backend_llvm.stencilset import number_functions

    guest = code.space.guest
    number_functions(guest.target, guest.isa)
    spent = dict.fromkeys(REGION, 0.0)
    done = instructions = 0
    for head in _functions(code):
        seconds, count = _region(code, Request(head, {"exact": 0}))
        if count < LEAST:
            continue
        if done:  # LLVM's first time is a long one
            instructions += count
            for name in REGION:
                spent[name] += seconds[name]
        done += 1
        if done > HEADS:
            break
    costs = {name: total / instructions for name, total in spent.items()}
    return {**costs, "region": sum(costs.values())}


def _functions(code: Code) -> Iterator[int]:
    """Addresses that jal instructions call, each once."""
    seen: set[int] = set()
    pc = code.start
    while pc < code.end:
        decoded = code.space.guest.decoder.decode_at(pc, code.read(pc))
        if decoded is not None and decoded.insn.name == "jal" and decoded.fields["rd"] == 1:
            target = pc + decoded.fields["imm"]
            if target not in seen and code.start <= target < code.end:
                seen.add(target)
                yield target
        pc += decoded.length if decoded is not None else 2


def _region(code: Code, request: Request) -> tuple[dict[str, float], int]:
    """Seconds of each step of a region, and its instructions."""
    from jitemu.backend_llvm.lifting import lift
    from jitemu.backend_llvm.objects import read_object
    from jitemu.backend_llvm.regions import region_text
    from jitemu.backend_llvm.target import emit, optimise, parse

    guest = code.space.guest
    seconds: dict[str, float] = {}
    begun = time.process_time()

    def stop(name: str) -> None:
        nonlocal begun
        now = time.process_time()
        seconds[name], begun = now - begun, now

    lifter = lift(guest.target, guest.decoder, code.read, request)
    lifted = lifter.lifted
    stop("lift")
    if len(lifted) < LEAST:
        return {}, 0
    text, _, _ = region_text(guest.target, lifter.request, lifter, lifter.entries())
    stop("write")
    module = parse(text)
    stop("parse")
    optimise(module, "region")
    stop("optimise")
    data = emit(module)
    stop("emit")
    read_object(data)
    stop("link")
    return seconds, len(lifted)


def main() -> None:
    """Print the figure of one step."""
    step, program = sys.argv[1], Path(sys.argv[2])
    code = Code(program)
    costs = baseline(code) if step in (*BASELINE, "block") else regions(code)
    print(f"{1 / costs[step]:.1f} instructions/s")


if __name__ == "__main__":
    main()
