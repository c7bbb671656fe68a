"""LLVM itself: text in, object code out.  The only importer of llvmlite."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm

_machines: dict[int, Any] = {}


def machine(level: int = 2) -> Any:
    """The target machine: static relocation, small code model."""
    if level not in _machines:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        # the targets of a guest's switch are far apart; a table is better than comparisons
        llvm.set_option("jitemu", "-jump-table-density=1")
        _machines[level] = llvm.Target.from_default_triple().create_target_machine(
            opt=level,
            jit=True,
            cpu=llvm.get_host_cpu_name(),
            features=llvm.get_host_cpu_features().flatten(),
            reloc="static",
            codemodel="small",
        )
    return _machines[level]


def compile_text(text: str, passes: str = "", level: int = 2, late: str = "") -> bytes:
    """An object file from LLVM text.

    ``passes``: "" for none, "default" for a whole -O2 pipeline, "region" for the same
    without unrolling and vectors, "quick" for the few that matter most.  ``late``: functions to
    be inlined after that.
    """
    module = parse(text)
    if passes:
        optimise(module, passes, level)
    if late:
        expand(module, late)
    return emit(module, level)


def parse(text: str) -> Any:
    """A module of LLVM text."""
    return llvm.parse_assembly(text)


def optimise(module: Any, passes: str, level: int = 2) -> None:
    """Run a pipeline of ``compile_text`` on a module."""
    target = machine(level)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    if passes == "region":
        # They make large regions larger, and more often slower than faster.
        options.loop_unrolling = options.loop_vectorization = False
        options.slp_vectorization = False
    builder = llvm.create_pass_builder(target, options)
    manager = builder.getModulePassManager()
    if passes == "quick":
        manager = llvm.create_new_module_pass_manager()
        manager.add_always_inliner_pass()
        manager.add_sroa_pass()
        manager.add_simplify_cfg_pass()
        manager.add_instruction_combine_pass()
        manager.add_simplify_cfg_pass()
    manager.run(module, builder)


def expand(module: Any, late: str) -> None:
    """Inline functions that LLVM has only seen declared."""
    module.link_in(parse(late))
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_instruction_combine_pass()
    passes.add_jump_threading_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(machine(), llvm.create_pipeline_tuning_options()))


def emit(module: Any, level: int = 2) -> bytes:
    """An object file."""
    return machine(level).emit_object(module)


def assembly(text: str) -> str:
    """Host assembly of LLVM text, for people."""
    return machine().emit_assembly(llvm.parse_assembly(text))
