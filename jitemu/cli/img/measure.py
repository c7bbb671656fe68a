"""``jitemu img measure``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.convert import OUTPUT_FORMAT, SNAPSHOT, load_snapshot
from jitemu.cli.img.create import parse_size
from jitemu.cli.img.format_options import luks_options, parse_options, qcow2_options
from jitemu.cli.img.output import pretty
from jitemu.cli.options import Parsed, value
from jitemu.devices.block import luks
from jitemu.devices.block.chain import extent_in_chain
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.opening import FORMATS
from jitemu.devices.block.qcow2 import bitmaps as bits
from jitemu.devices.block.qcow2.create import CreateOptions, check_options
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

SIZE = value(
    "size", "N", "a new image of that size", -1, lambda text: parse_size(text, "image size")
)


def refcount_bytes(clusters: int, cluster: int, refcount_bits: int) -> int:
    """What the refcounts of so many clusters, and of themselves, take."""
    per_block = cluster * 8 // refcount_bits
    table = blocks = count = 0
    while True:
        before = count
        blocks = -(-(clusters + table + blocks) // per_block)
        table = -(-blocks // (cluster // 8))
        count = clusters + blocks + table
        if count == before:
            return (blocks + table) * cluster


def full_bytes(options: CreateOptions) -> int:
    """A qcow2 file all of whose disk is allocated."""
    cluster = options.cluster_size
    entry = 16 if options.extended_l2 else 8
    disk = -(-options.size // cluster) * cluster
    entries = -(-(disk // cluster) // (cluster // entry)) * (cluster // entry)
    tables = entries * entry // cluster
    tables = -(-tables // (cluster // 8)) * (cluster // 8)
    metadata = cluster + entries * entry + tables * 8
    counts = refcount_bytes((metadata + disk) // cluster, cluster, options.refcount_bits)
    return metadata + counts + disk


def data_bytes(image: BlockImage, cluster: int) -> int:
    """The clusters that an image's data takes in another."""
    found = offset = 0
    while offset < image.size:
        extent, _ = extent_in_chain(image, offset, image.size - offset)
        length = extent.length
        if extent.data and not extent.zero:
            length = -(-(offset + length) // cluster) * cluster - offset
            found += offset % cluster + length
        offset += length
    return found


def bitmap_bytes(image: Qcow2Image, cluster: int) -> int:
    """What an image's bitmaps take in another."""
    total = directory = 0
    for bitmap in bits.list_bitmaps(image):
        clusters = -(-bits.bits_bytes(image.size, bitmap.granularity_bits) // cluster)
        total += clusters * cluster + -(-clusters * 8 // cluster) * cluster
        directory += len(bitmap.pack())
    return total + -(-directory // cluster) * cluster


def _measure_qcow2(options: CreateOptions, image: BlockImage | None) -> dict[str, int]:
    cluster = options.cluster_size
    disk = -(-options.size // cluster) * cluster
    needed = 0
    found: dict[str, int] = {}
    if image is not None:
        needed = data_bytes(image, cluster)
        if options.version > 2 and isinstance(image, Qcow2Image):
            found["bitmaps"] = bitmap_bytes(image, cluster)
    if options.preallocation in ("full", "falloc") or options.backing_file:
        needed = disk
    full = full_bytes(options)
    if options.encryption:
        full += -(-luks.new_header(options.encryption).bytes // cluster) * cluster
    found["fully-allocated"] = full
    found["required"] = full - disk + needed
    return found


def run(parsed: Parsed) -> int:
    """Say how large a new image would be."""
    if len(parsed.rest) > 1:
        fail("At most one filename argument is allowed.")
    if not parsed.rest and parsed[SIZE] < 0:
        fail("Either --size N or one filename must be specified.")
    if parsed.rest and parsed[SIZE] >= 0:
        fail("--size N cannot be used together with a filename.")
    format = parsed[OUTPUT_FORMAT]
    if format not in FORMATS:
        fail(f"Unknown file format '{format}'")
    given = parse_options(format, parsed[common.CREATE_OPTIONS])
    image: BlockImage | None = None
    if parsed.rest:
        image = common.open_parsed(parsed, parsed.rest[0], read_only=True)
        if parsed[SNAPSHOT]:
            load_snapshot(image, parsed[SNAPSHOT])
    size = image.size if image else parsed[SIZE]
    given["size"] = str(size)
    if format != "qcow2":
        if format == "luks":
            size += luks.new_header(luks_options(given, parsed[common.OBJECT])).bytes
        else:
            size = -(-size // 512) * 512
        found = {"required": size, "fully-allocated": size}
    else:
        options = qcow2_options(given, parsed[common.OBJECT])
        check_options(options)
        found = _measure_qcow2(options, image)
    if image:
        image.close()
    if parsed[common.OUTPUT] == "json":
        print(pretty(found))
        return 0
    print(f"required size: {found['required']}")
    print(f"fully allocated size: {found['fully-allocated']}")
    if "bitmaps" in found:
        print(f"bitmaps size: {found['bitmaps']}")
    return 0


COMMAND = Command(
    (
        common.OUTPUT,
        OUTPUT_FORMAT,
        common.CREATE_OPTIONS,
        SIZE,
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        SNAPSHOT,
        common.FORCE_SHARE,
    ),
    "[filename]",
    run,
)
