"""struct siginfo of 32-bit guests: which fields there are depends on signal and code."""

from __future__ import annotations

from struct import Struct

from jitemu.user.layouts32 import Layout

_HEAD = Struct("<iii")
_UNION_HOST, _UNION_GUEST, _SIZE = 16, 12, 128
_SIGILL, _SIGTRAP, _SIGBUS, _SIGFPE, _SIGSEGV, _SIGCHLD, _SIGPOLL, _SIGSYS = (
    4,
    5,
    7,
    8,
    11,
    17,
    29,
    31,
)
_SI_USER, _SI_QUEUE, _SI_TIMER, _SI_MESGQ, _SI_TKILL = 0, -1, -2, -3, -6
_SI_KERNEL = 0x80

_KILL = Layout("ii", "ii")
_QUEUE = Layout("iiI", "iiQ")
_CHILD = Layout("iiiii", "iii4xqq")
_FAULT = Layout("I", "Q")
_POLL = Layout("ii", "qi")
_CALL = Layout("IiI", "QiI")


def _union(number: int, code: int) -> Layout:
    """What follows number, errno and code."""
    if code in (_SI_QUEUE, _SI_TIMER, _SI_MESGQ):
        return _QUEUE
    if code <= 0 or (code == _SI_KERNEL and number not in (_SIGBUS, _SIGSEGV)):
        return _QUEUE if code < 0 and code != _SI_TKILL else _KILL
    if number in (_SIGILL, _SIGTRAP, _SIGBUS, _SIGFPE, _SIGSEGV):
        return _FAULT
    return {_SIGCHLD: _CHILD, _SIGPOLL: _POLL, _SIGSYS: _CALL}.get(number, _KILL)


def to_guest(info: bytes) -> bytes:
    """The guest's form of the host's siginfo."""
    info = info.ljust(_SIZE, b"\0")
    number, error, code = _HEAD.unpack_from(info)
    layout = _union(number, code)
    part = layout.to_guest(info[_UNION_HOST : _UNION_HOST + layout.host.size])
    return (_HEAD.pack(number, error, code) + part).ljust(_SIZE, b"\0")


def to_host(info: bytes) -> bytes:
    """The host's form of the guest's."""
    number, error, code = _HEAD.unpack_from(info)
    layout = _union(number, code)
    part = layout.to_host(info[_UNION_GUEST : _UNION_GUEST + layout.guest.size])
    return (_HEAD.pack(number, error, code) + bytes(4) + part).ljust(_SIZE, b"\0")
