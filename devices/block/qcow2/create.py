"""Make new qcow2 images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from jitemu.devices.block import luks
from jitemu.devices.block.access import lock_image
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.qcow2.packing import pack_counts, word_bytes, words, zero_counts
from jitemu.messages import fail

SECTOR = 512


@dataclass(slots=True)
class CreateOptions:
    """What a new image is like."""

    size: int = 0
    cluster_size: int = 65536
    version: int = 3
    backing_file: str = ""
    backing_format: str = ""
    lazy_refcounts: bool = False
    refcount_bits: int = 16
    compression: str = "zlib"
    extended_l2: bool = False
    data_file: str = ""
    data_file_raw: bool = False
    preallocation: str = "off"
    encryption: luks.Encryption | None = None


_V3 = "compatibility level 1.1 {} above (use version=v3 or greater)"


def _problems(options: CreateOptions) -> Iterator[tuple[bool, str]]:
    """Whether something is wrong, and what, in QEMU's words."""
    cluster, bits, old = options.cluster_size, options.refcount_bits, options.version < 3
    power = not cluster & cluster - 1
    yield (
        not power or not 512 <= cluster <= 2 << 20,
        "Cluster size must be a power of two between 512 and 2048k",
    )
    extended = options.extended_l2
    yield extended and old, f"Extended L2 entries are only supported with {_V3.format('and')}"
    yield (
        extended and cluster < 16384,
        "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes",
    )
    yield (
        not 1 <= bits <= 64 or bool(bits & bits - 1),
        "Refcount width must be a power of two and may not exceed 64 bits",
    )
    yield (
        old and bits != 16,
        f"Different refcount widths than 16 bits require {_V3.format('or')}",
    )
    yield (
        old and options.lazy_refcounts,
        f"Lazy refcounts only supported with {_V3.format('and')}",
    )
    data_file = bool(options.data_file)
    yield old and data_file, f"External data files are only supported with {_V3.format('and')}"
    yield (
        old and options.compression != "zlib",
        f"Non-zlib compression type is only supported with {_V3.format('and')}",
    )
    yield options.data_file_raw and not data_file, "data-file-raw requires data-file"
    backing = bool(options.backing_file)
    yield (
        options.data_file_raw and backing,
        "Backing file and data-file-raw cannot be used at the same time",
    )
    yield (
        backing and options.preallocation != "off" and not extended,
        "Backing file and preallocation can only be used at the same time if extended_l2 is on",
    )
    yield (
        bool(options.backing_format) and not backing,
        "Backing format cannot be used without backing file",
    )
    yield (
        h.l1_entries(_header(options), options.size) > h.MAX_L1_BYTES // 8,
        "The image size is too large for file format 'qcow2' (try using a larger cluster size)",
    )


def check_options(options: CreateOptions) -> None:
    """UserError for what no image can be."""
    for wrong, text in _problems(options):
        if wrong:
            fail(text)
    if options.encryption:
        luks.new_header(options.encryption)


def _header(options: CreateOptions) -> h.Header:
    header = h.Header(version=options.version, size=options.size)
    header.cluster_bits = options.cluster_size.bit_length() - 1
    header.refcount_order = options.refcount_bits.bit_length() - 1
    header.backing_file, header.backing_format = options.backing_file, options.backing_format
    header.compression = h.COMPRESSION_NAMES.index(options.compression)
    if options.lazy_refcounts:
        header.compatible |= h.LAZY_REFCOUNTS
    if options.extended_l2:
        header.incompatible |= h.EXTENDED_L2
    if header.compression:
        header.incompatible |= h.COMPRESSION
    if options.data_file:
        header.incompatible |= h.DATA_FILE
        header.data_file = options.data_file
        if options.data_file_raw:
            header.autoclear |= h.RAW_DATA_FILE
    return header


def _write_empty(file: BlockImage, header: h.Header) -> None:
    """Header, refcount table, its first block, and an L1 table without entries."""
    cluster = header.cluster_size
    header.l1_size = h.l1_entries(header, header.size)
    header.reftable_offset, header.reftable_clusters = cluster, 1
    header.l1_offset = 3 * cluster
    file.write(0, header.pack().ljust(cluster, b"\0"))
    per_block = cluster * 8 // header.refcount_bits
    counts = zero_counts(header.refcount_bits, per_block)
    for k in range(3):
        counts[k] = 1
    table = words(bytes(cluster))
    table[0] = 2 * cluster
    file.write(cluster, word_bytes(table) + pack_counts(header.refcount_bits, counts))


