"""``jitemu img convert``."""

from __future__ import annotations

from contextlib import ExitStack

from jitemu.cli.img import common
from jitemu.cli.img.bitmap import copy_all
from jitemu.cli.img.command import Command
from jitemu.cli.img.copying import Copy, copy
from jitemu.cli.img.create import make, parse_size
from jitemu.cli.img.format_options import parse_options, show_help
from jitemu.cli.img.output import progress
from jitemu.cli.options import Parsed, flag, integer, value
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nodes import beside, parse_keyval, split_commas
from jitemu.devices.block.opening import FORMATS, Mode, open_described, open_named
from jitemu.devices.block.qcow2 import snapshots
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import UserError, fail


def _sparse(text: str) -> int:
    try:
        count = parse_bytes(text)
    except ValueError:
        count = -1
    if count % 512 or not 0 <= count <= 16 << 20:
        fail(
            "Invalid buffer size for sparse output specified. Valid sizes are multiples of 512"
            " up to 16777216. Select 0 to disable sparse detection (fully allocates output)."
        )
    return count


def _coroutines(text: str) -> int:
    try:
        return integer(1, 16)(text)
    except ValueError:
        fail("Invalid number of coroutines. Allowed number of coroutines is between 1 and 16")


def rate_limit(text: str) -> int:
    """Bytes a second."""
    return parse_size(text, "rate limit")


OUTPUT_FORMAT = value("O", "output_fmt", "the new image's format", "raw", str)
TARGET_BACKING = value("B", "backing_file", "backing image of the new image", "", str)
COMPRESS = flag("c", "compress the new image's clusters")
NO_CREATE = flag("n", "the target exists; do not make it")
SNAPSHOT = value("l", "snapshot_param", "read a snapshot (its id or name)", "", str)
SPARSE = value("S", "sparse_size", "zeros of so many bytes are not stored (4k)", 4096, _sparse)
WORKERS = value("m", "num_coroutines", "accepted; reading is sequential", 8, _coroutines)
OUT_OF_ORDER = flag("W", "accepted; writing is sequential")
COPY_RANGE = flag("C", "accepted; data goes through memory")
RATE = value("r", "rate_limit", "at most so many bytes a second", 0, rate_limit)
TARGET_CACHE = common.cache_row("t", "", "unsafe")
TARGET_OPTS = flag("target-image-opts", "the target's name is image options (with -n)")
TARGET_ZERO = flag("target-is-zero", "the target reads as zeros (with -n)")
BITMAPS = flag("bitmaps", "copy persistent bitmaps")
SKIP_BROKEN = flag("skip-broken-bitmaps", "leave out bitmaps that are in use")
SALVAGE = flag("salvage", "go on after read errors, with zeros")


def _check(parsed: Parsed) -> None:
    format = parsed[OUTPUT_FORMAT]
    if parsed[TARGET_OPTS] and not parsed[NO_CREATE]:
        fail("--target-image-opts requires use of -n flag")
    if parsed[TARGET_ZERO] and not parsed[NO_CREATE]:
        fail("--target-is-zero requires use of -n flag")
    if parsed[COPY_RANGE] and (parsed[COMPRESS] or parsed.given(SPARSE)):
        which = "-c" if parsed[COMPRESS] else "-S"
        fail(f"Cannot enable copy offloading when {which} is used")
    if parsed[TARGET_OPTS] and parsed.given(OUTPUT_FORMAT):
        fail("--target-image-opts and -O are mutually exclusive")
    if parsed[SKIP_BROKEN] and not parsed[BITMAPS]:
        fail("Use of --skip-broken-bitmaps requires --bitmaps")
    if parsed[common.CREATE_OPTIONS] and parsed[NO_CREATE]:
        fail("-o has no effect when skipping image creation")
    if format not in FORMATS:
        fail(f"Unknown file format '{format}'")
    if parsed[COMPRESS] and format != "qcow2":
        fail("Compression not supported for this file format")
    show_help(format, parsed[common.CREATE_OPTIONS], len(parsed.rest) > 1)
    if len(parsed.rest) < 2:
        fail("Must specify image file name")
    if len(parsed.rest) > 2 and parsed[TARGET_BACKING]:
        fail(
            "Having a backing file for the target makes no sense"
            " when concatenating multiple input images"
        )
    if len(parsed.rest) > 2 and (parsed[BITMAPS] or parsed[SNAPSHOT]):
        fail(
            "No support for concatenating multiple snapshot"
            if parsed[SNAPSHOT]
            else "Copying bitmaps only possible with single source"
        )


