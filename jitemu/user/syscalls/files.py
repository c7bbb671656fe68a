"""Files, directories and descriptors."""

from __future__ import annotations

import errno
import os
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.runtime.descriptors import OWN
from jitemu.user.hostcalls import (
    host_call,
    host_pointer,
    read_guest,
    read_string,
    signed32,
    write_guest,
)
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.user.thread import GuestThread

passes("""
setxattr 5 226 188 path path ptr size hex
lsetxattr 6 227 189 path path ptr size hex
fsetxattr 7 228 190 fd path ptr size hex
getxattr 8 229 191 rpath path ptr size
lgetxattr 9 230 192 rpath path ptr size
fgetxattr 10 231 193 fd path ptr size
listxattr 11 232 194 rpath ptr size
llistxattr 12 233 195 rpath ptr size
flistxattr 13 234 196 fd ptr size
removexattr 14 235 197 path path
lremovexattr 15 236 198 path path
fremovexattr 16 237 199 fd path
getcwd 17 183 79 ptr size
eventfd2 19 356 290 uint fdflags
dup 23 41 32 fd
fcntl 25 - 72 fd fcntl hex
inotify_init1 26 360 294 fdflags
inotify_add_watch 27 317 254 fd path hex
inotify_rm_watch 28 318 255 fd int
ioctl 29 - 16 fd ioctl ptr
ioprio_set 30 314 251 int int int
ioprio_get 31 315 252 int int
flock 32 143 73 fd int
mknodat 33 324 259 dirfd path mode hex
mkdirat 34 323 258 dirfd path mode
unlinkat 35 328 263 dirfd path atflags
symlinkat 36 331 266 path dirfd path
linkat 37 330 265 dirfd path dirfd path atflags
renameat 38 329 264 dirfd path dirfd path
umount2 39 52 166 path hex
mount 40 21 165 path path path hex ptr
pivot_root 41 218 155 path path
statfs 43 99 137 rpath out:statfs
fstatfs 44 100 138 fd out:statfs
truncate 45 - 76 path off
ftruncate 46 - 77 fd off
fallocate 47 352 285 fd hex loff loff
faccessat 48 334 269 dirfd rpath access
chdir 49 12 80 path
fchdir 50 133 81 fd
chroot 51 61 161 path
fchmod 52 94 91 fd mode
fchmodat 53 333 268 dirfd path mode
fchownat 54 325 260 dirfd path int int atflags
fchown 55 95 93 fd int int
vhangup 58 111 153
pipe2 59 359 293 ptr fdflags
quotactl 60 131 179 hex path int ptr
getdents64 61 217 217 fd ptr size
lseek 62 19 8 fd off whence
read 63 3 0 fd ptr size
write 64 4 1 fd ptr size
readv 65 145 19 fd iovec int
writev 66 146 20 fd iovec int
pread64 67 180 17 fd ptr size loff
pwrite64 68 181 18 fd ptr size loff
preadv 69 - 295 fd ptr int off off
pwritev 70 - 296 fd ptr int off off
sendfile 71 187 40 fd fd io:off size
vmsplice 75 343 278 fd iovec int hex
splice 76 340 275 fd ptr fd ptr size hex
tee 77 342 276 fd fd size hex
sync 81 36 162
fsync 82 118 74 fd
fdatasync 83 148 75 fd
sync_file_range 84 - 277 fd off off hex
utimensat 88 348 280 dirfd rpath in:timespecs atflags
umask 166 60 95 mode
readahead 213 225 187 fd loff size
fadvise64 223 - 221 fd off off int
fanotify_init 262 367 300 hex hex
fanotify_mark 263 368 301 fd hex hex dirfd path
name_to_handle_at 264 370 303 dirfd rpath ptr ptr atflags
open_by_handle_at 265 371 304 fd ptr oflags
syncfs 267 373 306 fd
renameat2 276 382 316 dirfd path dirfd path hex
memfd_create 279 385 319 path hex
copy_file_range 285 391 326 fd ptr fd ptr size hex
preadv2 286 - 327 fd ptr int off off hex
pwritev2 287 - 328 fd ptr int off off hex
statx 291 397 332 dirfd rpath atflags hex ptr
open_tree 428 428 428 dirfd path hex
move_mount 429 429 429 dirfd path dirfd path hex
fsopen 430 430 430 path hex
fsconfig 431 431 431 fd uint path ptr int
fsmount 432 432 432 fd hex hex
fspick 433 433 433 dirfd path hex
faccessat2 439 439 439 dirfd rpath access atflags
mount_setattr 442 442 442 dirfd path hex ptr size
""")

_SYS_OPENAT, _SYS_READLINKAT, _SYS_NEWFSTATAT, _SYS_FSTAT = 257, 267, 262, 5
_SYS_OPENAT2 = 437
_O_ACCMODE = 3
_HOST_STAT = struct.Struct("<QQQIII4xQqqqQqQqQq")
_GUEST_STAT = struct.Struct("<QQIIIIQQqiiqqQqQqQII")


_SYS_CLOSE, _SYS_DUP3, _SYS_CLOSE_RANGE = 3, 292, 436


@handles("close 57 6 3 fd")
def close(_thread: GuestThread, fd: int) -> int:
    """close(2); jitemu's own files are not there for the guest."""
    return -errno.EBADF if signed32(fd) in OWN else host_call(_SYS_CLOSE, fd)


