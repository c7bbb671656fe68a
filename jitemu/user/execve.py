"""execve of guest programs (run by jitemu again), scripts, and the host's own programs."""

from __future__ import annotations

import errno
import os

from jitemu.runtime.signal_sets import bit
from jitemu.user.elf import is_guest_elf
from jitemu.user.hostcalls import GuestError
from jitemu.user.signals import SIG_IGN, set_host_mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

_DEEPEST_SCRIPT = 5
_HEADER = 256
_KEPT = "JITEMU_GUEST_"
IGNORED_SIGNALS = "JITEMU_IGNORED_SIGNALS"
"""The set of signals that a guest ignores although Python would forget it."""
_HIDDEN_PREFIXES = (b"LD_", b"PYTHON", b"GLIBC_TUNABLES", b"MALLOC_")


class Target:
    """What to run."""

    def __init__(self, path: bytes, args: list[bytes], guest: bool) -> None:
        self.path = path
        self.args = args
        self.guest = guest


def find_target(thread: GuestThread, path: bytes, args: list[bytes]) -> Target:
    """Follow ``#!`` lines to an ELF file.  GuestError with execve's errnos."""
    paths = thread.process.paths
    for _ in range(_DEEPEST_SCRIPT):
        if paths.proc_self(path) == "exe":
            path = paths.program
        there = paths.translate(path)
        start = _first_bytes(there)
        if is_guest_elf(start, thread.process.abi):
            return Target(there, args, True)
        if not start.startswith(b"#!"):
            return Target(there, args, False)
        words = start[2:].split(b"\n", 1)[0].strip(b" \t").split(None, 1)
        if not words:
            raise GuestError(errno.ENOEXEC)
        args = [words[0], *words[1:], path, *args[1:]]
        path = words[0]
    raise GuestError(errno.ELOOP)


def _first_bytes(path: bytes) -> bytes:
    if os.path.isdir(path):
        raise GuestError(errno.EACCES)
    if not os.access(path, os.X_OK):
        os.stat(path)  # raises ENOENT, ENOTDIR, ...
        raise GuestError(errno.EACCES)
    try:
        with open(path, "rb") as file:
            return file.read(_HEADER)
    except PermissionError:
        return b""


def hide_environment(environ: list[bytes]) -> list[bytes]:
    """The guest's environment as the host interpreter may see it.

    Variables that the host's loader and Python would obey travel under other names.
    """
    kept = _KEPT.encode()
    return [kept + item if item.startswith(_HIDDEN_PREFIXES) else item for item in environ]


def shown_environment(environ: dict[str, str]) -> dict[str, str]:
    """What ``hide_environment`` hid, under its own name again."""
    return {name.removeprefix(_KEPT): value for name, value in environ.items()}


def execute(thread: GuestThread, path: bytes, args: list[bytes], environ: list[bytes]) -> int:
    """execve(2): returns only where it fails."""
    process = thread.process
    target = find_target(thread, path, args)
    command, program = target.args, target.path
    if target.guest:
        argv0 = target.args[0] if target.args else path
        command = [*process.reexec, b"-0", argv0, target.path, *target.args[1:]]
        program = process.reexec[0]
        environ = hide_environment(environ)
        ignored = sum(bit(n) for n in (13, 25) if process.signals.actions[n].handler == SIG_IGN)
        if ignored:
            environ.append(f"{IGNORED_SIGNALS}={ignored:x}".encode())
    pairs: dict[bytes, bytes] = {}
    for item in environ:
        name, equals, value = item.partition(b"=")
        if equals and name:
            pairs.setdefault(name, value)
    set_host_mask(thread.mask)
    try:
        os.execve(program, command or [b""], pairs)
    finally:
        thread.forget_host_mask()


def guest_command(guest: str, option_words: list[str]) -> list[bytes]:
    """The command line of this jitemu with the same options, for another guest program."""
    from jitemu.runtime.isolated import python_for

    words = [*python_for("jitemu.cli.again", "-S"), f"user-{guest}", *option_words]
    return [os.fsencode(word) for word in words]
