"""The compile worker: a process of its own that turns requests into regions.

It reads length-prefixed requests from its standard input and writes results to its
standard output, until the input ends (the main process is gone).
"""

from __future__ import annotations

import marshal
import os
import sys
from typing import Any, BinaryIO


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
    from jitemu.backend_llvm.regions import Request, compile_region
    from jitemu.backend_llvm.stencilset import number_functions
    from jitemu.frontends.riscv.cpu import CpuModel
    from jitemu.runtime.guests import guest_named

    source, sink = sys.stdin.buffer, sys.stdout.buffer
    name, model, extensions, flags = receive(source)
    guest = guest_named(name, CpuModel(model, frozenset(extensions), frozenset(flags)))
    number_functions(guest.target, guest.isa)
    while (message := receive(source)) is not None:
        head, holes, limit, forbidden, pieces = message
        request = Request(head, holes, limit, False, frozenset(forbidden))
        try:
            region = compile_region(guest.target, guest.decoder, reader(pieces), request)
        except Exception as error:  # a defect here must not stop the guest
            send(sink, str(error))
            continue
        if region is None:
            send(sink, ())
            continue
        blob = region.blob
        linked = (blob.code, blob.symbols, blob.relocations)
        send(
            sink,
            (*linked, region.exits, region.entries, region.covered, region.instructions),
        )


if __name__ == "__main__":
    main()
