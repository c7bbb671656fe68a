"""The messages of 9P2000.L: one row each, from which decoding and encoding follow.

Letters of fields: b w d q numbers of 1, 2, 4 and 8 bytes, s a string, N a list of strings,
Q a qid (type, version, path), L a list of them, D bytes with a 4-byte length.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Qid = tuple[int, int, int]

HEADER = struct.Struct("<IBH")  # size of it all, type, tag
MAX_SIZE = 1 << 20  # of a message
RLERROR = 7
READ_HEADER = 11  # bytes of a reply to read before the data
WRITE_HEADER = 23  # bytes of a write before the data
_NUMBERS = {letter: struct.Struct("<" + code) for letter, code in zip("bwdq", "BHIQ", strict=True)}
_QID = struct.Struct("<BIQ")


class Message:
    """A request's type (its reply's is one more), the server's method, and both's fields."""

    __slots__ = ("method", "number", "reply", "request")

    def __init__(self, number: int, method: str, request: str, reply: str) -> None:
        self.number = number
        self.method = method
        self.request = request
        self.reply = reply


MESSAGES = {
    row.number: row
    for row in (
        Message(8, "statfs", "d", "ddqqqqqqd"),
        Message(12, "lopen", "dd", "Qd"),
        Message(14, "lcreate", "dsddd", "Qd"),
        Message(16, "symlink", "dssd", "Q"),
        Message(18, "mknod", "dsdddd", "Q"),
        Message(20, "rename", "dds", ""),
        Message(22, "readlink", "d", "s"),
        Message(24, "getattr", "dq", "qQdddqqqqqqqqqqqqqqq"),
        Message(26, "setattr", "ddddd" + "qqqqq", ""),
        Message(30, "xattrwalk", "dds", "q"),
        Message(32, "xattrcreate", "dsqd", ""),
        Message(40, "readdir", "dqd", "D"),
        Message(50, "fsync", "dd", ""),
        Message(52, "lock", "dbdqqds", "b"),
        Message(54, "getlock", "dbqqds", "bqqds"),
        Message(70, "link", "dds", ""),
        Message(72, "mkdir", "dsdd", "Q"),
        Message(74, "renameat", "dsds", ""),
        Message(76, "unlinkat", "dsd", ""),
        Message(100, "version", "ds", "ds"),
        Message(104, "attach", "ddssd", "Q"),
        Message(108, "flush", "w", ""),
        Message(110, "walk", "ddN", "L"),
        Message(116, "read", "dqd", ""),  # the data is moved by the server
        Message(118, "write", "dqd", "d"),
        Message(120, "clunk", "d", ""),
        Message(122, "remove", "d", ""),
    )
}


def decode(fields: str, data: bytes) -> list[Any]:
    """The values of a message's body; ValueError if it is too short for them."""
    values: list[Any] = []
    at = 0

    def number(letter: str) -> int:
        nonlocal at
        kind = _NUMBERS[letter]
        if at + kind.size > len(data):
            raise ValueError("message too short")
        at += kind.size
        return kind.unpack_from(data, at - kind.size)[0]

    def string() -> bytes:
        nonlocal at
        size = number("w")
        if at + size > len(data):
            raise ValueError("message too short")
        at += size
        return data[at - size : at]

    for letter in fields:
        if letter == "s":
            values.append(string())
        elif letter == "N":
            values.append([string() for _ in range(number("w"))])
        else:
            values.append(number(letter))
    return values


def encode(fields: str, values: Sequence[Any]) -> bytes:
    """A reply's body."""
    parts: list[bytes] = []
    for letter, value in zip(fields, values, strict=True):
        if letter == "s":
            parts += [_NUMBERS["w"].pack(len(value)), value]
        elif letter == "D":
            parts += [_NUMBERS["d"].pack(len(value)), value]
        elif letter == "Q":
            parts.append(_QID.pack(*value))
        elif letter == "L":
            parts += [_NUMBERS["w"].pack(len(value)), *(_QID.pack(*qid) for qid in value)]
        else:
            parts.append(_NUMBERS[letter].pack(value))
    return b"".join(parts)


def directory_entry(qid: Qid, offset: int, kind: int, name: bytes) -> bytes:
    """One entry of what ``readdir`` gives."""
    return encode("Qqbs", (qid, offset, kind, name))
