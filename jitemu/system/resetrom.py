"""The reset ROM: the first instructions a hart executes in M mode, and what they hand on."""

from __future__ import annotations

import struct

# Laid out as QEMU's: code at 0, then start address, device tree address, fw_dynamic info.
START_OFFSET = 24
DTB_OFFSET = 32
INFO_OFFSET = 40
CODE = (
    0x00000297,  # auipc t0, 0
    0x02828613,  # addi  a2, t0, INFO_OFFSET
    0xF1402573,  # csrr  a0, mhartid
    0x0202B583,  # ld    a1, DTB_OFFSET(t0)
    0x0182B283,  # ld    t0, START_OFFSET(t0)
    0x00028067,  # jr    t0
)
INFO_MAGIC = int.from_bytes(b"OSBI", "little")
INFO_VERSION = 2
SUPERVISOR_MODE = 1


def reset_rom(start: int, dtb: int, next_address: int) -> bytes:
    """Its contents: jump to ``start`` with a0 = hart id, a1 = ``dtb``, a2 = fw_dynamic info
    (OpenSBI's firmware/fw_dynamic: go on at ``next_address`` in S mode, no options, boot
    hart 0)."""
    code = struct.pack("<6I", *CODE)
    info = struct.pack("<6Q", INFO_MAGIC, INFO_VERSION, next_address, SUPERVISOR_MODE, 0, 0)
    return code + struct.pack("<QQ", start, dtb) + info
