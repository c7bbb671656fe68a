"""Serial back ends in a process of their own: keys, and the terminal after every end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 10
COOKED = termios.ECHO | termios.ICANON | termios.ISIG
LFLAG = 3

# A shell's part: starts the command as the terminal's foreground job, and when it stops
# says how the terminal is and continues it.
JOB_CONTROL = f"""
import os, signal, subprocess, sys, termios, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = subprocess.Popen(sys.argv[1:], process_group=0,
                       preexec_fn=lambda: signal.signal(signal.SIGTTOU, signal.SIG_DFL))
os.tcsetpgrp(0, job.pid)
print("job", job.pid, flush=True)
while True:
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    print("stopped", termios.tcgetattr(0)[3] & {COOKED}, flush=True)
    os.kill(job.pid, signal.SIGCONT)
print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    (tmp_path / "kernel").write_bytes(b"code")
    return str(tmp_path / "kernel")


def command(kernel: str, serial: str) -> list[str]:
    return [sys.executable, "-m", "tests.system.echo_machine", kernel, serial]


def on_terminal(words: list[str]) -> Any:
    return pexpect.spawn(
        words[0], words[1:], cwd=str(ROOT), timeout=TIMEOUT, preexec_fn=_default_signals
    )


def _default_signals() -> None:
    """What runs the tests may ignore some, as nohup does, and children inherit that."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def start(kernel: str, serial: str = "mon:stdio") -> Any:
    child = on_terminal(command(kernel, serial))
    child.expect("ready")
    return child


def flags(child: Any) -> int:
    return termios.tcgetattr(child.child_fd)[LFLAG] & COOKED


def wait(child: Any) -> int:
    """The exit status; minus the signal that killed it."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus if child.signalstatus is None else -child.signalstatus


def test_raw_while_running_and_cooked_after_power_off(kernel: str) -> None:
    child = start(kernel)
    assert flags(child) == 0
    child.send("abc\x03\x1a")
    child.expect_exact("abc\x03\x1a")
    child.send("q")
    child.expect_exact("bye")
    assert wait(child) == 0
    assert flags(child) == COOKED


def test_ctrl_a_keys(kernel: str) -> None:
    child = start(kernel)
    child.send("\x01h")
    child.expect_exact("C-a x    exit emulator")
    child.send("\x01c")
    child.expect(r"monitor - type 'help' for more information\r+\n\(qemu\) ")
    child.send("info status\r")
    child.expect(r"VM status: running\r+\n\(qemu\) ")
    child.send("\x01c")
    child.send("\x01b")
    child.expect_exact("<break>")
    child.send("\x01\x01")
    child.expect_exact("\x01")
    child.send("\x01zA")
    child.expect_exact("A")
    child.send("\x01t\nB\nC")
    child.expect(r"\n\[00:00:0\d\.\d\d\d\] B\r+\n\[00:00:0\d\.\d\d\d\] C")
    child.send("\x01x")
    child.expect_exact("Terminated")
    assert wait(child) == 0
    assert flags(child) == COOKED


def test_plain_stdio_leaves_ctrl_c_and_ctrl_a_their_meaning(kernel: str) -> None:
    child = start(kernel, "stdio")
    assert flags(child) == termios.ISIG
    child.send("\x01h")
    child.expect_exact("\x01h")
    child.send("\x03")
    child.expect_exact("terminating on signal 2")
    assert wait(child) == 0
    assert flags(child) == COOKED


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 0),
        (signal.SIGINT, 0),
        (signal.SIGHUP, 0),
        (signal.SIGQUIT, -signal.SIGQUIT),
    ],
)
def test_terminal_is_restored_after_a_signal(kernel: str, number: int, status: int) -> None:
    child = start(kernel)
    assert flags(child) == 0
    child.kill(number)
    assert wait(child) == status
    assert flags(child) == COOKED


def test_terminal_while_stopped_and_continued(kernel: str) -> None:
    child = on_terminal([sys.executable, "-c", JOB_CONTROL, *command(kernel, "mon:stdio")])
    child.expect(r"job (\d+)")
    job = int(child.match[1])
    child.expect("ready")
    for _ in range(2):
        deadline = time.monotonic() + TIMEOUT
        while flags(child) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert flags(child) == 0
        os.kill(job, signal.SIGTSTP)
        child.expect_exact(f"stopped {COOKED}")
    child.send("xy")
    child.expect_exact("xy")
    child.send("q")
    child.expect_exact("ended 0")
    assert flags(child) == COOKED


