"""Debian with systemd on a qcow2 disk: login, packages from the host, shut-down; then QEMU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from jitemu.messages import UserError
from tests.conftest import cached
from tests.guests import debian, mirror
from tests.system.test_guest_devices import JITEMU, QEMU

BOOT_LIMIT_S = 900  # QEMU takes the longest, on a machine that does other things too
PROMPT = r"root@guest:[^#]*# "
PACKAGE, LIBRARY = "jq", "libjq1"

pytestmark = pytest.mark.skipif(
    shutil.which("mke2fs") is None or shutil.which("qemu-img") is None,
    reason="needs e2fsprogs and qemu-utils",
)


@pytest.fixture(scope="module")
def system() -> Path:
    """The folder of the system's disk, with a repository of a package that it has not got."""
    try:
        return cached("debian", (debian.__file__, mirror.__file__, __file__), make)
    except UserError as error:
        pytest.skip(f"cannot make the disk: {error}")


def make(folder: Path) -> None:
    debian.build(folder)
    packages = debian.fetch(folder, [PACKAGE])
    mirror.make(folder / "mirror", packages, debian.SUITE, "riscv64")
    shutil.rmtree(folder / "apt")
    (folder / "debian.raw").unlink()


def session(guest: Path, emulator: tuple[str, ...], options: list[str], command: str) -> str:
    """Log in, run a command, shut down; what the command printed."""
    machine = ["-M", "virt", "-m", "512M", "-nographic", "-no-reboot"]
    kernel = ["-kernel", str(guest / "Image"), "-initrd", str(guest / "initramfs.cpio.gz")]
    append = ["-append", "console=ttyS0 quiet guest.root=/dev/vda"]
    words = [*emulator[1:], *machine, *kernel, *append, *options]
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


def test_debian_installs_a_package_that_is_kept(
    riscv64_linux: Path, system: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.qcow2"
    shutil.copy(system / "debian.qcow2", disk)
    with mirror.serve(system / "mirror") as port:
        source = f"deb [trusted=yes] http://10.0.2.2:{port} {debian.SUITE} main"
        write = "; ".join(
            [
                "systemctl is-system-running --wait",
                f"echo '{source}' > /etc/apt/sources.list",
                f"(apt-get update && apt-get -y install {PACKAGE}) > log 2>&1 || cat log",
                f"echo '{{\"a\": [1, 2]}}' | {PACKAGE} -Mc .a; dpkg --audit",
            ]
        )
        words = ["-drive", f"file={disk},format=qcow2", "-nic", "user"]
        assert session(riscv64_linux, JITEMU, words, write) == "running\n[1,2]\n"
    check(disk)
    read = f"systemctl is-system-running --wait; dpkg --verify {PACKAGE} {LIBRARY}; {PACKAGE} -Mn 5"
    drive = ["-drive", f"file={disk},format=qcow2,if=none,id=d"]
    drive += ["-device", "virtio-blk-device,drive=d"]
    assert session(riscv64_linux, QEMU, drive, read) == "running\n5\n"
    check(disk)
    raw = tmp_path / "check.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    done = subprocess.run(["e2fsck", "-fn", str(raw)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
