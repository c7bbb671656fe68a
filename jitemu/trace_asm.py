"""Disassembly for the log: QEMU's columns, capstone's words."""

from __future__ import annotations

from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import capstone

HOST_BYTES_A_LINE = 8
ADDRESS_MASK = (1 << 64) - 1
BRANCHES = frozenset(("beq", "bne", "blt", "bge", "bltu", "bgeu", "j", "jal")) | frozenset(
    ("beqz", "bnez", "blez", "bgez", "bltz", "bgtz")
)


@cache
def _guest() -> capstone.Cs:
    import capstone

    mode = capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC  # pyright: ignore
    return capstone.Cs(capstone.CS_ARCH_RISCV, mode)


@cache
def _host() -> capstone.Cs:
    import capstone

    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler.syntax = capstone.CS_OPT_SYNTAX_ATT
    return disassembler


def guest_lines(pc: int, code: bytes) -> list[str]:
    """One line for each riscv64 instruction of ``code``, which starts at ``pc``."""
    lines: list[str] = []
    offset = 0
    while offset < len(code):
        length = 4 if code[offset] & 3 == 3 else 2
        word = code[offset : offset + length]
        mnemonic, operands, note = _guest_parts(pc + offset, word)
        raw = word[::-1].hex()
        text = f"{mnemonic:<24}{operands}"
        if note:
            text = f"{text:<48}{note}"
        lines.append(f"{pc + offset:#018x}:  {raw:<18}{text}")
        offset += length
    return lines


@cache
def _arm(thumb: bool) -> capstone.Cs:
    import capstone

    mode = capstone.CS_MODE_THUMB if thumb else capstone.CS_MODE_ARM
    return capstone.Cs(capstone.CS_ARCH_ARM, mode + capstone.CS_MODE_V8)


def arm_lines(pc: int, code: bytes) -> list[str]:
    """The same for A32 or, where bit 0 of pc is set, T32."""
    address, thumb = pc & 0xFFFFFFFE, bool(pc & 1)
    lines: list[str] = []
    offset = 0
    while offset < len(code):
        halves = [code[i : i + 2][::-1].hex() for i in range(offset, offset + 4, 2)]
        length = 4
        if thumb:
            length = 4 if code[offset + 1] >> 3 >= 0x1D else 2
            raw = " ".join(halves[: length // 2])
        else:
            raw = halves[1] + halves[0]
        word = code[offset : offset + length]
        found: Any = next(_arm(thumb).disasm_lite(word, address + offset), None)
        mnemonic, operands = (found[2], found[3]) if found else (f".{length}byte", raw)
        raw = raw.ljust(9 if thumb else 8)
        lines.append(f"{address + offset:#010x}:  {raw}  {mnemonic:<8} {operands}".rstrip())
        offset += length
    return lines


DISASSEMBLERS = {"riscv": guest_lines, "arm": arm_lines}
"""By the frontend's name."""


def _guest_parts(pc: int, word: bytes) -> tuple[str, str, str]:
    """Mnemonic, operands and the target of what is relative to pc."""
    found: Any = next(_guest().disasm_lite(word, pc), None)
    if found is None:
        # an extension that capstone does not know, or no instruction at all
        return f".{len(word)}byte", f"0x{word[::-1].hex()}", ""
    mnemonic, operands = found[2], found[3].replace(", ", ",")
    name = mnemonic.removeprefix("c.")
    if name in BRANCHES:
        distance = int(operands.rpartition(",")[2], 0)
    elif name == "auipc":
        distance = int(operands.rpartition(",")[2], 0) << 12
        distance -= (distance & 1 << 31) << 1
    else:
        return mnemonic, operands, ""
    return mnemonic, operands, f"# {pc + distance & ADDRESS_MASK:#x}"


def host_lines(address: int, code: bytes, guest: Sequence[tuple[int, int]]) -> list[str]:
    """Lines for x86-64 ``code`` at ``address``; ``guest`` as in ``Log.write_out_asm``."""
    lines: list[str] = []
    marks = list(reversed(guest))
    end = 0
    for at, length, mnemonic, operands in _host().disasm_lite(code, address):
        offset = at - address
        while marks and marks[-1][0] <= offset:
            lines.append(f"  -- guest addr {marks.pop()[1]:#018x}")
        end = offset + length
        lines += _host_line(at, code[offset:end], f"{mnemonic:<8} {operands}")
    for at in range(end, len(code), HOST_BYTES_A_LINE):  # data, or what cannot be decoded
        lines += _host_line(address + at, code[at : at + HOST_BYTES_A_LINE], "")
    return lines


def _host_line(address: int, raw: bytes, text: str) -> list[str]:
    first = f"{address:#x}:  {raw[:HOST_BYTES_A_LINE].hex(' '):<25}{text}"
    if len(raw) <= HOST_BYTES_A_LINE:
        return [first]
    rest = raw[HOST_BYTES_A_LINE:].hex(" ")
    return [first, f"{address + HOST_BYTES_A_LINE:#x}:  {rest}"]
