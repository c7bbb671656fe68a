"""Random operations on images of random geometry, beside a plain model: a bytearray.

After each sequence QEMU's check must find nothing and its compare no difference.
"""

from __future__ import annotations

import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from jitemu.devices.block.chain import commit, rebase
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.opening import open_image
from jitemu.devices.block.qcow2 import snapshots
from jitemu.devices.block.qcow2.amend import set_backing, set_lazy, set_refcount_bits, set_version
from jitemu.devices.block.qcow2.create import CreateOptions, create
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.raw import create_raw
from jitemu.messages import UserError

UNMAP = {"discard": "unmap"}
_LENGTHS = (1, 511, 512, 4096, 20_000, 65536, 1 << 20)


def qemu(*words: str) -> str:
    """Run a program of QEMU's; what it printed.  AssertionError if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
    return done.stdout


def random_geometry(chance: random.Random, folder: Path, name: str) -> CreateOptions:
    """Any kind of image that has no secret, up to a few MiB."""
    version = chance.choice((2, 3, 3, 3))
    cluster = 1 << chance.choice((9, 9, 10, 12, 12, 13, 14, 15, 16, 16, 17, 21))
    unit = chance.choice((512, 4096, 65536, 99_840))
    options = CreateOptions(
        size=chance.randint(1, 40) * unit, cluster_size=cluster, version=version
    )
    if version == 3:
        options.refcount_bits = 1 << chance.randint(0, 6)
        options.extended_l2 = cluster >= 16384 and chance.random() < 0.5
        options.lazy_refcounts = chance.random() < 0.2
        options.compression = chance.choice(("zlib", "zstd"))
        if chance.random() < 0.15:
            options.data_file = str(folder / f"{name}.data")
            options.data_file_raw = chance.random() < 0.5
    options.preallocation = chance.choice(("off", "off", "off", "metadata", "falloc", "full"))
    return options


@dataclass
class Sequence:
    """One image, its backing image, and what both should read as."""

    seed: int
    folder: Path
    done: list[str] = field(default_factory=list[str])
    """What was done, for the message of a failure."""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.path = self.folder / "image.qcow2"
        self.base_path = self.folder / "base"
        self.base = bytearray()
        self.base_format = ""
        self.kept: dict[str, tuple[int, bytes]] = {}
        """Snapshots: size and contents."""
        self.options = random_geometry(self.chance, self.folder, "image")
        if self.chance.random() < 0.5 and not self.options.data_file_raw:
            self._make_base()
        create(str(self.path), self.options)
        size = self.options.size
        self.disk = bytearray(self.base[:size].ljust(size, b"\0"))
        self.image = self._open()

    def _make_base(self) -> None:
        self.base_format = self.chance.choice(("raw", "qcow2"))
        size = self.chance.randint(1, 40) * 512 * self.chance.choice((1, 8, 100))
        if self.base_format == "raw":
            create_raw(str(self.base_path), size)
        else:
            options = random_geometry(self.chance, self.folder, "base")
            options.size, options.data_file, options.data_file_raw = size, "", False
            create(str(self.base_path), options)
        self.base = bytearray(size)
        with open_image(str(self.base_path), self.base_format) as image:
            for _ in range(self.chance.randint(0, 4)):
                self._write(image, self.base)
        self.options.backing_file, self.options.backing_format = "base", self.base_format
        if not self.options.extended_l2:
            self.options.preallocation = "off"

    def _open(self) -> Qcow2Image:
        image = open_image(str(self.path), "qcow2", options=UNMAP)
        assert isinstance(image, Qcow2Image)
        return image

    def _range(self, size: int) -> tuple[int, int]:
        offset = self.chance.randrange(size)
        if self.chance.random() < 0.5:
            offset &= -self.chance.choice((512, self.options.cluster_size))
        length = min(size - offset, self.chance.choice((*_LENGTHS, self.options.cluster_size)))
        return offset, length

    def _write(self, image: BlockImage, model: bytearray) -> None:
        offset, length = self._range(len(model))
        data = self.chance.randbytes(min(length, 64)) * (length // 64 + 1)
        data = data[:length]
        cut = self.chance.randint(0, length)
        image.writev(offset, [memoryview(data)[:cut], memoryview(data)[cut:]])
        model[offset : offset + length] = data
        self.done.append(f"write {offset} {length}")

    def write(self) -> None:
        """Write in two pieces."""
        self._write(self.image, self.disk)

    def write_packed(self) -> None:
        """Write one compressed cluster."""
        if self.image.external:
            return
        cluster = self.options.cluster_size
        offset = self.chance.randrange(len(self.disk)) & -cluster
        length = min(cluster, len(self.disk) - offset)
        data = (self.chance.randbytes(16) * (length // 16 + 1))[:length]
        self.image.write_compressed(offset, data)
        self.disk[offset : offset + length] = data
        self.done.append(f"packed {offset} {length}")

    def zero(self) -> None:
        """Write zeros, with and without giving space back."""
        offset, length = self._range(len(self.disk))
        unmap = self.chance.random() < 0.5
        self.image.write_zeroes(offset, length, unmap)
        self.disk[offset : offset + length] = bytes(length)
        self.done.append(f"zero {offset} {length} {unmap}")

    def discard(self) -> None:
        """Give space back: whole clusters read as zeros, where the version has a way."""
        offset, length = self._range(len(self.disk))
        self.image.discard(offset, length)
        self.done.append(f"discard {offset} {length}")
        if self.image.raw_external:
            self.disk[offset : offset + length] = bytes(length)
            return
        cluster = self.options.cluster_size
        start = -(-offset // cluster) * cluster
        end = offset + length
        if end != len(self.disk):
            end = end // cluster * cluster
        if start < end and (self.image.has_zero_flag or not self.image.has_backing):
            self.disk[start:end] = bytes(end - start)

    def read(self) -> None:
        """Read in two pieces."""
        offset, length = self._range(len(self.disk))
        buffer = bytearray(length)
        cut = self.chance.randint(0, length)
        self.image.readv(offset, [memoryview(buffer)[:cut], memoryview(buffer)[cut:]])
        assert buffer == self.disk[offset : offset + length], self.message()

    def flush(self) -> None:
        """Flush."""
        self.image.flush()

    def reopen(self) -> None:
        """Close and open."""
        self.image.close()
        self.image = self._open()
        self.done.append("reopen")

    def snapshot(self) -> None:
        """Take, apply or delete one."""
        if self.image.external:
            return
        action = self.chance.choice(("take", "take", "apply", "delete"))
        if action == "take":
            name = f"s{len(self.done)}"
            try:
                snapshots.take(self.image, name)
            except OSError:
                assert self.options.refcount_bits < 8, self.message()
                return
            self.kept[name] = len(self.disk), bytes(self.disk)
        elif self.kept:
            name = self.chance.choice(sorted(self.kept))
            found = snapshots.find(self.image, name)
            assert found, self.message()
            if action == "delete":
                snapshots.delete(self.image, found)
                del self.kept[name]
            else:
                self._apply(found)
        else:
            return
        self.done.append(f"snapshot {action} {name}")

    def _apply(self, found: snapshots.Snapshot) -> None:
        size, content = self.kept[found.name]
        if size != len(self.disk) and self.image.header.version == 2:
            return
        try:
            snapshots.apply(self.image, found)
        except OSError:
            assert self.options.refcount_bits < 8, self.message()
            self.disk = bytearray(self.image.read(0, self.image.size))
            return
        self.disk = bytearray(content)

    def resize(self) -> None:
        """Grow or shrink."""
        if self.image.header.version == 2 and self.kept:
            return
        size = self.chance.randint(1, 60) * self.chance.choice((512, 4096, 65536))
        self.image.resize(size)
        self.disk = self.disk[:size].ljust(size, b"\0")
        self.done.append(f"resize {size}")

    def _forget_snapshots(self) -> None:
        """What they read as depends on the backing image, which is going to change."""
        for name in self.kept:
            found = snapshots.find(self.image, name)
            assert found, self.message()
            snapshots.delete(self.image, found)
        self.kept.clear()

    def commit(self) -> None:
        """Write all to the backing image."""
        if not self.image.has_backing:
            return
        self._forget_snapshots()
        commit(self.image)
        self.base[: len(self.disk)] = self.disk
        self.done.append("commit")

    def rebase(self) -> None:
        """Go on without a backing image, or with it again."""
        if not self.base_format or self.options.data_file_raw:
            return
        self._forget_snapshots()
        if self.image.has_backing:
            rebase(self.image, None)
            set_backing(self.image, "", "")
            self.image.close()
        else:
            with open_image(str(self.base_path), self.base_format, read_only=True) as base:
                rebase(self.image, base)
            set_backing(self.image, "base", self.base_format)
            self.image.close()
        self.image = self._open()
        self.done.append("rebase")

    def amend(self) -> None:
        """Other refcounts, another version."""
        try:
            match self.chance.choice(("lazy", "bits", "version")):
                case "lazy":
                    set_lazy(self.image, self.chance.random() < 0.5)
                case "bits":
                    bits = 1 << self.chance.randint(0, 6)
                    set_refcount_bits(self.image, bits)
                    self.options.refcount_bits = bits
                case _:
                    set_version(self.image, self.chance.choice((2, 3)))
        except UserError as error:
            self.done.append(f"amend refused: {error}")
        self.reopen()

    def by_qemu(self) -> None:
        """Let QEMU write."""
        self.image.close()
        offset, length = self._range(len(self.disk))
        byte = self.chance.randrange(256)
        command = f"write -P {byte} {offset} {length}"
        qemu("qemu-io", "-f", "qcow2", "-c", command, str(self.path))
        self.disk[offset : offset + length] = bytes([byte]) * length
        self.image = self._open()
        self.done.append(f"qemu-io {command}")

    STEPS = (
        (write, 30),
        (write_packed, 6),
        (zero, 12),
        (discard, 10),
        (read, 12),
        (flush, 6),
        (reopen, 5),
        (snapshot, 8),
        (resize, 5),
        (commit, 3),
        (rebase, 3),
        (amend, 2),
        (by_qemu, 2),
    )

    def run(self, length: int) -> None:
        """Do some steps, then compare."""
        steps, weights = zip(*self.STEPS, strict=True)
        for step in self.chance.choices(steps, weights, k=length):
            step(self)
        self.image.close()
        self.compare()

    def compare(self) -> None:
        """QEMU finds no error in the image, and the model's bytes."""
        try:
            qemu("qemu-img", "check", "-q", str(self.path))
            if self.base_format == "qcow2":
                qemu("qemu-img", "check", "-q", str(self.base_path))
            model = self.folder / "model.raw"
            model.write_bytes(self.disk)
            qemu("qemu-img", "compare", "-F", "raw", str(self.path), str(model))
            self._compare_rest()
        except AssertionError as error:
            raise AssertionError(f"{self.message()}\n{error}") from None

    def _compare_rest(self) -> None:
        if self.options.data_file_raw:
            data = Path(self.options.data_file).read_bytes()
            # QEMU fills the last cluster of the file with zeros
            assert data.rstrip(b"\0") == self.disk.rstrip(b"\0"), "the raw data file differs"
        if self.kept:
            name = self.chance.choice(sorted(self.kept))
            size, content = self.kept[name]
            with open_image(str(self.path), "qcow2", read_only=True) as image:
                assert isinstance(image, Qcow2Image)
                found = snapshots.find(image, name)
                assert found
                snapshots.show(image, found)
                assert image.read(0, size) == content, f"snapshot {name} reads wrongly"
            if size != len(self.disk):
                return  # qemu-img reads snapshots with the disk's present size
            old = self.folder / "old.raw"
            qemu(
                "qemu-img",
                "convert",
                "-l",
                f"snapshot.name={name}",
                "-O",
                "raw",
                str(self.path),
                str(old),
            )
            assert old.read_bytes() == content, f"snapshot {name} differs"

    def message(self) -> str:
        """What to look for."""
        return f"seed {self.seed}: {self.options}\n" + "\n".join(self.done)
