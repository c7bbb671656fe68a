"""Reading Debian packages with dpkg-deb, which needs no root for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from jitemu.messages import fail

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")
"""What a tree with a merged /usr has as links into usr/."""
DOCUMENTATION = re.compile(
    r"usr/share/(doc|doc-base|man|info|locale|lintian|bug|menu|bash-completion|"
    r"applications|icons|pixmaps|common-licenses)(/|$)|usr/lib/debug/"
)


def field(package: Path, name: str) -> str:
    """One field of the package's control file."""
    done = subprocess.run(["dpkg-deb", "-f", str(package), name], capture_output=True, text=True)
    if done.returncode:
        fail(f"{package}: dpkg-deb cannot read the package: {done.stderr.strip()}")
    return done.stdout.strip()


def members(package: Path) -> Iterator[tuple[tarfile.TarInfo, str, Callable[[], IO[bytes]]]]:
    """Each member, its path relative to the root, and a function that opens its content."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as tar:
                for member in tar:
                    path = os.path.normpath(member.name).lstrip("/")
                    if path != "." and not path.startswith(".."):
                        yield member, path, lambda m=member, t=tar: _content(t, m)
            child.stdout.read()
        except tarfile.TarError:
            fail(f"{package}: not a whole Debian package; delete it and try again")
    if child.returncode:
        fail(f"{package}: dpkg-deb cannot unpack the package; delete it and try again")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None, "only regular files are opened"
    return content


def read_files(package: Path, wanted: Callable[[str], object]) -> dict[str, bytes]:
    """path -> content of the package's regular files for which ``wanted(path)``."""
    files: dict[str, bytes] = {}
    for member, path, content in members(package):
        if member.isfile() and wanted(path):
            files[path] = content().read()
    return files


def unpack_tree(packages: Iterable[Path], root: Path) -> None:
    """Unpack packages into a new tree that works below any folder.

    /usr is merged and absolute links become relative ones; documentation, device nodes
    and owners are left out.
    """
    root.mkdir(parents=True)
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    hard_links: list[tuple[str, str]] = []
    for package in packages:
        for member, path, content in members(package):
            if DOCUMENTATION.match(path):
                continue
            if path in MERGED:
                if member.isdir() and not os.path.lexists(root / path):
                    (root / path).symlink_to(f"usr/{path}")
                    (root / "usr" / path).mkdir(exist_ok=True)
                continue
            path = _in_usr(path)
            if member.islnk():
                hard_links.append((_in_usr(os.path.normpath(member.linkname)), path))
            else:
                _unpack_member(root, member, path, content)
    for source, path in hard_links:
        (root / path).unlink(missing_ok=True)
        os.link(root / source, root / path)


def _in_usr(path: str) -> str:
    return f"usr/{path}" if path.split("/", 1)[0] in MERGED else path


def _unpack_member(
    root: Path, member: tarfile.TarInfo, path: str, content: Callable[[], IO[bytes]]
) -> None:
    full = root / path
    if member.isdir():
        full.mkdir(parents=True, exist_ok=True)
        return
    full.parent.mkdir(parents=True, exist_ok=True)
    if full.is_dir() and not full.is_symlink():
        return
    full.unlink(missing_ok=True)
    if member.issym():
        to = member.linkname
        if to.startswith("/"):
            inside = _in_usr(os.path.normpath(to).lstrip("/"))
            to = os.path.relpath(inside, os.path.dirname(path) or ".")
        full.symlink_to(to)
    elif member.isfile():
        with open(full, "wb") as file:
            shutil.copyfileobj(content(), file, 1 << 20)
        full.chmod((member.mode & 0o777) | 0o600)
