"""``jitemu img amend``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.img.format_options import (
    VERSIONS,
    amend_rows_of,
    asks_for_help,
    help_text,
    parse_options,
)
from jitemu.cli.img.getopt import HINT
from jitemu.cli.img.output import progress
from jitemu.cli.options import Parsed, Shown, flag, on_off
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.luks import Volume
from jitemu.devices.block.luks_image import LuksImage
from jitemu.devices.block.luks_slots import SlotChange, change_slots
from jitemu.devices.block.opening import FORMATS, find_secret
from jitemu.devices.block.qcow2 import amend
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

FORCE = flag("force", "do what may lose all keys")


def _help(format: str) -> str:
    return help_text(f"Amend options for '{format}':", amend_rows_of(_amendable(format)))


def _amendable(format: str) -> str:
    if format not in FORMATS:
        fail(f"Unknown file format '{format}'")
    if not amend_rows_of(format):
        fail(f"Format driver '{format}' does not support option amendment")
    return format


def _change(image: Qcow2Image, given: dict[str, str], parsed: Parsed) -> None:
    header = image.header
    if given.get("backing_file", header.backing_file) != header.backing_file:
        fail("Cannot amend the backing file; you can use 'jitemu img rebase' instead")
    if given.get("backing_fmt", header.backing_format) != header.backing_format:
        fail("Cannot amend the backing format; you can use 'jitemu img rebase' instead")
    version = header.version
    if "compat" in given:
        if given["compat"] not in VERSIONS:
            fail(f"Unknown compatibility level {given['compat']}")
        version = VERSIONS[given["compat"]]
    bits = int(given.get("refcount_bits", str(image.header.refcount_bits)), 0)
    lazy = given.get("lazy_refcounts")
    if bits > 64 or bits < 1 or bits & bits - 1:
        fail("Refcount width must be a power of two and may not exceed 64 bits")
    if "data_file_raw" in given and on_off(given["data_file_raw"]) and not image.raw_external:
        fail("data-file-raw cannot be set on existing images")
    if version > image.header.version:
        amend.set_version(image, version)
    if any(name.startswith("encrypt.") for name in given):
        _change_keys(image.volume, given, "encrypt.", parsed)
    amend.set_refcount_bits(image, bits)
    if "data_file" in given:
        amend.set_data_file(image, given["data_file"])
    if lazy is not None:
        amend.set_lazy(image, on_off(lazy))
    if "size" in given:
        image.resize(parse_bytes(given["size"]))
    if version < image.header.version:
        amend.set_version(image, version)


def _change_keys(volume: Volume | None, given: dict[str, str], prefix: str, parsed: Parsed) -> None:
    if volume is None:
        fail("Can't amend encryption options - encryption not present")

    def secret(name: str) -> bytes | None:
        found = prefix + name in given
        return find_secret(given, parsed[common.OBJECT], prefix + name) if found else None

    def number(name: str) -> int | None:
        text = given.get(prefix + name)
        return None if text is None else int(text, 0)

    state = given.get(prefix + "state")
    if state is None:
        fail(f"Parameter '{prefix}state' is missing")
    if state not in ("active", "inactive"):
        fail(f"Parameter 'state' does not accept value '{state}'")
    change = SlotChange(
        active=state == "active",
        number=number("keyslot"),
        new=secret("new-secret"),
        old=secret("old-secret"),
        milliseconds=number("iter-time"),
        force=parsed[FORCE],
    )
    change_slots(volume, change)


def run(parsed: Parsed) -> int:
    """Change format options."""
    texts = parsed[common.CREATE_OPTIONS]
    if not texts:
        fail(f"Must specify options (-o){HINT}")
    asks = asks_for_help(texts)
    if asks and parsed[common.FORMAT] and not parsed.rest:
        raise Shown(_help(parsed[common.FORMAT]))
    name = common.one_operand(parsed)
    with common.open_parsed(parsed, name, read_only=False) as image:
        format = _amendable(image.format)
        if asks:
            raise Shown(_help(format))
        given = parse_options(format, texts, amend=True)
        common.set_cache(image, parsed[common.CACHE])
        with progress(parsed[common.PROGRESS], 1) as advance:
            if isinstance(image, LuksImage):
                _change_keys(image.volume, given, "", parsed)
            elif isinstance(image, Qcow2Image):
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
