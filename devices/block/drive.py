"""A drive: an image as a device has it, shared with whoever else works on it."""

from __future__ import annotations

import errno
import os
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.devices.block.image import BlockImage

SECTOR = 512  # bytes: what devices count in


class Counts:
    """What a device has done with its drive since it was made."""

    def __init__(self) -> None:
        self.rd_bytes = self.wr_bytes = 0
        self.rd_operations = self.wr_operations = self.flush_operations = 0

    def describe(self) -> str:
        """What ``info blockstats`` shows."""
        return " ".join(f"{name}={value}" for name, value in vars(self).items())


class Drive:
    """What ``-drive`` and ``-blockdev`` make."""

    def __init__(
        self, name: str, image: BlockImage, writeback: bool = True, node: bool = False
    ) -> None:
        self.name = name
        self.image = image
        self.node = node
        """Made by ``-blockdev``: an image, and no drive of its own."""
        self.inserted = True
        """Until the image was ejected, of a drive that no device has."""
        self.writeback = writeback
        """Whether writes wait for a flush, until the guest chooses otherwise."""
        self.counts = Counts()
        self.resized: Callable[[], None] | None = None
        """Called when the image has got another size, without the lock."""
        self.lock = threading.Lock()
        """Held by the thread that uses the image."""

    @property
    def has_backing(self) -> bool:
        """Whether the image is of changes to another."""
        return self.inserted and getattr(self.image, "backing", None) is not None

    def commit(self) -> None:
        """Write what the image changes into its backing image; OSError if it has none."""
        from jitemu.devices.block.chain import commit
        from jitemu.devices.block.qcow2.image import Qcow2Image

        with self.lock:
            if not isinstance(self.image, Qcow2Image) or self.image.backing is None:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            commit(self.image)

    def resize(self, size: int) -> None:
        """Grow or shrink the image and tell the device; OSError or UserError if it cannot be."""
        if size % SECTOR:
            raise OSError(errno.EINVAL, f"The new size must be a multiple of {SECTOR}")
        if self.image.read_only:
            raise OSError(errno.EACCES, "Image is read-only")
        with self.lock:
            self.image.resize(size)
        if self.resized:
            self.resized()

    def close(self) -> None:
        with self.lock:
            if self.inserted:
                self.image.close()

    def eject(self) -> None:
        """Give the image back; only for a drive that no device has."""
        self.close()
        self.inserted = False
