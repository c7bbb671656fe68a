"""``-strace``: one line a call, printed from the table's rows in QEMU's shape."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from jitemu.user.hostcalls import GuestError, GuestFault, read_string, signed, signed32

if TYPE_CHECKING:
    from jitemu.user.syscalls.table import Row
    from jitemu.user.thread import GuestThread

_AT_FDCWD = -100
_POINTER_RESULTS = {"brk", "mmap", "mmap2", "mremap", "shmat"}
_NO_RESULT = {"exit", "exit_group", "rt_sigreturn", "sigreturn"}


def _names(text: str) -> dict[int, str]:
    return {int(value, 0): name for name, value in (item.split("=") for item in text.split())}


_FLAGS: dict[str, tuple[dict[int, str], str]] = {
    "prot": (_names("PROT_EXEC=4 PROT_READ=1 PROT_WRITE=2"), "PROT_NONE"),
    "mmapflags": (
        _names(
            "MAP_SHARED=1 MAP_PRIVATE=2 MAP_ANONYMOUS=0x20 MAP_DENYWRITE=0x800 MAP_FIXED=0x10 "
            "MAP_GROWSDOWN=0x100 MAP_EXECUTABLE=0x1000 MAP_LOCKED=0x2000 MAP_NORESERVE=0x4000 "
            "MAP_POPULATE=0x8000 MAP_STACK=0x20000 MAP_FIXED_NOREPLACE=0x100000"
        ),
        "0",
    ),
    "oflags": (
        _names(
            "O_TMPFILE=0x410000 O_APPEND=0x400 O_CREAT=0x40 O_DIRECTORY=0x10000 O_EXCL=0x80 "
            "O_NOCTTY=0x100 "
            "O_NOFOLLOW=0x20000 O_NONBLOCK=0x800 O_DSYNC=0x1000 O_TRUNC=0x200 O_DIRECT=0x4000 "
            "O_CLOEXEC=0x80000 O_NOATIME=0x40000 O_PATH=0x200000 O_LARGEFILE=0x8000"
        ),
        "",
    ),
    "fdflags": (_names("O_NONBLOCK=0x800 O_CLOEXEC=0x80000"), "0"),
    "atflags": (
        _names(
            "AT_SYMLINK_NOFOLLOW=0x100 AT_REMOVEDIR=0x200 AT_SYMLINK_FOLLOW=0x400 "
            "AT_NO_AUTOMOUNT=0x800 AT_EMPTY_PATH=0x1000"
        ),
        "0",
    ),
    "access": (_names("R_OK=4 W_OK=2 X_OK=1"), "F_OK"),
    "clone": (
        _names(
            "CLONE_VM=0x100 CLONE_FS=0x200 CLONE_FILES=0x400 CLONE_SIGHAND=0x800 "
            "CLONE_PTRACE=0x2000 CLONE_VFORK=0x4000 CLONE_PARENT=0x8000 CLONE_THREAD=0x10000 "
            "CLONE_NEWNS=0x20000 CLONE_SYSVSEM=0x40000 CLONE_SETTLS=0x80000 "
            "CLONE_PARENT_SETTID=0x100000 CLONE_CHILD_CLEARTID=0x200000 "
            "CLONE_DETACHED=0x400000 CLONE_CHILD_SETTID=0x1000000"
        ),
        "0",
    ),
}

_ENUMS: dict[str, dict[int, str]] = {
    "whence": _names("SEEK_SET=0 SEEK_CUR=1 SEEK_END=2 SEEK_DATA=3 SEEK_HOLE=4"),
    "sighow": _names("SIG_BLOCK=0 SIG_UNBLOCK=1 SIG_SETMASK=2"),
    "clock": _names(
        "CLOCK_REALTIME=0 CLOCK_MONOTONIC=1 CLOCK_PROCESS_CPUTIME_ID=2 "
        "CLOCK_THREAD_CPUTIME_ID=3 CLOCK_MONOTONIC_RAW=4 CLOCK_REALTIME_COARSE=5 "
        "CLOCK_MONOTONIC_COARSE=6 CLOCK_BOOTTIME=7 CLOCK_TAI=11"
    ),
    "fcntl": _names(
        "F_DUPFD=0 F_GETFD=1 F_SETFD=2 F_GETFL=3 F_SETFL=4 F_GETLK=5 F_SETLK=6 F_SETLKW=7 "
        "F_SETOWN=8 F_GETOWN=9 F_DUPFD_CLOEXEC=1030 F_SETPIPE_SZ=1031 F_GETPIPE_SZ=1032"
    ),
    "ioctl": _names(
        "TCGETS=0x5401 TCSETS=0x5402 TCSETSW=0x5403 TCSETSF=0x5404 TIOCSCTTY=0x540e "
        "TIOCGPGRP=0x540f TIOCSPGRP=0x5410 TIOCGWINSZ=0x5413 TIOCSWINSZ=0x5414 FIONREAD=0x541b "
        "FIONBIO=0x5421 FIOCLEX=0x5451"
    ),
    "resource": _names(
        "RLIMIT_CPU=0 RLIMIT_FSIZE=1 RLIMIT_DATA=2 RLIMIT_STACK=3 RLIMIT_CORE=4 RLIMIT_RSS=5 "
        "RLIMIT_NPROC=6 RLIMIT_NOFILE=7 RLIMIT_MEMLOCK=8 RLIMIT_AS=9"
    ),
}
_O_CREAT, _O_TMPFILE = 0x40, 0x410000
_ACCESS_MODES = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
_FUTEX = (
    "WAIT WAKE FD REQUEUE CMP_REQUEUE WAKE_OP LOCK_PI UNLOCK_PI TRYLOCK_PI WAIT_BITSET "
    "WAKE_BITSET WAIT_REQUEUE_PI CMP_REQUEUE_PI LOCK_PI2".split()
)


def _flags(kind: str, value: int) -> str:
    names, nothing = _FLAGS[kind]
    parts: list[str] = []
    if kind == "oflags":
        parts.append(_ACCESS_MODES[value & 3])
        value &= ~3
    for mask in names:
        if value & mask == mask:
            parts.append(names[mask])
            value &= ~mask
    if value:
        parts.append(f"{value:#x}")
    return "|".join(parts) or nothing


def _path(address: int, digits: int) -> str:
    if address == 0:
        return "NULL"
    try:
        return '"' + read_string(address).decode(errors="backslashreplace") + '"'
    except (GuestFault, GuestError):
        return pointer(address, digits)


def pointer(value: int, digits: int = 16) -> str:
    """An address, NULL for none."""
    return f"0x{value:0{digits}x}" if value else "NULL"


def signal_name(number: int) -> str:
    """SIGxxx, or the number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _futex_op(value: int) -> str:
    value &= 0xFFFFFFFF
    base = value & 0x7F
    parts = [name for bit, name in ((128, "PRIVATE_FLAG"), (256, "CLOCK_REALTIME")) if value & bit]
    parts.append(_FUTEX[base] if base < len(_FUTEX) else str(base))
    return "|".join("FUTEX_" + part for part in parts)


