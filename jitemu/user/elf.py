"""Programs from ELF files: headers read, segments mapped (System V gABI chapters 4 and 5)."""

from __future__ import annotations

import errno
import os
import struct

from jitemu.messages import fail
from jitemu.user.hostcalls import PAGE, write_guest
from jitemu.user.memory import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    GuestSpace,
    page_up,
)

_ET_EXEC, _ET_DYN = 2, 3
_PT_LOAD, _PT_INTERP, _PT_PHDR = 1, 3, 6
_NO_FILE = (1 << 64) - 1


class _Form:
    """Headers of one class of ELF files, 32 or 64 bits."""

    def __init__(self, header: str, program_header: str, fields: tuple[int, ...]) -> None:
        self.header = struct.Struct(header)
        self.program_header = struct.Struct(program_header)
        self.fields = fields
        """Where type, flags, offset, address, file size and memory size are."""


_FORMS = {
    1: _Form("<16sHHIIIIIHHHHHH", "<8I", (0, 6, 1, 2, 4, 5)),
    2: _Form("<16sHHIQQQIHHHHHH", "<IIQQQQQQ", (0, 1, 2, 3, 5, 6)),
}


TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.abi import Abi


class NotForThisGuest(Exception):
    """The file is not a loadable ELF of the guest's machine."""


class Segment:
    """One program header."""

    def __init__(
        self, kind: int, flags: int, offset: int, address: int, file_size: int, memory_size: int
    ) -> None:
        self.kind = kind
        self.flags = flags
        self.offset = offset
        self.address = address
        self.file_size = file_size
        self.memory_size = memory_size


class Headers:
    """What loading needs of an ELF file."""

    def __init__(
        self,
        kind: int,
        entry: int,
        header_offset: int,
        segments: list[Segment],
        interpreter: bytes | None,
    ) -> None:
        self.kind = kind
        self.entry = entry
        self.header_offset = header_offset
        self.segments = segments
        self.interpreter = interpreter

    @property
    def loads(self) -> list[Segment]:
        """The segments to map."""
        return [segment for segment in self.segments if segment.kind == _PT_LOAD]


class Image:
    """A mapped ELF file; addresses are final."""

    def __init__(
        self,
        entry: int,
        bias: int,
        end: int,
        header_address: int,
        header_count: int,
        interpreter: bytes | None,
        loads: list[Segment],
    ) -> None:
        self.entry = entry
        self.bias = bias
        self.end = end
        self.header_address = header_address
        self.header_count = header_count
        self.interpreter = interpreter
        self.loads = loads

    def extent(self, right: int) -> tuple[int, int]:
        """First and end address of the file's bytes in segments with this right (PF_X 1,
        PF_W 2)."""
        parts = [s for s in self.loads if s.flags & right]
        if not parts:
            return 0, 0
        first = min(s.address for s in parts) + self.bias
        return first, max(s.address + s.file_size for s in parts) + self.bias


def is_guest_elf(start: bytes, abi: Abi) -> bool:
    """True for the first 20 bytes of a little-endian ELF of the guest's class and machine."""
    machine = abi.elf_machine.to_bytes(2, "little")
    return start[:6] == b"\x7fELF%c\x01" % abi.elf_class and start[18:20] == machine


def read_headers(fd: int, abi: Abi, limit: int) -> Headers:
    """Read and check the headers; NotForThisGuest where they are wrong or cut off."""
    size = os.fstat(fd).st_size
    form = _FORMS[abi.elf_class]
    start = os.pread(fd, form.header.size, 0)
    if len(start) < form.header.size or not is_guest_elf(start, abi):
        raise NotForThisGuest
    _, kind, _, _, entry, offset, _, _, _, entry_size, count, *_ = form.header.unpack(start)
    table = os.pread(fd, entry_size * count, offset) if offset < size else b""
    if (
        kind not in (_ET_EXEC, _ET_DYN)
        or entry_size != form.program_header.size
        or not count
        or len(table) != entry_size * count
    ):
        raise NotForThisGuest
    segments: list[Segment] = []
    interpreter: bytes | None = None
    for fields in form.program_header.iter_unpack(table):
        segment = Segment(*(fields[i] for i in form.fields))
        segments.append(segment)
        if segment.kind == _PT_INTERP:
            if not 0 < segment.file_size <= PAGE or segment.offset >= size:
                raise NotForThisGuest
            text = os.pread(fd, segment.file_size, segment.offset)
            interpreter = text.split(b"\0", 1)[0]
        elif segment.kind == _PT_LOAD:
            _check_load(segment, size, limit)
    headers = Headers(kind, entry, offset, segments, interpreter)
    if not headers.loads:
        raise NotForThisGuest
    return headers


