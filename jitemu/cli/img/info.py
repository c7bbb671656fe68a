"""``jitemu img info``."""

from __future__ import annotations

import time
from typing import Any

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.output import human_size, nested_text, pretty
from jitemu.cli.options import Parsed, flag
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.luks import LuksHeader, Volume
from jitemu.devices.block.luks_image import LuksImage
from jitemu.devices.block.nested import NestedFile
from jitemu.devices.block.opening import Mode, backing_name, open_named
from jitemu.devices.block.qcow2 import bitmaps as bits
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.qcow2.snapshots import Snapshot, list_snapshots
from jitemu.devices.block.raw import RawImage
from jitemu.messages import fail

CHAIN = flag("backing-chain", "describe the backing images too")


def host_file(image: BlockImage) -> HostFile | None:
    """The file below all."""
    while not isinstance(image, HostFile):
        if not isinstance(image, (Qcow2Image, RawImage, NestedFile)):
            return None
        image = image.file
    return image


def describe(image: BlockImage) -> dict[str, Any]:
    """What is known of an image, with the names that JSON has."""
    file = host_file(image)
    found: dict[str, Any] = {
        "virtual-size": image.size,
        "filename": image.name,
        "format": image.format,
        "dirty-flag": False,
    }
    if file:
        found["actual-size"] = file.allocated_bytes
    if isinstance(image, Qcow2Image):
        _describe_qcow2(image, found)
    elif isinstance(image, LuksImage):
        found["encrypted"] = True
        found["format-specific"] = {"type": "luks", "data": _encryption(image.volume.header)}
    return found


def _describe_qcow2(image: Qcow2Image, found: dict[str, Any]) -> None:
    header = image.header
    found["cluster-size"] = header.cluster_size
    found["dirty-flag"] = bool(header.incompatible & h.DIRTY)
    if header.crypt_method:
        found["encrypted"] = True
    if header.backing_file:
        found["backing-filename"] = header.backing_file
        found["full-backing-filename"] = backing_name(image)
        if header.backing_format:
            found["backing-filename-format"] = header.backing_format
    snapshots = list_snapshots(image)
    if snapshots:
        found["snapshots"] = [_snapshot(snapshot) for snapshot in snapshots]
    found["format-specific"] = {"type": "qcow2", "data": _specific(image)}


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    found = {
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.state_size,
        "date-sec": snapshot.seconds,
        "date-nsec": snapshot.nanoseconds,
        "vm-clock-sec": snapshot.clock_ns // 10**9,
        "vm-clock-nsec": snapshot.clock_ns % 10**9,
    }
    if snapshot.icount != (1 << 64) - 1:
        found["icount"] = snapshot.icount
    return found


def _specific(image: Qcow2Image) -> dict[str, Any]:
    header = image.header
    found: dict[str, Any] = {
        "compat": "0.10" if header.version == 2 else "1.1",
        "compression-type": h.COMPRESSION_NAMES[header.compression],
        "refcount-bits": header.refcount_bits,
    }
    if header.version > 2:
        found["lazy-refcounts"] = bool(header.compatible & h.LAZY_REFCOUNTS)
        found["corrupt"] = bool(header.incompatible & h.CORRUPT)
        found["extended-l2"] = header.extended_l2
        if header.bitmaps:
            found["bitmaps"] = [_bitmap(bitmap) for bitmap in bits.list_bitmaps(image)]
        if image.external:
            found["data-file"] = header.data_file
            found["data-file-raw"] = image.raw_external
    if header.crypt_method == h.LUKS_CRYPT:
        volume = Volume(image.file, header.crypt_offset)
        found["encrypt"] = {"format": "luks", **_encryption(volume.header)}
    elif header.crypt_method:
        found["encrypt"] = {"format": "aes"}
    return found


def _bitmap(bitmap: bits.Bitmap) -> dict[str, Any]:
    flags = [
        name for bit, name in ((bits.IN_USE, "in-use"), (bits.AUTO, "auto")) if bitmap.flags & bit
    ]
    return {"name": bitmap.name, "granularity": 1 << bitmap.granularity_bits, "flags": flags}


