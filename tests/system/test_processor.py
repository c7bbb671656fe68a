"""The engine's hart on the virt machine: whole bare-metal programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.image import encode

FINISHER = 0x10_0000
A0, A1, A6, A7, T0, T1, T2 = 10, 11, 16, 17, 5, 6, 7
SIP, SSIP = 0x144, 2


def run(tmp_path: Path, code: list[bytes], *options: str) -> subprocess.CompletedProcess[str]:
    """Run code as a kernel; the program's status is what it gives the finisher."""
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"".join(code).ljust(4096, b"\0"))
    command = [sys.executable, "-m", "jitemu", "system-riscv64", "-nographic", *options]
    words = [*command, "-kernel", str(kernel)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def constant(register: int, value: int) -> list[bytes]:
    """lui and addiw."""
    high = (value + 0x800) >> 12
    return [
        encode("lui", rd=register, imm=high << 12),
        encode("addiw", rd=register, rs1=register, imm=value - (high << 12)),
    ]


def exit_with(register: int) -> list[bytes]:
    """Power off; the status is a register."""
    return [
        encode("slli", rd=register, rs1=register, shamt=16),
        *constant(T2, 0x3333),
        encode("or", rd=register, rs1=register, rs2=T2),
        *constant(T2, FINISHER),
        encode("sw", rs1=T2, rs2=register, imm=0),
        encode("jal", rd=0, imm=0),
    ]


@pytest.mark.parametrize("how", ["sbi", "sswi"])
def test_a_software_interrupt_is_cleared_by_software(tmp_path: Path, how: str) -> None:
    send = [
        *constant(A7, 0x735049),
        encode("addi", rd=A6, rs1=0, imm=0),
        encode("addi", rd=A0, rs1=0, imm=1),
        encode("addi", rd=A1, rs1=0, imm=0),
        encode("ecall"),
    ]
    if how == "sswi":
        send = [*constant(A0, 0x2F0_0000), encode("addi", rd=A1, rs1=0, imm=1)]
        send += [encode("sw", rs1=A0, rs2=A1, imm=0)]
    code = [
        *send,
        encode("csrr", rd=T0, csr=SIP),
        encode("csrrci", rd=0, csr=SIP, uimm=SSIP),
        encode("csrr", rd=T1, csr=SIP),
        encode("slli", rd=T0, rs1=T0, shamt=3),
        encode("or", rd=T0, rs1=T0, rs2=T1),
        *exit_with(T0),
    ]
    options = ("-M", "virt,aclint=on") if how == "sswi" else ()
    done = run(tmp_path, code, *options)
    assert done.returncode == SSIP << 3, done.stderr


def test_mtime_can_be_set_beyond_the_hosts_clock(tmp_path: Path) -> None:
    code = [
        *constant(T0, 0x200_BFF8),
        encode("addi", rd=T1, rs1=0, imm=-1),
        encode("srli", rd=T1, rs1=T1, shamt=1),
        encode("sd", rs1=T0, rs2=T1, imm=0),
        encode("ld", rd=A0, rs1=T0, imm=0),
        encode("srli", rd=A0, rs1=A0, shamt=57),
        *exit_with(A0),
    ]
    done = run(tmp_path, code)
    assert (done.returncode, done.stderr) == (64, "")
