"""The modules of a start in one file of the cache folder.

A start imports some sixty modules, and to find and read each costs as much as to run it.  The
first start keeps their code in one file; later ones take it from there, unless a module's
source has changed since.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import SourceFileLoader, spec_from_file_location
from zlib import crc32

from jitemu import cachedir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    Modules = dict[str, tuple[str, bool, CodeType]]
    """By name: file, whether it is a package, code."""

_FORMAT = f"1 {sys.version}"
_PACKAGE = __name__.partition(".")[0]


class _Loader(SourceFileLoader):
    """Has a module's code; all else is as for a module in a file."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:
        return self._code


class _Finder:
    """Finds the modules of a start's bundle, as an entry of sys.meta_path."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.modules = _read(path) or {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """importlib's protocol."""
        found = self.modules.get(name)
        if found is None:
            return None
        file, package, code = found
        loader = _Loader(name, file, code)
        within = [os.path.dirname(file)] if package else None
        return spec_from_file_location(name, file, loader=loader, submodule_search_locations=within)


def use(start: str) -> None:
    """Import from the bundle of this kind of start from now on, if there is one."""
    sys.meta_path.insert(0, _Finder(_path(start)))


def keep() -> None:
    """Make the bundle of this start of what is imported by now, if it has none.

    A start that generated code is not like others: it is left to the next one.
    """
    finder = next((f for f in sys.meta_path if isinstance(f, _Finder)), None)
    generated = "llvmlite" in sys.modules
    if finder is None or finder.modules or generated or sys.dont_write_bytecode:
        return
    found: list[tuple[str, str, bool, tuple[int, int], CodeType]] = []
    for name, module in list(sys.modules.items()):
        spec = module.__spec__ if name.partition(".")[0] == _PACKAGE else None
        if spec is None or spec.origin is None:
            continue
        stamp = _stamp(spec.origin)
        code = spec.loader.get_code(name) if isinstance(spec.loader, SourceFileLoader) else None
        if code is not None:
            package = spec.submodule_search_locations is not None
            found.append((name, spec.origin, package, stamp, code))
    payload = marshal.dumps(found)
    cachedir.write_file(finder.path, [marshal.dumps((_FORMAT, crc32(payload), payload))])


def _path(start: str) -> str:
    root = crc32(os.fsencode(os.path.dirname(__file__)))
    return os.path.join(cachedir.folder(), cachedir.MODULES, f"{start}-{root:08x}")


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def _read(path: str) -> Modules | None:
    """The modules of a bundle, if it is whole and their sources are what they were."""
    if not (cachedir.is_private(os.path.dirname(path)) and cachedir.trusted()):
        return None
    modules: Modules = {}
    try:
        with open(path, "rb") as file:
            form, check, payload = marshal.loads(file.read())
        if form != _FORMAT or crc32(payload) != check:
            return None
        for name, source, package, stamp, code in marshal.loads(payload):
            if _stamp(source) != stamp:
                return None
            modules[name] = source, package, code
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return modules
