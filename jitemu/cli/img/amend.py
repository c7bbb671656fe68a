"""``jitemu img amend``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.format_options import compat, help_text, parse_options
from jitemu.cli.img.getopt import HINT
from jitemu.cli.img.output import progress
from jitemu.cli.options import Parsed, Shown, flag, on_off
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.qcow2 import amend
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.qcow2.keys import KeySlots
from jitemu.messages import fail

FORCE = flag("force", "do what may lose all keys")
_HEADING = "Amend options for 'qcow2':"


def _change(image: Qcow2Image, given: dict[str, str], parsed: Parsed) -> None:
    version = compat(given["compat"]) if "compat" in given else image.header.version
    bits = int(given.get("refcount_bits", str(image.header.refcount_bits)), 0)
    lazy = given.get("lazy_refcounts")
    if bits > 64 or bits < 1 or bits & bits - 1:
        fail("Refcount width must be a power of two and may not exceed 64 bits")
    if "data_file_raw" in given and on_off(given["data_file_raw"]) and not image.raw_external:
        fail("data-file-raw cannot be set on existing images")
    if version > image.header.version:
        amend.set_version(image, version)
    if any(name.startswith("encrypt.") for name in given):
        _change_keys(image, given, parsed)
    amend.set_refcount_bits(image, bits)
    if "backing_file" in given or "backing_fmt" in given:
        name = given.get("backing_file", image.header.backing_file)
        format = given.get("backing_fmt", image.header.backing_format)
        if name and not format:
            fail("backing format must be specified")
        amend.set_backing(image, name, format if name else "")
    if "data_file" in given:
        amend.set_data_file(image, given["data_file"])
    if lazy is not None:
        amend.set_lazy(image, on_off(lazy))
    if "size" in given:
        image.resize(parse_bytes(given["size"]))
    if version < image.header.version:
        amend.set_version(image, version)


def _change_keys(image: Qcow2Image, given: dict[str, str], parsed: Parsed) -> None:
    if image.header.crypt_method != h.LUKS_CRYPT:
        fail("Can't amend encryption options - encryption not present")
    secrets = parsed[common.OBJECT]

    def secret(name: str) -> bytes | None:
        identity = given.get(name)
        if identity is None:
            return None
        if identity not in secrets:
            fail(f"No secret with id '{identity}'")
        return secrets[identity]

    state = given.get("encrypt.state", "")
    if state not in ("active", "inactive"):
        fail("Parameter 'encrypt.state' expects 'active' or 'inactive'")
    slot = int(given["encrypt.keyslot"], 0) if "encrypt.keyslot" in given else None
    slots = KeySlots(image, parsed[FORCE])
    if state == "active":
        milliseconds = int(given.get("encrypt.iter-time", "2000"), 0)
        slots.add(secret("encrypt.new-secret"), slot, milliseconds)
    else:
        slots.remove(secret("encrypt.old-secret"), slot)


def run(parsed: Parsed) -> int:
    """Change format options."""
    texts = parsed[common.CREATE_OPTIONS]
    if not texts:
        fail(f"Must specify options (-o){HINT}")
    if not parsed.rest and any(text in ("help", "?") for text in texts):
        raise Shown(help_text(parsed[common.FORMAT] or "qcow2", _HEADING, amend=True))
    name = common.one_operand(parsed)
    with common.open_parsed(parsed, name, read_only=False) as opened:
        image = common.qcow2_only(
            opened, f"Format driver '{opened.format}' does not support option amendment"
        )
        given = parse_options("qcow2", texts, _HEADING, amend=True)
        common.set_cache(image, parsed[common.CACHE])
        with progress(parsed[common.PROGRESS], 1) as advance:
            _change(image, given, parsed)
            advance(1)
    return 0


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        common.PROGRESS,
        common.QUIET,
        common.FORMAT,
        common.CACHE,
        FORCE,
        common.CREATE_OPTIONS,
    ),
    "filename",
    run,
)