def _encryption(header: LuksHeader) -> dict[str, Any]:
    mode, _, vector = header.mode.partition("-")
    vector, _, vector_hash = vector.partition(":")
    key_bits = header.key_bytes * 8 // (2 if mode == "xts" else 1)
    found: dict[str, Any] = {
        "cipher-alg": f"{header.cipher}-{key_bits}",
        "cipher-mode": mode,
        "ivgen-alg": vector,
        "hash-alg": header.hash,
        "uuid": header.uuid,
        "payload-offset": header.bytes,
        "master-key-iters": header.digest_iterations,
        "slots": [],
    }
    if vector_hash:
        found["ivgen-hash-alg"] = vector_hash
    for slot in header.slots:
        shown: dict[str, Any] = {"active": slot.active, "key-offset": slot.offset * 512}
        if slot.active:
            shown["iters"], shown["stripes"] = slot.iterations, slot.stripes
        found["slots"].append(shown)
    return found


def snapshot_lines(snapshots: list[dict[str, Any]]) -> list[str]:
    """The table of snapshots, with its heading."""
    row = "{:<9} {:<16} {:>8}{:>20}{:>13}{:>11}"
    lines = ["Snapshot list:", row.format("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")]
    for found in snapshots:
        seconds = found["vm-clock-sec"]
        clock = (
            f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            f".{found['vm-clock-nsec'] // 10**6:03}"
        )
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["date-sec"]))
        state = human_size(found["vm-state-size"])
        lines.append(
            row.format(found["id"], found["name"], state, date, clock, found.get("icount", ""))
        )
    return lines


def text_lines(found: dict[str, Any]) -> list[str]:
    """What ``info`` prints for people."""
    size = found["virtual-size"]
    disk = human_size(found["actual-size"]) if "actual-size" in found else "unavailable"
    lines = [
        f"image: {found['filename']}",
        f"file format: {found['format']}",
        f"virtual size: {human_size(size)} ({size} bytes)",
        f"disk size: {disk}",
    ]
    if found.get("encrypted"):
        lines.append("encrypted: yes")
    if "cluster-size" in found:
        lines.append(f"cluster_size: {found['cluster-size']}")
    if found["dirty-flag"]:
        lines.append("cleanly shut down: no")
    if "backing-filename" in found:
        name, full = found["backing-filename"], found["full-backing-filename"]
        lines.append(f"backing file: {name}" + (f" (actual path: {full})" if full != name else ""))
        if "backing-filename-format" in found:
            lines.append(f"backing file format: {found['backing-filename-format']}")
    if "snapshots" in found:
        lines += snapshot_lines(found["snapshots"])
    if "format-specific" in found:
        lines.append("Format specific information:")
        lines += nested_text(found["format-specific"]["data"], 1)
    return lines


def _chain(parsed: Parsed, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    mode = Mode(True, parsed[common.FORCE_SHARE], metadata_only=True)
    image = common.open_parsed(parsed, name, read_only=True, metadata_only=True)
    seen: set[tuple[int, int]] = set()
    while True:
        with image:
            file = host_file(image)
            if file and file.identity in seen:
                fail(f"Backing file '{image.name}' creates an infinite loop.")
            if file:
                seen.add(file.identity)
            found.append(describe(image))
            if not parsed[CHAIN] or not isinstance(image, Qcow2Image) or not backing_name(image):
                return found
            following = backing_name(image), image.header.backing_format or None
        image = open_named(*following, mode)


def run(parsed: Parsed) -> int:
    """Describe an image."""
    found = _chain(parsed, common.one_operand(parsed))
    if parsed[common.OUTPUT] == "json":
        print(pretty(found if parsed[CHAIN] else found[0]))
    else:
        print("\n\n".join("\n".join(text_lines(one)) for one in found))
    return 0


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        common.OUTPUT,
        CHAIN,
        common.FORCE_SHARE,
    ),
    "filename",
    run,
)
