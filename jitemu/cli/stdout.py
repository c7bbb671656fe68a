"""Standard output of the commands: a reader that stops early (``| head``) is no error and ends
nothing that is being done, a disk that is full is one, which is said at the end."""

from __future__ import annotations

import errno
import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Output(io.RawIOBase):
    """File descriptor 1, until it cannot be written."""

    error: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def isatty(self) -> bool:
        return os.isatty(1)

    def write(self, data: ReadableBuffer, /) -> int | None:
        if self.error is None:
            try:
                return os.write(1, data)
            except BlockingIOError:
                return None
            except OSError as error:
                self.error = error
        return len(memoryview(data).cast("B"))


def take_over() -> None:
    """Let ``sys.stdout`` be like this, unless it is already, or is a test's."""
    if sys.stdout is not sys.__stdout__:
        return
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: an image opened now would take its place
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output()),
        encoding=before.encoding if before else "utf-8",
        errors=before.errors if before else "strict",
        line_buffering=os.isatty(1),
    )


def finish() -> str:
    """Write what is left; why that could not be, once, or nothing."""
    if sys.stdout is None:
        return ""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, _Output) or raw.error is None:
        return ""
    problem = "" if raw.error.errno == errno.EPIPE else str(raw.error.strerror)
    raw.error = BrokenPipeError(errno.EPIPE, "")  # said
    return problem
