"""The system as a whole: names, statistics, randomness."""

from __future__ import annotations

import errno

from jitemu.foreign import addressof, create_string_buffer
from jitemu.user.hostcalls import host_call, write_guest
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
io_setup 0 - 206 uint ptr
io_destroy 1 - 207 hex
io_submit 2 - 209 hex int ptr
io_cancel 3 - 210 hex ptr ptr
io_getevents 4 - 208 hex int int ptr ptr
acct 89 51 163 path
personality 92 136 135 hex
syslog 116 103 103 int ptr int
reboot 142 88 169 hex hex hex ptr
sethostname 161 74 170 ptr size
setdomainname 162 121 171 ptr size
sysinfo 179 116 99 out:sysinfo
add_key 217 309 248 path path ptr size int
request_key 218 310 249 path path path int
keyctl 219 - 250 int hex hex hex hex
swapon 224 87 167 path hex
swapoff 225 115 168 path
getrandom 278 384 318 ptr size hex
io_pgetevents 292 - 333 hex int int ptr ptr ptr
io_uring_setup 425 - 425 uint ptr
io_uring_enter 426 - 426 fd uint uint hex ptr size
io_uring_register 427 - 427 fd uint ptr uint
""")

_SYS_UNAME = 63
_FIELD = 65


@handles("uname 160 122 63 ptr")
def uname(thread: GuestThread, at: int) -> int:
    """uname(2): the host's names, but the guest's machine and the release of ``-r``."""
    buffer = create_string_buffer(6 * _FIELD)
    result = host_call(_SYS_UNAME, addressof(buffer))
    if result < 0:
        return result
    names = bytearray(buffer.raw)
    names[4 * _FIELD : 5 * _FIELD] = thread.abi.machine.encode().ljust(_FIELD, b"\0")
    if thread.process.uname is not None:
        release = thread.process.uname.encode(errors="surrogateescape")[: _FIELD - 1]
        names[2 * _FIELD : 3 * _FIELD] = release.ljust(_FIELD, b"\0")
    write_guest(at, bytes(names))
    return 0


def absent(thread: GuestThread, *_arguments: int) -> int:
    """Known, and not offered: programs have another way."""
    return -errno.ENOSYS


for _row in (
    "riscv_hwprobe 258 - - ptr size size ptr hex",
    "rseq 293 398 334 ptr size hex hex",
    "clone3 435 435 435 ptr size",
    "seccomp 277 383 317 int hex ptr",
    "ptrace 117 26 101 int int ptr ptr",
    "userfaultfd 282 388 323 hex",
    "bpf 280 386 321 int ptr size",
    "perf_event_open 241 364 298 ptr int int fd hex",
    # a sandbox would shut jitemu's own files off
    "landlock_create_ruleset 444 444 444 ptr size hex",
    "landlock_add_rule 445 445 445 fd int ptr hex",
    "landlock_restrict_self 446 446 446 fd hex",
):
    handles(_row)(absent)
