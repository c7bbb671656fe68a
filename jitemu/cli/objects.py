"""``-object``: what is made beside devices.  A kind is a class of options, listed in ``KINDS``."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jitemu.cli.options import integer, one_of
from jitemu.messages import fail
from jitemu.properties import names, pop, prop, split, take
from jitemu.system.plugged import CaptureSpec, Secret


@dataclass
class DumpOptions:
    """What passes a network back end, in a file."""

    netdev: str = prop(str, "", "the back end's id")
    file: str = prop(str, "", "file to write (pcap)")
    maxlen: int = prop(integer(1, (1 << 32) - 1), 65536, "most bytes of a packet that are kept")

    def make(self, name: str, option: str) -> CaptureSpec:
        if not self.netdev or not self.file:
            fail(f"{option}: filter-dump needs netdev= and file=")
        return CaptureSpec(name, self.netdev, self.file, self.maxlen, option)


@dataclass
class SecretOptions:
    """A password or key, which images name by its id."""

    data: str = prop(str, "", "the secret itself")
    file: str = prop(str, "", "file that holds it")
    format: str = prop(one_of("raw", "base64"), "raw", "how it is written")

    def make(self, name: str, option: str) -> Secret:
        if self.data:
            data = self.data.encode()
        elif self.file:
            try:
                with open(self.file, "rb") as file:
                    data = file.read()
            except OSError as error:
                fail(f"{option}: Unable to read {self.file}: {error.strerror}")
        else:
            fail(f"{option}: Must provide 'file' or 'data' property")
        if self.format == "base64":
            try:
                data = base64.b64decode(data.replace(b"\n", b""), validate=True)
            except ValueError as error:
                fail(f"{option}: secret '{name}' is not base64: {error}")
        return Secret(name, data)


KINDS = {"filter-dump": DumpOptions, "secret": SecretOptions}


def make(text: str, kinds: Sequence[str] = tuple(KINDS)) -> CaptureSpec | Secret:
    """The object of an option's text, of one of these kinds."""
    pairs = split(text, "qom-type")
    kind, name = pop(pairs, "qom-type"), pop(pairs, "id")
    option = f"-object {kind},id={name}"
    if kind not in kinds:
        fail(f"-object {text}: invalid object type: {kind}; there is {' and '.join(kinds)}")
    if not name:
        fail(f"-object {text}: Parameter 'id' is missing")
    for item, _ in pairs:
        if item not in names(KINDS[kind]):
            fail(f"{option}: Property '{kind}.{item}' not found")
    return take(KINDS[kind], pairs, option).make(name, option)
