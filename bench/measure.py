"""Runs one command and measures it."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile
import threading
import time
from typing import IO, TYPE_CHECKING

from bench.model import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_OUTPUT = 64 << 20  # bytes; a guest that prints more has gone wild


_SET_CHILD_SUBREAPER = 36
LEFT_SECONDS = 20
"""What a run leaves behind may take so long to end."""


def adopt(wanted: bool = True) -> None:
    """Have processes whose parent ends become this one's children (prctl(2)), or not: a compile
    worker is nobody's child, and its processor time would be nowhere."""
    import ctypes

    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _left_behind() -> float:
    """Processor seconds of adopted processes, once they have ended."""
    total, deadline = 0.0, time.monotonic() + LEFT_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            pid, _, usage = os.wait3(os.WNOHANG)
            if pid:
                total += usage.ru_utime + usage.ru_stime
            else:
                time.sleep(0.01)
    return total


def own_rss_kib() -> int:
    """Peak resident set of this process since the last run began.

    Linux counts the memory of the process that started another into the other's peak, so
    a figure at or below this one only says "not more than this".
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run(
    argv: Sequence[str],
    *,
    timeout: float,
    env: Mapping[str, str] | None = None,
    span: tuple[str, str] | None = None,
    rate: str = "",
) -> Sample:
    """Run ``argv`` to its end, in its own process group; ``timeout`` is in seconds.

    ``span`` is a pair of console lines: time and output are taken between them, with the
    host's clock, which no guest can bend; CPU time is that of the whole run.
    """
    _forget_peak()
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as out:
        begun = time.perf_counter()
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if span else out,
                stderr=errors,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            return Sample(0, 0, 0, 127, trouble=f"{argv[0]}: {error.strerror}")
        watchdog = threading.Timer(timeout, _kill_group, [process.pid])
        watchdog.daemon = True
        watchdog.start()
        try:
            chunks = _read_console(process.stdout) if process.stdout else []
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            seconds = time.perf_counter() - begun
        except BaseException:
            _kill_group(process.pid)
            raise
        finally:
            late = not watchdog.is_alive()
            watchdog.cancel()
            _, wait_status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(wait_status)
            if process.stdout:
                process.stdout.close()
        trouble = f"no end after {timeout:.0f} s" if late else ""
        if process.returncode and not trouble:
            trouble = f"exit status {process.returncode}: {_last_line(errors)}".rstrip(": ")
        output = b"".join(data for data, _ in chunks) if span else _head(out)
    if span and not trouble:
        seconds, output, trouble = _between(chunks, *span)
    if rate and not trouble:
        seconds, trouble = _seconds_per_gb(rate, output)
    cpu, workers = usage.ru_utime + usage.ru_stime, _left_behind()
    return Sample(seconds, cpu, usage.ru_maxrss, process.returncode, output, workers, trouble)


def _forget_peak() -> None:
    """Make this process's peak its present size (proc(5), clear_refs)."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
        os.killpg(pid, signal.SIGKILL)


def _read_console(pipe: IO[bytes]) -> list[tuple[bytes, float]]:
    """Everything that is written to the pipe, each piece with the time of its arrival."""
    chunks: list[tuple[bytes, float]] = []
    total = 0
    while total <= MAX_OUTPUT and (data := os.read(pipe.fileno(), 1 << 16)):
        chunks.append((data, time.perf_counter()))
        total += len(data)
    return chunks


def _head(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(MAX_OUTPUT)


def _last_line(file: IO[bytes]) -> str:
    lines = _head(file).decode(errors="replace").split("\n")
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _between(
    chunks: Sequence[tuple[bytes, float]], start: str, stop: str
) -> tuple[float, bytes, str]:
    """Seconds and output between two lines of a console; or what is missing."""
    output = b"".join(data for data, _ in chunks)
    found = re.search(
        rb"^%s\r?\n(.*?)^%s\r?$" % (re.escape(start.encode()), re.escape(stop.encode())),
        output,
        re.MULTILINE | re.DOTALL,
    )
    if not found:
        return 0, output, f"the console never showed {start} and {stop}"
    seconds = _arrival(chunks, found.end()) - _arrival(chunks, found.start(1))
    return seconds, found[1].replace(b"\r\n", b"\n"), ""


def _arrival(chunks: Sequence[tuple[bytes, float]], offset: int) -> float:
    """When the byte before ``offset`` came."""
    end = 0
    for data, when in chunks:
        end += len(data)
        if end >= offset:
            return when
    return chunks[-1][1]


def _seconds_per_gb(rate: str, output: bytes) -> tuple[float, str]:
    found = re.search(rate.encode(), output)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        value = 0.0
    return (1e9 / value, "") if value > 0 else (0.0, "no rate in the output")
