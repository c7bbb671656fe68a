"""Guess a format from a file's first bytes."""

from __future__ import annotations

import struct

PROBE_BYTES = 512


def _qcow2(head: bytes | bytearray) -> bool:
    return head[:4] == b"QFI\xfb" and struct.unpack_from(">I", head.ljust(8, b"\0"), 4)[0] >= 2


_MAGIC: tuple[tuple[str, int, bytes], ...] = (
    ("luks", 0, b"LUKS\xba\xbe\x00\x01"),
    ("qcow", 0, b"QFI\xfb\x00\x00\x00\x01"),
    ("qed", 0, b"QED\x00"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vhdx", 0, b"vhdxfile"),
    ("vpc", 0, b"conectix"),
    ("vdi", 64, b"\x7f\x10\xda\xbe"),
    ("parallels", 0, b"WithoutFreeSpace"),
    ("parallels", 0, b"WithouFreSpacExt"),
    ("bochs", 0, b"Bochs Virtual HD Image\x00"),
    ("vmdk", 0, b"# Disk DescriptorFile"),
)


def guess_format(head: bytes | bytearray) -> str:
    """The format's name; ``raw`` where nothing else fits.

    Formats that cannot be opened are told apart from raw all the same, so that a guest
    cannot turn its raw disk into an image of them.
    """
    if _qcow2(head):
        return "qcow2"
    for name, at, magic in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    return "raw"
