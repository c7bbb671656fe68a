"""Making a guest ready to run: its translation from the cache or the installation, or built."""

from __future__ import annotations

import marshal
import os
import struct
import time

from jitemu import cachedir
from jitemu.backend_llvm import cache
from jitemu.backend_llvm.objects import Blob, patch
from jitemu.runtime.records import Memory, place_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from jitemu.runtime.guest import Guest


FIRST = ".first"
"""Ending of the name of a set with the frequent stencils only."""
_NONE = 0xFFFF_FFFF
_CONTEXT = {
    **{"tlb": 0, "mode": 0, "fetch": 0, "tree": 0, "short_tree": 0, "fetch_rule": 0},
    **{"predicates": _NONE, "pc_register": _NONE, "read_pc": _NONE, "write_pc": _NONE},
}
"""Words of a context and what they are where the guest does not say."""


class Translation:
    """All that running a guest needs from the code generator."""

    def __init__(self, saved: Mapping[str, Any], tables: memoryview, name: str) -> None:
        self.name = name
        """Changes with the guest's processor, jitemu's files and the host processor."""
        self.tables = {
            table: Memory(tables[start : start + size])
            for table, (start, size) in saved["tables"].items()
        }
        self.complete: bool = saved["complete"]
        """Every stencil that can be wanted is there."""
        self.library = Blob(*saved["library"])
        self.functions: dict[str, int] = saved["functions"]
        self._names: bytes = saved["names"]
        self._contexts: dict[int, bytes] = saved["contexts"]
        self._stubs: dict[str, tuple[bytes, list[tuple[int, str, str, int]]]] = saved["stubs"]

    @property
    def names(self) -> list[tuple[str, str]]:
        """Name and extension of each definition, by index.  ARM has thousands, which a start
        does not need."""
        return marshal.loads(self._names)

    def context(self, guest: Guest, ctx: int) -> bytes:
        """A context's table, as runtime.translate.Context has it."""
        if ctx not in self._contexts:
            self._contexts[ctx] = _context(guest, ctx, self.names)
        return self._contexts[ctx]

    def replaced(self, guest: Guest, ctx: int) -> list[str]:
        """Extensions of which instructions do something else in a context."""
        index = dict(self.names)
        found = {e for name, e in index.items() if guest.instead(name, e, ctx, index) is not None}
        return sorted(found)

    def stub(self, name: str, holes: Mapping[str, int], address: int) -> bytes:
        """A stub of a region's exit, for this host address."""
        code, relocations = self._stubs[name]
        data = bytearray(code)
        for offset, kind, symbol, addend in relocations:
            patch(data, offset, kind, holes[symbol] + addend, address + offset)
        return bytes(data)


def set_path(guest: Guest) -> str:
    """Where the cache has a guest's stencils."""
    name = f"{guest.name}-{guest.variant}-{cache.fingerprint(guest.frontend)}"
    return os.path.join(cachedir.folder(), cachedir.STENCILS, name)


def translation_for(guest: Guest, use_cache: bool = True, beside: bool = False) -> Translation:
    """The guest's translation: from the cache, from the installation, or built.  Without
    ``use_cache`` the cache does not get it.

    ``beside``: if it is not complete (``Translation.complete``), the rest may be built beside
    the guest.
    """
    path = set_path(guest)
    if found := cache.load(path):
        cache.mark_used(path, time.time())
        saved, tables = found
    else:
        saved, tables, kept = _not_cached(guest, path, use_cache, beside)
        if use_cache and not kept:
            from jitemu.messages import warn

            warn(
                f"{cachedir.folder()}: cannot keep stencils there; make it a folder that only you "
                "can write, or set XDG_CACHE_HOME"
            )
    guest.target.functions.update(saved["functions"])
    return Translation(saved, tables, os.path.basename(path))


def _not_cached(
    guest: Guest, path: str, use_cache: bool, beside: bool
) -> tuple[Any, memoryview, bool]:
    """A set that the cache lacks, and whether the cache has it now."""
    from jitemu.runtime import installed

    if found := installed.load(guest, path if use_cache else ""):
        return found
    if use_cache and beside and (begun := cache.load(path + FIRST)):
        return *begun, True
    saved, data = _apart(lambda: build(guest, first=beside))
    kept = use_cache and cache.save(path + FIRST if beside else path, saved, data)
    return saved, place_bytes(data).bytes, kept


def _apart(work: Callable[[], Any]) -> Any:
    """The result of some work, done in a process of its own: what that imports and builds
    would be copied by each fork of the guest."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receive)
            with os.fdopen(send, "wb") as stream:
                marshal.dump(work(), stream)
            status = 0
        finally:
            os._exit(status)
    os.close(send)
    with os.fdopen(receive, "rb") as stream:
        result = stream.read()
    if os.waitpid(child, 0)[1]:
        from jitemu.messages import fail

        fail("building the stencils failed: a compile process died (is there memory enough?)")
    return marshal.loads(result)


def _context(guest: Guest, ctx: int, names: Sequence[tuple[str, str]]) -> bytes:
    """A context's words, and for each definition the index of the one that takes its place."""
    index = {name: i for i, (name, _) in enumerate(names)}
    given: dict[str, int | str] = {**guest.context(ctx), **guest.around}
    words = [given.get(name, default) for name, default in _CONTEXT.items()]
    numbers = [index[word] if isinstance(word, str) else word for word in words]
    chosen = [index[guest.instead(*pair, ctx, index) or pair[0]] for pair in names]
    return struct.pack(f"<{len(numbers)}Q{len(chosen)}I", *numbers, *chosen)


def build(
    guest: Guest,
    first: bool = False,
    what: str = "Building stencils for this processor (first use)",
) -> tuple[dict[str, Any], bytes]:
    """What is saved of a guest's code generation, and its tables, each at a page of its own.

    ``first``: only the frequent stencils, and a library that is not as fast.
    """
    from jitemu.backend_llvm.stencilset import StencilSet, general_keys
    from jitemu.runtime.progress import building
    from jitemu.runtime.tables import build_tables

    stencils = StencilSet(guest.target, guest.isa, guest.roots)
    common = guest.common_keys()
    keys = stencils.first(common) if first else [*general_keys(guest.target, guest.isa), *common]
    with building(what) as progress:
        stencils.build(keys, progress, quick=first)
    blob = stencils.library
    places: dict[str, tuple[int, int]] = {}
    tables = bytearray()
    for name, data in build_tables(stencils, guest.decoder, guest.illegal).items():
        places[name] = len(tables), (len(data) + 7) & ~7
        tables += data.ljust((len(data) + cache.PAGE - 1) & -cache.PAGE, b"\0")
    names = [(i.name, i.when) for i in guest.isa.instructions.values()]
    saved: dict[str, Any] = {
        "tables": places,
        "library": (blob.code, blob.symbols, blob.relocations),
        "functions": dict(guest.target.functions),
        "names": marshal.dumps(names),
        "contexts": {ctx: _context(guest, ctx, names) for ctx in range(guest.contexts)},
        "complete": not first,
        "stubs": {n: (stencils.stencils[n][0], list(stencils.stencils[n][1])) for n in STUBS},
    }
    return saved, bytes(tables)


STUBS = ("link", "far")