def format_argument(kind: str, value: int, digits: int = 16) -> str:
    """One argument, by its kind; addresses have so many hexadecimal digits."""
    if kind in ("ptr", "brk", "iovec") or ":" in kind:
        return pointer(value, digits)
    if kind in ("path", "rpath"):
        return _path(value, digits)
    if kind == "dirfd":
        return "AT_FDCWD" if signed32(value) == _AT_FDCWD else str(signed32(value))
    if kind in _FLAGS:
        return _flags(kind, value & 0xFFFFFFFF)
    if kind in _ENUMS:
        return _ENUMS[kind].get(value & 0xFFFFFFFF, f"{value & 0xFFFFFFFF:#x}")
    if kind == "signal":
        return signal_name(signed32(value))
    if kind == "futexop":
        return _futex_op(value)
    if kind == "mode":
        return f"0{value & 0xFFFFFFFF:o}" if value else "0"
    if kind == "hex":
        return f"{value:#x}" if value else "0"
    if kind in ("size", "off", "loff"):
        return str(signed(value))
    if kind == "uint":
        return str(value & 0xFFFFFFFF)
    return str(signed32(value))


def _creates(values: dict[str, int]) -> bool:
    """An open has a mode: it makes a file."""
    flags = values["oflags"]
    return bool(flags & _O_CREAT) or flags & _O_TMPFILE == _O_TMPFILE


def format_call(tid: int, row: Row, args: tuple[int, ...], digits: int = 16) -> str:
    """``24989 brk(NULL)``."""
    pairs = list(zip(row.kinds, args, strict=True))
    if row.kinds[-1:] == ("mode",) and "oflags" in row.kinds and not _creates(dict(pairs)):
        pairs.pop()
    words = [format_argument(kind, value, digits) for kind, value in pairs]
    return f"{tid} {row.name}({','.join(words)})"


def format_result(row: Row, result: int, digits: int = 16) -> str:
    """`` = 0x0006c000``, `` = -1 errno=2 (No such file or directory)``."""
    bits = 4 * digits
    word = result & (1 << bits) - 1
    result = word - (word >> bits - 1 << bits)
    if -4096 < result < 0:
        return f" = -1 errno={-result} ({os.strerror(-result)})\n"
    if row.name in _POINTER_RESULTS:
        return f" = 0x{word:0{digits}x}\n"
    return f" = {result}\n"


def signal_line(number: int, info: bytes) -> str:
    """``--- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, ...} ---``."""
    name = signal_name(number)
    _, _, code = struct.unpack_from("<iii", info)
    fields = f"si_signo={name}, si_code={'SI_USER' if code == 0 else code}"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP):
        fields += f", si_addr=0x{int.from_bytes(info[16:24], 'little'):x}"
    elif code <= 0 or number == signal.SIGCHLD:
        pid, uid = struct.unpack_from("<ii", info.ljust(24, b"\0"), 16)
        fields += f", si_pid={pid}, si_uid={uid}"
    return f"--- {name} {{{fields}}} ---\n"


def traced(thread: GuestThread, row: Row, serve: Callable[[], None]) -> Callable[[], None]:
    """The closure ``serve`` with a line in the log around it."""
    cpu, log, digits = thread.cpu, thread.process.log, 2 * thread.abi.word
    fetch = thread.abi.fetch(cpu, row.kinds)

    def traced_call() -> None:
        line = format_call(thread.tid, row, fetch(), digits)
        log.write(line)
        if row.name in _NO_RESULT:
            log.write("\n")
            serve()
            return
        pc = cpu.pc
        try:
            serve()
        except BaseException:
            log.write("\n")
            raise
        if cpu.pc == pc:
            log.write(" = ? (restarted)\n" if not thread.pending else " = -1 errno=4\n")
        else:
            log.write(format_result(row, cpu.gpr(thread.abi.arguments[0]), digits))

    return traced_call
