"""Many regions as one LLVM module: most of a small region's cost is by the module.

Each region's functions are those of its own module with other names, and go through the
same passes.  No function of one region is called by another, so nothing is optimised across
them; ``compile_together`` checks that the code of one of them is byte by byte what its own
module gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from jitemu.backend_llvm.objects import Blob, Region, lay_out, link_self, patch
from jitemu.backend_llvm.regions import PASSES, Draft
from jitemu.backend_llvm.stencils import METADATA
from jitemu.backend_llvm.target import compile_text

MOST = 48
"""Regions of a module."""
ALIGNMENT = 64
"""Of a blob's code and its constants."""
END = "end"
"""A function behind all others of a module: constants follow it.  It is longer than addends of
relocations against constants are before them."""
_OWN = re.compile(r'@"?(?=(?:region\(|(?:entry|exit|wide)\.\d))')
_LOOPS = re.compile(r"!(\d{3,})\b")
_LOOPS_EACH = 1000


def compile_together(drafts: Sequence[Draft], checked: int) -> list[Region]:
    """The regions of some drafts, all of which have something inlined late or nothing;
    ``checked``: the number of the one also compiled alone."""
    if not drafts:
        return []
    late = drafts[0].late
    assert all(draft.late == late for draft in drafts)
    blob = lay_out(compile_text(_joined([draft.text for draft in drafts]), PASSES, late=late))
    starts = _starts(blob, len(drafts))
    blobs = [_part(blob, number, starts) for number in range(len(drafts))]
    alone = lay_out(compile_text(_joined([drafts[checked].text]), PASSES, late=late))
    code, own = _code(blob, checked, starts), _code(alone, 0, _starts(alone, 1))
    assert code == own, f"other code than alone: {drafts[checked].text}"
    return [draft.region(part) for draft, part in zip(drafts, blobs, strict=True)]


def _joined(texts: Sequence[str]) -> str:
    """One module of several regions' modules."""
    declared: dict[str, None] = {}
    shared: dict[str, None] = {}
    parts: list[str] = []
    for number, text in enumerate(texts):
        text = _OWN.sub(lambda found, n=number: f"{found[0]}r{n}.", text)
        text = _LOOPS.sub(lambda found, n=number: f"!{int(found[1]) + n * _LOOPS_EACH}", text)
        head, rest = text.split("\ndefine ", 1)
        body, metadata = rest.split(METADATA, 1)
        declared.update(dict.fromkeys(head.splitlines()))
        lines = metadata.splitlines()
        shared.update(dict.fromkeys(line for line in lines if not _LOOPS.match(line)))
        parts += [f"define {body}", *(line for line in lines if _LOOPS.match(line))]
    space = 'call void asm sideeffect ".space 64", ""()'
    end = f"define void @{END}() {{\n{space}\nret void\n}}"
    return "\n".join([*declared, *parts, end, METADATA, *shared, ""])


def _starts(blob: Blob, count: int) -> list[int]:
    """Where each region's functions begin, and where the last ones end."""
    found = [len(blob.code)] * count
    for name, offset in blob.symbols.items():
        if name != END:
            number = _number(name)
            found[number] = min(found[number], offset)
    starts = [*found, blob.symbols[END]]
    assert starts == sorted(starts)
    return starts


def _number(name: str) -> int:
    """Of the region that a symbol belongs to."""
    return int(name[1 : name.index(".")])


def _part(blob: Blob, number: int, starts: Sequence[int]) -> Blob:
    """One region's code, and all constants behind it."""
    start, end = starts[number : number + 2]
    constants = starts[-1]
    behind = end - start + (constants - (end - start)) % ALIGNMENT
    prefix = f"r{number}."
    part = Blob((blob.code[start:end]).ljust(behind, b"\xcc") + blob.code[constants:])

    def moved(offset: int) -> int | None:
        if start <= offset < end:
            return offset - start
        return offset - constants + behind if offset >= constants else None

    for name, offset in blob.symbols.items():
        if name.startswith(prefix):
            part.symbols[name.removeprefix(prefix)] = offset - start
    for offset, kind, symbol, addend in blob.relocations:
        at, to = moved(offset), addend
        if at is None:
            continue
        if symbol == "":
            near = addend + 4 if kind == "r" else addend
            target = moved(near)
            if target is None:  # a jump table of another region
                assert offset >= constants
                continue
            to += target - near
        part.relocations.append((at, kind, symbol.removeprefix(prefix), to))
    link_self(part)
    return part


def _code(blob: Blob, number: int, starts: Sequence[int]) -> tuple[bytes, list[tuple[object, ...]]]:
    """A region's code without what is relocated, and its relocations without places."""
    start, end = starts[number : number + 2]
    code = bytearray(blob.code[start:end])
    relocations: list[tuple[object, ...]] = []
    for offset, kind, symbol, _ in blob.relocations:
        if start <= offset < end:
            patch(code, offset - start, kind, 0, 0)
            relocations.append((offset - start, kind, symbol.removeprefix(f"r{number}.")))
    return bytes(code), relocations
