"""Damaged and malicious images: an error in one line, no other exception, no long wait, no
large allocation, no file that the image chain does not name."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Generator
from pathlib import Path

from jitemu.cli.img.info import describe
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.opening import Mode, open_image, open_named
from jitemu.devices.block.qcow2 import bitmaps, snapshots
from jitemu.devices.block.qcow2.check import check
from jitemu.devices.block.qcow2.create import CreateOptions, create
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.raw import create_raw
from jitemu.messages import UserError

MEMORY = 400 << 20
"""Bytes of address space that a batch may take above what it starts with."""
SECONDS = 20
"""For one image; the tables of a small file can be walked in much less."""
_VALUES = (0, 1, 2, 3, 7, 8, 9, 16, 63, 64, 255, 512, 1 << 16, 1 << 20, 1 << 31, (1 << 32) - 1)
_WIDE = (1 << 40, 1 << 55, (1 << 56) - 512, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def _seed_image(path: Path, number: int) -> bytes:
    """A sound image that has a bit of everything."""
    chance = random.Random(number)
    cluster = (512, 4096, 16384, 65536)[number % 4]
    options = CreateOptions(size=300_032, cluster_size=cluster)
    options.version = 2 if number % 5 == 4 else 3
    if options.version == 3:
        options.refcount_bits = (16, 64, 8, 32)[number % 4]
        options.extended_l2 = cluster >= 16384 and number % 3 == 0
        options.compression = "zstd" if number % 2 else "zlib"
        options.lazy_refcounts = number % 7 == 0
    if number % 3 == 1:
        options.backing_file, options.backing_format = "base", "raw"
    create(str(path), options)
    with open_image(str(path), "qcow2", options={"discard": "unmap"}) as image:
        assert isinstance(image, Qcow2Image)
        _fill(image, chance)
        if options.version == 3:
            bitmap = bitmaps.Bitmap("bits", 0, 0, bitmaps.AUTO, 12)
            bitmaps.write_bits(image, bitmap, bytes([255] * 10))
            bitmaps.write_directory(image, [bitmap])
    return path.read_bytes()


def _fill(image: Qcow2Image, chance: random.Random) -> None:
    size = image.header.cluster_size
    for _ in range(3):
        image.write(chance.randrange(200_000), chance.randbytes(3000))
    image.write_compressed(0, b"packed" * (size // 6) + bytes(size % 6))
    snapshots.take(image, "first")
    image.write_zeroes(100_000, 50_000, True)
    image.discard(0, 10_000)
    image.write(5000, chance.randbytes(8000))


def _tables(data: bytes) -> list[int]:
    """Where a sound image's tables are: L1, refcounts, snapshots, some L2 tables."""
    header = struct.unpack_from(">4sIQIIQIIQQIIQ", data)
    l1 = header[8]
    entries = struct.unpack_from(">8Q", data, l1)
    block = struct.unpack_from(">Q", data, header[9])
    return [l1, header[9], header[12], *block, *(entry & (1 << 56) - 512 for entry in entries)]


