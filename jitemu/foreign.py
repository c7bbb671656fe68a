"""The part of ctypes that a program's start uses.

All of ctypes takes longer to import than the rest of a start's library together.  These are made
of the same C module: objects of both can be mixed.
"""

from __future__ import annotations

from _ctypes import Structure as Structure
from _ctypes import addressof as addressof
from _ctypes import byref as byref
from _ctypes import get_errno as get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import CDLL, Array
    from ctypes import CFUNCTYPE as CFUNCTYPE
    from ctypes import c_char as c_char
    from ctypes import c_char_p as c_char_p
    from ctypes import c_int as c_int
    from ctypes import c_int64 as c_int64
    from ctypes import c_long as c_long
    from ctypes import c_size_t as c_size_t
    from ctypes import c_ubyte as c_ubyte
    from ctypes import c_uint32 as c_uint32
    from ctypes import c_uint64 as c_uint64
    from ctypes import c_void_p as c_void_p
    from typing import Any
else:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_USE_ERRNO,
        CFuncPtr,
        _SimpleCData,
        dlopen,
    )

    def _simple(code):
        """The type of one C value; ``code`` is struct's."""
        return type(_SimpleCData)(f"c_{code}", (_SimpleCData,), {"_type_": code})

    c_char, c_ubyte, c_int, c_uint32 = map(_simple, "cBiI")
    c_long, c_uint64, c_char_p, c_void_p = map(_simple, "lLzP")
    c_int64, c_size_t = c_long, c_uint64

    class _LibraryFunction(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class CDLL:
        """A loaded library, None for all that the process has; its calls keep errno."""

        def __init__(self, name, use_errno):
            self._handle = dlopen(name, 0)

        def __getattr__(self, name):
            function = self[name]
            setattr(self, name, function)
            return function

        def __getitem__(self, name):
            return _LibraryFunction((name, self))

    _function_types = {}

    def CFUNCTYPE(result, *arguments):
        """The type of C functions with this result and these arguments."""
        found = _function_types.get((result, arguments))
        if found is None:
            words = {"_flags_": FUNCFLAG_CDECL, "_restype_": result, "_argtypes_": arguments}
            found = _function_types[result, arguments] = type(CFuncPtr)(
                "CFunction", (CFuncPtr,), words
            )
        return found


def load_libc() -> CDLL:
    """The C library, for a user that declares its functions' arguments."""
    return CDLL(None, use_errno=True)


def create_string_buffer(init: bytes | int, size: int | None = None) -> Array[c_char]:
    """ctypes': memory for bytes, zero or beginning with some."""
    if isinstance(init, int):
        return (c_char * init)()
    buffer = (c_char * (len(init) + 1 if size is None else size))()
    buffer.value = init
    return buffer


def pointer_in(holder: Any) -> int:
    """The address that a function or pointer holds."""
    return c_void_p.from_address(addressof(holder)).value or 0
