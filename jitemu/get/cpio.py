"""The kernel's initramfs format ("newc" cpio)."""

from __future__ import annotations

import posixpath
import stat

BLOCK = 512  # bytes; an archive is padded to a multiple


class Cpio:
    """Writes one archive.  Nothing of this machine goes in (owner 0, time 0), so the same
    input gives the same bytes, and device nodes need no root."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0
        self._folders: set[str] = set()

    def folder(self, name: str, mode: int = 0o755) -> None:
        """A folder and those above it, once each."""
        if name and name not in self._folders:
            self.folder(posixpath.dirname(name))
            self._folders.add(name)
            self._entry(name, stat.S_IFDIR | mode, links=2)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """A regular file."""
        self.folder(posixpath.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name: str, to: str) -> None:
        """A symbolic link."""
        self.folder(posixpath.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, to.encode())

    def character_device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """A character device node."""
        self.folder(posixpath.dirname(name))
        self._entry(name, stat.S_IFCHR | mode, device=(major, minor))

    def finish(self) -> bytes:
        """The whole archive."""
        self._entry("TRAILER!!!", 0)
        return bytes(self._data) + bytes(-len(self._data) % BLOCK)

    def _entry(
        self,
        name: str,
        mode: int,
        data: bytes = b"",
        device: tuple[int, int] = (0, 0),
        links: int = 1,
    ) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(raw), 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        self._data += bytes(-len(self._data) % 4)
        self._data += data
        self._data += bytes(-len(self._data) % 4)
