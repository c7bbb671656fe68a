"""A drive: an image as a device has it, shared with whoever else works on it."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.block.image import BlockImage


class Drive:
    """What ``-drive`` makes."""

    def __init__(self, name: str, image: BlockImage, writeback: bool = True) -> None:
        self.name = name
        self.image = image
        self.writeback = writeback
        """Whether writes wait for a flush, until the guest chooses otherwise."""
        self.lock = threading.Lock()
        """Held by the thread that uses the image."""

    def close(self) -> None:
        with self.lock:
            self.image.close()
