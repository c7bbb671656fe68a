"""A small package repository on the host's loopback, as a guest's apt reads it.

Its packages come from a Debian mirror by way of the machine's apt; lists and server are made
here, so that nothing outside the machine is asked by the guest.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def make(folder: Path, packages: Sequence[Path], suite: str, architecture: str) -> None:
    """Write a repository with one component, ``main``, of .deb files."""
    pool, lists = folder / "pool", folder / f"dists/{suite}/main/binary-{architecture}"
    for path in (pool, lists):
        path.mkdir(parents=True)
    stanzas: list[str] = []
    for package in packages:
        data = Path(shutil.copy(package, pool)).read_bytes()
        command = ["dpkg-deb", "--field", str(package)]
        fields = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        place = f"Filename: pool/{package.name}\nSize: {len(data)}\n"
        stanzas.append(f"{fields}{place}SHA256: {hashlib.sha256(data).hexdigest()}\n")
    index = "\n".join(stanzas).encode()
    (lists / "Packages").write_bytes(index)
    (folder / f"dists/{suite}/Release").write_text(
        f"Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: {architecture}\n"
        f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} "
        f"main/binary-{architecture}/Packages\n"
    )


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path) -> Generator[int]:
    """Serve a folder by HTTP on the loopback; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
