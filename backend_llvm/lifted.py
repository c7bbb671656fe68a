"""Guest instructions as micro-ops, with where control goes from them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from jitemu.backend_llvm.request import ReadCode
from jitemu.backend_llvm.stencil_keys import Target
from jitemu.ir.code import Block, Op
from jitemu.ir.emitter import Emitter
from jitemu.isa import Decoded, Decoder

NOT_LIFTED = frozenset(("call", "exit", "exitnext", "leave", "leaveif"))
"""A region ends before instructions that call into the runtime."""


@dataclass
class Lifted:
    """One guest instruction of a region."""

    pc: int
    length: int
    code: Block
    successors: list[int]
    """Guest addresses that control may go to directly, in the same frame."""
    following: int
    """Guest address of the next instruction."""
    call: int | None = None
    """The function that it calls, if that is known."""
    returns: int | None = None
    """Where a call comes back to."""
    frame: int | None = None
    """The frame of the function called, if that is inlined."""

    def ends(self, name: str) -> bool:
        """Its last micro-op has this name."""
        return bool(self.code.ops) and self.code.ops[-1].name == name


class GuestCode:
    """The instructions of some guest code, each lifted once."""

    def __init__(
        self, target: Target, decoder: Decoder, read: ReadCode, forbidden: Collection[str]
    ) -> None:
        """``forbidden``: extensions whose instructions are not lifted."""
        self.target = target
        self.decoder = decoder
        self.read = read
        self.forbidden = forbidden
        self._known: dict[int, Lifted | None] = {}

    def at(self, pc: int) -> Lifted | None:
        """The instruction at an address; None if it is none that a region can have."""
        if pc not in self._known:
            self._known[pc] = self._lift(pc)
        return self._known[pc]

    def _lift(self, pc: int) -> Lifted | None:
        code = self.read(self.decoder.address_of(pc))
        decoded = self.decoder.decode_at(pc, code)
        if decoded is None:
            return None
        if decoded.insn.when in self.forbidden:
            return None
        s = self._build(decoded, pc)
        ops = s.block.ops
        if any(op.name in NOT_LIFTED for op in ops):
            return None
        following = self.decoder.following(pc, decoded)
        last = ops[-1] if s.ended else None
        if last is None:
            successors = [following]
        elif last.name == "jump":
            successors = [last.args[0].const or 0]
        elif last.name == "branch":
            successors = [following, last.args[1].const or 0]
        else:
            successors = []
        call = returns = None
        if last is not None and last.name != "branch" and _links(ops, following):
            call = successors[0] if successors else None
            successors, returns = [], following
        if any(op.name == "skip" for op in ops) and following not in successors:
            successors, call, returns = [following, *successors], None, None
        return Lifted(pc, decoded.length, s.block, successors, following, call, returns)

    def _build(self, decoded: Decoded, pc: int) -> Emitter:
        s = self.target.emitter(self.target.mode)
        s.address = pc
        s.length = decoded.length
        decoded.build(s)
        return s


def _links(ops: Iterable[Op], following: int) -> bool:
    """The address of the next instruction is written to a register."""
    return any(op.name == "set" and op.args[0].const == following for op in ops)
