"""The compile worker: a process of its own that turns requests into regions.

It reads length-prefixed requests from its standard input and writes results to its
standard output, until the input ends (the main process is gone).
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any, BinaryIO

    from jitemu.backend_llvm.upkeep import Store
    from jitemu.runtime.guest import Guest
else:
    import _signal as signal

IDLE_SECONDS = 1.0
"""With nothing to do for so long the worker saves what it has compiled."""
SAVE_SECONDS = 10.0
"""It does so after this time in any case."""
MOST_SECONDS = 60.0
"""CPU time for a region.  A worker that takes longer is ended by SIGPROF, inside of LLVM too: it
would take a processor, and perhaps memory, as long as the guest runs."""


def send(stream: BinaryIO, message: Any) -> None:
    """Write a message of plain Python types."""
    data = marshal.dumps(message)
    rest = memoryview(len(data).to_bytes(4, "little") + data)
    while rest:
        rest = rest[stream.write(rest) :]
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read a message; None at the end."""
    head = _read(stream, 4)
    data = _read(stream, int.from_bytes(head, "little")) if head else b""
    return marshal.loads(data) if data else None


def _read(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or none if the stream ends before."""
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        if not part:
            return b""
        data += part
    return data


def reader(pieces: list[tuple[int, bytes]]) -> Any:
    """The ReadCode of a snapshot: (start, bytes) pieces."""

    def read(pc: int) -> bytes:
        for start, data in pieces:
            if start <= pc < start + len(data):
                return data[pc - start : pc - start + 4]
        return b""

    return read


def main() -> None:
    """Serve requests."""
    os.nice(10)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the guest may ignore it
    gc.disable()  # the definitions stay, and there are many
    from jitemu.backend_llvm.stencilset import number_functions
    from jitemu.backend_llvm.upkeep import Store
    from jitemu.runtime.guests import guest_named

    source, sink = os.fdopen(0, "rb", buffering=0), sys.stdout.buffer
    name, model, folder, key_name = receive(source)
    store = Store(folder, key_name) if folder else None
    guest = guest_named(name, *model)
    number_functions(guest.target, guest.isa)
    gc.freeze()
    gc.enable()
    try:
        while (message := _next(source, store)) is not None:
            _serve(guest, message, sink, store)
    except BrokenPipeError:
        pass  # the main process is gone
    if store is not None:
        store.save()
        store.tidy()


def _serve(guest: Guest, message: Any, sink: BinaryIO, store: Store | None) -> None:
    """Compile a region, keep it and send it."""
    from jitemu.backend_llvm.packs import context_of
    from jitemu.backend_llvm.regions import compile_region
    from jitemu.backend_llvm.request import Request

    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    head, holes, limit, forbidden, *profile, pieces = message
    request = Request(head, holes, limit, False, frozenset(forbidden), *profile)
    try:
        region = compile_region(guest.target, guest.decoder, reader(pieces), request)
    except Exception as error:  # a defect here must not stop the guest
        send(sink, str(error))
        return
    if region is None:
        send(sink, ())
        return
    if store is not None:
        store.add(context_of(holes, limit, forbidden), region, pieces)
    send(sink, (region.plain(), time.process_time() - start))


def _next(source: BinaryIO, store: Store | None) -> Any:
    """The next request; what was compiled is kept meanwhile."""
    if store is not None and store.unsaved:
        import select

        waiting = store.since + SAVE_SECONDS - time.monotonic()
        idle = not select.select([source], [], [], IDLE_SECONDS)[0]
        if idle or waiting < 0:
            store.save()
            store.tidy()
    return receive(source)


if __name__ == "__main__":
    main()