def create(path: str, options: CreateOptions) -> None:
    """Make the image file (and its data file); UserError or OSError if that cannot be."""
    options.size = -(-options.size // SECTOR) * SECTOR
    check_options(options)
    header = _header(options)
    header.pack()  # names that do not fit, before anything is made
    file = HostFile(path, read_only=False, create=True)
    try:
        lock_image(file, False)
        if file.grows:
            file.resize(0)
        if options.data_file:
            _make_data_file(options)
        image = _lay_out(file, header)
        if options.encryption:
            _encrypt(image, options.encryption)
        if options.data_file:
            image.use_data_file(HostFile(options.data_file, read_only=False))
        _preallocate(image, options)
        image.close()
    except BaseException:
        file.close()
        raise


def _lay_out(file: BlockImage, header: h.Header) -> Qcow2Image:
    """An empty image in an empty file."""
    size, header.size = header.size, 0
    l1_size = h.l1_entries(header, size)
    _write_empty(file, header)
    image = Qcow2Image(file, header, read_only=False)
    header.size, header.l1_size = size, l1_size
    header.l1_offset = image.refcounts.allocate_adjacent(
        max(1, -(-l1_size * 8 >> header.cluster_bits))
    )
    file.write_zeroes(header.l1_offset, l1_size * 8)
    image.tables.use_l1(words(bytes(l1_size * 8)))
    image.tables.write_counts()
    image.size = size
    image.save_header()
    return image


def _make_data_file(options: CreateOptions) -> None:
    with HostFile(options.data_file, read_only=False, create=True) as data:
        data.resize(0)
        data.resize(-(-options.size // SECTOR) * SECTOR)


def _encrypt(image: Qcow2Image, wanted: luks.Encryption) -> None:
    header = luks.new_header(wanted)
    cluster = image.header.cluster_size
    clusters = -(-header.bytes // cluster)
    start = image.refcounts.allocate_adjacent(clusters)
    image.tables.write_counts()
    image.file.write_zeroes(start, clusters * cluster)
    image.header.crypt_method = h.LUKS_CRYPT
    image.header.crypt_offset, image.header.crypt_length = start, header.bytes
    volume = luks.Volume(image.file, start, header)
    volume.create(wanted)
    image.save_header()
    image.use_volume(volume)


def _preallocate(image: Qcow2Image, options: CreateOptions) -> None:
    mode = options.preallocation
    if mode == "off" and options.data_file_raw:
        mode = "metadata"  # so that the raw file is what the guest sees from the start
    preallocate(image, 0, image.size, mode)


def preallocate(image: Qcow2Image, offset: int, length: int, mode: str) -> None:
    """Give a range clusters: ``metadata`` reserves their place, ``falloc`` and ``full`` space."""
    if mode == "off" or not length:
        return
    places = image.map.reserve(offset, -(-length >> image.cluster_bits))
    image.flush()
    data: BlockImage = image.data_file
    end = data.size
    if not image.external:
        end = image.refcounts.tail() << image.cluster_bits
    if data.size < end and data.grows:
        data.resize(end)
    if mode == "falloc" and isinstance(data, HostFile):
        data.preallocate(0, end)
    elif mode == "full":
        for start, size in places:
            for at in range(start, min(start + size, end), 1 << 20):
                data.write(at, bytes(min(1 << 20, start + size - at, end - at)))


def temporary_overlay(backing: BlockImage) -> Qcow2Image:
    """An image without a name that takes what is written over ``backing``."""
    fd, path = tempfile.mkstemp(prefix="jitemu-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    os.close(fd)
    file = HostFile(path, read_only=False)
    os.unlink(path)
    file.unsafe = True  # nobody finds it after a crash
    image = _lay_out(file, _header(CreateOptions(size=backing.size)))
    image.name = backing.name
    image.backing = backing
    return image
