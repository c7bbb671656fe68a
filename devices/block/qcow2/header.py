"""The header cluster: fields, feature bits, header extensions, the backing file's name."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from jitemu.messages import fail

MAGIC = b"QFI\xfb"
V2_LENGTH = 72
V3_LENGTH = 104
FULL_LENGTH = 112  # with the compression type, padded to 8 bytes
MIN_CLUSTER_BITS = 9
MAX_CLUSTER_BITS = 21
MAX_L1_BYTES = 32 << 20
MAX_REFTABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536
MAX_BACKING_NAME = 1023

DIRTY = 1 << 0
CORRUPT = 1 << 1
DATA_FILE = 1 << 2
COMPRESSION = 1 << 3
EXTENDED_L2 = 1 << 4
KNOWN_INCOMPATIBLE = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2
LAZY_REFCOUNTS = 1 << 0
BITMAPS = 1 << 0
RAW_DATA_FILE = 1 << 1
KNOWN_AUTOCLEAR = BITMAPS | RAW_DATA_FILE

NO_CRYPT, AES_CRYPT, LUKS_CRYPT = 0, 1, 2
ZLIB, ZSTD = 0, 1
COMPRESSION_NAMES = ("zlib", "zstd")

BACKING_FORMAT_EXT = 0xE2792ACA
FEATURE_NAMES_EXT = 0x6803F857
BITMAPS_EXT = 0x23852875
CRYPT_EXT = 0x0537BE77
DATA_FILE_EXT = 0x44415441

FeatureNames = tuple[tuple[int, int, str], ...]
FEATURE_NAMES: FeatureNames = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)
"""(kind of feature bits, bit, name)"""

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_BITMAPS = struct.Struct(">II QQ")


@dataclass(slots=True)
class Header:
    """What the header cluster says.  Offsets and sizes are bytes."""

    version: int = 3
    backing_file: str = ""
    backing_format: str = ""
    cluster_bits: int = 16
    size: int = 0
    crypt_method: int = NO_CRYPT
    l1_size: int = 0
    """Entries."""
    l1_offset: int = 0
    reftable_offset: int = 0
    reftable_clusters: int = 0
    snapshots: int = 0
    snapshots_offset: int = 0
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = FULL_LENGTH
    compression: int = ZLIB
    data_file: str = ""
    crypt_offset: int = 0
    crypt_length: int = 0
    bitmaps: int = 0
    bitmap_directory_size: int = 0
    bitmap_directory_offset: int = 0
    unknown_fields: bytes = b""
    """Of a longer header than ours."""
    unknown_extensions: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def extended_l2(self) -> bool:
        return bool(self.incompatible & EXTENDED_L2)

    @property
    def refcount_bits(self) -> int:
        return 1 << self.refcount_order

    def pack(self) -> bytes:
        """The header cluster's bytes; UserError if names and extensions do not fit."""
        packed = self._pack(FEATURE_NAMES)
        if len(packed) > self.cluster_size:
            packed = self._pack(())  # names of features are only for messages
        if len(packed) > self.cluster_size or len(self.backing_file) > MAX_BACKING_NAME:
            fail("Image header is too large: shorten the backing file's or the data file's name")
        return packed

    def _pack(self, names: FeatureNames) -> bytes:
        extensions = self._extensions(names) if self.version > 2 or self._has_extensions() else b""
        length = V2_LENGTH if self.version == 2 else FULL_LENGTH + len(self.unknown_fields)
        name = self.backing_file.encode("utf-8", "surrogateescape")
        end = b"" if self.version == 2 and not extensions else struct.pack(">II", 0, 0)
        name_at = length + len(extensions) + len(end)
        head = _V2.pack(
            MAGIC,
            self.version,
            name_at if name else 0,
            len(name),
            self.cluster_bits,
            self.size,
            self.crypt_method,
            self.l1_size,
            self.l1_offset,
            self.reftable_offset,
            self.reftable_clusters,
            self.snapshots,
            self.snapshots_offset,
        )
        if self.version > 2:
            head += _V3.pack(
                self.incompatible, self.compatible, self.autoclear, self.refcount_order, length
            )
            head += bytes([self.compression]).ljust(FULL_LENGTH - V3_LENGTH, b"\0")
            head += self.unknown_fields
        return head + extensions + end + name

    def _has_extensions(self) -> bool:
        return bool(self.backing_format or self.crypt_length or self.unknown_extensions)

    def _extensions(self, names: FeatureNames) -> bytes:
        found: list[tuple[int, bytes]] = []
        if self.backing_format:
            found.append(
                (BACKING_FORMAT_EXT, self.backing_format.encode("utf-8", "surrogateescape"))
            )
        if self.data_file:
            found.append((DATA_FILE_EXT, self.data_file.encode("utf-8", "surrogateescape")))
        if self.crypt_length:
            found.append((CRYPT_EXT, struct.pack(">QQ", self.crypt_offset, self.crypt_length)))
        if self.version > 2 and names:
            rows = (bytes([k, b]) + n.encode().ljust(46, b"\0") for k, b, n in names)
            found.append((FEATURE_NAMES_EXT, b"".join(rows)))
        if self.bitmaps:
            where = (self.bitmap_directory_size, self.bitmap_directory_offset)
            found.append((BITMAPS_EXT, _BITMAPS.pack(self.bitmaps, 0, *where)))
        found += self.unknown_extensions
        return b"".join(
            struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
            for kind, data in found
        )


