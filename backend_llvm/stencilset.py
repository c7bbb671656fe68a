"""The stencils and the native library of one guest and mode."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from jitemu.backend_llvm.objects import Blob
from jitemu.backend_llvm.stencils import Key, Shape, Stencil, Target, open_body, shape_of
from jitemu.ir.code import Function
from jitemu.ir.native import REGISTRY
from jitemu.isa import Isa

Progress = Callable[[int, int], None]
"""Called with (stencils built, stencils to build)."""

BATCH = 150


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
        self.add([], special=True)
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), BATCH):
            self.add(wanted[start : start + BATCH])
            progress(min(start + BATCH, len(wanted)), len(wanted))

    def add(self, keys: Sequence[Key], special: bool = False) -> None:
        """Build some stencils now."""
        from jitemu.backend_llvm.extract import stencils_of
        from jitemu.backend_llvm.stencils import module_text
        from jitemu.backend_llvm.target import compile_text

        items = [(self.isa.instructions[k.name], k) for k in keys]
        text = module_text(self.target, items, special)
        self.stencils.update(stencils_of(compile_text(text)))


def general_keys(target: Target, isa: Isa) -> list[Key]:
    """For every instruction the stencil that takes any operands: all in the state.

    Instructions that write a register and jump exist for every place of it, as nothing
    can be put between the write and the jump.
    """
    keys: list[Key] = []
    pins = [str(i) for i in range(len(target.pinned))]
    for insn in isa.instructions.values():
        if insn.body is None:
            continue
        shape = shape_of(target, insn)
        choices = ["m" for _ in shape.registers]
        backward = (False, True) if shape.jumps else (False,)
        if shape.ends and not shape.falls and shape.registers:
            choices = ["".join(("m", "z", *pins))] * len(shape.registers)
        for places in itertools.product(*choices):
            keys.extend(Key(insn.name, "".join(places), b) for b in backward)
    return keys


def number_functions(target: Target, isa: Isa) -> None:
    """Give the native functions that translated code calls their places in the state."""
    names = {"slow_load", "slow_store", "slow_address"} if target.mode == "system" else set[str]()
    for insn in isa.instructions.values():
        if insn.body is not None:
            for op in open_body(target, insn).block.ops:
                if op.name == "call":
                    names.add(str(op.attrs[0]))
    target.functions.update({name: index for index, name in enumerate(sorted(names))})


def library_functions(roots: Sequence[str]) -> list[Function]:
    """The micro-ops of these native functions and of all that they call."""
    done: dict[str, Function] = {}
    work = list(roots)
    while work:
        name = work.pop()
        if name not in done:
            done[name] = REGISTRY[name].compile()
            for block in done[name].blocks:
                work.extend(str(op.attrs[0]) for op in block.ops if op.name == "call")
    return list(done.values())
