"""32-bit ARM, put together from its frontend's parts."""

from __future__ import annotations

from jitemu.backend_llvm.stencil_keys import Target
from jitemu.frontends.arm import registers
from jitemu.ir.state import layout_of
from jitemu.runtime.guest import Guest
from jitemu.runtime.guests import USER_ROOTS, once, profile, variant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jitemu.frontends.arm.cpu import CpuModel
    from jitemu.ir.emitter import Emitter
    from jitemu.isa import Decoder, Isa


def _emitter(mode: str) -> Emitter:
    from jitemu.frontends.arm.state import S

    return S(mode)


def _definitions(cpu: CpuModel) -> Callable[[], tuple[Isa, Decoder]]:
    def load() -> tuple[Isa, Decoder]:
        from jitemu.light import import_module

        import_module("jitemu.runtime.system_calls")
        import_module("jitemu.runtime.spawn")
        from jitemu.frontends.arm.decoder import ArmDecoder

        decoder = ArmDecoder(cpu)
        return decoder.isa, decoder

    return once(load)


def _context(ctx: int) -> Mapping[str, int]:
    """0: A32, 1: T32, 2: T32 inside an IT block."""
    tree, short, rule = ((0, 1, 1), (2, 3, 2), (2, 4, 2))[ctx]
    numbers = {"tree": tree, "short_tree": short, "fetch_rule": rule}
    return {"tlb": 0, "mode": 0, "fetch": 0, "pc_register": registers.PC, **numbers}


def arm_user(cpu: CpuModel) -> Guest:
    """32-bit ARM in Linux user mode."""
    layout = layout_of(registers.ArmState)
    pinned, home = registers.PINNED, registers.HOME
    return Guest(
        name="arm-user",
        frontend="arm",
        variant=variant(cpu.extensions),
        target=Target("user", layout, registers.CLASSES, "r", pinned, {}, _emitter, True, home),
        definitions=_definitions(cpu),
        roots=USER_ROOTS,
        common_keys=lambda: profile("arm"),
        context=_context,
        contexts=3,
        instead=lambda name, extension, ctx, names: None,
        register_names={"r": registers.R_NAMES},
        illegal="illegal",
        address_bits=registers.ADDRESS_BITS,
        cpu_lines=registers.shown,
        around={"predicates": "skip_0", "read_pc": "read_pc", "write_pc": "write_pc"},
    )
