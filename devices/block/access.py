"""Who may use an image and how: locks, flushing, changing between reading and writing."""

from __future__ import annotations

import os
from typing import cast

from jitemu.devices.block import locks
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nested import NestedFile
from jitemu.devices.block.nodes import Node, host_path
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.raw import RawImage
from jitemu.messages import UserError, fail


def lock_image(file: BlockImage, read_only: bool) -> None:
    """Lock a file whose format has tables in it: nobody else may write it."""
    if isinstance(file, HostFile):
        used = (locks.CONSISTENT_READ,)
        if not read_only:
            used += (locks.WRITE, locks.RESIZE)
        file.lock(used, (locks.WRITE, locks.RESIZE))


def lock_raw(file: BlockImage, read_only: bool) -> None:
    """Lock a file that is a disk as it is: one writer, and readers beside it."""
    if isinstance(file, HostFile):
        if read_only:
            file.lock((locks.CONSISTENT_READ,), ())
        else:
            file.lock((locks.CONSISTENT_READ, locks.WRITE), (locks.WRITE, locks.RESIZE))


def is_on(value: object) -> bool:
    return value in (True, "on", "true", "yes", "y")


def set_runtime_options(image: BlockImage, node: Node) -> None:
    """cache.no-flush and detect-zeroes; cache.direct and aio change nothing here."""
    cache = node.get("cache")
    if isinstance(cache, dict) and is_on(cast("Node", cache).get("no-flush")):
        set_flushing(image, synchronous=False, unsafe=True)
    detect = node.get("detect-zeroes", "off")
    if detect not in ("off", "on", "unmap"):
        fail(f"Parameter 'detect-zeroes' does not accept value '{detect}'")
    if isinstance(image, (RawImage, Qcow2Image)) and detect != "off":
        image.detect_zeroes = detect


def set_flushing(image: BlockImage, *, synchronous: bool, unsafe: bool) -> None:
    """Flush after each write (cache=writethrough), or never (cache=unsafe)."""
    if isinstance(image, HostFile):
        image.synchronous, image.unsafe = synchronous, unsafe
    elif isinstance(image, (RawImage, NestedFile)):
        set_flushing(image.file, synchronous=synchronous, unsafe=unsafe)
    elif isinstance(image, Qcow2Image):
        set_flushing(image.file, synchronous=synchronous, unsafe=unsafe)
        if image.data_file is not image.file:
            set_flushing(image.data_file, synchronous=synchronous, unsafe=unsafe)


def make_ready(image: Qcow2Image) -> None:
    """Before the first write: repair what a crash left, drop marks of features not known."""
    header = image.header
    unknown = header.autoclear & ~h.KNOWN_AUTOCLEAR
    if unknown:
        header.autoclear &= h.KNOWN_AUTOCLEAR
        image.save_header()
    if header.incompatible & h.DIRTY:
        from jitemu.devices.block.qcow2.check import repair_counts

        repair_counts(image)


def set_writable(image: BlockImage, writable: bool) -> None:
    """Open an image's files for writing, or give that up; the backing chain stays as it is."""
    if image.read_only == (not writable):
        return
    if isinstance(image, HostFile):
        image.reopen(read_only=not writable)
        return
    if not writable:
        image.settle() if isinstance(image, Qcow2Image) else image.flush()
    if isinstance(image, (RawImage, NestedFile)):
        set_writable(image.file, writable)
        lock_raw(image.file, not writable)
        image.read_only = not writable
    elif isinstance(image, Qcow2Image):
        set_writable(image.file, writable)
        lock_image(image.file, not writable)
        if image.data_file is not image.file:
            set_writable(image.data_file, writable)
        image.read_only = not writable
        if writable:
            make_ready(image)


def same_file(left: str, right: str) -> bool:
    """Whether two names are one host file."""
    try:
        return os.path.samefile(host_path(left), host_path(right))
    except (OSError, UserError):
        return False
