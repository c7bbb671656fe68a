"""From an object file with stencils to their bytes and relocations."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from jitemu.backend_llvm.assembly import CONSTANT
from jitemu.backend_llvm.objects import RELOCATIONS, Relocation
from jitemu.backend_llvm.stencils import Stencil

_SECTION, _SYMBOL, _RELA = struct.Struct("<IIQQQQIIQQ"), struct.Struct("<IBBHQQ"), "<QIIq"
"""ELF-64's section header, symbol and relocation.  A set has some 30,000 of the latter: this
reads them in a tenth of the time that pyelftools takes."""


def _sections(data: bytes) -> dict[str, bytes]:
    """The contents of an object's sections, by name."""
    at, size, count, names = struct.unpack_from("<Q10xHHH", data, 0x28)
    heads = [_SECTION.unpack_from(data, at + number * size) for number in range(count)]
    strings = heads[names][4]
    found: dict[str, bytes] = {}
    for head in heads:
        name = data[strings + head[0] : data.index(b"\0", strings + head[0])].decode()
        found[name] = data[head[4] : head[4] + head[5]]
    return found


def stencils_of(data: bytes, order: Sequence[str]) -> dict[str, Stencil]:
    """The stencils in an object file, by key: a symbol begins each form, in this order."""
    sections = _sections(data)
    code, strings = sections[".text"], sections[".strtab"]
    names: list[str] = []
    starts: dict[str, int] = {}
    for at, _, _, section, value, _ in _SYMBOL.iter_unpack(sections[".symtab"]):
        name = strings[at : strings.index(b"\0", at)].decode()
        names.append(name.removeprefix("h_"))  # holes
        if section:
            starts[name] = value
    relocations = sorted(
        (offset, RELOCATIONS[kind], names[symbol], addend)
        for offset, kind, symbol, addend in struct.iter_unpack(_RELA, sections[".rela.text"])
    )
    forms: dict[str, Form] = {}
    index = 0
    ends = [*(starts[name] for name in order[1:]), len(code)]
    for name, end in zip(order, ends, strict=True):
        start = starts[name]
        mine: list[Relocation] = []
        while index < len(relocations) and relocations[index][0] < end:
            offset, kind, symbol, addend = relocations[index]
            mine.append((offset - start, kind, symbol, addend))
            index += 1
        forms[name] = code[start:end], tuple(mine)
    return {
        name: _with_constants(form, forms.get(name + ".cold", (b"", ())))
        for name, form in forms.items()
        if not name.endswith(".cold")
    }


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
