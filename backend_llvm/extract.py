"""From an object file with stencils to their bytes and relocations.

LLVM ends a rare path with a jump of its own behind the hot code; jumps to such a jump
are led straight to its target, so that the hot code ends with its way to @next.
"""

from __future__ import annotations

from jitemu.backend_llvm.objects import RELOCATIONS, Relocation
from jitemu.backend_llvm.stencils import Stencil


class _Piece:
    """An instruction of a stencil: bytes, relocations relative to it, internal target."""

    __slots__ = ("code", "goto", "offset", "relocations")

    def __init__(self, offset: int, code: bytes, goto: int | None) -> None:
        self.offset = offset
        self.code = bytearray(code)
        self.goto = goto
        self.relocations: list[Relocation] = []

    @property
    def outward(self) -> Relocation | None:
        """The relocation of a plain jump out of the stencil."""
        if self.code[0] == 0xE9 and len(self.relocations) == 1:
            return self.relocations[0]
        return None


def _pieces(code: bytes, relocations: list[Relocation]) -> list[_Piece]:
    import capstone

    md = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    starts = [(i.address, i.size, i.mnemonic, i.op_str) for i in md.disasm(code, 0)]
    if sum(size for _, size, _, _ in starts) != len(code):
        raise ValueError("a stencil that cannot be disassembled")
    pieces: list[_Piece] = []
    rest = sorted(relocations)
    for at, size, mnemonic, operands in starts:
        mine: list[Relocation] = []
        while rest and rest[0][0] < at + size:
            offset, kind, symbol, addend = rest.pop(0)
            mine.append((offset - at, kind, symbol, addend))
        goto = None
        body = bytearray(code[at : at + size])
        if any(symbol.startswith(CONSTANT) for _, _, symbol, _ in mine):
            _unalign(body, mnemonic)
        if mnemonic[0] == "j" and not mine and operands.startswith("0x"):
            goto = int(operands, 16)
        elif mnemonic[0] == "j" and not mine and operands.isdigit():
            goto = int(operands)
        piece = _Piece(at, bytes(body), goto)
        piece.relocations = mine
        pieces.append(piece)
    return pieces


def _unalign(code: bytearray, mnemonic: str) -> None:
    """Let a load of an aligned vector constant take any address."""
    opcode = {0xC5: 2, 0xC4: 3, 0x62: 4}.get(code[0])
    if not mnemonic.startswith(("vmovaps", "vmovapd", "vmovdqa")):
        return
    if opcode is None:
        raise ValueError(f"a load of a constant of an unknown form: {code.hex()}")
    if code[opcode] == 0x28:
        code[opcode] = 0x10
    else:  # the prefix 66 becomes F3
        at = 2 if opcode == 4 else opcode - 1
        code[at] = code[at] & ~3 | 2


def _lead(pieces: list[_Piece]) -> None:
    """Lead internal jumps that arrive at an outward jump straight to its target."""
    at = {p.offset: p for p in pieces}
    for piece in pieces:
        if piece.goto is None:
            continue
        out = at[piece.goto].outward
        if out is None:
            _widen(piece)
            continue
        piece.goto = None
        _, kind, symbol, addend = out
        first = piece.code[0]
        if first in (0xEB, 0xE9):
            piece.code = bytearray(b"\xe9\0\0\0\0")
            piece.relocations = [(1, kind, symbol, addend)]
        else:
            condition = piece.code[1] if first == 0x0F else first + 0x10
            piece.code = bytearray((0x0F, condition, 0, 0, 0, 0))
            piece.relocations = [(2, kind, symbol, addend)]


def _widen(piece: _Piece) -> None:
    """Give an internal jump its 32-bit form, as distances may grow."""
    first = piece.code[0]
    if first == 0xEB:
        piece.code = bytearray(b"\xe9\0\0\0\0")
    elif 0x70 <= first <= 0x7F:
        piece.code = bytearray((0x0F, first + 0x10, 0, 0, 0, 0))
    elif first != 0xE9 and not (first == 0x0F and 0x80 <= piece.code[1] <= 0x8F):
        raise ValueError(f"an internal jump of an unknown form: {piece.code.hex()}")


def _drop_unreached(pieces: list[_Piece]) -> list[_Piece]:
    wanted = {p.goto for p in pieces if p.goto is not None}
    kept: list[_Piece] = []
    dead = False
    for piece in pieces:
        if piece.offset in wanted:
            dead = False
        if dead:
            continue
        kept.append(piece)
        dead = piece.code[0] in (0xE9, 0xEB) or piece.code[0] == 0xC3
    return kept


def _negate(pieces: list[_Piece]) -> None:
    """``jcc next; jmp X`` at the end becomes ``jncc X; jmp next``."""
    if len(pieces) < 2:
        return
    last, before = pieces[-1], pieces[-2]
    if last.outward is None or last.outward[2] == "next" or len(before.relocations) != 1:
        return
    if before.code[0] == 0x0F and before.relocations[0][2] == "next":
        before.code[1] ^= 1
        a, b = before.relocations[0], last.relocations[0]
        before.relocations = [(a[0], b[1], b[2], b[3])]
        last.relocations = [(b[0], a[1], a[2], a[3])]


