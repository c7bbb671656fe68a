"""The guests that ``jitemu get`` makes: a bootable Linux and a tree of programs."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jitemu.get import deb
from jitemu.get.apt import Apt, OutOfStep, Progress
from jitemu.get.cpio import Cpio
from jitemu.get.kernel_modules import loading_order
from jitemu.messages import fail, warn

FORMAT = 3
"""Raised when what is written changes, so that folders made before are made again."""
SUITES = ("trixie", "testing", "sid")
ARMHF_SUITES = ("bookworm", "trixie")
"""python3.11 is bookworm's, with the regression tests that it has for itself."""
"""The first is what guests are made of; the others serve while a mirror updates it."""
MANIFEST = "manifest.json"

IMAGE_PATH = re.compile(r"^boot/vmlinu[xz]-|^usr/lib/modules/[^/]+/vmlinu[xz]$")
VIRTIO_MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng")
# ext4 asks for crc32c by its generic name, which its depends= line does not tell
EXT4_MODULES = ("crc32c_generic", "ext4")
FOLDER_MODULES = ("9pnet_virtio", "9p")
FW_CFG_MODULES = ("qemu_fw_cfg",)
ROOT_PACKAGES = """
    bash busybox-static bzip2 coreutils dash diffutils findutils gawk grep gzip libc-bin
    libc6 libstdc++6 lua5.4 openssl perl-base python3 sed sqlite3 tar xz-utils zstd
""".split()
ARMHF_PACKAGES = [*ROOT_PACKAGES, "libpython3.11-testsuite"]
APPLETS = """
    [ ash awk base64 basename blkid bzip2 cat chmod chroot clear cmp cp cpio cut date dd df
    diff dirname dmesg du echo env expr false find free fsync getty grep gunzip gzip halt
    head hexdump hostname hwclock id ifconfig insmod ip kill ln losetup ls lsmod md5sum mkdir
    mke2fs mkfifo mknod mktemp mount mv nc netstat nproc od ping pivot_root poweroff printf
    ps pwd readlink reboot rm rmdir rmmod route sed seq setsid sh sha1sum sha256sum sha512sum
    sleep sort stat stty switch_root sync sysctl tail tar taskset tee telnet test time timeout
    top touch tr true tty udhcpc umount uname uniq uptime vi wc wget which xargs xxd xz yes
    zcat
""".split()


class Steps(Protocol):
    """Somebody who is told what is being done."""

    def step(self, text: str) -> Progress:
        """A new step begins; its progress goes to the function returned."""
        ...


def riscv64_linux(apt: Apt, folder: Path, steps: Steps) -> None:
    """Debian's kernel (Image), its virtio and ext4 modules, busybox and an initramfs."""
    apt.update(steps.step("package lists"))
    kernel = kernel_packages(apt, steps)
    box = apt.fetch(["busybox-static"], steps.step("busybox"), closure=False)[0]

    progress = steps.step("initramfs")
    files: dict[str, bytes] = {}
    for package in kernel:
        files |= deb.read_files(
            package, lambda path: IMAGE_PATH.search(path) or re.search(r"\.ko(\.xz|\.gz)?$", path)
        )
    progress(30)
    busybox = next(iter(deb.read_files(box, lambda path: path.endswith("bin/busybox")).values()))
    modules = Modules(files)
    sets = {
        "virtio": loading_order(modules, VIRTIO_MODULES),
        "ext4": loading_order(modules, EXT4_MODULES),
        "9p": loading_order(modules, FOLDER_MODULES),
        "fw_cfg": loading_order(modules, FW_CFG_MODULES),
    }
    progress(60)
    for name, ramfs in (
        ("initramfs.cpio.gz", initramfs(busybox, modules, sets)),
        ("initramfs-small.cpio.gz", initramfs(busybox, {}, {})),
    ):
        (folder / name).write_bytes(gzip.compress(ramfs, 9, mtime=0))
    (folder / "Image").write_bytes(kernel_image(files))
    (folder / "busybox").write_bytes(busybox)
    (folder / "busybox").chmod(0o755)
    progress(100)


def kernel_packages(apt: Apt, steps: Steps) -> list[Path]:
    """What linux-image-riscv64 stands for: one package, or from testing on several."""
    meta = apt.fetch(["linux-image-riscv64"], steps.step("kernel's name"), closure=False)[0]
    names = re.findall(r"\blinux-image-\d\S+", deb.field(meta, "Depends"))
    if not names:
        fail("linux-image-riscv64 does not name a kernel package")
    image = apt.fetch(names[:1], steps.step("kernel"), closure=False)
    parts = re.findall(r"\blinux-(?:binary|modules)-\d\S+", deb.field(image[0], "Depends"))
    if parts:
        image += apt.fetch(parts, steps.step("kernel's parts"), closure=False)
    return image


def kernel_image(files: Mapping[str, bytes]) -> bytes:
    """The raw Image among a kernel package's files."""
    for path, data in files.items():
        if IMAGE_PATH.search(path):
            image = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if image[0x30:0x38] == b"RISCV\0\0\0":
                return image
    fail("the kernel package holds no RISC-V Image")