@handles("dup3 24 358 292 fd fd fdflags")
def dup3(_thread: GuestThread, old: int, new: int, flags: int) -> int:
    """dup3(2); EBUSY, which it knows too, for a number that jitemu has."""
    if signed32(old) in OWN or signed32(new) in OWN:
        return -errno.EBADF if signed32(old) in OWN else -errno.EBUSY
    return host_call(_SYS_DUP3, old, new, flags)


@handles("close_range 436 436 436 uint uint hex")
def close_range(_thread: GuestThread, first: int, last: int, flags: int) -> int:
    """close_range(2) around jitemu's own files."""
    first, last = first & 0xFFFFFFFF, last & 0xFFFFFFFF
    if first > last:
        return -errno.EINVAL
    for own in sorted(fd for fd in OWN if first <= fd <= last):
        result = host_call(_SYS_CLOSE_RANGE, first, own - 1, flags) if first < own else 0
        if result < 0:
            return result
        first = own + 1
    return host_call(_SYS_CLOSE_RANGE, first, last, flags) if first <= last else 0


def host_path(thread: GuestThread, dirfd: int, path: bytes) -> bytes:
    """The name to give to the host."""
    there = thread.process.paths.translate(path)
    if thread.process.paths.proc_self(path) == "exe":
        return thread.process.paths.program
    return there


def _own_file(thread: GuestThread, name: str, flags: int) -> int:
    """A descriptor of a file of /proc/self whose content is the guest's."""
    if flags & _O_ACCMODE != os.O_RDONLY:
        return -errno.EACCES
    content = thread.process.paths.proc_text(name, thread.process.space)
    fd = os.memfd_create(name, os.MFD_CLOEXEC if flags & os.O_CLOEXEC else 0)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@handles("openat 56 322 257 dirfd path oflags mode")
def openat(thread: GuestThread, dirfd: int, path: int, flags: int, mode: int) -> int:
    """openat(2)."""
    name = read_string(path)
    own = thread.process.paths.proc_self(name)
    if own is not None and own != "exe":
        return _own_file(thread, own, flags)
    buffer = create_string_buffer(host_path(thread, dirfd, name))
    return host_call(_SYS_OPENAT, dirfd, addressof(buffer), flags, mode)


@handles("openat2 437 437 437 dirfd path ptr size")
def openat2(thread: GuestThread, dirfd: int, path: int, how: int, size: int) -> int:
    """openat2(2); its lookups are not moved below the sysroot when they are restricted."""
    name = read_string(path)
    if size >= 24:
        flags, _mode, resolve = struct.unpack("<QQQ", read_guest(how, 24))
        if not resolve:
            own = thread.process.paths.proc_self(name)
            if own is not None and own != "exe":
                return _own_file(thread, own, flags)
            name = host_path(thread, dirfd, name)
    buffer = create_string_buffer(name)
    asked = bytearray(read_guest(how, size))
    flags = thread.abi.open_flags(int.from_bytes(asked[:8], "little"))
    asked[:8] = flags.to_bytes(8, "little")
    given = create_string_buffer(bytes(asked), size)
    return host_call(_SYS_OPENAT2, dirfd, addressof(buffer), addressof(given), size)


@handles("readlinkat 78 332 267 dirfd path ptr size")
def readlinkat(thread: GuestThread, dirfd: int, path: int, target: int, size: int) -> int:
    """readlinkat(2); /proc/self/exe names the guest program."""
    name = read_string(path)
    if thread.process.paths.proc_self(name) == "exe":
        size = signed32(size)
        if size <= 0:
            return -errno.EINVAL
        text = thread.process.paths.program[:size]
        write_guest(target, text)
        return len(text)
    buffer = create_string_buffer(thread.process.paths.translate(name))
    return host_call(_SYS_READLINKAT, dirfd, addressof(buffer), host_pointer(target), size)


def _store_stat(at: int, host: bytes) -> int:
    """struct stat: x86-64's (``host``) to asm-generic's, which is riscv64's."""
    fields = _HOST_STAT.unpack_from(host)
    (device, inode, links, mode, uid, gid, special, size, block_size, blocks) = fields[:10]
    times = fields[10:16]
    guest = _GUEST_STAT.pack(
        *(device, inode, mode, links & 0xFFFFFFFF, uid, gid, special, 0, size),
        *(block_size, 0, blocks, *times, 0, 0),
    )
    write_guest(at, guest)
    return 0


@handles("newfstatat 79 - 262 dirfd path ptr atflags")
def newfstatat(thread: GuestThread, dirfd: int, path: int, at: int, flags: int) -> int:
    """newfstatat(2)."""
    name = create_string_buffer(host_path(thread, dirfd, read_string(path)))
    stat = create_string_buffer(144)
    result = host_call(_SYS_NEWFSTATAT, dirfd, addressof(name), addressof(stat), flags)
    return result if result < 0 else _store_stat(at, stat.raw)


@handles("fstat 80 - 5 fd ptr")
def fstat(thread: GuestThread, fd: int, at: int) -> int:
    """fstat(2)."""
    stat = create_string_buffer(144)
    result = host_call(_SYS_FSTAT, fd, addressof(stat))
    return result if result < 0 else _store_stat(at, stat.raw)
