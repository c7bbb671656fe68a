"""What -d shows of translation and execution: from blocks to the records of the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jitemu.runtime.guest import Guest
from jitemu.runtime.records import Record
from jitemu.runtime.stateview import StateView

if TYPE_CHECKING:
    from jitemu.ir.code import Function
    from jitemu.trace import Log

_NO_CHAIN = 0x200
"""QEMU's compile flag of blocks that are not chained, which exec records show."""


class Tracer:
    """Writes the records of one engine to its log."""

    def __init__(
        self,
        log: Log,
        guest: Guest,
        symbol: Callable[[int], str] = lambda pc: "",
        privilege: Callable[[int], int] | None = None,
    ) -> None:
        self.log = log
        self.guest = guest
        self.symbol = symbol
        self.privilege = privilege
        """From a translation context (system mode)."""
        self.each_entry = log.exec or log.cpu

    def translated(
        self, block: Record, code: bytes, host: bytes, ctx: int, places: list[tuple[int, int]]
    ) -> None:
        """A block was made from this guest code.

        ``places``: of each instruction the offset in the host code and the pc.
        """
        log = self.log
        address = self.guest.address_of(block.pc)
        if not log.wants(address):
            return
        if log.in_asm:
            privilege = self.privilege(ctx) if self.privilege else None
            frontend = self.guest.frontend
            log.write_in_asm(block.pc, code, self.symbol(address), privilege, frontend)
        if log.op or log.op_opt:
            from jitemu.ir.passes import optimize
            from jitemu.ir.text import print_function

            function = self.lift(block.pc, code)
            if log.op:
                log.write_op(print_function(function))
            if log.op_opt:
                optimize(function)
                log.write_op(print_function(function), optimised=True)
        if log.out_asm:
            log.write_out_asm(block.code, host, places)

    def lift(self, pc: int, code: bytes) -> Function:
        """The micro-ops of straight guest code, a block an instruction."""
        from jitemu.ir.code import Function

        function = Function(f"tb_{pc:x}")
        decoder = self.guest.decoder
        at, here = 0, pc
        while at + 2 <= len(code):
            decoded = decoder.decode_at(here, code[at : at + 4])
            s = self.guest.target.emitter(self.guest.target.mode)
            s.address = here
            s.block.label = f"pc_{here:x}"
            if decoded is None:
                self.guest.isa.instructions[self.guest.illegal].build(s, {})
                at = len(code)
            else:
                s.length = decoded.length
                decoded.build(s)
                at += decoded.length
                here = decoder.following(here, decoded)
            if not s.ended and at + 2 <= len(code):
                s.emit("br", "", (), (f"pc_{here:x}",))
            elif not s.ended:
                s.jump(s.const(here))
            function.blocks.append(s.block)
        return function

    def entering(self, block: Record, state: StateView) -> None:
        """A block is about to be entered from the engine."""
        log, address = self.log, self.guest.address_of(block.pc)
        if not log.wants(address):
            return
        if log.exec:
            log.write_exec(
                *(block.code, address, self.symbol(address)),
                flags=state["ctx"],
                digits=16 if self.guest.address_bits >> 32 else 8,
                compile_flags=_NO_CHAIN if log.nochain else 0,
            )
        if log.cpu:
            from jitemu.trace import register_line, register_lines

            if self.guest.cpu_lines is not None:
                log.write_cpu(self.guest.cpu_lines(state.words, state.at, block.pc))
                return
            lines = [register_line("pc", block.pc)]
            kind = self.guest.target.pinned_class
            names = self.guest.register_names[kind]
            first = state.at[kind]
            lines += register_lines(names, list(state.words[first : first + len(names)]))
            log.write_cpu(lines)
