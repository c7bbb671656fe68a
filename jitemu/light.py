"""What a short program's start uses of standard modules that import many others.

Of a start's time most is imports, and enum, functools, collections, contextlib and threading
together cost as much as a bare interpreter.  So what runs before the first guest instruction
uses these, the C modules _thread and _signal, and constants where an enum would read better.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any, TypeVar

    T = TypeVar("T")


def import_module(name: str) -> ModuleType:
    """importlib's, for absolute names."""
    __import__(name)
    return sys.modules[name]


def partial(function: Callable[..., T], *first: Any) -> Callable[..., T]:
    """functools', for positional arguments."""
    return lambda *rest: function(*first, *rest)


class suppress:
    """contextlib's."""

    def __init__(self, *errors: type[BaseException]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self._errors)
