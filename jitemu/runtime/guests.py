"""The guests there are, put together from a frontend's parts."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from jitemu.backend_llvm.stencils import Key, Target, parse_key
from jitemu.frontends.riscv.cpu import CpuModel
from jitemu.ir.state import TLB_ENTRIES, layout_of
from jitemu.runtime.guest import Guest


def _profile() -> list[Key]:
    from importlib.resources import files

    text = files("jitemu.frontends.riscv").joinpath("stencil_profile.txt").read_text()
    return [parse_key(line) for line in text.split()]


def _no_holes(ctx: int) -> Mapping[str, int]:
    return {}


def riscv64_user(cpu: CpuModel) -> Guest:
    """RISC-V 64 in Linux user mode."""
    from jitemu.frontends.riscv import (
        actions,  # noqa: F401  (importing defines)
        state,
        zicsr,  # noqa: F401
    )
    from jitemu.frontends.riscv.extensions import decoder_for
    from jitemu.runtime import lookup_user  # noqa: F401  (defines native functions)

    return Guest(
        name="riscv64-user",
        isa=state.isa,
        decoder=decoder_for(cpu),
        target=_target("user", state, state.RiscvState),
        roots=("user_find_block", "user_look_around"),
        common_keys=_profile,
        context_holes=_no_holes,
        instead=lambda extension, ctx: None,
        register_names=_names(state),
        illegal="illegal",
    )


def _names(state: ModuleType) -> dict[str, list[str]]:
    return {
        "x": [f"x{i}/{name}" for i, name in enumerate(state.X_NAMES)],
        "f": [f"f{i}/{name}" for i, name in enumerate(state.F_NAMES)],
    }


def riscv64_system(cpu: CpuModel) -> Guest:
    """A whole RISC-V 64 machine's hart."""
    from jitemu.frontends.riscv import (
        actions,  # noqa: F401
        fetch,  # noqa: F401
        memory,  # noqa: F401
        privileged,
        start,  # noqa: F401
        state,
        system_insns,  # noqa: F401
        zicsr,  # noqa: F401
    )
    from jitemu.frontends.riscv.extensions import decoder_for
    from jitemu.runtime import lookup_system  # noqa: F401

    target = _target("system", state, privileged.HartState)
    tlb = target.layout.of("tlb")

    def holes(ctx: int) -> Mapping[str, int]:
        mode = privileged.tlb_mode_of(ctx)
        return {"mode": mode, "tlb": tlb + mode * TLB_ENTRIES * 32}

    def instead(extension: str, ctx: int) -> str | None:
        if extension not in ("f", "d"):
            return None
        return ("illegal", "float_dirty", None, None)[privileged.float_state_of(ctx)]

    return Guest(
        name="riscv64-system",
        isa=state.isa,
        decoder=decoder_for(cpu),
        target=target,
        roots=SYSTEM_ROOTS,
        common_keys=_profile,
        context_holes=holes,
        instead=instead,
        register_names=_names(state),
        illegal="illegal",
    )


SYSTEM_ROOTS = (
    "system_find_block",
    "system_look_around",
    "fetch_translate",
    "protect_code_page",
    "reset_hart",
    "start_supervisor",
    "interrupt_waiting",
    "guest_time",
    "flush_tlb",
)


def _target(mode: str, state: ModuleType, words: type) -> Target:
    layout = layout_of(words)
    return Target(mode, layout, state.CLASSES, "x", state.PINNED, {}, state.S)


def guest_named(name: str, cpu: CpuModel) -> Guest:
    """The guest of this name, with a processor model."""
    return {"riscv64-user": riscv64_user, "riscv64-system": riscv64_system}[name](cpu)