class Corpus:
    """Sound images, and damaged ones made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        base = folder / "base"
        create_raw(str(base), 200_192)
        self._seeds = [_seed_image(folder / "seed", number) for number in range(20)]
        (folder / "seed").unlink()

    def damaged(self, number: int) -> bytes:
        """Image ``number`` of the corpus."""
        chance = random.Random(number)
        sound = chance.choice(self._seeds)
        data = bytearray(sound)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 10))):
            self._damage(data, _tables(sound), chance)
        if chance.random() < 0.05:
            del data[chance.randrange(len(data)) :]
        return bytes(data)

    @staticmethod
    def _damage(data: bytearray, places: list[int], chance: random.Random) -> None:
        if chance.random() < 0.5:
            at = chance.choice((*range(4, 112, 4), *range(112, 200, 8)))
        else:
            at = chance.choice(places) + 8 * chance.choice((0, 0, 1, 2, 3, chance.randrange(60)))
        if at + 8 > len(data):
            return
        match chance.randrange(5):
            case 0:
                struct.pack_into(">I", data, at, chance.choice(_VALUES))
            case 1:
                struct.pack_into(">Q", data, at, chance.choice((*_VALUES, *_WIDE)))
            case 2:
                struct.pack_into(
                    ">Q", data, at, chance.choice(places) | chance.choice((0, 1 << 63, 1 << 62))
                )
            case 3:
                data[at + chance.randrange(8)] ^= 1 << chance.randrange(8)
            case _:
                data[at : at + 8] = chance.randbytes(8)


def _attempt(action: Callable[[], object]) -> None:
    """What an image makes impossible is said by one of these."""
    with contextlib.suppress(UserError, OSError):
        action()


def _look(path: str) -> None:
    mode = Mode(True, metadata_only=True)
    with open_named(path, "qcow2", mode) as image:
        describe(image)


def _read(path: str) -> None:
    with open_named(path, "qcow2", Mode(True)) as image:
        _transfer(image, image.size, lambda offset, size: image.read(offset, size))
        offset = 0
        for _ in range(200):
            if offset >= image.size:
                break
            offset += image.extent(offset, image.size - offset).length


def _transfer(image: BlockImage, size: int, action: Callable[[int, int], object]) -> None:
    for offset in (0, 5000, 100_000, 250_000, size // 2, size - 5000):
        if 0 <= offset < size:
            _attempt(lambda offset=offset: action(offset, min(5000, size - offset)))
    assert image.size >= 0


def _check(path: str, repair: str) -> None:
    with open_named(path, "qcow2", Mode(not repair, check=True)) as image:
        assert isinstance(image, Qcow2Image)
        check(image, repair, lambda _line: None)


def _write(path: str) -> None:
    with open_named(path, "qcow2", Mode(), {"discard": "unmap"}) as image:
        assert isinstance(image, Qcow2Image)
        _transfer(image, image.size, lambda offset, size: image.write(offset, b"w" * size))
        _transfer(image, image.size, lambda offset, size: image.write_zeroes(offset, size, True))
        _transfer(image, image.size, lambda offset, size: image.discard(offset, size))
        _attempt(lambda: snapshots.take(image, "more"))
        found = snapshots.find(image, "first")
        if found:
            _attempt(lambda: snapshots.apply(image, found))
            _attempt(lambda: snapshots.delete(image, found))
        _attempt(image.flush)


def _find(path: str) -> None:
    _check(path, "")


def _repair(path: str) -> None:
    _check(path, "all")


def examine(path: Path, data: bytes) -> None:
    """All that can be done with an image, to one that is damaged."""
    for action in (_look, _read, _find, _repair, _write):
        path.write_bytes(data)
        with contextlib.suppress(UserError, OSError):
            action(str(path))


@contextlib.contextmanager
def watched_files(folder: Path) -> Generator[list[bytes]]:
    """AssertionError if a file outside a folder is opened, unless the image names it, whose
    bytes are the last in what this gives."""
    watching = True
    images: list[bytes] = [b""]
    inside = os.path.realpath(folder)

    def see(event: str, arguments: tuple[object, ...]) -> None:
        if not watching or event != "open":
            return
        name = arguments[0]
        if isinstance(name, bytes):
            name = os.fsdecode(name)
        if isinstance(name, str) and not os.path.realpath(name).startswith(inside):
            if name.endswith((".py", ".pyc", ".so")):
                return  # modules that are imported when they are needed
            if os.fsencode(name) in images[-1]:
                return
            raise AssertionError(f"the file {name!r} was opened")

    sys.addaudithook(see)
    try:
        yield images
    finally:
        watching = False


def _overdue(_number: int, _frame: object) -> None:
    raise TimeoutError(f"longer than {SECONDS} seconds")


def _batch(corpus: Corpus, numbers: range) -> str:
    """Examine some images in this process; the first failure, or nothing."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 36, 1 << 36))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, _overdue)
    path = corpus.folder / f"damaged-{os.getpid()}"
    with watched_files(corpus.folder) as images:
        for number in numbers:
            signal.alarm(SECONDS)
            try:
                images[-1] = corpus.damaged(number)
                examine(path, images[-1])
            except BaseException:
                return f"image {number}\n{traceback.format_exc()}"
            finally:
                signal.alarm(0)
    path.unlink()
    return ""


def run(folder: Path, numbers: range) -> list[str]:
    """Examine images in processes of a limited size; the failures."""
    corpus = Corpus(folder)
    failures: list[str] = []
    for start in range(numbers.start, numbers.stop, 250):
        failures += _in_process(corpus, range(start, min(start + 250, numbers.stop)))
    return failures


def _in_process(corpus: Corpus, numbers: range) -> list[str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = "the examiner failed"
        try:
            text = _batch(corpus, numbers)
        finally:
            os.write(writer, text.encode()[-8000:])
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        text = answer.read().decode()
    _, status = os.waitpid(child, 0)
    return [text] if text else [f"images {numbers}: status {status}"] if status else []
