"""Talking to a monitor on a Unix socket, jitemu's or QEMU's."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROMPT = b"(qemu) "
TIMEOUT_S = 240.0  # a first use builds stencils
ANSI = re.compile(rb"\x1b\[[0-9]*[A-Z]")


def connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(TIMEOUT_S)
        try:
            peer.connect(str(path))
            return peer
        except OSError:
            peer.close()
            assert time.monotonic() < deadline, f"nobody listens at {path}"
            time.sleep(0.05)


class Talk:
    """One user of a monitor."""

    def __init__(self, path: Path) -> None:
        self.peer = connect(path)
        self.banner = self._read()

    def _read(self) -> str:
        """Up to the next prompt."""
        data = b""
        while not data.endswith(PROMPT):
            part = self.peer.recv(65536)
            if not part:
                break
            data += part
        return ANSI.sub(b"", data.removesuffix(PROMPT)).decode(errors="replace")

    def ask(self, command: str) -> str:
        """What a command says, without its echo."""
        self.peer.sendall(command.encode() + b"\n")
        _, _, answer = self._read().partition("\r\n")
        return answer.replace("\r\n", "\n")

    def close(self) -> None:
        self.peer.close()


class Emulator:
    """A machine with its monitor and serial port on sockets in a folder."""

    def __init__(self, folder: Path, words: list[str], qemu: bool, *, wait: str = "") -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        command = ["qemu-system-riscv64", "-M", "virt", "-cpu", "rv64,h=false"]
        if not qemu:
            command = [sys.executable, "-m", "jitemu", "system-riscv64"]
        ends = ["-display", "none", "-monitor", f"unix:{folder}/mon,server=on,wait=off"]
        if wait:
            ends += ["-serial", f"file:{folder}/serial"]
        self.process = subprocess.Popen([*command, *ends, *words], cwd=ROOT)
        self.talk = Talk(folder / "mon")
        deadline = time.monotonic() + TIMEOUT_S
        while wait and wait.encode() not in (folder / "serial").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def ask(self, command: str) -> str:
        return self.talk.ask(command)

    def close(self) -> None:
        self.talk.close()
        self.process.terminate()
        self.process.wait()