def tidy(code: bytes, relocations: list[Relocation]) -> tuple[bytes, tuple[Relocation, ...]]:
    """A stencil's function with its jumps led through and a last ``jmp next`` dropped."""
    pieces = _pieces(code, relocations)
    _lead(pieces)
    pieces = _drop_unreached(pieces)
    _negate(pieces)
    if pieces[-1].outward is not None and pieces[-1].outward[2] == "next":
        pieces.pop()
    new_at: dict[int, int] = {}
    size = 0
    for piece in pieces:
        new_at[piece.offset] = size
        size += len(piece.code)
    out = bytearray()
    relocated: list[Relocation] = []
    for piece in pieces:
        base = len(out)
        if piece.goto is not None:
            distance = new_at[piece.goto] - base - len(piece.code)
            piece.code[-4:] = distance.to_bytes(4, "little", signed=True)
        relocated.extend((base + o, k, s, a) for o, k, s, a in piece.relocations)
        out += piece.code
    return bytes(out), tuple(relocated)


def stencils_of(data: bytes) -> dict[str, Stencil]:
    """The stencils in an object file, by key."""
    import io

    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    text = elf.get_section_by_name(".text")
    assert text is not None
    code: bytes = text.data()
    symbols = list(elf.get_section_by_name(".symtab").iter_symbols())  # type: ignore[union-attr]
    table = elf.get_section_by_name(".rela.text")
    relocations: list[Relocation] = []
    for r in table.iter_relocations() if table else ():  # type: ignore[attr-defined]
        symbol = symbols[r["r_info_sym"]]
        name, addend = _symbol(symbol.name), int(r["r_addend"])
        where = symbol["st_shndx"]
        if isinstance(where, int) and elf.get_section(where).name.startswith(".rodata"):
            section = elf.get_section(where)
            addend += int(symbol["st_value"])
            name, addend = _constant(section.name, section.data(), addend)
        relocations.append((int(r["r_offset"]), RELOCATIONS[r["r_info_type"]], name, addend))
    relocations.sort()
    forms: dict[str, tuple[bytes, tuple[Relocation, ...]]] = {}
    functions = sorted(
        (int(s["st_value"]), int(s["st_size"]), s.name)
        for s in symbols
        if s["st_info"]["type"] == "STT_FUNC"
    )
    index = 0
    for start, size, name in functions:
        mine: list[Relocation] = []
        while index < len(relocations) and relocations[index][0] < start + size:
            offset, kind, symbol, addend = relocations[index]
            mine.append((offset - start, kind, symbol, addend))
            index += 1
        forms[name] = tidy(code[start : start + size], mine)
    empty: tuple[bytes, tuple[Relocation, ...]] = (b"", ())
    return {
        name: _with_constants(form, forms.get(name + ".cold", empty))
        for name, form in forms.items()
        if not name.endswith(".cold")
    }


CONSTANT = "constant."
"""Of the names of constants in memory: their bytes in hexadecimal follow."""


def _constant(section: str, data: bytes, addend: int) -> tuple[str, int]:
    """(name, addend from its start) of the constant that a relocation refers to.

    The addend is that of a field of 4 bytes, with an immediate byte behind it at most; there
    is none in what repeats one or two bytes, whose section does not tell their size.
    """
    if section == ".rodata":
        return CONSTANT + data[addend + 4 : addend + 6].ljust(2, b"\0").hex(), -4
    if not section.startswith(".rodata.cst"):
        raise ValueError(f"a stencil that refers to {section}")
    size = int(section.removeprefix(".rodata.cst"))
    at = -(-(addend + 4) // size) * size
    return CONSTANT + data[at : at + size].hex(), addend - at


Form = tuple[bytes, tuple[Relocation, ...]]


def _with_constants(hot: Form, cold: Form) -> Stencil:
    """A stencil whose constants lie behind its cold code."""
    code = bytearray(cold[0])
    places: dict[str, int] = {}

    def led(relocations: tuple[Relocation, ...]) -> tuple[Relocation, ...]:
        done: list[Relocation] = []
        for offset, kind, symbol, addend in relocations:
            if symbol.startswith(CONSTANT):
                if symbol not in places:
                    places[symbol] = len(code)
                    code.extend(bytes.fromhex(symbol.removeprefix(CONSTANT)))
                symbol, addend = "cold", addend + places[symbol]
            done.append((offset, kind, symbol, addend))
        return tuple(done)

    hot_relocations, cold_relocations = led(hot[1]), led(cold[1])
    return hot[0], hot_relocations, bytes(code), cold_relocations


def _symbol(name: str) -> str:
    """Holes lose their prefix."""
    return name.removeprefix("h_")
