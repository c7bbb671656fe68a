"""Reads capture files (the libpcap format), as the tests' own judge of them."""

from __future__ import annotations

import struct
from pathlib import Path


def read_pcap(path: Path) -> list[tuple[float, int, bytes]]:
    """(time in seconds, the frame's whole length, what was kept of it)."""
    data = path.read_bytes()
    magic, major, minor, zone, sigfigs, snaplen, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor, zone, sigfigs, link) == (0xA1B2C3D4, 2, 4, 0, 0, 1)
    frames: list[tuple[float, int, bytes]] = []
    at = 24
    while at < len(data):
        seconds, micros, kept, length = struct.unpack_from("=IIII", data, at)
        assert micros < 1_000_000
        assert kept <= min(snaplen, length)
        frame = data[at + 16 : at + 16 + kept]
        assert len(frame) == kept
        frames.append((seconds + micros / 1e6, length, frame))
        at += 16 + kept
    return frames
