"""The compile worker's way into a process of its own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jitemu.frontends.riscv.cpu import parse_cpu
from jitemu.ir.native import REGISTRY
from jitemu.runtime import spawn
from jitemu.runtime.worker import send
from jitemu.runtime.worker_process import Worker, model_words
from tests.native_code import load


@pytest.fixture(scope="module")
def function() -> int:
    from jitemu.backend_llvm.natives import NativeLowering
    from jitemu.ir.passes import optimize
    from jitemu.ir.state import RuntimeState, layout_of

    code = REGISTRY[spawn.spawn_apart.name].compile()
    optimize(code)
    return load(NativeLowering(layout_of(RuntimeState)).function(code))["spawn_apart"]


def run(function: int, program: str, source: int) -> bytes:
    """What the program writes to its standard output."""
    answers, theirs = os.pipe()
    words = [sys.executable, "-I", "-S", "-c", program]
    spawn.start_apart(function, words, (source, theirs, 2))
    os.close(theirs)
    with os.fdopen(answers, "rb") as stream:
        return stream.read()


def children() -> set[str]:
    """Of all threads of this process; other tests in it have some, and may start more."""
    found = Path("/proc/self/task").glob("*/children")
    return {pid for path in found for pid in path.read_text().split()}


def test_start(function: int, tmp_path: Path) -> None:
    source = os.open(os.devnull, os.O_RDONLY)
    other = os.dup(source)
    os.set_inheritable(other, True)
    shown = "os.getpid(), os.getcwd(), os.getsid(0) == os.getpid(), os.listdir('/proc/self/fd')"
    try:
        started, _, rest = run(function, f"import os; print({shown})", source).partition(b" ")
    finally:
        os.close(source)
        os.close(other)
    assert rest == b"/ True ['0', '1', '2', '3']\n"  # the fourth number is the listing's own
    assert started.decode() not in children()
    with pytest.raises(ChildProcessError):
        os.waitpid(int(started), os.WNOHANG | spawn.WCLONE)


def test_threads_that_want_the_lock(function: int) -> None:
    """A request for Python's global lock is pending whenever a copy is made."""
    stop = False

    def work() -> None:
        while not stop:
            sum(range(1000))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    source = os.open(os.devnull, os.O_RDONLY)
    try:
        for _ in range(5):
            assert run(function, "print(1)", source) == b"1\n"
    finally:
        stop = True
        os.close(source)
        for thread in threads:
            thread.join()


ENDLESS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from jitemu.backend_llvm import regions
from jitemu.runtime import worker
worker.MOST_SECONDS = 0.2
regions.compile_region = lambda *_: sum(iter(int, 1))
worker.main()
"""


def test_a_worker_that_does_not_end() -> None:
    """It is ended, though the guest ignores the signal."""
    cpu = parse_cpu("rv64")
    messages = io.BytesIO()
    send(messages, ("riscv64-user", model_words(cpu), "", ""))
    send(messages, (0, {}, 1, [], {}, False, {}, None, None, []))
    before = signal.signal(signal.SIGPROF, signal.SIG_IGN)
    try:
        command = [sys.executable, "-I", "-c", ENDLESS]
        done = subprocess.run(
            command, input=messages.getvalue(), capture_output=True, timeout=60, check=False
        )
    finally:
        signal.signal(signal.SIGPROF, before)
    assert (done.returncode, done.stdout) == (-signal.SIGPROF, b""), done.stderr


def test_a_dead_worker_sends_no_signal() -> None:
    """Who writes to one gets an error: SIGPIPE would end a guest that does not handle it."""
    reader, writer = os.pipe()
    os.close(reader)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        worker = object.__new__(Worker)
        worker.requests = os.fdopen(writer, "wb", buffering=0)
        try:
            worker.send("a request")
        except OSError:
            os._exit(7)
        os._exit(0)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