def parse(head: bytes, name: str) -> Header:
    """Read a header from the file's first cluster (2 MiB at most); UserError if it is not one."""
    header = Header()
    try:
        _parse_fields(header, head)
        _check(header)
        _parse_extensions(header, head)
        _parse_backing_name(header, head)
    except (struct.error, ValueError) as error:
        text = str(error) if isinstance(error, ValueError) else "Could not read qcow2 header"
        fail(f"Could not open '{name}': {text}")
    return header


def _parse_fields(header: Header, head: bytes) -> None:
    if len(head) < V2_LENGTH:
        raise ValueError("Could not read qcow2 header")
    fields = _V2.unpack_from(head)
    if fields[0] != MAGIC:
        raise ValueError("Image is not in qcow2 format")
    header.version = fields[1]
    if header.version not in (2, 3):
        raise ValueError(f"Unsupported qcow2 version {header.version}")
    header.cluster_bits, header.size, header.crypt_method = fields[4:7]
    header.l1_size, header.l1_offset, header.reftable_offset = fields[7:10]
    header.reftable_clusters, header.snapshots, header.snapshots_offset = fields[10:13]
    if not MIN_CLUSTER_BITS <= header.cluster_bits <= MAX_CLUSTER_BITS:
        raise ValueError(f"Unsupported cluster size: 2^{header.cluster_bits}")
    if header.version == 2:
        header.length = V2_LENGTH
        return
    fields = _V3.unpack_from(head, V2_LENGTH)
    header.incompatible, header.compatible, header.autoclear, order, length = fields
    header.refcount_order, header.length = order, length
    if length < V3_LENGTH:
        raise ValueError("qcow2 header too short")
    if length > header.cluster_size:
        raise ValueError("qcow2 header exceeds cluster size")
    if length > V3_LENGTH:
        header.compression = head[V3_LENGTH]
    header.unknown_fields = head[FULL_LENGTH:length]


def _feature_names(head: bytes, length: int, cluster_size: int) -> dict[int, str]:
    """The image's own names of incompatible bits, for the message that refuses one."""
    names: dict[int, str] = {}
    for kind, data in _walk_extensions(head, length, cluster_size):
        if kind == FEATURE_NAMES_EXT:
            for at in range(0, len(data) - 47, 48):
                if data[at] == 0:
                    text = data[at + 2 : at + 48].split(b"\0")[0].decode("ascii", "replace")
                    names[data[at + 1]] = text
    return names


