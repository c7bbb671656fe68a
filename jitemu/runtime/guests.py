"""The guests there are, put together from a frontend's parts."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from jitemu.backend_llvm.stencils import Key, Target, parse_key
from jitemu.backend_llvm.stencilset import native_calls
from jitemu.ir.native import NativeFunction
from jitemu.ir.state import layout_of
from jitemu.runtime.guest import Guest


def natives_of(*modules: ModuleType) -> tuple[NativeFunction, ...]:
    """The native functions that these modules define or import."""
    found: dict[str, NativeFunction] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, NativeFunction):
                found[value.name] = value
    return tuple(found.values())


def _profile() -> list[Key]:
    from importlib.resources import files

    text = files("jitemu.frontends.riscv").joinpath("stencil_profile.txt").read_text()
    return [parse_key(line) for line in text.split()]


def _no_holes(ctx: int) -> Mapping[str, int]:
    return {}


def riscv64_user(cpu: str = "rv64") -> Guest:
    """RISC-V 64 in Linux user mode."""
    from jitemu.frontends.riscv import state
    from jitemu.frontends.riscv.extensions import decoder_for, parse_cpu
    from jitemu.runtime import lookup, lookup_user

    decoder = decoder_for(parse_cpu(cpu))
    layout = layout_of(state.RiscvState)
    functions: dict[str, int] = {}
    target = Target("user", layout, state.CLASSES, "x", state.PINNED, functions, state.S)
    for name in native_calls(target, state.isa):
        functions[name] = len(functions)
    return Guest(
        name="riscv64-user",
        isa=state.isa,
        decoder=decoder,
        target=target,
        natives=natives_of(lookup, lookup_user),
        common_keys=_profile,
        context_holes=_no_holes,
        translatable=lambda extension, ctx: True,
        illegal="illegal",
    )
