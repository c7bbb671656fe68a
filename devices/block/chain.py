"""Work on whole images and chains: copying, commit, rebase."""

from __future__ import annotations

from collections.abc import Callable

from jitemu.devices.block.access import set_writable
from jitemu.devices.block.image import BlockImage, Extent
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import fail

COPY_BYTES = 2 << 20
_ZEROS = bytes(COPY_BYTES)
Advance = Callable[[int], None]
"""Gets the number of bytes that were done since the last call."""


def backing_of(image: BlockImage) -> BlockImage | None:
    """The image that shows through, if the format has such."""
    return image.backing if isinstance(image, Qcow2Image) else None


def chain_of(image: BlockImage) -> list[BlockImage]:
    """The image and what is below it, the top first."""
    found: list[BlockImage] = []
    now: BlockImage | None = image
    while now is not None:
        found.append(now)
        now = backing_of(now)
    return found


def extent_in_chain(
    image: BlockImage, offset: int, length: int, base: BlockImage | None = None
) -> tuple[Extent, int]:
    """How a range reads through the chain above ``base``, and how deep what decides it is."""
    depth = 0
    now: BlockImage | None = image
    while True:
        assert now is not None
        if offset >= now.size:
            return Extent(length, False, True, True), depth
        found = now.extent(offset, min(length, now.size - offset))
        length = min(length, found.length)
        found.length = length
        below = backing_of(now)
        if found.allocated or found.zero or below is None or below is base:
            return found, depth
        now = below
        depth += 1


def _is_from_above(
    chain: list[BlockImage], base: BlockImage, offset: int, length: int
) -> tuple[bool, int]:
    """Whether a range comes from above ``base``, and for how many bytes that is so.

    Zeros behind the end of an image between them do: the base may have something there.
    """
    found, depth = extent_in_chain(chain[0], offset, length, base)
    short = found.zero and chain[depth + 1] is not base
    return found.allocated or short, found.length


def _no_advance(_count: int) -> None:
    return


def commit(
    image: Qcow2Image,
    base: BlockImage | None = None,
    *,
    keep: bool = False,
    advance: Advance = _no_advance,
) -> None:
    """Write what is above ``base`` (or the backing image) into it; then the image is empty.

    ``keep`` leaves the image as it is.  The base is open for writing meanwhile.
    """
    target = base or image.backing
    if target is None:
        fail(f"{image.name}: Image does not have a backing file")
    chain = chain_of(image)
    set_writable(target, True)
    try:
        if target.size < image.size:
            target.resize(image.size)
        offset = 0
        while offset < image.size:
            length = min(COPY_BYTES, image.size - offset)
            above, length = _is_from_above(chain, target, offset, length)
            if above:
                copy_range(image, target, offset, length)
            advance(length)
            offset += length
        target.flush()
    finally:
        set_writable(target, False)
    if not keep and image.backing is target and not image.read_only:
        image.make_empty()


def copy_range(source: BlockImage, target: BlockImage, offset: int, length: int) -> None:
    """Copy at most COPY_BYTES; zeros as zeros."""
    data = source.read(offset, length)
    if is_zero(data):
        target.write_zeroes(offset, length, True)
    else:
        target.write(offset, data)


def is_zero(data: bytes | bytearray) -> bool:
    """Whether all bytes are 0, at most COPY_BYTES."""
    return data == (_ZEROS if len(data) == COPY_BYTES else _ZEROS[: len(data)])


def rebase(
    image: Qcow2Image,
    new: BlockImage | None,
    *,
    advance: Advance = _no_advance,
) -> None:
    """Let the disk read the same over another backing image, or none: copy what differs.

    The header keeps its backing file; that is the caller's to change afterwards.
    """
    old = image.backing
    offset = 0
    while offset < image.size:
        length = min(COPY_BYTES, image.size - offset)
        found = image.extent(offset, length)
        length = found.length
        if not found.allocated and old is not None:
            before = _read_padded(old, offset, length)
            _write_differences(image, offset, before, _read_padded(new, offset, length))
        elif not found.allocated and new is not None:
            _write_differences(image, offset, bytes(length), _read_padded(new, offset, length))
        advance(length)
        offset += length
    image.flush()


def _write_differences(image: Qcow2Image, offset: int, before: bytes, after: bytes) -> None:
    """Write the clusters whose bytes change with the backing image."""
    if before == after:
        return
    cluster = image.header.cluster_size
    start = offset
    end = offset + len(before)
    while start < end:
        stop = min(end, (start // cluster + 1) * cluster)
        piece = before[start - offset : stop - offset]
        if piece != after[start - offset : stop - offset]:
            if image.has_zero_flag and is_zero(piece):
                image.write_zeroes(start, len(piece))
            else:
                image.write(start, piece)
        start = stop


def _read_padded(image: BlockImage | None, offset: int, length: int) -> bytes:
    if image is None:
        return bytes(length)
    inside = max(0, min(length, image.size - offset))
    data = image.read(offset, inside) if inside else b""
    return data + bytes(length - inside)
