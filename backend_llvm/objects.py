"""A small linker for the relocation kinds that LLVM emits for x86-64."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RELOCATIONS = {1: "8", 2: "r", 4: "r", 10: "4", 11: "4", 14: "1", 42: "r", 41: "r", 9: "r"}
"""ELF relocation type -> kind: "8" 64-bit, "4" 32-bit, "1" 8-bit absolute, "r" 32-bit
relative to the field's own address."""

Relocation = tuple[int, str, str, int]
"""(offset, kind, symbol, addend)"""


class Blob:
    """Linked code and constants, to be placed anywhere in the arena."""

    def __init__(
        self,
        code: bytes,
        symbols: dict[str, int] | None = None,
        relocations: list[Relocation] | None = None,
    ) -> None:
        self.code = code
        self.symbols = {} if symbols is None else symbols
        """Offsets of what it defines."""
        self.relocations = [] if relocations is None else relocations


class Region:
    """A compiled region: its blob calls symbols ``exit.N``, one for each target."""

    def __init__(
        self,
        head: int,
        blob: Blob,
        exits: list[int],
        entries: list[int],
        covered: list[tuple[int, int]],
        instructions: int,
        unreached: list[int],
    ) -> None:
        self.head = head
        """Guest pc of its first entry."""
        self.blob = blob
        self.exits = exits
        """Guest targets of exit.0, exit.1, ..."""
        self.entries = entries
        """Guest addresses that entry.0, entry.1, ... go on at; the head is the first."""
        self.covered = covered
        """(guest pc, bytes) of what was lifted, in order, no two of them adjacent."""
        self.instructions = instructions
        self.unreached = unreached
        """Guest addresses that were left out, as nothing had run there."""

    def plain(self) -> tuple[Any, ...]:
        """All of it in plain types, for messages and files; ``Region.of`` takes that."""
        blob = (self.blob.code, self.blob.symbols, self.blob.relocations)
        made = (self.exits, self.entries, self.covered, self.instructions, self.unreached)
        return (self.head, blob, *made)

    @staticmethod
    def of(plain: tuple[Any, ...]) -> Region:
        """The region that ``plain`` was of."""
        head, blob, *made = plain
        return Region(head, Blob(*blob), *made)


def read_object(data: bytes) -> Blob:
    """An object's code and read-only data as one blob, linked to itself."""
    blob = lay_out(data)
    link_self(blob)
    return blob


def lay_out(data: bytes) -> Blob:
    """Lay an object's code and read-only data out as one blob.

    Relocations against its own sections name the symbol "" and carry the offset in the
    blob as their addend.
    """
    import io

    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    sections = list(elf.iter_sections())
    at: dict[int, int] = {}
    code = bytearray()
    for index, section in enumerate(sections):
        flags = section["sh_flags"]
        if flags & 2 and section["sh_size"] and section.name != ".eh_frame":
            align = max(int(section["sh_addralign"]), 1)
            code += b"\xcc" * (-len(code) % align)
            at[index] = len(code)
            code += section.data()
    table = elf.get_section_by_name(".symtab")
    symbols = list(table.iter_symbols())  # type: ignore[union-attr]
    blob = Blob(b"")
    for symbol in symbols:
        index = symbol["st_shndx"]
        if index in at and symbol.name and symbol["st_info"]["type"] == "STT_FUNC":
            blob.symbols[symbol.name] = at[index] + int(symbol["st_value"])
    for section in sections:
        if section["sh_type"] != "SHT_RELA" or section["sh_info"] not in at:
            continue
        base = at[section["sh_info"]]
        for entry in section.iter_relocations():  # type: ignore[attr-defined]
            kind = RELOCATIONS[entry["r_info_type"]]
            symbol = symbols[entry["r_info_sym"]]
            offset, addend = base + int(entry["r_offset"]), int(entry["r_addend"])
            index = symbol["st_shndx"]
            if index in at:
                addend += at[index] + int(symbol["st_value"])
                blob.relocations.append((offset, kind, "", addend))
            else:
                blob.relocations.append((offset, kind, symbol.name, addend))
    blob.code = bytes(code)
    return blob


def link_self(blob: Blob) -> None:
    """Resolve what is relative to the blob itself."""
    code = bytearray(blob.code)
    rest: list[Relocation] = []
    for offset, kind, symbol, addend in blob.relocations:
        if kind == "r" and symbol == "":
            code[offset : offset + 4] = ((addend - offset) & 0xFFFFFFFF).to_bytes(4, "little")
        else:
            rest.append((offset, kind, symbol, addend))
    blob.code = bytes(code)
    blob.relocations = rest


def patch(code: bytearray, at: int, kind: str, value: int, address: int) -> None:
    """Fill one relocated field; ``address`` is the host address of the field."""
    if kind == "r":
        value -= address
    size = 4 if kind in "r4" else int(kind)
    if size == 4 and not -(1 << 31) <= value < (1 << 32):
        raise OverflowError(f"relocation value {value:#x} does not fit 32 bits")
    code[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def place(blob: Blob, address: int, symbols: dict[str, int]) -> bytes:
    """The blob's bytes for this host address."""
    code = bytearray(blob.code)
    for offset, kind, symbol, addend in blob.relocations:
        base = address if symbol == "" else symbols[symbol]
        patch(code, offset, kind, base + addend, address + offset)
    return bytes(code)
