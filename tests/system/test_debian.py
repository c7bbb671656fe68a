"""Debian with systemd on a qcow2 disk: login, writing, shut-down; then the same under QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from jitemu.messages import UserError
from tests.guests import debian
from tests.system.test_guest_devices import JITEMU, QEMU

BOOT_LIMIT_S = 900  # QEMU takes the longest, on a machine that does other things too
PROMPT = r"root@guest:[^#]*# "

pytestmark = pytest.mark.skipif(
    shutil.which("mke2fs") is None or shutil.which("qemu-img") is None,
    reason="needs e2fsprogs and qemu-utils",
)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("debian")
    try:
        return debian.build(folder)
    except UserError as error:
        pytest.skip(f"cannot make the disk: {error}")


def session(guest: Path, emulator: tuple[str, ...], drive: list[str], command: str) -> str:
    """Log in, run a command, shut down; what the command printed."""
    machine = ["-M", "virt", "-m", "512M", "-nographic", "-no-reboot"]
    kernel = ["-kernel", str(guest / "Image"), "-initrd", str(guest / "initramfs.cpio.gz")]
    append = ["-append", "console=ttyS0 quiet guest.root=/dev/vda"]
    words = [*emulator[1:], *machine, *kernel, *append, *drive]
    child = pexpect.spawn(emulator[0], words, encoding="utf-8", timeout=BOOT_LIMIT_S)
    try:
        child.expect("guest login: ")
        child.sendline("root")
        child.expect(PROMPT)
        # the quotes keep the marks out of the echo of the command
        child.sendline(f"echo b''egin; {command}; echo e''nd")
        child.expect(r"begin\r+\n(.*)end\r+\n")
        assert child.match is not None and not isinstance(child.match, type)
        printed = str(child.match.group(1)).replace("\r", "")
        child.sendline("systemctl poweroff")
        child.expect("reboot: Power down")
        child.expect(pexpect.EOF)
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
    return printed


def check(image: Path) -> None:
    done = subprocess.run(["qemu-img", "check", str(image)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_debian_boots_and_keeps_what_is_written(riscv64_linux: Path, disk: Path) -> None:
    write = "systemctl is-system-running --wait; cp -r /usr/lib/apt /root/kept; dpkg --audit"
    printed = session(riscv64_linux, JITEMU, ["-drive", f"file={disk},format=qcow2"], write)
    assert printed == "running\n"
    check(disk)
    read = "systemctl is-system-running --wait; diff -r /usr/lib/apt /root/kept && echo the same"
    drive = ["-drive", f"file={disk},format=qcow2,if=none,id=d"]
    drive += ["-device", "virtio-blk-device,drive=d"]
    assert session(riscv64_linux, QEMU, drive, read) == "running\nthe same\n"
    check(disk)
    raw = disk.with_name("check.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    done = subprocess.run(["e2fsck", "-fn", str(raw)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
