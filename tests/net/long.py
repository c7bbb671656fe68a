"""Hostile frames to the user network, for longer than tests do: ``python -m tests.net.long
SECONDS [SEED]``.  A crash of the library ends the process; the seed in the last line repeats it.
"""

from __future__ import annotations

import random
import struct
import sys
import time

from jitemu.system.eventloop import EventLoop
from tests.net import ethernet as eth
from tests.net.wire import Wire, turn_for

HOST_MAC = b"\x52\x55\x0a\0\2\2"
GUEST, HOST = "10.0.2.15", "10.0.2.2"
FRAMES = 2000


def good(rng: random.Random) -> bytes:
    """A frame that the stack has something to do with."""
    data = rng.randbytes(rng.choice([0, 1, 20, 1400, 30_000]))
    port = rng.choice([7, 53, 67, 69, rng.randrange(1, 65536)])
    place, target = (GUEST, rng.randrange(1, 9)), (rng.choice([HOST, "10.0.2.3", "10.0.2.9"]), port)
    numbers = (rng.getrandbits(32), rng.getrandbits(32))
    options = rng.choice([b"", struct.pack(">BBH", 2, 4, 65000), rng.randbytes(8)])
    kinds = [
        lambda: eth.arp_request(GUEST, HOST),
        lambda: eth.dhcp(rng.randrange(9), rng.getrandbits(32), rng.choice(["", GUEST])),
        lambda: eth.ethernet(HOST_MAC, eth.IP, eth.udp(place, target, data)),
        lambda: eth.ethernet(
            HOST_MAC, eth.IP, eth.tcp(place, target, *numbers, rng.getrandbits(6), data, options)
        ),
        lambda: eth.ethernet(HOST_MAC, eth.IP, eth.ip(GUEST, target[0], rng.choice([1, 2]), data)),
        lambda: eth.ethernet(HOST_MAC, 0x86DD, b"\x60" + rng.randbytes(39) + data),
    ]
    return rng.choice(kinds)()


def attack(seed: int) -> None:
    """One stack and some thousand frames, most of them bent."""
    rng = random.Random(seed)
    loop = EventLoop()
    wire = Wire(loop, "user,id=n0,restrict=on,tftp=/nonexistent,guestfwd=tcp:10.0.2.9:7-chardev:c")
    for _ in range(FRAMES):
        frame = bytearray(good(rng))
        for _ in range(rng.choice([0, 0, 1, 2, 8])):
            at = rng.randrange(min(len(frame), 80))
            frame[at] = rng.choice([0, 0xFF, rng.randrange(256)])
        if rng.random() < 0.2:
            del frame[rng.randrange(len(frame)) :]
        wire.send(bytes(frame))
        if rng.random() < 0.05:
            turn_for(loop, 0.001)
    wire.frames.clear()
    wire.send(eth.arp_request(GUEST, HOST))
    wire.expect(lambda frame: frame[12:14] == b"\x08\x06")
    wire.netdev.close()
    loop.close()


def main() -> None:
    """Until the time is up."""
    seconds, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        print(f"seed {seed}", end="\r", flush=True)
        attack(seed)
        seed += 1
    print(f"{seed} seeds, {FRAMES} frames each")


if __name__ == "__main__":
    main()
