"""Names of files as the guest means them: the sysroot of ``-L`` and /proc/self."""

from __future__ import annotations

import os

from jitemu.user.memory import PROT_EXEC, GuestSpace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OWN_FILES = (b"exe", b"maps", b"cmdline", b"auxv", b"stat", b"status")
_THREADS_FIELD, _STACK_FIELD = 17, 25
"""Fields of /proc/self/stat behind the command's name: num_threads, startstack."""


class Paths:
    """Translation of absolute names, and what /proc/self says of the guest."""

    def __init__(self, sysroot: str | None) -> None:
        self.sysroot = os.fsencode(sysroot).rstrip(b"/") if sysroot else b""
        self.program = b""
        """The program's real name, absolute."""
        self.command_line = b""
        self.auxv = b""
        self.stack_start = 0
        self.count_threads: Callable[[], int] = lambda: 1

    def translate(self, path: bytes) -> bytes:
        """SYSROOT/path where that exists (QEMU's rule for -L), the path itself otherwise."""
        if self.sysroot and path.startswith(b"/"):
            there = self.sysroot + path
            try:
                if os.access(there, os.F_OK):
                    return there
            except ValueError:
                return path
        return path

    def proc_self(self, path: bytes) -> str | None:
        """Which of the files of /proc/self that jitemu answers a name means, if one."""
        if not path.startswith(b"/proc/"):
            return None
        whose, _, name = path[6:].partition(b"/")
        if name not in _OWN_FILES:
            return None
        if whose not in (b"self", b"thread-self", b"%d" % os.getpid()):
            return None
        return name.decode()

    def proc_text(self, name: str, space: GuestSpace) -> bytes:
        """The content of one of them (but exe)."""
        if name == "stat":
            return self._stat()
        if name == "status":
            return self._status()
        if name == "cmdline":
            return self.command_line
        if name == "auxv":
            return self.auxv
        return guest_maps(space)

    def _stat(self) -> bytes:
        """/proc/self/stat with the guest's number of threads and its stack."""
        with open("/proc/self/stat", "rb") as file:
            head, mark, tail = file.read().rpartition(b") ")
        fields = tail.split()
        fields[_THREADS_FIELD] = b"%d" % self.count_threads()
        fields[_STACK_FIELD] = b"%d" % self.stack_start
        return head + mark + b" ".join(fields) + b"\n"

    def _status(self) -> bytes:
        """/proc/self/status with the guest's number of threads."""
        with open("/proc/self/status", "rb") as file:
            lines = file.read().split(b"\n")
        own = b"Threads:\t%d" % self.count_threads()
        return b"\n".join(own if line.startswith(b"Threads:") else line for line in lines)


def guest_maps(space: GuestSpace) -> bytes:
    """/proc/self/maps with the guest's mappings only, in the kernel's form."""
    lines: list[bytes] = []
    with open("/proc/self/maps", "rb") as file:
        host_lines = file.read().splitlines()
    for line in host_lines:
        span, rest = line.split(b" ", 1)
        low, high = (int(part, 16) - space.base for part in span.split(b"-"))
        mode, offset, after = rest.split(b" ", 2)
        for region in space.overlaps(low, high):
            execute = b"x" if region.prot & PROT_EXEC else b"-"
            read = b"r" if region.prot & 1 else b"-"
            write = b"w" if region.prot & 2 else b"-"
            moved = int(offset, 16)
            if not after.startswith(b"00:00 "):
                moved += region.start - low
            text = b"%08x-%08x %s%s%s%s %08x %s" % (
                *(region.start, region.end),
                *(read, write, execute, mode[3:4]),
                *(moved, after),
            )
            label = region.label.encode("utf-8", "surrogateescape")
            if label.startswith(b"[") and b"/" not in after:
                text = text.split(b" 00:00 0", 1)[0].ljust(25 + 23) + b" 00:00 0"
                text = text.ljust(73) + label
            lines.append(text)
    return b"\n".join(lines) + b"\n"