def _check(header: Header) -> None:
    cluster = header.cluster_size
    if header.refcount_order > 6:
        raise ValueError("Reference count entry width too large; may not exceed 64 bits")
    if header.crypt_method > LUKS_CRYPT:
        raise ValueError(f"Unsupported encryption method {header.crypt_method}")
    if header.extended_l2 and header.cluster_bits < 14:
        raise ValueError("Extended L2 entries need clusters of 16384 bytes or more")
    if header.compression >= len(COMPRESSION_NAMES):
        raise ValueError(f"Unsupported compression type {header.compression}")
    if bool(header.compression) != bool(header.incompatible & COMPRESSION):
        raise ValueError("The compression type and its feature bit contradict each other")
    if header.reftable_clusters > MAX_REFTABLE_BYTES >> header.cluster_bits:
        raise ValueError("Image too large: Reference count table too large")
    if header.reftable_offset % cluster or header.reftable_offset >= 1 << 56:
        raise ValueError("Reference count table offset invalid")
    if header.snapshots > MAX_SNAPSHOTS:
        raise ValueError("Snapshot table too large")
    if header.snapshots_offset % cluster or header.snapshots_offset >= 1 << 56:
        raise ValueError("Snapshot table offset invalid")
    if header.l1_size > MAX_L1_BYTES // 8:
        raise ValueError("Active L1 table too large")
    if header.l1_offset % cluster or header.l1_offset >= 1 << 56:
        raise ValueError("Active L1 table offset invalid")
    if header.size >= 1 << 63:
        raise ValueError("Image is too big")
    if l1_entries(header, header.size) > header.l1_size:
        raise ValueError("L1 table is too small")


def l1_entries(header: Header, size: int) -> int:
    """How many L1 entries a disk of ``size`` bytes takes."""
    shift = header.cluster_bits * 2 - (4 if header.extended_l2 else 3)
    return -(-size >> shift)


def _walk_extensions(head: bytes, length: int, cluster_size: int) -> list[tuple[int, bytes]]:
    name_at = struct.unpack_from(">Q", head, 8)[0]
    end = min(len(head), cluster_size, name_at or cluster_size)
    found: list[tuple[int, bytes]] = []
    at = length
    while at + 8 <= end:
        kind, size = struct.unpack_from(">II", head, at)
        if kind == 0:
            break
        at += 8
        if size > end - at:
            raise ValueError("Header extension too large")
        found.append((kind, head[at : at + size]))
        at += -(-size // 8) * 8
    return found


def _parse_extensions(header: Header, head: bytes) -> None:
    unknown = header.incompatible & ~KNOWN_INCOMPATIBLE
    if unknown:
        names = _feature_names(head, header.length, header.cluster_size)
        bits = (bit for bit in range(64) if unknown >> bit & 1)
        listed = ", ".join(
            names.get(bit, f"Unknown incompatible feature: {1 << bit:x}") for bit in bits
        )
        raise ValueError(f"Unsupported qcow2 feature(s): {listed}")
    for kind, data in _walk_extensions(head, header.length, header.cluster_size):
        match kind:
            case 0xE2792ACA:
                header.backing_format = data.decode("utf-8", "surrogateescape")
            case 0x44415441:
                header.data_file = data.decode("utf-8", "surrogateescape")
            case 0x0537BE77:
                header.crypt_offset, header.crypt_length = struct.unpack(">QQ", data)
            case 0x23852875:
                count, _, size, offset = _BITMAPS.unpack(data)
                header.bitmaps, header.bitmap_directory_size = count, size
                header.bitmap_directory_offset = offset
            case 0x6803F857:
                pass  # written anew
            case _:
                header.unknown_extensions.append((kind, data))
    if not header.autoclear & BITMAPS:
        header.bitmaps = 0  # another program wrote the image: they are not valid any more


def _parse_backing_name(header: Header, head: bytes) -> None:
    offset, length = struct.unpack_from(">QI", head, 8)
    if not offset:
        return
    if offset > header.cluster_size:
        raise ValueError("Invalid backing file offset")
    if length > min(MAX_BACKING_NAME, header.cluster_size - offset):
        raise ValueError("Backing file name too long")
    header.backing_file = head[offset : offset + length].decode("utf-8", "surrogateescape")