def _check_load(segment: Segment, file_length: int, limit: int) -> None:
    if (
        segment.offset + segment.file_size > file_length
        or segment.file_size > segment.memory_size
        or segment.address + segment.memory_size > limit
        or (segment.address - segment.offset) % PAGE
    ):
        raise NotForThisGuest


def _reserve(space: GuestSpace, headers: Headers, base: int, name: str) -> int:
    """Reserve the whole span; the bias (what to add to the file's addresses)."""
    loads = headers.loads
    low = min(segment.address for segment in loads) & -PAGE
    high = page_up(max(segment.address + segment.memory_size for segment in loads))
    flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
    if headers.kind == _ET_EXEC:
        got = space.mmap(low, high - low, 0, flags | MAP_FIXED_NOREPLACE, _NO_FILE, 0)
        if got != low:
            reason = os.strerror(-got) if got < 0 else "address not available"
            if got == -errno.EEXIST:
                reason = "jitemu's own memory is there; link the program as PIE (-static-pie)"
            fail(f"{name}: cannot load at 0x{low:x}..0x{high:x}: {reason}")
        return 0
    got = -1
    if base:
        flags_there = flags | MAP_FIXED_NOREPLACE
        got = space.mmap(base, high - low, 0, flags_there, _NO_FILE, 0)
    if got < 0:
        got = space.mmap(0, high - low, 0, flags, _NO_FILE, 0)
    if got < 0:
        fail(f"{name}: no room for {high - low} bytes of program: {os.strerror(-got)}")
    return got - low


def _map_segment(space: GuestSpace, fd: int, segment: Segment, bias: int, name: str) -> None:
    """Map one PT_LOAD: file pages, zeroed rest of the last one, zero pages after it."""
    prot = (
        (PROT_READ if segment.flags & 4 else 0)
        | (PROT_WRITE if segment.flags & 2 else 0)
        | (PROT_EXEC if segment.flags & 1 else 0)
    )
    address = segment.address + bias
    start = address & -PAGE
    file_end = address + segment.file_size
    end = page_up(address + segment.memory_size)
    zeros_from = start
    if segment.file_size:
        zeros_from = page_up(file_end)
        has_tail = segment.memory_size > segment.file_size and file_end % PAGE != 0
        first = prot | PROT_WRITE if has_tail else prot
        offset = segment.offset - (address - start)
        got = space.mmap(
            start, zeros_from - start, first, MAP_PRIVATE | MAP_FIXED, fd, offset, name
        )
        if got != start:
            fail(f"{name}: cannot map a segment: {os.strerror(-got)}")
        if has_tail:
            write_guest(file_end, bytes(zeros_from - file_end))
            if first != prot:
                space.mprotect(start, zeros_from - start, prot)
    if end > zeros_from:
        flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
        got = space.mmap(zeros_from, end - zeros_from, prot, flags, _NO_FILE, 0)
        if got != zeros_from:
            fail(f"{name}: cannot map zeroed memory: {os.strerror(-got)}")


def load(space: GuestSpace, fd: int, name: str, abi: Abi, base: int = 0) -> Image:
    """Map an ELF file; position-independent ones at ``base`` where that is free.

    Raises NotForThisGuest for another machine's or a damaged file, UserError where the
    host's own mappings are in the way.
    """
    headers = read_headers(fd, abi, space.limit)
    bias = _reserve(space, headers, base, name)
    space.images.append((name, bias))
    header_address = 0
    for segment in headers.loads:
        _map_segment(space, fd, segment, bias, name)
        into = headers.header_offset - segment.offset
        if 0 <= into < segment.file_size:
            header_address = segment.address + into + bias
    for segment in headers.segments:
        if segment.kind == _PT_PHDR:
            header_address = segment.address + bias
    end = max(segment.address + segment.memory_size for segment in headers.loads) + bias
    return Image(
        headers.entry + bias,
        bias,
        end,
        header_address,
        len(headers.segments),
        headers.interpreter,
        headers.loads,
    )
