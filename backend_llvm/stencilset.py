"""The stencils and the native library of one guest and mode."""

from __future__ import annotations

import itertools
import marshal
import os
import select
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from jitemu.backend_llvm.assembly import Permutation
from jitemu.backend_llvm.convention import SLOW
from jitemu.backend_llvm.objects import Blob
from jitemu.backend_llvm.stencils import Key, Shape, Stencil, Target, open_body, shape_of
from jitemu.ir.code import Function
from jitemu.ir.native import REGISTRY
from jitemu.isa import Instruction, Isa
from jitemu.messages import fail

Progress = Callable[[int, int], None]
"""Called with (jobs done, jobs)."""

BATCH = 32
"""Templates in a module: a module of its own for each would cost a fifth more."""
MAX_PROCESSES = 4
LIBRARY = "library"
"""Among what is built, the native library."""


class StencilSet:
    """What the block translator copies from."""

    def __init__(self, target: Target, isa: Isa, roots: Sequence[str]) -> None:
        self.target = target
        self.isa = isa
        self.roots = roots
        """Native functions that are needed besides those that instructions call."""
        self.stencils: dict[str, Stencil] = {}
        self.library = Blob(b"")

    def shape(self, name: str) -> Shape:
        """What the stencils of an instruction look like."""
        return shape_of(self.target, self.isa.instructions[name])

    def build(self, keys: Iterable[Key], progress: Progress, quick: bool = False) -> None:
        """Build the library, the special stencils and the stencils of these keys.

        ``quick``: a library that is not as fast.
        """
        number_functions(self.target, self.isa)
        wanted = self._grouped(keys)
        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        jobs = [
            partial(self._library, quick),
            self._specials,
            *(partial(self._made, batch) for batch in batches),
        ]
        made: dict[int, dict[str, Any]] = {}
        for number, result in in_processes(jobs, len(os.sched_getaffinity(0))):
            made[number] = result
            progress(len(made), len(jobs))
        for number in range(len(jobs)):
            self.stencils.update(made[number])
        self.library = Blob(*self.stencils.pop(LIBRARY))

    def made(self, keys: Iterable[Key]) -> dict[str, Stencil]:
        """Build some stencils, in this process."""
        return self._made(self._grouped(keys))

    def first(self, common: Sequence[Key]) -> list[Key]:
        """What a first run begins with: the most common keys and those that cost nothing beside
        them, and the general ones of common instructions and of what no word encodes."""
        templates = {self._template(key)[0] for key in common[:FIRST]}
        names = {key.name for key in common}
        insns = self.isa.instructions.values()
        wanted = [i for i in insns if i.body and not i.base and (i.name in names or not i.width)]
        general = [key for insn in wanted for key in general_of(self.target, insn)]
        return [*(key for key in common if self._template(key)[0] in templates), *general]

    def _grouped(self, keys: Iterable[Key]) -> list[list[Key]]:
        """The keys, those with the same template together."""
        groups: dict[Key, list[Key]] = {}
        for key in dict.fromkeys(keys):
            groups.setdefault(self._template(key)[0], []).append(key)
        return list(groups.values())

    def _library(self, quick: bool) -> dict[str, Any]:
        from jitemu.backend_llvm.natives import build_library

        functions = library_functions([*self.target.functions, *self.roots])
        blob = build_library(self.target, functions, quick)
        return {LIBRARY: (blob.code, blob.symbols, blob.relocations)}

    def _specials(self) -> dict[str, Any]:
        return self._made([], special=True)

    def _template(self, key: Key) -> tuple[Key, Permutation]:
        named = self.shape(key.name).named
        return template_of(key, len(self.target.pinned), named)

    def _made(self, groups: Sequence[Sequence[Key]], special: bool = False) -> dict[str, Stencil]:
        """Build some stencils; those of a group have a template in common."""
        from jitemu.backend_llvm.assembly import forms_of, module_of, renamed
        from jitemu.backend_llvm.extract import stencils_of
        from jitemu.backend_llvm.stencils import module_text
        from jitemu.backend_llvm.target import assembly, compile_text

        templates = [self._template(keys[0])[0] for keys in groups]
        items = [(self.isa.instructions[k.name], k) for k in templates]
        forms = forms_of(assembly(module_text(self.target, items, special)))
        pieces = list(forms.items()) if special else []
        for template, keys in zip(templates, groups, strict=True):
            for key in keys:
                to = self._template(key)[1]
                for form in ("", ".cold"):
                    if f"{template}{form}" in forms:
                        text = renamed(forms[f"{template}{form}"], to, f".{len(pieces)}")
                        pieces.append((f"{key}{form}", text))
        return stencils_of(compile_text(module_of(pieces)), [name for name, _ in pieces])


def template_of(key: Key, pins: int, named: Container[int]) -> tuple[Key, Permutation]:
    """The key whose code is the same but for the choice of pinned registers, and what takes
    each pinned register's part in it.  Those that the body itself names stay."""
    free = iter(number for number in reversed(range(pins)) if number not in named)
    to = list(range(pins))
    places = ""
    taken: dict[str, int] = {}
    for letter in key.places:
        if letter in "mz" or int(letter) in named:
            places += letter
            continue
        if letter not in taken:
            taken[letter] = next(free)
            other = to.index(int(letter))  # exchange the two, so that it stays a permutation
            to[taken[letter]], to[other] = int(letter), to[taken[letter]]
        places += str(taken[letter])
    return Key(key.name, places, key.backward), tuple(to)


def in_processes(
    jobs: Sequence[Callable[[], dict[str, Any]]], count: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The numbers and results of all jobs, fewer than 256, in any order, from forked
    processes."""
    numbers, given = os.pipe()
    os.write(given, bytes(range(len(jobs))))
    os.close(given)
    pipes: list[int] = []
    for _ in range(min(count, MAX_PROCESSES)):
        receive, send = os.pipe()
        if os.fork() == 0:
            status = 1
            try:
                for fd in (receive, *pipes):  # so that writing fails once the parent is dead
                    os.close(fd)
                with os.fdopen(send, "wb") as stream:
                    while number := os.read(numbers, 1):
                        marshal.dump((number[0], jobs[number[0]]()), stream)
                        stream.flush()
                status = 0
            finally:
                os._exit(status)
        os.close(send)
        pipes.append(receive)
    os.close(numbers)
    streams = {fd: os.fdopen(fd, "rb") for fd in pipes}
    left = len(jobs)
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
    insns = [i for i in isa.instructions.values() if i.body is not None and not i.base]
    return [key for insn in insns for key in general_of(target, insn)]


def general_of(target: Target, insn: Instruction) -> list[Key]:
    """An instruction's share of ``general_keys``."""
    shape = shape_of(target, insn)
    choices = ["m" for _ in shape.registers]
    backward = (False, True) if shape.jumps else (False,)
    if shape.ends and not shape.falls and shape.written:
        pins = (str(i) for i in range(len(target.pinned)))
        choices = ["".join(("m", "z", *pins))] * len(shape.registers)
    return [
        Key(insn.name, "".join(places), b)
        for places in itertools.product(*choices)
        for b in backward
    ]


FIRST = 1000
"""So many common keys, and those that share a template with one, are in the first set."""


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