class Modules(Mapping[str, bytes]):
    """A kernel package's modules by name (with '_'), unpacked when they are looked at."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._packed: dict[str, tuple[str, bytes]] = {}
        self._plain: dict[str, bytes] = {}
        for path, data in files.items():
            match = re.search(r"([^/]+)\.ko(\.xz|\.gz)?$", path)
            if match:
                self._packed[match[1].replace("-", "_")] = (match[2] or "", data)

    def __getitem__(self, name: str) -> bytes:
        if name not in self._plain:
            kind, data = self._packed[name]
            unpack = {".xz": lzma.decompress, ".gz": gzip.decompress}.get(kind, bytes)
            self._plain[name] = unpack(data)
        return self._plain[name]

    def __contains__(self, name: object) -> bool:
        return name in self._packed

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __len__(self) -> int:
        return len(self._packed)


def initramfs(busybox: bytes, modules: Mapping[str, bytes], sets: Mapping[str, list[str]]) -> bytes:
    """An initramfs, not compressed; ``sets``: name -> modules in the order they load."""
    cpio = Cpio()
    for name in ("bin", "dev", "etc", "lib", "mnt", "proc", "root", "sys", "tmp"):
        cpio.folder(name)
    cpio.character_device("dev/console", 5, 1)
    cpio.character_device("dev/null", 1, 3, 0o666)
    cpio.symlink("sbin", "bin")
    cpio.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    cpio.file("etc/group", b"root:x:0:\n")
    cpio.file("bin/busybox", busybox, 0o755)
    for name in APPLETS:
        cpio.symlink(f"bin/{name}", "busybox")
    for name in sorted({name for names in sets.values() for name in names}):
        cpio.file(f"lib/modules/{name}.ko", modules[name])
    for name, names in sorted(sets.items()):
        cpio.file(f"lib/modules/{name}.list", "".join(f"{line}\n" for line in names).encode())
    cpio.file("init", Path(__file__).with_name("init.txt").read_bytes(), 0o755)
    return cpio.finish()


def riscv64_root(apt: Apt, folder: Path, steps: Steps) -> None:
    """A tree for ``jitemu user-riscv64 -L``: shells, coreutils, python3, openssl..."""
    _root(apt, folder, steps, ROOT_PACKAGES)


def armhf_root(apt: Apt, folder: Path, steps: Steps) -> None:
    """The same for ``jitemu user-arm -L``."""
    _root(apt, folder, steps, ARMHF_PACKAGES)


def _root(apt: Apt, folder: Path, steps: Steps, names: Sequence[str]) -> None:
    apt.update(steps.step("package lists"))
    packages = apt.fetch(list(names), steps.step("packages"), closure=True)
    progress = steps.step("unpacking")
    root = folder / "root"
    deb.unpack_tree(packages, root)
    for path, text in (
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
    ):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    # what the packages' own scripts would have linked
    for link, to in (("awk", "gawk"), ("sh", "dash"), ("lua", "lua5.4")):
        full = root / "usr/bin" / link
        if not os.path.lexists(full) and (root / "usr/bin" / to).exists():
            full.symlink_to(to)
    for name in ("tmp", "root", "proc", "dev", "sys"):
        (root / name).mkdir(exist_ok=True)
    progress(100)


Builder = Callable[[Apt, Path, Steps], None]
GUESTS: dict[str, tuple[Builder, str]] = {
    "riscv64-linux": (riscv64_linux, "Debian's riscv64 kernel and a busybox initramfs"),
    "riscv64-root": (riscv64_root, "a tree of Debian's riscv64 programs for user-riscv64 -L"),
    "armhf-root": (armhf_root, "a tree of Debian's armhf programs for user-arm -L"),
}


def is_complete(folder: Path) -> bool:
    """Whether the folder was made whole by this version of the code."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = {name: (folder / name).stat().st_size for name in manifest["files"]}
        return manifest["format"] == FORMAT and files == manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def make(name: str, target: Path, find_mirror: Callable[[], str], steps: Steps) -> None:
    """Make the guest ``name`` in the folder ``target``; it appears there whole or not at all."""
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        suite = _build(name, fresh, find_mirror(), steps)
        files = {path.name: path.stat().st_size for path in fresh.iterdir() if path.is_file()}
        manifest = {"format": FORMAT, "suite": suite, "files": files}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except OSError as error:
        fail(f"{error.filename or target}: cannot make {name}: {error.strerror or error}")
    except (StopIteration, struct.error, EOFError, lzma.LZMAError):
        fail(f"cannot make {name}: a package does not hold what was expected of it")
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _build(name: str, fresh: Path, mirror: str, steps: Steps) -> str:
    """Fill the folder ``fresh`` from the first suite whose files agree; the suite's name."""
    first: OutOfStep | None = None
    architecture = name.partition("-")[0]
    for suite in ARMHF_SUITES if architecture == "armhf" else SUITES:
        state = fresh.with_name(fresh.name + ".apt")
        try:
            fresh.mkdir(parents=True)
            GUESTS[name][0](Apt(state, mirror, suite, architecture), fresh, steps)
        except OutOfStep as error:
            first = first or error
            shutil.rmtree(fresh)
        else:
            if first is not None:
                warn(f"{name} is made of Debian {suite}, as the mirror is being updated: {first}")
            return suite
        finally:
            shutil.rmtree(state, ignore_errors=True)
    assert first is not None
    raise first
