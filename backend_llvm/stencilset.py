"""The stencils and the native library of one guest and mode."""

from __future__ import annotations

import itertools
import marshal
import os
import select
from collections.abc import Callable, Iterable, Iterator, Sequence

from jitemu.backend_llvm.convention import SLOW
from jitemu.backend_llvm.objects import Blob
from jitemu.backend_llvm.stencils import Key, Shape, Stencil, Target, open_body, shape_of
from jitemu.ir.code import Function
from jitemu.ir.native import REGISTRY
from jitemu.isa import Isa
from jitemu.messages import fail

Progress = Callable[[int, int], None]
"""Called with (stencils built, stencils to build)."""

BATCH = 100
MAX_PROCESSES = 4


class StencilSet:
    """What the block translator copies from."""

    def __init__(self, target: Target, isa: Isa, roots: Sequence[str]) -> None:
        self.target = target
        self.isa = isa
        self.roots = roots
        """Native functions that are needed besides those that instructions call."""
        self.stencils: dict[str, Stencil] = {}
        self.library = Blob(b"")
        self.shapes: dict[str, Shape] = {}

    def shape(self, name: str) -> Shape:
        """What the stencils of an instruction look like."""
        shape = self.shapes.get(name)
        if shape is None:
            shape = self.shapes[name] = shape_of(self.target, self.isa.instructions[name])
        return shape

    def build(self, keys: Iterable[Key], progress: Progress) -> None:
        """Build the library, the special stencils and the stencils of these keys."""
        from jitemu.backend_llvm.natives import build_library

        number_functions(self.target, self.isa)
        self.library = build_library(
            self.target, library_functions([*self.target.functions, *self.roots])
        )
        wanted = list(dict.fromkeys(keys))
        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        self.stencils.update(self._made([], special=True))
        done = 0
        for made in in_processes(batches, self._made, len(os.sched_getaffinity(0))):
            self.stencils.update(made)
            done += len(made)
            progress(done, len(wanted))

    def _made(self, keys: Sequence[Key], special: bool = False) -> dict[str, Stencil]:
        """Build some stencils."""
        from jitemu.backend_llvm.extract import stencils_of
        from jitemu.backend_llvm.stencils import module_text
        from jitemu.backend_llvm.target import compile_text

        items = [(self.isa.instructions[k.name], k) for k in keys]
        return stencils_of(compile_text(module_text(self.target, items, special)))


def in_processes(
    batches: Sequence[list[Key]],
    work: Callable[[list[Key]], dict[str, Stencil]],
    count: int,
) -> Iterator[dict[str, Stencil]]:
    """The work's results for all batches, in any order, from forked processes."""
    pipes: list[int] = []
    for number in range(min(count, MAX_PROCESSES)):
        receive, send = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                for fd in (receive, *pipes):  # so that writing fails once the parent is dead
                    os.close(fd)
                with os.fdopen(send, "wb") as stream:
                    for batch in batches[number :: min(count, MAX_PROCESSES)]:
                        marshal.dump(work(batch), stream)
                        stream.flush()
                status = 0
            finally:
                os._exit(status)
        os.close(send)
        pipes.append(receive)
    streams = {fd: os.fdopen(fd, "rb") for fd in pipes}
    left = len(batches)
    while streams:
        for fd in select.select(list(streams), [], [])[0]:
            try:
                yield marshal.load(streams[fd])
                left -= 1
            except EOFError:
                streams.pop(fd).close()
    while pipes:
        os.wait()
        pipes.pop()
    if left:
        fail("building the stencils failed: a compile process died (is there memory enough?)")


def general_keys(target: Target, isa: Isa) -> list[Key]:
    """For every instruction the stencil that takes any operands: all in the state.

    Instructions that write a register and jump exist for every place of it, as nothing
    can be put between the write and the jump.
    """
    keys: list[Key] = []
    pins = [str(i) for i in range(len(target.pinned))]
    for insn in isa.instructions.values():
        if insn.body is None or insn.base:
            continue
        shape = shape_of(target, insn)
        choices = ["m" for _ in shape.registers]
        backward = (False, True) if shape.jumps else (False,)
        if shape.ends and not shape.falls and shape.written:
            choices = ["".join(("m", "z", *pins))] * len(shape.registers)
        for places in itertools.product(*choices):
            keys.extend(Key(insn.name, "".join(places), b) for b in backward)
    return keys


def number_functions(target: Target, isa: Isa) -> None:
    """Give the native functions that translated code calls their places in the state."""
    names = set[str]()
    if target.mode == "system":
        names.update(("slow_load", "slow_store", "slow_address", "find_window"))
    for insn in isa.instructions.values():
        names.update(f.function for f in insn.fields if f.function)
        if insn.steps is not None:
            names.add(insn.steps.name)
        if insn.body is not None and not insn.base:
            for op in open_body(target, insn).block.ops:
                if op.name == "call":
                    names.add(str(op.attrs[0]))
                elif op.name in ("native", "rare", "unless"):
                    names.add(f"{op.attrs[0]}{SLOW}")
    assert len(names) <= target.layout.counts["functions"], "the state has too few places"
    target.functions.update({name: index for index, name in enumerate(sorted(names))})


def library_functions(roots: Sequence[str]) -> list[Function]:
    """The micro-ops of these native functions and of all that they call."""
    done: dict[str, Function] = {}
    work = [name.removesuffix(SLOW) for name in roots]
    while work:
        name = work.pop()
        if name not in done:
            done[name] = REGISTRY[name].compile()
            for block in done[name].blocks:
                work.extend(str(op.attrs[0]) for op in block.ops if op.name == "call")
    return list(done.values())
