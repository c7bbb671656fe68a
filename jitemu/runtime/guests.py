"""The guests there are, put together from a frontend's parts."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from jitemu.backend_llvm.stencils import Key, Target, parse_key
from jitemu.ir.state import layout_of
from jitemu.runtime.guest import Guest


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
    from jitemu.runtime import lookup_user  # noqa: F401  (defines native functions)

    return Guest(
        name="riscv64-user",
        isa=state.isa,
        decoder=decoder_for(parse_cpu(cpu)),
        target=_target("user", state),
        roots=("user_find_block", "user_look_around"),
        common_keys=_profile,
        context_holes=_no_holes,
        translatable=lambda extension, ctx: True,
        register_names=_names(state),
        illegal="illegal",
    )


def _names(state: ModuleType) -> dict[str, list[str]]:
    return {
        "x": [f"x{i}/{name}" for i, name in enumerate(state.X_NAMES)],
        "f": [f"f{i}/{name}" for i, name in enumerate(state.F_NAMES)],
    }


def _target(mode: str, state: ModuleType) -> Target:
    layout = layout_of(state.RiscvState)
    return Target(mode, layout, state.CLASSES, "x", state.PINNED, {}, state.S)


def guest_named(name: str, cpu: str) -> Guest:
    """The guest of this name, with a processor model in -cpu's syntax."""
    return {"riscv64-user": riscv64_user}[name](cpu)
