"""The 9P transport (virtio 1.2, section 5.17 reserves its number): a folder of the host."""

from __future__ import annotations

import errno
import struct

from jitemu.devices.buffers import part
from jitemu.devices.device import STR, prop, reference
from jitemu.devices.p9 import messages
from jitemu.devices.p9.server import Server
from jitemu.devices.virtio.device import RequestDevice
from jitemu.devices.virtio.queue import Chain, Queue, QueueError

MOUNT_TAG = 1 << 0
LONGEST_TAG = 255
READ, WRITE = 116, 118


class Virtio9p(RequestDevice):
    """A message a chain: the request in what is readable, the reply in what is writable."""

    model = "virtio-9p-device"
    aliases = ("virtio-9p",)
    about = "a folder of the host (9P2000.L)"
    category = "Storage"
    type_id = 9
    fsdev = prop(reference("fsdev"), None, "id of a -fsdev", required=True)
    mount_tag = prop(STR, "", "what the guest mounts it by", name="mount_tag", required=True)

    def queue_sizes(self) -> list[int]:
        return [128]

    def device_features(self) -> int:
        return MOUNT_TAG

    def config(self) -> bytes:
        tag = self.mount_tag.encode()
        return struct.pack("<H", len(tag)) + tag

    def realize(self) -> None:
        if not 0 < len(self.mount_tag.encode()) <= LONGEST_TAG:
            raise ValueError(f"mount_tag must have 1 to {LONGEST_TAG} bytes")
        super().realize()
        self._server: Server = self.fsdev

    def reset(self) -> None:
        super().reset()
        self._server.reset()

    def answer(self, queue: Queue, chain: Chain) -> int:
        size, kind, tag = self._header(chain)
        try:
            if kind == READ:
                body = self._read(chain)
            elif kind == WRITE:
                body = self._write(chain, size)
            else:
                request = chain.read(size)[messages.HEADER.size :]
                body = self._server.call(kind, request)
            kind += 1
        except OSError as error:
            kind, body = messages.RLERROR, struct.pack("<I", error.errno or errno.EIO)
        length = messages.HEADER.size + len(body)
        total = length
        if kind == READ + 1:
            total += int.from_bytes(body, "little")
        if chain.write_size() < length:
            raise QueueError("no room for a reply")
        chain.write(messages.HEADER.pack(total, kind, tag) + body)
        return total

    def _header(self, chain: Chain) -> tuple[int, int, int]:
        """Size, type and tag of the request."""
        if chain.read_size() < messages.HEADER.size:
            raise QueueError("request without a header")
        size, kind, tag = messages.HEADER.unpack(chain.read(messages.HEADER.size))
        if not messages.HEADER.size <= size <= min(chain.read_size(), messages.MAX_SIZE):
            raise QueueError(f"9p message of {size} bytes in {chain.read_size()}")
        return size, kind, tag

    def _read(self, chain: Chain) -> bytes:
        """Data goes behind the reply's header; the body is its length."""
        fields = chain.read(messages.WRITE_HEADER)[messages.HEADER.size :]
        number, offset, count = _numbers(fields)
        buffers = part(chain.writable, messages.READ_HEADER, count)
        return struct.pack("<I", self._server.read_into(number, offset, buffers))

    def _write(self, chain: Chain, size: int) -> bytes:
        fields = chain.read(messages.WRITE_HEADER)[messages.HEADER.size :]
        number, offset, count = _numbers(fields)
        if count > size - messages.WRITE_HEADER:
            raise OSError(errno.EINVAL, "more data than there is")
        buffers = part(chain.readable, messages.WRITE_HEADER, count)
        return struct.pack("<I", self._server.write_from(number, offset, buffers))


def _numbers(fields: bytes) -> tuple[int, int, int]:
    """Fid, offset and count."""
    if len(fields) < 16:
        raise OSError(errno.EINVAL, "message too short")
    return struct.unpack_from("<IQI", fields)
