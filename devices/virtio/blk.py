"""The block device (virtio 1.2, section 5.2)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from jitemu.devices.buffers import part
from jitemu.devices.device import BOOL, SIZE, STR, UINT16, UINT32, prop, reference
from jitemu.devices.virtio.device import RequestDevice
from jitemu.devices.virtio.queue import Chain, Queue, QueueError

if TYPE_CHECKING:
    from jitemu.devices.block.drive import Drive

SECTOR = 512
SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY = (1 << n for n in (2, 4, 5, 6, 9, 10))
CONFIG_WCE, MQ, DISCARD, WRITE_ZEROES = (1 << n for n in (11, 12, 13, 14))
IN, OUT, FLUSH_CACHE, GET_ID, DISCARD_RANGES, ZERO_RANGES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
HEADER = struct.Struct("<IIQ")
RANGE = struct.Struct("<QII")
MAX_RANGES = 1  # in a request to discard or zero
UNMAP = 1
ID_BYTES = 20
CONFIG = struct.Struct("<Q I I H B B I B B H I B B H I I I I I B 3x")
WRITEBACK_AT = 32  # the byte of the configuration space that chooses the cache's mode
MAX_REQUEST = (1 << 31) - 1  # bytes
BLOCK_SIZES = "A power of two between 512 B and 2 MiB"
MAX_SECTORS = (1 << 22) - 1


class VirtioBlk(RequestDevice):
    """A disk.  Data goes straight between the image and the buffers in guest RAM."""

    model = "virtio-blk-device"
    aliases = ("virtio-blk",)
    about = "disk"
    category = "Storage"
    type_id = 2
    drive = prop(reference("drive"), None, "id of a -drive or -blockdev", required=True)
    serial = prop(STR, "", "what the guest sees as the disk's serial number")
    num_queues = prop(UINT16, 1, "how many request queues")
    queue_size = prop(UINT16, 256, "a power of two, at most 1024")
    logical_block_size = prop(
        SIZE, 512, "A power of two between 512 B and 2 MiB", name="logical_block_size"
    )
    physical_block_size = prop(
        SIZE, 512, "A power of two between 512 B and 2 MiB", name="physical_block_size"
    )
    min_io_size = prop(SIZE, 0, "smallest good request", name="min_io_size")
    opt_io_size = prop(SIZE, 0, "best size of requests", name="opt_io_size")
    cyls = prop(UINT32, 0, "cylinders (0: chosen by size)")
    heads = prop(UINT32, 0, "heads")
    secs = prop(UINT32, 0, "sectors of a track")
    discard = prop(BOOL, True)
    write_zeroes = prop(BOOL, True)
    config_wce = prop(BOOL, True, "the driver may choose write-through")
    max_discard_sectors = prop(UINT32, MAX_SECTORS)
    max_write_zeroes_sectors = prop(UINT32, MAX_SECTORS)

    def queue_sizes(self) -> list[int]:
        return [self.queue_size] * self.num_queues

    def realize(self) -> None:
        if not 1 <= self.num_queues <= 1024:
            raise ValueError("num-queues property must be between 1 and 1024")
        if not 4 <= self.queue_size <= 1024 or self.queue_size & (self.queue_size - 1):
            raise ValueError("queue-size property must be a power of 2 between 4 and 1024")
        for name in ("logical_block_size", "physical_block_size"):
            size = getattr(self, name)
            if not 512 <= size <= 2 << 20 or size & (size - 1):
                raise ValueError(f"{name}: {BLOCK_SIZES}")
        if self.logical_block_size > self.physical_block_size:
            self.physical_block_size = self.logical_block_size
        super().realize()
        drive: Drive = self.drive
        self._drive, self._image = drive, drive.image
        drive.resized = self._resized

    def reset(self) -> None:
        super().reset()
        self.writeback = self._drive.writeback
        """False: every write is flushed before it is answered."""

    # What the driver sees

    def device_features(self) -> int:
        features = SEG_MAX | GEOMETRY | BLK_SIZE | FLUSH | TOPOLOGY
        features |= RO if self._image.read_only else 0
        features |= CONFIG_WCE * self.config_wce | DISCARD * self.discard
        return features | WRITE_ZEROES * self.write_zeroes | MQ * (self.num_queues > 1)

    def _resized(self) -> None:
        with self.host.lock:
            self.transport.config_changed()

    def config(self) -> bytes:
        logical = self.logical_block_size
        capacity = self._image.size // SECTOR
        cylinders, heads, sectors = self._geometry(capacity)
        return CONFIG.pack(
            capacity,
            0,
            self.queue_size - 2,
            *(cylinders, heads, sectors),
            logical,
            *((self.physical_block_size // logical).bit_length() - 1, 0),
            *(self.min_io_size // logical, self.opt_io_size // logical),
            *(self.writeback, 0, self.num_queues),
            *(self.max_discard_sectors, MAX_RANGES, logical // SECTOR),
            *(self.max_write_zeroes_sectors, MAX_RANGES, 1),
        )

    def _geometry(self, capacity: int) -> tuple[int, int, int]:
        """As given, or as disks of this size are described by old software."""
        if self.cyls:
            return min(self.cyls, 65535), self.heads & 255, self.secs & 255
        return min(max(capacity // (16 * 63), 2), 16383), 16, 63

    def write_config(self, offset: int, data: bytes) -> None:
        if offset == WRITEBACK_AT and self.features & CONFIG_WCE:
            self.writeback = bool(data[0])

    # Requests

    def answer(self, queue: Queue, chain: Chain) -> int:
        if not chain.writable or chain.read_size() < HEADER.size:
            raise QueueError("block request without header or status")
        kind, _, sector = HEADER.unpack(chain.read(HEADER.size))
        last = chain.writable[-1]
        try:
            with self._drive.lock:
                status = self._do(kind, sector * SECTOR, chain)
        except (OSError, ValueError):
            status = IOERR
        last[-1] = status
        return chain.write_size() if kind in (IN, GET_ID) else 1

    def _do(self, kind: int, offset: int, chain: Chain) -> int:
        """Carry a request out; its status.  ValueError and OSError are I/O errors."""
        counts = self._drive.counts
        if kind == IN:
            buffers = _without_status(chain.writable)
            size = self._check(sum(map(len, buffers)))
            self._image.readv(offset, buffers)
            counts.rd_bytes += size
            counts.rd_operations += 1
        elif kind == OUT:
            buffers = _without_header(chain.readable)
            size = self._check(sum(map(len, buffers)))
            self._image.writev(offset, buffers)
            counts.wr_bytes += size
            counts.wr_operations += 1
            if not self.writeback:
                self._image.flush()
        elif kind == FLUSH_CACHE:
            self._image.flush()
            counts.flush_operations += 1
        elif kind == GET_ID:
            text = self.serial.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0")
            chain.write(text[: chain.write_size() - 1])
        elif kind in (DISCARD_RANGES, ZERO_RANGES):
            return self._ranges(kind, chain)
        else:
            return UNSUPP
        return OK

    def _check(self, size: int) -> int:
        if size % self.logical_block_size or size > MAX_REQUEST:
            raise ValueError("not whole blocks, or too many")
        return size

    def _ranges(self, kind: int, chain: Chain) -> int:
        """Discard or zero what the one range of the request says."""
        offered = DISCARD if kind == DISCARD_RANGES else WRITE_ZEROES
        if not self.features & offered:
            return UNSUPP
        if chain.read_size() != HEADER.size + RANGE.size:
            raise ValueError("not one range")
        data = chain.read(HEADER.size + RANGE.size)
        sector, count, flags = RANGE.unpack_from(data, HEADER.size)
        discard = kind == DISCARD_RANGES
        most = self.max_discard_sectors if discard else self.max_write_zeroes_sectors
        if flags & ~UNMAP or (discard and flags):
            return UNSUPP
        end = (sector + count) * SECTOR
        if count > most or end > self._image.size:
            raise ValueError("beyond the disk")
        if discard:
            self._image.discard(sector * SECTOR, count * SECTOR)
        else:
            self._image.write_zeroes(sector * SECTOR, count * SECTOR, bool(flags & UNMAP))
        if not self.writeback:
            self._image.flush()
        return OK


def _without_status(views: list[memoryview]) -> list[memoryview]:
    last = views[-1]
    return views[:-1] if len(last) == 1 else [*views[:-1], last[:-1]]


def _without_header(views: list[memoryview]) -> list[memoryview]:
    if len(views[0]) == HEADER.size:
        return views[1:]
    return part(views, HEADER.size, 1 << 63)
