"""Sockets, message queues and semaphores whose structures have pointers or longs in them."""

from __future__ import annotations

import errno
import struct

from jitemu.foreign import addressof, create_string_buffer
from jitemu.light import partial
from jitemu.user.hostcalls import host_call, host_pointer, read_guest, signed32, write_guest
from jitemu.user.layouts32 import LAYOUTS, Layout, host_vectors
from jitemu.user.syscalls.table import handles, passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jitemu.user.thread import GuestThread

passes("""
send - 289 44 fd ptr size hex
recv - 291 45 fd ptr size hex
""")

_SYS_SENDTO, _SYS_RECVFROM, _SYS_SENDMSG, _SYS_RECVMSG = 44, 45, 46, 47
_SYS_SETSOCKOPT, _SYS_GETSOCKOPT = 54, 55
_HEADER, _HOST_HEADER = struct.Struct("<7I"), struct.Struct("<QI4xQQQQI4x")
_CONTROL, _HOST_CONTROL = struct.Struct("<Iii"), struct.Struct("<Qii")
_MSG_CTRUNC, _MSG_CMSG_CLOEXEC, _MSG_WAITFORONE = 8, 0x40000000, 0x10000
_SOL_SOCKET, _SO_TIMESTAMP = 1, 29
_TIMEOUTS, _ATTACH_FILTER = (20, 21), 26
_MOST_CONTROL, _MOST_MESSAGES = 1 << 16, 1024


def _up(size: int, to: int) -> int:
    return (size + to - 1) & -to


def _controls(data: bytes, head: struct.Struct, step: int) -> list[tuple[int, int, bytes]]:
    """(level, type, content) of control messages."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    while at + head.size <= len(data):
        size, level, kind = head.unpack_from(data, at)
        if size < head.size or at + size > len(data):
            break
        found.append((level, kind, data[at + head.size : at + size]))
        at += _up(size, step)
    return found


def _packed(messages: list[tuple[int, int, bytes]], head: struct.Struct, step: int) -> bytes:
    made = b""
    for level, kind, content in messages:
        size = head.size + len(content)
        made += (head.pack(size, level, kind) + content).ljust(_up(size, step), b"\0")
    return made


class _Message:
    """The host's struct msghdr for the guest's at an address."""

    def __init__(self, at: int, sends: bool) -> None:
        fields = _HEADER.unpack(read_guest(at, _HEADER.size))
        name, name_size, vectors, count, self.control, self.room, _ = fields
        self.at = at
        self.vectors = host_vectors(vectors, count)
        size, content = 0, b""
        if self.control and sends:
            if self.room > _MOST_CONTROL:
                raise ValueError
            guest = read_guest(self.control, self.room)
            content = _packed(_controls(guest, _CONTROL, 4), _HOST_CONTROL, 8)
            size = len(content)
        elif self.control:
            size = min(2 * self.room + 64, _MOST_CONTROL) if self.room else 0
        self.buffer = create_string_buffer(content, size + 8)
        place = addressof(self.buffer) if size else 0
        head = _HOST_HEADER.pack(
            *(host_pointer(name), name_size, addressof(self.vectors), count, place, size, 0)
        )
        self.head = create_string_buffer(head, _HOST_HEADER.size)

    def received(self) -> None:
        """Store what the host has put in the header and the control messages."""
        _, name_size, _, _, _, size, flags = _HOST_HEADER.unpack(self.head.raw)
        messages = _controls(self.buffer.raw[:size], _HOST_CONTROL, 8)
        made = _packed([self._for_guest(*m) for m in messages], _CONTROL, 4)
        if len(made) > self.room:
            made, flags = made[: self.room], flags | _MSG_CTRUNC
        if self.control:
            write_guest(self.control, made)
        write_guest(self.at + 4, name_size.to_bytes(4, "little"))
        write_guest(self.at + 20, struct.pack("<II", len(made), flags & ~_MSG_CMSG_CLOEXEC))

    @staticmethod
    def _for_guest(level: int, kind: int, content: bytes) -> tuple[int, int, bytes]:
        if (level, kind) == (_SOL_SOCKET, _SO_TIMESTAMP) and len(content) == 16:
            content = LAYOUTS["timeval"].to_guest(content)
        return level, kind, content


@handles("sendmsg - 296 46 fd ptr hex")
def sendmsg(thread: GuestThread, fd: int, at: int, flags: int) -> int:
    """sendmsg(2)."""
    message = _Message(at, True)
    return host_call(_SYS_SENDMSG, fd, addressof(message.head), flags)


@handles("recvmsg - 297 47 fd ptr hex")
def recvmsg(thread: GuestThread, fd: int, at: int, flags: int) -> int:
    """recvmsg(2)."""
    message = _Message(at, False)
    result = host_call(_SYS_RECVMSG, fd, addressof(message.head), flags)
    if result >= 0:
        message.received()
    return result


_STEP = _HEADER.size + 4


def _many(count: int, one: Any) -> int:
    """Messages one after the other: how many, or the first one's failure."""
    done = 0
    for i in range(min(count, _MOST_MESSAGES)):
        result = one(i)
        if result < 0:
            return done or result
        done += 1
    return done


