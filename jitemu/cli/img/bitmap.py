"""``jitemu img bitmap``."""

from __future__ import annotations

from jitemu.cli.img import common
from jitemu.cli.img.command import Command
from jitemu.cli.options import Option, Parsed, value
from jitemu.cli.options import size as parse_bytes
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.qcow2 import bitmaps as bits
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import UserError, fail

Actions = tuple[tuple[str, str], ...]
_NO_ACTIONS: Actions = ()
_MIN_DEFAULT, _MAX_DEFAULT = 4096, 65536


def _action(name: str, argument: str, about: str) -> Option[Actions]:
    def fold(before: Actions, text: str) -> Actions:
        return (*before, (name, text))

    return Option(name, argument, about, _NO_ACTIONS, fold, key="actions")


ADD = _action("add", "", "make a bitmap")
REMOVE = _action("remove", "", "remove the bitmap")
CLEAR = _action("clear", "", "clear all its bits")
ENABLE = _action("enable", "", "mark writes in it from now on")
DISABLE = _action("disable", "", "mark no more writes")
MERGE = _action("merge", "SOURCE", "add the bits of another bitmap")


def _granularity(text: str) -> int:
    count = parse_bytes(text)
    if not count:
        raise ValueError("expected a size")
    return count


GRANULARITY = value("g", "granularity", "bytes for each bit, with --add", 0, _granularity)
SOURCE_FILE = value("b", "source_file", "the image that SOURCE is in", "", str)
SOURCE_FORMAT = value("F", "source_fmt", "that image's format", "", str)


class Bitmaps:
    """The bitmaps of an image, while they are changed."""

    def __init__(self, image: Qcow2Image) -> None:
        self.image = image
        self.all = bits.list_bitmaps(image)

    def get(self, name: str) -> bits.Bitmap:
        """The bitmap of that name."""
        for bitmap in self.all:
            if bitmap.name == name:
                return bitmap
        fail(f"Dirty bitmap '{name}' not found")

    def usable(self, name: str) -> bits.Bitmap:
        """The bitmap, if its bits are good."""
        bitmap = self.get(name)
        if bitmap.flags & bits.IN_USE:
            fail(
                f"Bitmap '{name}' is inconsistent and cannot be used"
                " (try --remove to delete this bitmap from disk)"
            )
        return bitmap

    def add(self, name: str, granularity: int) -> None:
        """A new bitmap without bits."""
        if any(bitmap.name == name for bitmap in self.all):
            fail(f"Bitmap already exists: {name}")
        size = granularity or max(_MIN_DEFAULT, min(self.image.header.cluster_size, _MAX_DEFAULT))
        if size & size - 1 or size < 512:
            fail("Granularity must be power of 2 and at least 512")
        if size > 1 << bits.MAX_GRANULARITY_BITS:
            fail("Granularity exceeds maximum (2147483648 bytes)")
        if not 0 < len(name.encode("utf-8", "surrogateescape")) <= bits.MAX_NAME:
            fail("Bitmap name too long" if name else "Bitmap name is empty")
        if self.image.header.version < 3:
            fail(
                f"Can't make bitmap '{name}' persistent in '{self.image.name}':"
                " Cannot store dirty bitmaps in qcow2 v2 files"
            )
        if len(self.all) >= bits.MAX_BITMAPS:
            fail("Maximum number of persistent bitmaps is already reached")
        bitmap = bits.Bitmap(name, 0, 0, bits.AUTO, size.bit_length() - 1)
        bits.write_bits(self.image, bitmap, bytes(self.bytes_of(bitmap)))
        self.all.append(bitmap)

    def bytes_of(self, bitmap: bits.Bitmap) -> int:
        """The size of its bits."""
        return bits.bits_bytes(self.image.size, bitmap.granularity_bits)

    def remove(self, name: str) -> None:
        """Forget a bitmap."""
        bitmap = self.get(name)
        bits.free_bits(self.image, bitmap)
        self.all.remove(bitmap)

    def replace_bits(self, bitmap: bits.Bitmap, content: bytes | bytearray) -> None:
        """Other bits."""
        bits.free_bits(self.image, bitmap)
        bits.write_bits(self.image, bitmap, content)

    def merge(self, name: str, source: Bitmaps, source_name: str) -> None:
        """Add the bits of another bitmap, of this image or another."""
        target, other = self.usable(name), source.usable(source_name)
        if source.image.size != self.image.size:
            fail("Bitmaps are of different sizes and can't be merged")
        content = bits.read_bits(self.image, target)
        extra = bits.read_bits(source.image, other)
        if other.granularity_bits == target.granularity_bits:
            mixed = int.from_bytes(content, "little") | int.from_bytes(extra, "little")
            content = bytearray(mixed.to_bytes(len(content), "little"))
        else:
            _spread(
                content, target.granularity_bits, extra, other.granularity_bits, self.image.size
            )
        self.replace_bits(target, content)

    def store(self) -> None:
        """Write the directory."""
        bits.write_directory(self.image, self.all)


