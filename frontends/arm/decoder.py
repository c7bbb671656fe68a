"""Decoding: five trees of encodings, chosen by the pc word."""

from __future__ import annotations

from jitemu.frontends.arm import (
    actions,
    branch,
    coprocessor,
    crc,
    dataproc,
    media,
    memory,
    multiple,
    multiply,
    neon,
    neon_crypto,
    neon_float,
    neon_memory,
    neon_shift,
    neon_two,
    neon_wide,
    parallel,
    saturate,
    system,
    vfp,
    vfp_convert,
    vfp_moves,
)
from jitemu.frontends.arm.registers import ADDRESS_BITS, following
from jitemu.frontends.arm.state import (
    A32,
    IT16,
    NEEDS,
    T16,
    T32,
    UNCONDITIONAL,
    encoding_needs,
    isa,
    trees_of,
)
from jitemu.isa import Decoded, Decoder, Instruction, Node, build_tree

DEFINITIONS = (
    *(actions, dataproc, multiply, memory, multiple, branch, media, system, coprocessor),
    *(parallel, saturate, crc),
    *(neon, neon_crypto, neon_float, neon_memory, neon_shift, neon_two, neon_wide),
    *(vfp, vfp_convert, vfp_moves),
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.frontends.arm.cpu import CpuModel

ALWAYS = 14


def _has(model: CpuModel, insn: Instruction) -> bool:
    """The model knows the encoding."""
    needs = (NEEDS.get(insn.stencil), NEEDS.get(insn.name), encoding_needs(insn))
    return all(n is None or n in model.extensions for n in needs)


class ArmDecoder(Decoder):
    """Decodes words of all trees."""

    def __init__(self, model: CpuModel | None = None) -> None:
        """``model``: whose instructions there are; all without one."""
        super().__init__(isa, [])
        insns = [i for i in isa.instructions.values() if model is None or _has(model, i)]
        self.instructions = insns
        chosen = {n: [i for i in insns if n in trees_of(i)] for n in range(5)}
        self.trees: dict[int, Node | list[Instruction]] = {
            n: build_tree(group) for n, group in chosen.items()
        }
        self.native_trees = (A32, UNCONDITIONAL, T32, T16, IT16)
        self.known: dict[tuple[int, int, int], Decoded | None] = {}

    def address_of(self, pc: int) -> int:
        return pc & ADDRESS_BITS & ~1

    def decode_at(self, pc: int, code: bytes) -> Decoded | None:
        state = pc >> 32
        low = int.from_bytes(code[:2], "little")
        length = 4
        if pc & 1 and low >> 11 < 0x1D:
            length = 2
        if len(code) < length:
            return None
        tree, word = A32, int.from_bytes(code[:length], "little")
        if pc & 1 and length == 2:
            tree = IT16 if state else T16
        elif pc & 1:
            tree, word = T32, low << 16 | word >> 16
        elif word >> 28 == 15:
            tree = UNCONDITIONAL
        key = (tree, word, state >> 4 if state else ALWAYS)
        if key not in self.known:
            self.known[key] = self._whole(tree, word, length, state)
        return self.known[key]

    def _whole(self, tree: int, word: int, length: int, state: int) -> Decoded | None:
        insn = self._find(word, tree)
        if insn is None:
            return None
        predicate = state >> 4 if state else ALWAYS
        fields = insn.decode(word)
        if "cond" in fields:
            predicate = fields["cond"]
            if predicate == ALWAYS and tree != A32:
                return None
        if predicate > ALWAYS:
            return None
        guard = isa.instructions[f"skip_{predicate}"] if predicate < ALWAYS else None
        parts: list[tuple[Instruction, dict[str, int]]] = []
        while insn.steps is not None:
            step = insn.steps.evaluate(word, len(parts))
            if not step:
                break
            one = self._find(step, A32)
            assert one is not None
            parts.append((one, one.decode(step)))
        if insn.steps is not None and not parts:
            return None
        return Decoded(insn, fields, length, guard, tuple(parts))

    def following(self, pc: int, decoded: Decoded) -> int:
        if decoded.insn.name == "it":
            after = pc + decoded.length & ADDRESS_BITS
            return after | decoded.fields["list"] << 32 if decoded.fields["list"] & 15 else after
        return following(pc, decoded.length)