@handles("sendmmsg - 374 307 fd ptr uint hex")
def sendmmsg(thread: GuestThread, fd: int, at: int, count: int, flags: int) -> int:
    """sendmmsg(2)."""

    def one(i: int) -> int:
        sent = sendmsg(thread, fd, at + i * _STEP, flags)
        if sent >= 0:
            write_guest(at + i * _STEP + _HEADER.size, sent.to_bytes(4, "little"))
        return sent

    return _many(count, one)


def _recvmmsg(thread: GuestThread, fd: int, at: int, count: int, flags: int, _time: int) -> int:
    """recvmmsg(2): the time, checked between messages only, is not looked at."""

    def one(i: int) -> int:
        how = flags & ~_MSG_WAITFORONE
        if i and flags & _MSG_WAITFORONE:
            how |= 0x40  # MSG_DONTWAIT
        got = recvmsg(thread, fd, at + i * _STEP, how)
        if got >= 0:
            write_guest(at + i * _STEP + _HEADER.size, got.to_bytes(4, "little"))
        return got

    return _many(count, one)


handles("recvmmsg - 365 299 fd ptr uint hex ptr")(_recvmmsg)
handles("recvmmsg_time64 - 417 299 fd ptr uint hex ptr")(_recvmmsg)


@handles("setsockopt - 294 54 fd int int ptr int")
def setsockopt(thread: GuestThread, fd: int, level: int, name: int, at: int, size: int) -> int:
    """setsockopt(2)."""
    if level == _SOL_SOCKET and name in _TIMEOUTS and size == 8:
        value = create_string_buffer(LAYOUTS["timeval"].to_host(read_guest(at, 8)), 16)
        return host_call(_SYS_SETSOCKOPT, fd, level, name, addressof(value), 16)
    if level == _SOL_SOCKET and name == _ATTACH_FILTER and size == 8:
        count, place = struct.unpack("<H2xI", read_guest(at, 8))
        value = create_string_buffer(struct.pack("<H6xQ", count, host_pointer(place)), 16)
        return host_call(_SYS_SETSOCKOPT, fd, level, name, addressof(value), 16)
    return host_call(_SYS_SETSOCKOPT, fd, level, name, host_pointer(at), size)


@handles("getsockopt - 295 55 fd int int ptr ptr")
def getsockopt(thread: GuestThread, fd: int, level: int, name: int, at: int, size_at: int) -> int:
    """getsockopt(2)."""
    if level != _SOL_SOCKET or name not in _TIMEOUTS:
        places = host_pointer(at), host_pointer(size_at)
        return host_call(_SYS_GETSOCKOPT, fd, level, name, *places)
    value, size = create_string_buffer(16), create_string_buffer(struct.pack("<I", 16), 4)
    result = host_call(_SYS_GETSOCKOPT, fd, level, name, addressof(value), addressof(size))
    if result >= 0:
        room = min(int.from_bytes(read_guest(size_at, 4), "little"), 8)
        write_guest(at, LAYOUTS["timeval"].to_guest(value.raw)[:room])
        write_guest(size_at, room.to_bytes(4, "little"))
    return result


