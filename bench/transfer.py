"""Moves a file between host and guest through forwarded ports, and says how fast.

    python -m bench.transfer to|from MIB EMULATOR WORD...

The emulator's words name the machine, its kernel and its initramfs (that of ``jitemu get
riscv64-linux``); the rest is added here.  What arrives has to be what was sent.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence

MIB = 1 << 20
GUEST_SINK, GUEST_HTTP = 5000, 80
LIMIT_S = 600
SCRIPT = (
    "echo SINK; nc -l -p 5000 > /tmp/f; echo GOT; httpd -p 80 -h /tmp; echo SERVING; nc -l -p 1"
)


def content(mib: int) -> bytes:
    """The file: nothing that could be compressed, the same every time."""
    return b"".join(random.Random(part).randbytes(MIB) for part in range(mib))


def free_port() -> int:
    """A port of the host's loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Guest:
    """A booted guest with a port to send a file to and one to fetch it from again."""

    def __init__(self, command: Sequence[str], network: str = "user") -> None:
        self.sink, self.http = free_port(), free_port()
        forwards = f"hostfwd=tcp:127.0.0.1:{self.sink}-:{GUEST_SINK}"
        forwards += f",hostfwd=tcp:127.0.0.1:{self.http}-:{GUEST_HTTP}"
        words = ["-netdev", f"{network},id=n0,{forwards}"]
        words += ["-device", "virtio-net-device,netdev=n0"]
        words += ["-append", f'console=ttyS0 quiet guest.net=1 guest.run="{SCRIPT}"']
        self.process = subprocess.Popen(
            [*command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.wait("SINK")
        time.sleep(0.5)  # until nc listens

    def wait(self, word: str) -> None:
        """Read the console up to a line."""
        assert self.process.stdout is not None
        seen: list[bytes] = []
        for line in self.process.stdout:
            if line.strip() == word.encode():
                return
            seen.append(line)
        raise SystemExit(f"no {word} in what the guest said: {b''.join(seen[-5:])!r}")

    def send(self, data: bytes) -> float:
        """Seconds until the guest has all of it."""
        begun = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.sink), timeout=LIMIT_S) as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            self.wait("GOT")
            taken = time.perf_counter() - begun
        self.wait("SERVING")
        return taken

    def fetch(self) -> tuple[bytes, float]:
        """The file from the guest's HTTP server, and the seconds that took."""
        begun = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/f", timeout=LIMIT_S) as reply:
            data = reply.read()
        return data, time.perf_counter() - begun

    def close(self) -> None:
        """End the machine."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def main(words: Sequence[str]) -> int:
    """Print bytes a second in one direction; 1 where the file was changed on its way."""
    direction, data = words[0], content(int(words[1]))
    guest = Guest(words[2:])
    try:
        seconds = guest.send(data)
        back, fetched = guest.fetch()
    finally:
        guest.close()
    if back != data:
        print("the file that came back is another")
        return 1
    print(f"+F:net:{direction}:{len(data) / (seconds if direction == 'to' else fetched):.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
