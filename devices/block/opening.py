"""Open an image by name: format probing, ``json:`` and ``file:`` names, backing chains."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from jitemu.devices.block.access import (
    is_on,
    lock_image,
    lock_raw,
    make_ready,
    set_runtime_options,
)
from jitemu.devices.block.hostfile import HostFile
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nested import NestedFile
from jitemu.devices.block.nodes import Node, beside, host_path, nested, parse_json, protocol
from jitemu.devices.block.probe import PROBE_BYTES, guess_format
from jitemu.devices.block.qcow2 import header as h
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.raw import RawImage
from jitemu.keyval import size
from jitemu.messages import UserError, fail, warn

FORMATS = ("luks", "qcow2", "raw")
_MAX_CHAIN = 200  # images; each takes three frames of Python's stack in a read
_COMMON_KEYS = frozenset(
    "driver file node-name read-only auto-read-only discard detect-zeroes cache"
    " force-share filename locking aio".split()
)
_KEYS = {
    "qcow2": _COMMON_KEYS | {"backing", "data-file", "encrypt", "lazy-refcounts"},
    "raw": _COMMON_KEYS | {"offset", "size"},
    "luks": _COMMON_KEYS | {"key-secret"},
}


@dataclass(frozen=True)
class Mode:
    """How a chain is opened."""

    read_only: bool = False
    force_share: bool = False
    probe_warning: bool = True
    metadata_only: bool = False
    """For looking at: no backing image, no data file, no key."""
    check: bool = False
    """For ``check``: a damaged image opens, nothing is repaired on the way."""
    no_backing: bool = False
    locking: bool = True
    secrets: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    chain: tuple[tuple[int, int], ...] = ()
    """Device and inode of the files that led here."""


def open_image(
    name: str,
    format: str | None = None,
    *,
    read_only: bool = False,
    snapshot: bool = False,
    force_share: bool = False,
    options: Mapping[str, Any] | None = None,
    secrets: Mapping[str, bytes] | None = None,
) -> BlockImage:
    """The image called ``name`` (a path, ``file:path`` or ``json:{...}``), ready for use.

    ``format`` None probes; a raw image that was probed refuses writes that would make it
    look like another format.  ``snapshot`` keeps writes in a temporary file.  ``options``
    are runtime options (QEMU's -blockdev keys: ``encrypt.key-secret``, ``discard``), and
    ``secrets`` the values of ``-object secret`` by id.  UserError says what cannot be opened.
    """
    mode = Mode(read_only or snapshot, force_share, secrets=secrets or {})
    image = open_named(name, format, mode, options)
    if snapshot:
        from jitemu.devices.block.qcow2.create import temporary_overlay

        return temporary_overlay(image)
    return image


def open_node(
    options: Mapping[str, Any],
    *,
    read_only: bool = False,
    force_share: bool = False,
    secrets: Mapping[str, bytes] | None = None,
) -> BlockImage:
    """The image that -blockdev's or ``json:``'s keys describe, nested or with dots.

    ``file``, ``backing`` and ``data-file`` may be images that are open already.
    """
    return open_described(nested(options), Mode(read_only, force_share, secrets=secrets or {}))


def open_named(
    name: str,
    format: str | None,
    mode: Mode,
    options: Mapping[str, Any] | None = None,
) -> BlockImage:
    """Open by name, in a mode."""
    if protocol(name) == "json":
        node = parse_json(name)
        if format:
            node.setdefault("driver", format)
        node.update(nested(options or {}))
        return open_described(node, mode, name)
    node = nested(options or {})
    node["file"] = {"driver": "file", "filename": host_path(name)}
    if format:
        node["driver"] = format
    return open_described(node, mode, name)


def open_described(node: Node, mode: Mode, name: str = "") -> BlockImage:
    """Open what keys describe, in a mode."""
    driver = node.get("driver")
    if is_on(node.get("read-only")):
        mode = replace(mode, read_only=True)
    if is_on(node.get("force-share")):
        mode = replace(mode, force_share=True)
    if driver in ("file", "host_device") or (driver is None and "filename" in node):
        file = _open_file(node, mode)
        return RawImage(file, read_only=mode.read_only)
    file = node.get("file")
    if isinstance(file, str):
        fail(f"Could not open '{name or node}': Cannot find device='{file}' nor node-name='{file}'")
    if not isinstance(file, (dict, BlockImage)):
        fail(f"Could not open '{name or node}': A block device must be specified for \"file\"")
    if isinstance(file, dict) and file.get("locking") in ("off", False):
        mode = replace(mode, locking=False)
    child = _open_child(cast("Node | BlockImage", file), mode)
    try:
        image = _open_format(driver, node, child, mode)
        set_runtime_options(image, node)
        return image
    except BaseException:
        child.close()
        raise


def _open_child(file: Node | BlockImage, mode: Mode) -> BlockImage:
    """The image below a format: a host file as it is, or another format."""
    if isinstance(file, BlockImage):
        return file if isinstance(file, HostFile) else NestedFile(file)
    if file.get("driver", "file") in ("file", "host_device"):
        return _open_file(file, mode)
    return NestedFile(open_described(file, mode))


def _open_file(node: Node, mode: Mode) -> HostFile:
    filename = node.get("filename")
    if not isinstance(filename, str) or not filename:
        fail("Could not open image: The 'file' block driver requires a file name")
    unknown = set(node) - _COMMON_KEYS
    if unknown:
        fail(f"Block protocol 'file' doesn't support the option '{min(unknown)}'")
    return HostFile(filename, read_only=mode.read_only)


def _open_format(driver: object, node: Node, child: BlockImage, mode: Mode) -> BlockImage:
    probed = driver is None
    if probed:
        head = child.read(0, min(PROBE_BYTES, max(0, child.size)))
        driver = guess_format(head)
        if driver == "raw" and not mode.read_only and mode.probe_warning:
            _warn_probed(child.name)
    if driver not in _KEYS:
        known = ", ".join(sorted(_KEYS))
        fail(f"Could not open '{child.name}': Unknown driver '{driver}' (known: {known})")
    driver = cast("str", driver)
    unknown = set(node) - _KEYS[driver]
    if unknown:
        fail(
            f"Could not open '{child.name}': Block format '{driver}' does not support"
            f" the option '{min(unknown)}'"
        )
    if driver == "raw":
        return _open_raw(node, child, mode, probed)
    if driver == "luks":
        return _open_luks(node, child, mode)
    return _open_qcow2(node, child, mode)


def _warn_probed(name: str) -> None:
    warn(
        f"Image format was not specified for '{name}' and probing guessed raw.\n"
        "         Automatically detecting the format is dangerous for raw images,"
        " write operations on block 0 will be restricted.\n"
        "         Specify the 'raw' format explicitly to remove the restrictions."
    )


def _number(node: Node, key: str) -> int | None:
    value = node.get(key)
    if value is None:
        return None
    try:
        number = size(str(value))
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 63:
        fail(f"Parameter '{key}' expects a non-negative number below 2^63")
    return number


def _open_raw(node: Node, child: BlockImage, mode: Mode, probed: bool) -> RawImage:
    if not (mode.force_share or mode.metadata_only) and mode.locking:
        lock_raw(child, mode.read_only)
    return RawImage(
        child,
        read_only=mode.read_only,
        probed=probed,
        offset=_number(node, "offset") or 0,
        size=_number(node, "size"),
        unmap=node.get("discard") in ("unmap", "on"),
    )


def _open_luks(node: Node, child: BlockImage, mode: Mode) -> BlockImage:
    from jitemu.devices.block import luks
    from jitemu.devices.block.luks_image import LuksImage

    if not (mode.force_share or mode.metadata_only) and mode.locking:
        lock_raw(child, mode.read_only)
    with _opening(child.name):
        volume = luks.Volume(child)
        if not mode.metadata_only:
            volume.unlock(find_secret(node, mode.secrets))
    return LuksImage(child, volume, read_only=mode.read_only)


@contextmanager
def _opening(name: str) -> Generator[None]:
    """Say what could not be opened."""
    try:
        yield
    except UserError as error:
        fail(f"Could not open '{name}': {error}")


def find_secret(
    given: Mapping[str, Any], secrets: Mapping[str, bytes], key: str = "key-secret"
) -> bytes:
    """The secret that an option names."""
    identity = given.get(key)
    if identity is None:
        fail(f"Parameter '{key}' is required for cipher")
    if identity not in secrets:
        fail(f"No secret with id '{identity}'")
    return secrets[identity]


def _open_qcow2(node: Node, child: BlockImage, mode: Mode) -> Qcow2Image:
    if not mode.force_share and mode.locking:
        lock_image(child, mode.read_only)
    header = h.parse(child.read(0, min(child.size, 1 << h.MAX_CLUSTER_BITS)), child.name)
    if header.incompatible & h.CORRUPT and not mode.read_only and not mode.check:
        fail(f"Could not open '{child.name}': qcow2: Image is corrupt; cannot be opened read/write")
    if header.crypt_method == h.AES_CRYPT and not mode.metadata_only:
        fail(
            f"Could not open '{child.name}': Use of AES-CBC encrypted qcow2 images"
            " is no longer supported in system emulators"
        )
    if not header.reftable_clusters and not mode.check:
        fail(f"Could not open '{child.name}': Image does not contain a reference count table")
    try:
        image = Qcow2Image(child, header, read_only=mode.read_only)
    except OSError as error:
        fail(f"Could not open '{child.name}': {error.strerror or error}")
    image.unmap = node.get("discard") in ("unmap", "on")
    if not mode.metadata_only:
        _open_data_file(image, node, mode)
        if header.crypt_method == h.LUKS_CRYPT and not mode.check:
            _unlock(image, node, mode)
    if not mode.read_only and not mode.check:
        make_ready(image)
    if not (mode.metadata_only or mode.check or mode.no_backing):
        _open_backing(image, node, mode)
    return image


def _open_data_file(image: Qcow2Image, node: Node, mode: Mode) -> None:
    given = node.get("data-file")
    if not image.external:
        if given is not None:
            fail(
                f"Could not open '{image.name}': 'data-file' can only be set for images"
                " with an external data file"
            )
        return
    if given is None:
        if not image.header.data_file:
            fail(f"Could not open '{image.name}': 'data-file' is required for this image")
        given = {"driver": "file", "filename": host_path(image.header.data_file)}
    inner = replace(mode, chain=_extended(mode, image.file))
    child = _open_child(cast("Node | BlockImage", given), inner)
    if not mode.force_share and mode.locking:
        lock_image(child, mode.read_only)
    image.use_data_file(child)


def _unlock(image: Qcow2Image, node: Node, mode: Mode) -> None:
    from jitemu.devices.block import luks

    encrypt = cast("Node", node.get("encrypt") or {})
    given = {f"encrypt.{key}": value for key, value in encrypt.items()}
    with _opening(image.name):
        password = find_secret(given, mode.secrets, "encrypt.key-secret")
        volume = luks.Volume(image.file, image.header.crypt_offset)
        volume.unlock(password)
    image.use_volume(volume)


def _extended(mode: Mode, file: BlockImage) -> tuple[tuple[int, int], ...]:
    """The chain with one more file; UserError if it comes round or never ends."""
    identity = file.identity if isinstance(file, HostFile) else (0, id(file))
    if identity in mode.chain:
        fail(f"Backing file '{file.name}' creates an infinite loop.")
    if len(mode.chain) >= _MAX_CHAIN:
        fail(f"Backing chain of '{file.name}' is longer than {_MAX_CHAIN} images")
    return (*mode.chain, identity)


def backing_name(image: Qcow2Image) -> str:
    """The backing image's name as it can be opened from here; empty without one."""
    name = image.header.backing_file
    return beside(name, image.file.name) if name else ""


def _open_backing(image: Qcow2Image, node: Node, mode: Mode) -> None:
    given = node.get("backing")
    name = backing_name(image)
    if "backing" in node and given in (None, ""):
        return
    if not name and not given:
        return
    inner = replace(mode, read_only=True, chain=_extended(mode, image.file), probe_warning=False)
    try:
        if isinstance(given, BlockImage):
            image.backing = given
        elif isinstance(given, dict) and ("file" in given or "filename" in given):
            image.backing = open_described(cast("Node", given), inner)
        else:
            more = cast("Node", given) if isinstance(given, dict) else {}
            format = more.pop("driver", None) or image.header.backing_format or None
            image.backing = open_named(name, format, inner, more)
    except UserError as error:
        image.close_files()
        fail(
            f"Could not open backing file: {error}"
            if "backing file" not in str(error)
            else str(error)
        )
    except BaseException:
        image.close_files()
        raise
