"""Files that are loaded before the first instruction: kernels, firmware, initrds.  What is
wrong with one is a UserError of one line."""

from __future__ import annotations

import os
import stat

from jitemu.messages import fail

ELF_MAGIC = b"\x7fELF"
GZIP_MAGIC = b"\x1f\x8b"
EM_RISCV = 243
CHUNK = 1 << 20

# Linux, Documentation/arch/riscv/boot-image-header.rst
IMAGE_HEADER_SIZE = 64
IMAGE_MAGIC_AT = 0x30
IMAGE_MAGIC = b"RISCV\0\0\0"
IMAGE_MAGIC2_AT = 0x38
IMAGE_MAGIC2 = b"RSC\x05"

INITRD_FORMATS = {
    "gzip": (0, GZIP_MAGIC),
    "cpio (newc)": (0, b"070701"),
    "cpio (newc with checksums)": (0, b"070702"),
    "cpio (odc)": (0, b"070707"),
    "cpio (binary)": (0, b"\xc7\x71"),
    "zstd": (0, b"\x28\xb5\x2f\xfd"),
    "xz": (0, b"\xfd7zXZ\0"),
    "lzma": (0, b"\x5d\0\0"),
    "bzip2": (0, b"BZh"),
    "lz4": (0, b"\x02\x21\x4c\x18"),
    "lz4 (frame)": (0, b"\x04\x22\x4d\x18"),
    "lzo": (0, b"\x89LZO\0"),
    "squashfs": (0, b"hsqs"),
    "romfs": (0, b"-rom1fs-"),
    "cramfs": (0, b"\x45\x3d\xcd\x28"),
    "ext2": (1080, b"\x53\xef"),
}


class Segment:
    """Bytes for a range of guest memory; ``size`` may be more than the data (bss)."""

    def __init__(self, address: int, data: bytes, size: int) -> None:
        self.address = address
        self.data = data
        self.end = address + max(size, len(data))


class KernelImage:
    """A kernel or firmware: ``segments`` and, for a raw one, where it wants to be.

    ``offset`` is None for ELF files, whose segments have addresses of their own; otherwise
    the one segment's address counts from where the image is put."""

    def __init__(self, segments: list[Segment], offset: int | None) -> None:
        self.segments = segments
        self.offset = offset

    @property
    def start(self) -> int:
        return min(segment.address for segment in self.segments)

    @property
    def end(self) -> int:
        return max(segment.end for segment in self.segments)

    def placed_at(self, address: int) -> KernelImage:
        """A raw image at its place; an ELF file stays where it is."""
        if self.offset is None:
            return self
        moved = [Segment(address, s.data, s.end - s.address) for s in self.segments]
        return KernelImage(moved, self.offset)


def read_file(option: str, path: str, limit: int = -1) -> bytes:
    """A file's bytes, or the first ``limit`` of them; UserError if it is missing,
    unreadable or empty."""
    try:
        with open(path, "rb") as file:
            if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
                fail(f"{option} {path}: is a directory")
            data = file.read(limit)
    except OSError as error:
        fail(f"{option} {path}: {error.strerror or error}")
    except ValueError:
        fail(f"{option} {path}: not a file name")
    if not data:
        fail(f"{option} {path}: the file is empty")
    return data


def check_file(option: str, path: str) -> None:
    """UserError if read_file is bound to fail.  A pipe, which cannot be read twice, is left
    alone."""
    if not os.path.exists(path) or os.path.isfile(path):
        read_file(option, path, 1)


def parse_kernel(option: str, path: str, data: bytes, limit: int) -> KernelImage:
    """ELF, Linux Image, either of them gzipped, or plain code.  ``limit`` bounds what a
    gzipped file may grow to (bytes)."""
    if data.startswith(GZIP_MAGIC):
        data = _gunzip(option, path, data, limit)
    if data.startswith(ELF_MAGIC):
        return KernelImage(_elf_segments(option, path, data), None)
    if data[IMAGE_MAGIC_AT : IMAGE_MAGIC_AT + 8] == IMAGE_MAGIC or (
        data[IMAGE_MAGIC2_AT : IMAGE_MAGIC2_AT + 4] == IMAGE_MAGIC2
    ):
        return _linux_image(option, path, data)
    if data.startswith(b"MZ"):
        fail(f"{option} {path}: a PE file, but not a RISC-V Linux Image")
    return KernelImage([Segment(0, data, len(data))], 0)