def _spread(content: bytearray, to_bits: int, extra: bytearray, from_bits: int, size: int) -> None:
    """Set what bits of another granularity cover."""
    for at, byte in enumerate(extra):
        for bit in range(8):
            if byte >> bit & 1:
                start = at * 8 + bit << from_bits
                end = min(size, start + (1 << from_bits))
                if start < end:
                    bits.set_range(content, start >> to_bits, end - 1 >> to_bits)


def copy_all(source: BlockImage, target: BlockImage, skip_broken: bool) -> None:
    """All bitmaps of one image into another."""
    if not isinstance(source, Qcow2Image):
        fail(f"Cannot copy bitmaps: '{source.name}' has none")
    if not isinstance(target, Qcow2Image) or target.header.version < 3:
        fail(f"Format driver '{target.format}' does not support bitmaps")
    target.stop_tracking()
    old, new = Bitmaps(source), Bitmaps(target)
    for bitmap in old.all:
        if bitmap.flags & bits.IN_USE:
            if skip_broken:
                continue
            fail(
                f"Cannot copy inconsistent bitmap '{bitmap.name}'; try --skip-broken-bitmaps,"
                f" or use 'jitemu img bitmap --remove' to delete it"
            )
        new.add(bitmap.name, 1 << bitmap.granularity_bits)
        made = new.get(bitmap.name)
        made.flags = bitmap.flags
        new.replace_bits(made, bits.read_bits(source, bitmap))
    new.store()


def _do(found: Bitmaps, source: Bitmaps, parsed: Parsed, action: str, name: str, text: str) -> None:
    match action:
        case "add":
            found.add(name, parsed[GRANULARITY])
        case "remove":
            found.remove(name)
        case "clear":
            bitmap = found.usable(name)
            found.replace_bits(bitmap, bytes(found.bytes_of(bitmap)))
        case "enable":
            found.usable(name).flags |= bits.AUTO
        case "disable":
            found.usable(name).flags &= ~bits.AUTO
        case _:
            found.merge(name, source, text)


def run(parsed: Parsed) -> int:
    """Change one bitmap."""
    actions = parsed[ADD]
    if not actions:
        fail("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
    names = [action for action, _ in actions]
    if parsed.given(GRANULARITY) and "add" not in names:
        fail("granularity only supported with --add")
    if parsed[SOURCE_FORMAT] and not parsed[SOURCE_FILE]:
        fail("-F only supported with -b")
    if parsed[SOURCE_FILE] and "merge" not in names:
        fail("Merge bitmap source file only supported with --merge")
    if len(parsed.rest) != 2:
        fail("Expecting filename and bitmap name")
    filename, name = parsed.rest
    with common.open_parsed(parsed, filename, read_only=False) as opened:
        doing = f"Operation {names[0]} on bitmap {name} failed"
        image = common.qcow2_only(
            opened,
            f"{doing}: Can't store persistent bitmaps to {filename}: Operation not supported",
        )
        found = source = Bitmaps(image)
        other: BlockImage | None = None
        if parsed[SOURCE_FILE]:
            other = common.open_parsed(
                parsed, parsed[SOURCE_FILE], parsed[SOURCE_FORMAT], read_only=True
            )
            source = Bitmaps(common.qcow2_only(other, f"{doing}: the source has no bitmaps"))
        try:
            for action, text in actions:
                doing = f"Operation {action} on bitmap {name} failed"
                _do(found, source, parsed, action, name, text)
        except UserError as error:
            fail(f"{doing}: {error}")
        finally:
            found.store()
            if other:
                other.close()
    return 0


COMMAND = Command(
    (
        ADD,
        REMOVE,
        CLEAR,
        ENABLE,
        DISABLE,
        MERGE,
        SOURCE_FILE,
        SOURCE_FORMAT,
        GRANULARITY,
        common.OBJECT,
        common.IMAGE_OPTS,
        common.FORMAT,
        common.FORCE_SHARE,
    ),
    "filename bitmap",
    run,
)