def test_a_job_that_cannot_be_stopped_stays_raw(kernel: str) -> None:
    child = start(kernel)
    child.kill(signal.SIGTSTP)
    child.send("k")
    child.expect_exact("k")
    assert flags(child) == 0
    child.send("q")
    assert wait(child) == 0


def test_pipes_carry_everything(kernel: str) -> None:
    text = bytes(range(0x20, 0x7F)).replace(b"q", b"") * 200
    done = subprocess.run(
        command(kernel, "stdio"), cwd=ROOT, input=text + b"q", capture_output=True, timeout=TIMEOUT
    )
    assert done.returncode == 0
    assert done.stdout == b"ready\r\n" + text + b"bye\r\n"
    assert done.stderr == b""


def test_standard_output_stays_blocking_for_others(kernel: str) -> None:
    reader, writer = os.pipe()
    child = subprocess.Popen(
        command(kernel, "stdio"), cwd=ROOT, stdin=subprocess.PIPE, stdout=writer
    )
    assert os.read(reader, 100) == b"ready\r\n"
    assert os.get_blocking(writer)
    child.communicate(b"q", timeout=TIMEOUT)
    os.close(reader)
    os.close(writer)


def test_a_reader_that_goes_away_does_not_end_the_guest(kernel: str) -> None:
    child = subprocess.Popen(
        command(kernel, "stdio"), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()
    child.stdout.close()
    child.stdin.write(b"hello q")
    child.stdin.close()
    assert child.wait(TIMEOUT) == 0


def catches(pid: int, number: int) -> bool:
    """The process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> number - 1 & 1)


def test_closed_standard_streams(kernel: str) -> None:
    words = command(kernel, "stdio")
    child = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&-', "sh", *words], cwd=ROOT)
    while not catches(child.pid, signal.SIGTERM):
        assert child.poll() is None
        time.sleep(0.01)
    child.terminate()
    assert child.wait(TIMEOUT) == 0


def test_pty(kernel: str) -> None:
    child = subprocess.Popen(command(kernel, "pty"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("char device redirected to /dev/pts/")
    assert line.endswith(" (label serial0)\n")
    path = line.split()[4]
    for _ in range(2):  # somebody may leave and somebody else come
        fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b"ping")
        got = b""
        while b"ping" not in got:
            got += os.read(fd, 100)
        os.close(fd)
        time.sleep(0.05)
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.write(fd, b"q")
    assert child.wait(TIMEOUT) == 0
    os.close(fd)


def converse(peer: socket.socket, text: bytes) -> None:
    peer.settimeout(TIMEOUT)
    peer.sendall(text)
    got = b""
    while text not in got:
        got += peer.recv(100)


def connect(path: Path) -> socket.socket:
    deadline = time.monotonic() + TIMEOUT
    while True:
        peer = socket.socket(socket.AF_UNIX)
        try:
            peer.connect(str(path))
            return peer
        except OSError:
            assert time.monotonic() < deadline
            peer.close()
            time.sleep(0.02)


@pytest.mark.parametrize("options", ["server", "server,nowait", "server=on,wait=off"])
def test_unix_server(kernel: str, tmp_path: Path, options: str) -> None:
    path = tmp_path / "socket"
    child = subprocess.Popen(
        command(kernel, f"unix:{path},{options}"), cwd=ROOT, stderr=subprocess.PIPE
    )
    for text in (b"one", b"two"):
        with connect(path) as peer:
            converse(peer, text)
    with connect(path) as peer:
        peer.sendall(b"q")
        assert child.wait(TIMEOUT) == 0
    assert not path.exists()
    assert child.stderr is not None
    waiting = b"waiting for connection" in child.stderr.read()
    assert waiting == (options == "server")


def test_unix_client(kernel: str, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        child = subprocess.Popen(command(kernel, f"unix:{path}"), cwd=ROOT)
        with listener.accept()[0] as peer:
            converse(peer, b"hello")
            peer.sendall(b"q")
            assert child.wait(TIMEOUT) == 0
