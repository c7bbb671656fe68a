"""The guests there are, put together from a frontend's parts."""

from __future__ import annotations

from jitemu.backend_llvm.stencil_keys import Target
from jitemu.frontends.riscv import registers
from jitemu.ir.state import TLB_ENTRIES, layout_of
from jitemu.runtime.guest import Guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from typing import Any

    from jitemu.backend_llvm.stencil_keys import Key
    from jitemu.frontends.riscv.cpu import CpuModel
    from jitemu.ir.emitter import Emitter
    from jitemu.isa import Decoder, Isa

USER_ROOTS = (
    "spawn_apart",
    "user_find_block",
    "user_look_around",
    "user_link_block",
    "user_crossed",
    "block_at",
    "user_write",
    "page_guard",
    "page_add",
    "forget_range",
    "add_head",
    "drop_region",
    "empty_jump_cache",
    "table_find",
    "lock_code",
    "measure",
    "page_note",
    "page_blocks",
    "page_targets",
    "user_system_call",
    "hold",
    "note_signal",
)
SYSTEM_ROOTS = (
    "spawn_apart",
    "system_find_block",
    "system_look_around",
    "system_link_block",
    "system_crossed",
    "system_find_plain",
    "page_add",
    "code_written",
    "add_head",
    "drop_region",
    "empty_jump_cache",
    "table_find",
    "mark_code",
    "page_note",
    "page_blocks",
    "reset_hart",
    "start_supervisor",
    "interrupt_waiting",
    "guest_time",
    "fetch_translate",
    "flush_tlb",
    "csr_read",
)


_NATIVE_MODULES: dict[str, tuple[str, ...]] = {"user": (), "system": ("fetch", "memory", "start")}
"""Modules whose import defines native functions that instructions and the engine call."""
_ENGINE_MODULES = {"user": "system_calls", "system": "lookup_system"}


def profile(frontend: str) -> list[Key]:
    from importlib.resources import files

    from jitemu.backend_llvm.stencil_keys import parse_key

    text = files(f"jitemu.frontends.{frontend}").joinpath("stencil_profile.txt").read_text()
    return [parse_key(line) for line in text.split()]


def once(load: Callable[[], tuple[Isa, Decoder]]) -> Callable[[], tuple[Isa, Decoder]]:
    """A function that loads the first time only."""
    loaded: list[tuple[Isa, Decoder]] = []

    def get() -> tuple[Isa, Decoder]:
        if not loaded:
            loaded.append(load())
        return loaded[0]

    return get


def _definitions(cpu: CpuModel, mode: str) -> Callable[[], tuple[Isa, Decoder]]:
    def load() -> tuple[Isa, Decoder]:
        from jitemu.light import import_module

        for module in ("actions", *_NATIVE_MODULES[mode]):
            import_module(f"jitemu.frontends.riscv.{module}")
        import_module(f"jitemu.runtime.{_ENGINE_MODULES[mode]}")
        import_module("jitemu.runtime.spawn")
        from jitemu.frontends.riscv.extensions import decoder_for
        from jitemu.frontends.riscv.state import isa

        return isa, decoder_for(cpu)

    return once(load)


def _target(mode: str, words: type) -> Target:
    layout = layout_of(words)
    classes, pinned, home = registers.CLASSES, registers.PINNED, registers.HOME
    return Target(mode, layout, classes, "x", pinned, {}, _emitter, home=home)


def _emitter(mode: str) -> Emitter:
    from jitemu.frontends.riscv.state import S

    return S(mode)


def _names() -> dict[str, list[str]]:
    return {
        "x": [f"x{i}/{name}" for i, name in enumerate(registers.X_NAMES)],
        "f": [f"f{i}/{name}" for i, name in enumerate(registers.F_NAMES)],
    }


def variant(extensions: Iterable[str]) -> str:
    from jitemu.backend_llvm.cache import digest_of

    return digest_of(",".join(sorted(extensions)).encode(), 4).hex()


def _no_context(ctx: int) -> Mapping[str, int]:
    return {"tlb": 0, "mode": 0, "fetch": 0}


def riscv64_user(cpu: CpuModel) -> Guest:
    """RISC-V 64 in Linux user mode."""
    from jitemu.frontends.riscv.rounding import rounded_instead

    return Guest(
        name="riscv64-user",
        frontend="riscv",
        variant=variant(cpu.extensions),
        target=_target("user", registers.RiscvState),
        definitions=_definitions(cpu, "user"),
        roots=(*USER_ROOTS, "user_rounding"),
        common_keys=lambda: profile("riscv"),
        context=_no_context,
        contexts=3,
        instead=lambda name, extension, ctx, names: rounded_instead(name, ctx, names),
        register_names=_names(),
        illegal="illegal",
    )


def riscv64_system(cpu: CpuModel) -> Guest:
    """A whole RISC-V 64 machine's hart."""
    from jitemu.frontends.riscv import privileged
    from jitemu.frontends.riscv.rounding import rounded_instead

    target = _target("system", privileged.HartState)
    tlb = target.layout.of("tlb")

    def context(ctx: int) -> Mapping[str, int]:
        mode = privileged.tlb_mode_of(ctx)
        fetch = privileged.privilege_of(ctx)
        if fetch == privileged.PRIV_M:
            fetch = privileged.MODE_M
        size = TLB_ENTRIES * 4
        return {"mode": mode, "tlb": tlb + mode * size * 8, "fetch": fetch * size}

    def instead(name: str, extension: str, ctx: int, names: Container[str]) -> str | None:
        if extension not in ("f", "d"):
            return None
        float_state = privileged.float_state_of(ctx)
        if float_state >= privileged.FLOAT_ON:
            return rounded_instead(name, float_state - privileged.FLOAT_ON, names)
        return "illegal" if float_state == privileged.FLOAT_OFF else "float_dirty"

    return Guest(
        name="riscv64-system",
        frontend="riscv",
        variant=variant(cpu.extensions),
        target=target,
        definitions=_definitions(cpu, "system"),
        roots=SYSTEM_ROOTS,
        common_keys=lambda: profile("riscv"),
        context=context,
        instead=instead,
        register_names=_names(),
        illegal="illegal",
    )


NAMES = ("riscv64-user", "riscv64-system", "arm-user")


def _parts(name: str) -> tuple[Any, Callable[[Any], Guest]]:
    """The module with a guest's processor models, and what makes it with one of them."""
    if name == "arm-user":
        from jitemu.frontends.arm import cpu as arm
        from jitemu.runtime.guest_arm import arm_user

        return arm, arm_user
    from jitemu.frontends.riscv import cpu

    return cpu, {"riscv64-user": riscv64_user, "riscv64-system": riscv64_system}[name]


def guest_named(name: str, cpu: str, extensions: Iterable[str], flags: Iterable[str]) -> Guest:
    """The guest of this name, with a processor model's name, extensions and flags."""
    models, make = _parts(name)
    return make(models.CpuModel(cpu, frozenset(extensions), frozenset(flags)))


def usual_guest(name: str) -> Guest:
    """The guest of this name, with the processor model that commands have by default."""
    models, make = _parts(name)
    return make(models.parse_cpu(models.DEFAULT))
