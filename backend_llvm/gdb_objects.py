"""What gdb reads of native code: ELF objects in memory, in the list that it looks for.

The list is gdb's "JIT Compilation Interface" (Debugging with GDB, chapter 30); LLVM's own is
used, which is in llvmlite's library.  An object has a symbol for each piece of code and a
line table (DWARF 4) that leads from host addresses to lines of one file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

DESCRIPTOR, REGISTER = b"__jit_debug_descriptor", b"__jit_debug_register_code"
_REGISTER_ACTION, _UNREGISTER_ACTION = 1, 2


class Piece(NamedTuple):
    """Code of one block or region."""

    name: str
    start: int
    size: int
    lines: list[tuple[int, int]]
    """(host address, line), by address; a line holds up to the next address."""


class _Entry(ctypes.Structure):
    """struct jit_code_entry."""

    _fields_ = (
        ("next", ctypes.c_void_p),
        ("previous", ctypes.c_void_p),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
    )


class _Descriptor(ctypes.Structure):
    """struct jit_descriptor."""

    _fields_ = (
        ("version", ctypes.c_uint32),
        ("action", ctypes.c_uint32),
        ("relevant", ctypes.c_void_p),
        ("first", ctypes.c_void_p),
    )


class Interface:
    """The list of objects; one for a process."""

    def __init__(self) -> None:
        """LookupError if the library does not have the list."""
        import llvmlite.binding.ffi as ffi

        path = str(ffi.lib._name)  # pyright: ignore
        found = _local_symbols(path, (DESCRIPTOR, REGISTER))
        base = _load_address(path)
        self._descriptor = _Descriptor.from_address(base + found[DESCRIPTOR])
        self._tell: Callable[[], None] = ctypes.CFUNCTYPE(None)(base + found[REGISTER])
        self._entries: list[tuple[_Entry, ctypes.Array[ctypes.c_char]]] = []

    def add(self, data: bytes) -> None:
        """Show gdb an object."""
        memory = ctypes.create_string_buffer(data, len(data))
        first = self._descriptor.first
        entry = _Entry(first, None, ctypes.addressof(memory), len(data))
        self._entries.append((entry, memory))
        if first:
            _Entry.from_address(first).previous = ctypes.addressof(entry)
        self._descriptor.first = ctypes.addressof(entry)
        self._changed(_REGISTER_ACTION, entry)

    def clear(self) -> None:
        """Take all of them away."""
        for entry, _ in reversed(self._entries):
            self._descriptor.first = entry.next
            self._changed(_UNREGISTER_ACTION, entry)
        self._entries.clear()

    def _changed(self, action: int, entry: _Entry) -> None:
        self._descriptor.action = action
        self._descriptor.relevant = ctypes.addressof(entry)
        self._tell()  # gdb has a breakpoint there


def _local_symbols(path: str, wanted: Sequence[bytes]) -> dict[bytes, int]:
    """Values of symbols in an ELF file's symbol table; LookupError if they are not there."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, each, count = struct.unpack_from("<Q10xHH", data, 40)
        sections = [struct.unpack_from("<IIQQQQIIQQ", data, at + each * n) for n in range(count)]
        for _, kind, _, _, offset, size, link, *_ in sections:
            if kind != 2:  # SHT_SYMTAB
                continue
            strings, length = sections[link][4:6]
            names = {data.find(b"\0" + w + b"\0", strings, strings + length) + 1: w for w in wanted}
            offsets = {place - strings: name for place, name in names.items() if place}
            table = memoryview(data)[offset : offset + size]
            found = {
                offsets[name]: value
                for name, _, value, _ in struct.iter_unpack("<IIQQ", table)
                if name in offsets
            }
            table.release()
            if len(found) == len(wanted):
                return found
    raise LookupError(path)


def _load_address(path: str) -> int:
    real = os.path.realpath(path)
    with open("/proc/self/maps", encoding="utf-8") as file:
        for line in file:
            words = line.split(maxsplit=5)
            if len(words) > 5 and words[5].rstrip("\n") == real and int(words[2], 16) == 0:
                return int(words[0].partition("-")[0], 16)
    raise LookupError(path)


