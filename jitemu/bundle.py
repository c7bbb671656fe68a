"""The modules of a start in one file of the cache folder.

A start imports some eighty modules, and to find and read each costs as much as to run it.  The
first start keeps their code in one file, and where extension modules are; later ones take them
from there, but for those whose source has changed since.
"""

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader
from _imp import source_hash  # that of .pyc files: zlib or hashlib would have to be loaded

from jitemu import cachedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

    Where = tuple[str, str, bool, tuple[int, int]]
    """Of a module: file, file of its bytecode, whether it is a package, the file's stamp."""
    Kept = tuple[Where, int, int, bytes]
    """That, where its code is (no bytes: an extension module), and the code's checksum."""

_FORMAT = f"jitemu-modules-2 {sys.version}\n".encode()
_CHECK = 8
_LARGEST_TABLE = 1 << 20
_PACKAGE = __name__.partition(".")[0]
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_OF_EVERY_START = {n for n in sys.modules if n.partition(".")[0] != _PACKAGE}
"""Python's own start imports them."""


class _Loader(SourceFileLoader):
    """Has a module's code; all else is as for a module in a file."""

    def __init__(self, name: str, path: str, code: "CodeType") -> None:
        super().__init__(name, path)
        self._code: CodeType | None = code

    def get_code(self, fullname: str) -> "CodeType | None":
        code, self._code = self._code, None  # run once, it is not needed any more
        return code or super().get_code(fullname)


class _Finder:
    """Finds the modules of a start's bundle, as an entry of sys.meta_path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.modules: dict[str, Kept] = {}
        self.missed: list[str] = []
        self._fd = -1
        self._start = 0
        """Where in the file the modules' code begins."""
        if cachedir.is_private(os.path.dirname(path)) and cachedir.trusted():
            self._read()

    def _read(self) -> None:
        """Take the file's table, if it is whole and this Python's."""
        at = len(_FORMAT) + _CHECK + 4
        try:
            self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            head = os.pread(self._fd, at, 0)
            size = int.from_bytes(head[at - 4 :], "little")
            table = os.pread(self._fd, size, at) if size <= _LARGEST_TABLE else b""
        except OSError:
            return
        self._start = at + size
        if head.startswith(_FORMAT) and _checksum(table) == head[len(_FORMAT) : at - 4]:
            self.modules = marshal.loads(table)

    def close(self) -> None:
        """Find nothing any more."""
        self.modules.clear()
        if self._fd >= 0:
            os.close(self._fd)

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """importlib's protocol."""
        kept = self.modules.get(name)
        if kept is None:
            self.missed.append(name)
            return None
        (file, cached, package, stamp), _, size, check = kept
        code = self.code(kept)
        if _stamp(file) != stamp or _checksum(code) != check:
            self.missed.append(name)
            return None
        # piece by piece: memory that is used again is cheaper than a mapping's pages
        loader = (
            _Loader(name, file, marshal.loads(code)) if size else ExtensionFileLoader(name, file)
        )
        spec = ModuleSpec(name, loader, origin=file, is_package=package)
        spec.has_location = True
        if size:
            spec.cached = cached
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(file))
        return spec

    def code(self, kept: "Kept") -> bytes:
        """A module's marshalled code, read alone: memory used again costs no page faults."""
        _, at, size, _ = kept
        return os.pread(self._fd, size, self._start + at) if size else b""


def use(start: str) -> None:
    """Import from the bundle of this kind of start from now on, if there is one."""
    sys.meta_path.insert(0, _Finder(_path(start)))


def finish(keep: bool) -> None:
    """All is imported that the start needs.

    ``keep``: make the bundle of what is imported by now, if it lacks some of that.  A start that
    generated code is not like others: it is left to the next one.
    """
    finder = next((f for f in sys.meta_path if isinstance(f, _Finder)), None)
    if finder is None:
        return
    sys.meta_path.remove(finder)
    lacking = not finder.modules or any(map(_new, finder.missed))
    if keep and lacking and "llvmlite" not in sys.modules and not sys.dont_write_bytecode:
        _write(finder)
    finder.close()


def _write(finder: _Finder) -> None:
    table: dict[str, Kept] = {}
    codes: list[bytes] = []
    at = 0
    for name in {**sys.modules, **finder.modules}:
        if found := _new(name):
            where, code = found
            check = _checksum(code)
        elif name in finder.modules:  # this run has it from there, or only others need it
            where, _, _, check = finder.modules[name]
            code = finder.code(finder.modules[name])
        else:
            continue
        table[name] = where, at, len(code), check
        codes.append(code)
        at += len(code)
    packed = marshal.dumps(table)
    head = _FORMAT + _checksum(packed) + len(packed).to_bytes(4, "little")
    cachedir.write_file(finder.path, [head, packed, *codes])


def _new(name: str) -> "tuple[Where, bytes] | None":
    """Where an imported module is, and its marshalled code; None where it is not to be kept, or
    came from what is kept."""
    top = name.partition(".")[0]
    if name in _OF_EVERY_START or top not in sys.stdlib_module_names | {_PACKAGE}:
        return None
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None or spec.origin is None or isinstance(spec.loader, _Loader):
        return None
    # a folder that happens to be on the path must not stand for the library in later starts
    if top != _PACKAGE and not spec.origin.startswith(_LIBRARY):
        return None
    package = spec.submodule_search_locations is not None
    where = spec.origin, spec.cached or "", package, _stamp(spec.origin)
    if isinstance(spec.loader, SourceFileLoader):
        return where, marshal.dumps(spec.loader.get_code(name))
    return (where, b"") if isinstance(spec.loader, ExtensionFileLoader) else None


def _path(start: str) -> str:
    root = source_hash(0, os.fsencode(os.path.dirname(__file__)))
    return os.path.join(cachedir.folder(), cachedir.MODULES, f"{start}-{root.hex()}")


def _checksum(data: bytes) -> bytes:
    return source_hash(0, data)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, -1
    return status.st_mtime_ns, status.st_size