def _gunzip(option: str, path: str, data: bytes, limit: int) -> bytes:
    import zlib

    inflater = zlib.decompressobj(31)
    try:
        plain = inflater.decompress(data, limit)
    except zlib.error as error:
        fail(f"{option} {path}: corrupt gzip data: {error}")
    if inflater.unconsumed_tail:
        fail(f"{option} {path}: does not fit into {limit >> 20} MiB of RAM; give more with -m")
    if not inflater.eof:
        fail(f"{option} {path}: truncated gzip data")
    return plain


def _linux_image(option: str, path: str, data: bytes) -> KernelImage:
    if len(data) < IMAGE_HEADER_SIZE:
        fail(f"{option} {path}: truncated: {len(data)} bytes, less than an Image's header")
    offset = int.from_bytes(data[8:16], "little")
    size = int.from_bytes(data[16:24], "little")
    flags = int.from_bytes(data[24:32], "little")
    if flags & 1:
        fail(f"{option} {path}: a big-endian kernel; this machine is little-endian")
    needed = _pe_file_size(data)
    if needed > len(data):
        fail(f"{option} {path}: truncated: {len(data)} of {needed} bytes")
    return KernelImage([Segment(0, data, size)], offset)


def _pe_file_size(data: bytes) -> int:
    """How long the file must be by its PE (EFI stub) section table; 0 without one."""
    if not data.startswith(b"MZ"):
        return 0
    header = int.from_bytes(data[0x3C:0x40], "little")
    if data[header : header + 4] != b"PE\0\0":
        return 0
    sections = int.from_bytes(data[header + 6 : header + 8], "little")
    optional = int.from_bytes(data[header + 20 : header + 22], "little")
    table = header + 24 + optional
    ends = [table + sections * 40]
    for at in range(table, table + sections * 40, 40):
        raw_size = int.from_bytes(data[at + 16 : at + 20], "little")
        raw_at = int.from_bytes(data[at + 20 : at + 24], "little")
        ends.append(raw_at + raw_size)
    return max(ends)


def _elf_segments(option: str, path: str, data: bytes) -> list[Segment]:
    """The PT_LOAD segments by physical address."""
    import io

    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        machine, kind = elf["e_machine"], elf["e_type"]
        headers = [dict(s.header) for s in elf.iter_segments() if s["p_type"] == "PT_LOAD"]
    except (ELFError, ConstructError, ValueError, KeyError, OverflowError) as error:
        fail(f"{option} {path}: corrupt ELF file: {error}")
    if machine not in ("EM_RISCV", EM_RISCV) or elf.elfclass != 64 or not elf.little_endian:
        name = str(machine).removeprefix("EM_")
        fail(f"{option} {path}: an ELF file for another machine ({name}, {elf.elfclass}-bit)")
    if kind not in ("ET_EXEC", "ET_DYN"):
        fail(f"{option} {path}: an ELF file that cannot be executed ({kind})")
    segments: list[Segment] = []
    for header in headers:
        start, size = header["p_offset"], header["p_filesz"]
        if start + size > len(data):
            fail(f"{option} {path}: truncated: {len(data)} of {start + size} bytes")
        if header["p_memsz"]:
            content = data[start : start + size]
            segments.append(Segment(header["p_paddr"], content, header["p_memsz"]))
    if not segments:
        fail(f"{option} {path}: an ELF file without anything to load")
    return segments


def check_initrd(path: str, data: bytes) -> None:
    """UserError unless the data begins as something that Linux takes for an initrd."""
    for offset, magic in INITRD_FORMATS.values():
        if data[offset : offset + len(magic)] == magic:
            return
    fail(f"-initrd {path}: not an initrd (gzip, zstd, xz, lz4, ... or cpio)")


def check_gzip(path: str, data: bytes) -> None:
    """UserError if an initrd that is gzipped does not decompress (its first member, which
    is all that compressing tools make).

    It takes time (some 20 ms a MB), so it is done while the guest is starting already.
    """
    import zlib

    if not data.startswith(GZIP_MAGIC):
        return
    inflater = zlib.decompressobj(31)
    try:
        while not inflater.eof:
            output = inflater.decompress(data, CHUNK)
            data = inflater.unconsumed_tail
            # Input may be used up while output is still to come, so both have to run out.
            if not data and not output:
                break
    except zlib.error as error:
        fail(f"-initrd {path}: corrupt gzip data: {error}")
    if not inflater.eof:
        fail(f"-initrd {path}: truncated gzip data")