def load_snapshot(image: BlockImage, text: str) -> None:
    """Let the image read as a snapshot of it does."""
    if not isinstance(image, Qcow2Image):
        fail(f"Failed to load snapshot: Device '{image.name}' does not support internal snapshots")
    table = snapshots.list_snapshots(image)
    if text.startswith("snapshot."):
        wanted = {item.partition("=")[0]: item.partition("=")[2] for item in split_commas(text)}
        identity, name = wanted.get("snapshot.id"), wanted.get("snapshot.name")
        found = next(
            (s for s in table if identity in (None, s.id) and name in (None, s.name)), None
        )
    else:
        found = snapshots.find(image, text)
    if found is None:
        fail("Failed to load snapshot: Can't find snapshot")
    snapshots.show(image, found)


def _target_options(parsed: Parsed, size: int) -> dict[str, str]:
    format = parsed[OUTPUT_FORMAT]
    given = parse_options(format, parsed[common.CREATE_OPTIONS])
    given["size"] = str(size)
    if parsed[TARGET_BACKING]:
        given["backing_file"] = parsed[TARGET_BACKING]
    if parsed[common.BACKING_FORMAT]:
        given["backing_fmt"] = parsed[common.BACKING_FORMAT]
    if given.get("backing_file"):
        if format != "qcow2":
            fail(f"Backing file not supported for file format '{format}'")
        if not given.get("backing_fmt"):
            fail("Use of backing file requires explicit backing format (-F)")
    if parsed[COMPRESS] and (given.get("encrypt.format") or given.get("encryption") == "on"):
        fail("Compression and encryption not supported at the same time")
    if parsed[COMPRESS] and given.get("preallocation", "off") != "off":
        fail("Compression and preallocation not supported at the same time")
    if parsed[COMPRESS] and given.get("data_file"):
        fail("Compression and an external data file not supported at the same time")
    return given


def _open_target(parsed: Parsed, name: str, given: dict[str, str]) -> BlockImage:
    mode = Mode(secrets=parsed[common.OBJECT], probe_warning=False)
    if parsed[TARGET_OPTS]:
        return open_described(parse_keyval(name), mode, name)
    options = {name: text for name, text in given.items() if name.endswith("key-secret")}
    return open_named(name, parsed[OUTPUT_FORMAT], mode, options)


def run(parsed: Parsed) -> int:
    """Copy disks to a new image."""
    _check(parsed)
    *names, target_name = parsed.rest
    with ExitStack() as files:
        sources = [
            files.enter_context(common.open_parsed(parsed, name, read_only=True)) for name in names
        ]
        if parsed[SNAPSHOT]:
            load_snapshot(sources[0], parsed[SNAPSHOT])
        size = sum(source.size for source in sources)
        given = _target_options(parsed, size)
        if given.get("backing_file"):
            path = beside(given["backing_file"], target_name)
            open_named(
                path, given["backing_fmt"], Mode(True, secrets=parsed[common.OBJECT])
            ).close()
        if not parsed[NO_CREATE]:
            try:
                make(parsed[OUTPUT_FORMAT], target_name, given, parsed[common.OBJECT])
            except UserError as error:
                fail(f"{target_name}: error while converting {parsed[OUTPUT_FORMAT]}: {error}")
        target = files.enter_context(_open_target(parsed, target_name, given))
        _copy(parsed, sources, target, given)
    return 0


def _copy(
    parsed: Parsed, sources: list[BlockImage], target: BlockImage, given: dict[str, str]
) -> None:
    job = Copy(sources, target)
    if parsed[NO_CREATE] and target.size < job.size:
        fail("output file is smaller than input file")
    job.over_backing = bool(given.get("backing_file"))
    job.target_zero = not parsed[NO_CREATE] or parsed[TARGET_ZERO]
    job.sparse = parsed[SPARSE]
    job.packed = parsed[COMPRESS]
    job.salvage = parsed[SALVAGE]
    job.rate = parsed[RATE]
    common.set_cache(target, parsed[TARGET_CACHE])
    common.allow_discard(target)
    with progress(parsed[common.PROGRESS] and not parsed[common.QUIET], job.size) as advance:
        copy(job, advance)
    if parsed[BITMAPS]:
        copy_all(sources[0], target, parsed[SKIP_BROKEN])


COMMAND = Command(
    (
        common.OBJECT,
        common.IMAGE_OPTS,
        TARGET_OPTS,
        TARGET_ZERO,
        BITMAPS,
        SKIP_BROKEN,
        common.FORCE_SHARE,
        COPY_RANGE,
        COMPRESS,
        common.PROGRESS,
        common.QUIET,
        NO_CREATE,
        common.FORMAT,
        TARGET_CACHE,
        common.SOURCE_CACHE,
        OUTPUT_FORMAT,
        TARGET_BACKING,
        common.BACKING_FORMAT,
        common.CREATE_OPTIONS,
        SNAPSHOT,
        SPARSE,
        RATE,
        WORKERS,
        OUT_OF_ORDER,
        SALVAGE,
    ),
    "filename [filename2 [...]] output_filename",
    run,
)