# System V: messages begin with a long


@handles("msgsnd - 301 69 int ptr size hex")
def msgsnd(thread: GuestThread, queue: int, at: int, size: int, flags: int) -> int:
    """msgsnd(2)."""
    if size > _MOST_CONTROL:
        return -errno.EINVAL
    kind = int.from_bytes(read_guest(at, 4), "little", signed=True)
    content = read_guest(at + 4, size)
    buffer = create_string_buffer(struct.pack("<q", kind) + content, 8 + size)
    return host_call(69, queue, addressof(buffer), size, flags)


@handles("msgrcv - 302 70 int ptr size int hex")
def msgrcv(thread: GuestThread, queue: int, at: int, size: int, kind: int, flags: int) -> int:
    """msgrcv(2)."""
    size = min(size, _MOST_CONTROL)
    buffer = create_string_buffer(8 + size)
    wanted = signed32(kind) & (1 << 64) - 1
    result = host_call(70, queue, addressof(buffer), size, wanted, flags)
    if result >= 0:
        write_guest(at, buffer.raw[:4] + buffer.raw[8 : 8 + result])
    return result


_PERMISSIONS = ("iIIIIH2xH2x8x", "iIIIIH2xH6x16x")
"""struct ipc64_perm: key, uid, gid, cuid, cgid, mode, sequence."""
_QUEUE = Layout(_PERMISSIONS[0] + "I4xI4xI4x3I2i8x", _PERMISSIONS[1] + "QQQ3Q2i16x")
_SEGMENT = Layout(_PERMISSIONS[0] + "II4xI4xI4x2iI8x", _PERMISSIONS[1] + "QQQQ2iQ16x")
_SEMAPHORES = Layout(_PERMISSIONS[0] + "I4xI4xI8x", _PERMISSIONS[1] + "Q8xQ8xQ16x")
_IPC_64, _IPC_SET = 0x100, 1
_STATS = {2, 11, 13, 18, 19, 15, 20}
"""IPC_STAT and the calls' own forms of it: MSG_, SHM_, SEM_STAT (_ANY)."""


def _control(
    number: int, layout: Layout, thread: GuestThread, key: int, command: int, at: int
) -> int:
    command &= ~_IPC_64
    if command not in _STATS and command != _IPC_SET:
        return host_call(number, key, command, host_pointer(at))
    content = layout.to_host(read_guest(at, layout.guest.size)) if command == _IPC_SET else b""
    buffer = create_string_buffer(content, layout.host.size)
    result = host_call(number, key, command, addressof(buffer))
    if result >= 0 and command in _STATS:
        write_guest(at, layout.to_guest(buffer.raw))
    return result


handles("msgctl - 304 71 int int ptr")(partial(_control, 71, _QUEUE))
handles("shmctl - 308 31 int int ptr")(partial(_control, 31, _SEGMENT))
_GETALL, _SETVAL, _SETALL = 13, 16, 17


@handles("semctl - 300 66 int int int ptr")
def semctl(thread: GuestThread, key: int, number: int, command: int, argument: int) -> int:
    """semctl(2), whose last argument is a union."""
    command &= ~_IPC_64
    if command == _SETVAL:
        return host_call(66, key, number, command, argument)
    if command not in (_IPC_SET, 2, 18, 20):
        return host_call(66, key, number, command, host_pointer(argument))
    layout = _SEMAPHORES
    content = layout.to_host(read_guest(argument, layout.guest.size)) if command == 1 else b""
    buffer = create_string_buffer(content, layout.host.size)
    result = host_call(66, key, number, command, addressof(buffer))
    if result >= 0 and command != _IPC_SET:
        write_guest(argument, layout.to_guest(buffer.raw))
    return result
