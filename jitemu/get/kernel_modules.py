"""Kernel modules: what they need, and the order they load in."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence


def depends(module: bytes) -> list[str]:
    """The names in the ``depends=`` line of a 64-bit little-endian module (ELF)."""
    (sections,) = struct.unpack_from("<Q", module, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", module, 0x3A)
    (names,) = struct.unpack_from("<Q", module, sections + names_index * size + 0x18)
    for index in range(count):
        header = sections + index * size
        (name,) = struct.unpack_from("<I", module, header)
        end = module.index(b"\0", names + name)
        if module[names + name : end] != b".modinfo":
            continue
        offset, length = struct.unpack_from("<QQ", module, header + 0x18)
        for line in module[offset : offset + length].split(b"\0"):
            if line.startswith(b"depends="):
                return [need for need in line[len(b"depends=") :].decode().split(",") if need]
    return []


def loading_order(modules: Mapping[str, bytes], wanted: Sequence[str]) -> list[str]:
    """``wanted`` and all that it needs, what is needed first.

    Names are with '_' (files may use '-'); those not in ``modules`` are built in.
    """
    order: list[str] = []

    def visit(name: str) -> None:
        name = name.replace("-", "_")
        if name in order or name not in modules:
            return
        for need in depends(modules[name]):
            visit(need)
        order.append(name)

    for name in wanted:
        visit(name)
    return order
