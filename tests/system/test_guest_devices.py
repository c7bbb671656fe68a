"""Devices under Debian's kernel: disks, entropy, a shared folder, fw_cfg, one of the user's."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNTDOWN = Path(__file__).with_name("countdown.py")
JITEMU = (sys.executable, "-m", "jitemu", "system-riscv64")
QEMU = ("qemu-system-riscv64",)
BOOT_LIMIT_S = 240
BASE, TICKS, DONE = 0x400_0000, 0x400_0004, 0x400_0008

pytestmark = pytest.mark.skipif(shutil.which("mke2fs") is None, reason="needs e2fsprogs")


def boot(guest: Path, emulator: tuple[str, ...], script: str, modules: str, *options: str) -> str:
    """What the script prints in a booted guest; it must have succeeded."""
    done = subprocess.run(
        [
            *emulator,
            *("-M", "virt", "-m", "256M", "-nographic"),
            *("-kernel", str(guest / "Image"), "-initrd", str(guest / "initramfs.cpio.gz")),
            *("-append", f'console=ttyS0 quiet guest.mods={modules} guest.run="{script}"'),
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=BOOT_LIMIT_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ready, _, rest = done.stdout.replace("\r", "").partition("GUEST-READY")
    assert rest, ready + done.stderr
    output, status, _ = rest.partition("GUEST-EXIT 0\n")
    assert status, rest + done.stderr
    return output.partition("\n")[2]


def make_ext4(folder: Path, name: str, size: str = "48M") -> Path:
    """An ext4 image with a file in it."""
    (folder / "content").mkdir()
    (folder / "content/hello").write_text("from the host\n")
    image = folder / name
    command = ["mke2fs", "-q", "-t", "ext4", "-d", str(folder / "content"), str(image), size]
    subprocess.run(command, check=True)
    return image


def check_ext4(image: Path) -> None:
    done = subprocess.run(["e2fsck", "-fn", str(image)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def file_in(image: Path, name: str) -> bytes:
    command = ["debugfs", "-R", f"cat {name}", str(image)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_devices_of_one_machine(riscv64_linux: Path, tmp_path: Path) -> None:
    image = make_ext4(tmp_path, "disk.img")
    share = tmp_path / "share"
    share.mkdir()
    (share / "in").write_text("shared\n")
    (share / "out").symlink_to("../content/hello")
    script = "; ".join(
        [
            "set -e; cat /sys/block/vda/serial; echo",
            "mount -t ext4 /dev/vda /mnt; cat /mnt/hello",
            "dd if=/dev/hwrng of=/mnt/random bs=64K count=40 iflag=fullblock 2>/dev/null",
            "md5sum /mnt/random; umount /mnt",
            "mount -t 9p -o trans=virtio,version=9p2000.L tag /mnt; cat /mnt/in",
            "cat /mnt/out 2>/dev/null || echo nothing outside",
            "md5sum /dev/vda > /mnt/sum; umount /mnt",
            "cat /sys/firmware/qemu_fw_cfg/by_name/opt/test/raw; echo",
            "cat /proc/device-tree/platform-bus*/countdown@0/compatible; echo",
            f"busybox devmem {BASE:#x}; busybox devmem {TICKS:#x} 32 3",
            f"sleep 1; busybox devmem {DONE:#x}",
            "cat /sys/class/virtio-ports/*/name; echo to the console > /dev/hvc0",
            "dd if=/dev/hwrng of=/tmp/x bs=64K count=9 iflag=fullblock 2>/dev/null",
            "for p in /dev/vport*p1; do cat /tmp/x > $p; done; md5sum < /tmp/x",
        ]
    )
    output = boot(
        riscv64_linux,
        JITEMU,
        script,
        "ext4,9p,fw_cfg",
        *("-drive", f"file={image},format=raw,serial=abc", "-device", "virtio-rng-device"),
        *("-virtfs", f"local,path={share},mount_tag=tag,security_model=none"),
        *("-fw_cfg", "opt/test,string=item", "-device-file", f"{COUNTDOWN},unit-us=100"),
        *("-chardev", f"file,id=c,path={tmp_path / 'console'}", "-device", "virtio-serial-device"),
        *("-chardev", f"file,id=p,path={tmp_path / 'port'}", "-device", "virtconsole,chardev=c"),
        *("-device", "virtserialport,chardev=p,name=org.example"),
    )
    lines = output.splitlines()
    assert lines[:2] == ["abc", "from the host"]
    check_ext4(image)
    content = file_in(image, "random")
    assert (len(content), len(set(content))) == (40 << 16, 256)
    assert lines[2].split()[0] == hashlib.md5(content).hexdigest()
    assert lines[3:6] == ["shared", "nothing outside", "item"]
    assert lines[6].rstrip("\0") == "example,countdown"
    assert lines[7:10] == ["0x4B434954", "0x00000001", "org.example"]
    assert (tmp_path / "console").read_text() == "to the console\n"
    sent = (tmp_path / "port").read_bytes()
    assert (len(sent), hashlib.md5(sent).hexdigest()) == (9 << 16, lines[10].split()[0])
    whole = hashlib.md5(image.read_bytes()).hexdigest()
    assert (share / "sum").read_text().split()[0] == whole


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_a_qcow2_disk_keeps_what_is_written(riscv64_linux: Path, tmp_path: Path) -> None:
    raw, image = make_ext4(tmp_path, "raw"), tmp_path / "disk.qcow2"
    convert = ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(image)]
    subprocess.run(convert, check=True)
    write = (
        "set -e; mount -t ext4 /dev/vda /mnt; mkdir /mnt/d; "
        "for i in 1 2 3 4 5; do cp /bin/busybox /mnt/d/$i; done; rm /mnt/d/2; sync; "
        "umount /mnt; md5sum /dev/vda"
    )
    read = "set -e; md5sum /dev/vda; mount -o ro -t ext4 /dev/vda /mnt; md5sum /mnt/d/*"
    drive = ("-drive", f"file={image},format=qcow2", "-global", "virtio-mmio.force-legacy=off")
    disk_sum = boot(riscv64_linux, JITEMU, write, "ext4", *drive)
    check = subprocess.run(["qemu-img", "check", str(image)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
    again = boot(riscv64_linux, JITEMU, read, "ext4", *drive, "-snapshot")
    assert again.startswith(disk_sum)
    busybox = hashlib.md5((riscv64_linux / "busybox").read_bytes()).hexdigest()
    assert re.findall(r"^(\w+)  /mnt/d/(\d)$", again, re.M) == [(busybox, n) for n in "1345"]
    theirs = boot(
        riscv64_linux,
        QEMU,
        read,
        "ext4",
        *("-drive", f"file={image},format=qcow2,if=none,id=d"),
        *("-device", "virtio-blk-device,drive=d"),
    )
    assert theirs == again
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    check_ext4(raw)


def test_devices_work_again_after_a_reset(riscv64_linux: Path, tmp_path: Path) -> None:
    image = make_ext4(tmp_path, "disk.img")
    script = (
        "set -e; mount -t ext4 /dev/vda /mnt; dd if=/dev/hwrng bs=100 count=1 | wc -c; "
        "if [ ! -e /mnt/again ]; then touch /mnt/again; umount /mnt; reboot -f; sleep 9; fi; "
        "umount /mnt; echo came back"
    )
    drive = ("-drive", f"file={image},format=raw", "-device", "virtio-rng-device")
    output = boot(riscv64_linux, JITEMU, script, "ext4", *drive)
    assert output.count("GUEST-READY") == 1, "the first was taken off by boot()"
    assert output.endswith("came back\n")
    check_ext4(image)


def test_readme_shows_this_device() -> None:
    source = COUNTDOWN.read_text()
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"```python\n{source}```" in readme
    assert len(source.splitlines()) == 25


BROKEN_DEVICE = """
from jitemu.devices.platform import PlatformDevice
from jitemu.devices.registers import rw

class Broken(PlatformDevice):
    model = "broken"
    compatible = "example,broken"
    a = rw(0, "divides")

    @a.on_write
    def divide(self, value: int) -> None:
        self.a = 1 // value
"""


def test_an_error_in_ones_own_device_is_a_line(riscv64_linux: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(BROKEN_DEVICE)
    with pytest.raises(AssertionError) as error:
        boot(
            riscv64_linux,
            JITEMU,
            f"busybox devmem {BASE:#x} 32 0",
            "virtio",
            *("-device-file", str(file)),
        )
    text = str(error.value)
    assert "jitemu: -device-file: ZeroDivisionError: integer division" in text
    assert f"({file}, line 12)" in text and "Traceback" not in text
