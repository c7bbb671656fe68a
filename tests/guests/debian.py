"""A Debian system for riscv64 on an ext4 disk, made of Debian's packages without running one.

    python -m tests.guests.debian FOLDER

writes FOLDER/debian.qcow2 (and .raw).  It boots with the kernel and initramfs of
``jitemu get riscv64-linux`` and "guest.root=/dev/vda"; root has no password.  Packages are
unpacked and entered into dpkg's database as installed; what their scripts would have done
and a first boot needs is done here (``_configure``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from jitemu.get import deb
from jitemu.get.apt import Apt, Progress, check_tools, find_mirror
from jitemu.messages import fail

SUITE = "trixie"
SIZE = "1500M"
ESSENTIAL = """
    base-files base-passwd bash bsdutils coreutils dash debianutils diffutils dpkg findutils
    grep gzip hostname init-system-helpers libc-bin login mawk ncurses-base ncurses-bin
    perl-base sed sysvinit-utils tar util-linux
""".split()
SYSTEM = """
    apt busybox-static dbus debian-archive-keyring e2fsprogs init iproute2 kmod libpam-modules
    libpam-runtime libpam-systemd mount netbase passwd procps systemd systemd-sysv tzdata udev
""".split()
FILES = {
    "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 guest\n",
    "etc/machine-id": "",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/shells": "/bin/sh\n/bin/bash\n",
    "etc/pam.d/common-auth": "auth required pam_unix.so nullok\n",
    "etc/pam.d/common-account": "account required pam_unix.so\n",
    "etc/pam.d/common-password": "password required pam_unix.so obscure yescrypt\n",
    "etc/pam.d/common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
    "etc/pam.d/common-session-noninteractive": "session required pam_unix.so\n",
    # so that a slow host is none that fails
    "etc/systemd/system.conf.d/timeouts.conf": (
        "[Manager]\nDefaultDeviceTimeoutSec=900\nDefaultTimeoutStartSec=900\n"
    ),
    "etc/systemd/network/80-dhcp.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n",
}
LINKS = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": (
        "/usr/lib/systemd/system/systemd-networkd.service"
    ),
    "etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
    "usr/bin/awk": "mawk",
    "usr/bin/sh": "dash",
    "var/run": "/run",
    "var/lock": "/run/lock",
}
FOLDERS = (
    "boot dev etc home media mnt opt proc root run srv sys tmp var/cache var/lib var/log var/tmp"
)
STARTING_FILES = "etc/profile:profile root/.profile:dot.profile root/.bashrc:dot.bashrc".split()
UNUSED = "usr/lib/udev/hwdb.d"  # the machine has none of it, and a first boot would compile it
SET_UID = "usr/bin/su usr/bin/passwd usr/bin/mount usr/bin/umount".split()


def build(folder: Path, suite: str = SUITE, progress: Progress = lambda _: None) -> Path:
    """Make the disk in a folder; the qcow2 image's path."""
    check_tools()
    folder.mkdir(parents=True, exist_ok=True)
    mirror = find_mirror()
    apt = Apt(folder / "apt", mirror, suite, "riscv64")
    apt.update(progress)
    packages = apt.fetch([*ESSENTIAL, *SYSTEM], progress, closure=True)
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    deb.unpack_tree(packages, root)
    _enter(packages, root / "var/lib/dpkg")
    _configure(root, mirror, suite)
    raw, image = folder / "debian.raw", folder / "debian.qcow2"
    raw.unlink(missing_ok=True)
    _run(*_as_root(), "mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", str(root), str(raw), SIZE)
    jitemu = (sys.executable, "-m", "jitemu", "img")
    _run(*jitemu, "convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
    shutil.rmtree(root)
    return image


def fetch(folder: Path, names: list[str], suite: str = SUITE) -> list[Path]:
    """More packages than ``build`` took, and what they depend on; their .deb files."""
    apt = Apt(folder / "apt", find_mirror(), suite, "riscv64")
    return apt.fetch(names, lambda _: None, closure=True)


def _as_root() -> tuple[str, ...]:
    """A user name space where one's own files are root's."""
    return () if os.getuid() == 0 else ("unshare", "-r")


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        fail(f"{words[0]} failed: {done.stderr.strip()}")


def _enter(packages: list[Path], database: Path) -> None:
    """Write dpkg's database: all of them are installed."""
    info = database / "info"
    info.mkdir(parents=True, exist_ok=True)
    for name in ("updates", "triggers", "alternatives", "parts"):
        (database / name).mkdir(exist_ok=True)
    stanzas: list[str] = []
    for package in packages:
        files, control = _control(package)
        name = re.search(r"(?m)^Package: (.*)$", control)
        assert name is not None
        same = re.search(r"(?m)^Multi-Arch: same$", control) is not None
        prefix = f"{name[1]}:riscv64" if same else name[1]
        for file, content in files.items():
            (info / f"{prefix}.{file}").write_bytes(content)
            (info / f"{prefix}.{file}").chmod(0o755 if content[:2] == b"#!" else 0o644)
        listing = [f"/{path}\n" for _, path, _ in deb.members(package)]
        (info / f"{prefix}.list").write_text("/.\n" + "".join(listing))
        stanzas.append(
            control.replace(name[0], f"{name[0]}\nStatus: install ok installed", 1).strip() + "\n"
        )
    (info / "format").write_text("1\n")
    (database / "status").write_text("\n".join(stanzas))
    (database / "available").touch()


def _control(package: Path) -> tuple[dict[str, bytes], str]:
    """The package's control files, and the one called control."""
    command = ["dpkg-deb", "--ctrl-tarfile", str(package)]
    data = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    files: dict[str, bytes] = {}
    import io

    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                files[os.path.basename(member.name)] = content.read()
    return files, files.pop("control").decode()


def _configure(root: Path, mirror: str, suite: str) -> None:
    """What the packages' scripts would have left, as far as a system needs it."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "root").chmod(0o700)
    for name in ("passwd", "group"):
        shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
    passwd = (root / "etc/passwd").read_text()
    (root / "etc/passwd").write_text(passwd.replace("root:*:", "root:x:", 1))
    names = [line.split(":")[0] for line in passwd.splitlines()]
    shadow = [f"{name}:{'' if name == 'root' else '*'}:20000:0:99999:7:::\n" for name in names]
    (root / "etc/shadow").write_text("".join(shadow))
    (root / "etc/shadow").chmod(0o600)
    for pair in STARTING_FILES:
        target, _, source = pair.partition(":")
        shutil.copy(root / "usr/share/base-files" / source, root / target)
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    sources = f"deb {mirror} {suite} main\n"
    (root / "etc/apt/sources.list").write_text(sources)
    for name, target in LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.symlink_to(target)
    shutil.rmtree(root / UNUSED)
    for name in SET_UID:
        if (root / name).exists():
            (root / name).chmod(0o4755)


def main() -> None:
    print(build(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
