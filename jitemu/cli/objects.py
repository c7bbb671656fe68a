"""``-object``: what is made beside devices.  A kind is a class of options, listed in ``KINDS``."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from jitemu.cli.options import Shown
from jitemu.messages import fail
from jitemu.properties import STR, Options, between, describe, names, one_of, pop, prop, split, take
from jitemu.system.plugged import CaptureSpec, Secret


class DumpOptions(Options):
    """What passes a network back end, in a file."""

    netdev = prop(STR, "", "the back end's id")
    file = prop(STR, "", "file to write (pcap)")
    maxlen = prop(between(1, (1 << 32) - 1), 65536, "most bytes of a packet that are kept")

    def make(self, name: str, option: str) -> CaptureSpec:
        if not self.netdev or not self.file:
            fail(f"{option}: filter-dump needs netdev= and file=")
        return CaptureSpec(name, self.netdev, self.file, self.maxlen, option)


class SecretOptions(Options):
    """A password or key, which images name by its id."""

    data = prop(STR, "", "the secret itself")
    file = prop(STR, "", "file that holds it")
    format = prop(one_of("format", "raw", "base64"), "raw", "how it is written")

    def make(self, name: str, option: str) -> Secret:
        if self.data and self.file:
            fail(f"{option}: 'file' and 'data' are mutually exclusive")
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
    if ("help", "on") in pairs:
        raise Shown("\n".join([f"{kind} options:", *describe(KINDS[kind])]))
    if not name:
        fail(f"-object {text}: Parameter 'id' is missing")
    for item, _ in pairs:
        if item not in names(KINDS[kind]):
            fail(f"{option}: Property '{kind}.{item}' not found")
    return take(KINDS[kind], pairs, option).make(name, option)
