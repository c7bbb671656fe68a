"""Frames made and taken apart by hand, so that tests need no network stack but slirp's."""

from __future__ import annotations

import socket
import struct

GUEST_MAC = bytes.fromhex("525400123456")
BROADCAST = b"\xff" * 6
ARP, IP = 0x0806, 0x0800
TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(to: bytes, kind: int, payload: bytes, source: bytes = GUEST_MAC) -> bytes:
    return to + source + struct.pack(">H", kind) + payload


def arp_request(ours: str, wanted: str) -> bytes:
    body = struct.pack(">HHBBH", 1, IP, 6, 4, 1) + GUEST_MAC + socket.inet_aton(ours)
    return ethernet(BROADCAST, ARP, body + bytes(6) + socket.inet_aton(wanted))


def ip(source: str, to: str, protocol: int, payload: bytes) -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(to)
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def pseudo(source: str, to: str, protocol: int, size: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(to) + struct.pack(">HH", protocol, size)


def udp(source: tuple[str, int], to: tuple[str, int], data: bytes) -> bytes:
    size = 8 + len(data)
    segment = struct.pack(">HHHH", source[1], to[1], size, 0) + data
    total = checksum(pseudo(source[0], to[0], UDP, size) + segment) or 0xFFFF
    return ip(source[0], to[0], UDP, segment[:6] + struct.pack(">H", total) + data)


def tcp(
    source: tuple[str, int],
    to: tuple[str, int],
    seq: int,
    ack: int,
    flags: int,
    data: bytes = b"",
    options: bytes = b"",
) -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack(">HHIIBBHHH", source[1], to[1], seq, ack, words << 4, flags, 65535, 0, 0)
    segment = head + options + data
    total = checksum(pseudo(source[0], to[0], TCP, len(segment)) + segment)
    return ip(source[0], to[0], TCP, segment[:16] + struct.pack(">H", total) + segment[18:])


class Segment:
    """A TCP segment in a frame."""

    def __init__(self, frame: bytes) -> None:
        header = (frame[14] & 15) * 4
        (size,) = struct.unpack_from(">H", frame, 16)
        segment = frame[14 + header : 14 + size]
        self.source_ip, self.to_ip = socket.inet_ntoa(frame[26:30]), socket.inet_ntoa(frame[30:34])
        self.source, self.to, self.seq, self.ack = struct.unpack_from(">HHII", segment)
        self.flags = segment[13]
        self.data = segment[(segment[12] >> 4) * 4 :]
        whole = pseudo(self.source_ip, self.to_ip, TCP, len(segment)) + segment
        self.intact = checksum(whole) == 0


def is_tcp(frame: bytes) -> bool:
    return frame[12:14] == b"\x08\x00" and frame[23] == TCP


def dhcp(kind: int, transaction: int, requested: str = "") -> bytes:
    """A client's message: 1 DISCOVER, 3 REQUEST (RFC 2131, 2132)."""
    fixed = struct.pack(">BBBBIHH", 1, 1, 6, 0, transaction, 0, 0) + bytes(16)
    options = bytes((53, 1, kind))
    if requested:
        options += bytes((50, 4)) + socket.inet_aton(requested)
    body = fixed + GUEST_MAC + bytes(10 + 64 + 128) + b"\x63\x82\x53\x63" + options + b"\xff"
    message = udp(("0.0.0.0", 68), ("255.255.255.255", 67), body)
    return ethernet(BROADCAST, IP, message)


def dhcp_reply(frame: bytes) -> tuple[str, dict[int, bytes]]:
    """The address given and the options."""
    body = frame[14 + 20 + 8 :]
    address = socket.inet_ntoa(body[16:20])
    options: dict[int, bytes] = {}
    at = 240
    while body[at] != 255:
        if body[at] == 0:
            at += 1
            continue
        size = body[at + 1]
        options[body[at]] = body[at + 2 : at + 2 + size]
        at += 2 + size
    return address, options