# Objects


def code_object(pieces: Sequence[Piece], source: str) -> bytes:
    """An ELF file that describes code at the addresses where it is."""
    low = min(piece.start for piece in pieces)
    high = max(piece.start + piece.size for piece in pieces)
    symbols, strings = bytearray(24), bytearray(1)
    for piece in pieces:
        info, text = 1 << 4 | 2, 1  # STB_GLOBAL, STT_FUNC, the section .text
        symbols += struct.pack("<IBBHQQ", len(strings), info, 0, text, piece.start, piece.size)
        strings += piece.name.encode() + b"\0"
    info, abbreviations = _unit(source, low, high)
    contents = (
        (".text", 8, 6, low, b"", high - low, 0, 0, 0),
        (".symtab", 2, 0, 0, bytes(symbols), 0, 3, 1, 24),
        (".strtab", 3, 0, 0, bytes(strings), 0, 0, 0, 0),
        (".debug_info", 1, 0, 0, info, 0, 0, 0, 0),
        (".debug_abbrev", 1, 0, 0, abbreviations, 0, 0, 0, 0),
        (".debug_line", 1, 0, 0, _line_table(pieces, source), 0, 0, 0, 0),
    )
    names, headers, body = bytearray(1), bytearray(64), bytearray()
    for name, kind, flags, address, data, size, link, first, each in contents:
        body += bytes(-len(body) % 8)
        place = (len(names), kind, flags, address, 64 + len(body), size or len(data))
        headers += struct.pack("<IIQQQQIIQQ", *place, link, first, 8, each)
        names += name.encode() + b"\0"
        body += data
    place = (len(names), 3, 0, 0, 64 + len(body))
    names += b".shstrtab\0"
    headers += struct.pack("<IIQQQQIIQQ", *place, len(names), 0, 0, 1, 0)
    body += names + bytes(-(len(body) + len(names)) % 8)
    count = len(headers) // 64
    ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
    kinds = (2, 62, 1, 0, 0, 64 + len(body), 0)  # ET_EXEC, EM_X86_64: addresses as they are
    head = struct.pack("<16sHHIQQQIHHHHHH", ident, *kinds, 64, 0, 0, 64, count, count - 1)
    return head + bytes(body) + bytes(headers)


def _unit(source: str, low: int, high: int) -> tuple[bytes, bytes]:
    """.debug_info and .debug_abbrev: a unit of assembly text without entries of its own."""
    folder, name = os.path.split(source)
    forms = ((0x03, 0x08), (0x1B, 0x08), (0x10, 0x17), (0x11, 0x01), (0x12, 0x07), (0x13, 0x05))
    abbreviations = bytes((1, 0x11, 0, *(b for form in forms for b in form), 0, 0, 0))
    text = name.encode() + b"\0" + folder.encode() + b"\0"
    values = text + struct.pack("<IQQH", 0, low, high - low, 0x8001)
    unit = struct.pack("<HIB", 4, 0, 8) + b"\1" + values
    return struct.pack("<I", len(unit)) + unit, abbreviations


def _line_table(pieces: Sequence[Piece], source: str) -> bytes:
    """.debug_line: a sequence for each piece."""
    program = bytearray()
    for piece in pieces:
        line = 1
        for address, number in piece.lines:
            program += b"\0\x09\2" + struct.pack("<Q", address)
            program += b"\3" + _sleb(number - line) + b"\1"  # advance_line, copy
            line = number
        program += b"\0\x09\2" + struct.pack("<Q", piece.start + piece.size) + b"\0\1\1"
    name = os.path.basename(source).encode()
    lengths = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1))
    tables = struct.pack("<BBBbBB", 1, 1, 1, -1, 4, 10) + lengths + b"\0" + name + b"\0\0\0\0\0"
    body = struct.pack("<HI", 4, len(tables)) + tables + program
    return struct.pack("<I", len(body)) + body


def _sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if value == (-1 if byte & 0x40 else 0):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)
