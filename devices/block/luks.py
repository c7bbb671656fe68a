"""LUKS version 1: the header with its key slots, and an encrypted area of a file.

The header format is the "LUKS On-Disk Format Specification", version 1.2.3.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.luks_ciphers import SECTOR, Cipher, check_hash, check_names, xor
from jitemu.messages import fail

MAGIC = b"LUKS\xba\xbe"
HEADER_BYTES = 592
SLOTS = 8
STRIPES = 4000
DIGEST_BYTES = 20
_ACTIVE = 0x00AC71F3
_DISABLED = 0x0000DEAD
_ALIGNMENT = 4096
_FIELDS = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")
_MAX_ITERATIONS = 100_000_000
_MIN_ITERATIONS = 1000


@dataclass(slots=True)
class Encryption:
    """How a new volume is made."""

    password: bytes
    algorithm: str = "aes-256"
    mode: str = "xts-plain64"
    hash: str = "sha256"
    milliseconds: int = 2000
    """That each try of a password takes, about."""


@dataclass(slots=True)
class Slot:
    """One key slot; offsets are sectors from the header's start."""

    active: bool
    iterations: int
    salt: bytes
    offset: int
    stripes: int


@dataclass(slots=True)
class LuksHeader:
    """What is at the start of the encrypted area."""

    cipher: str
    mode: str
    hash: str
    payload_offset: int
    """Sectors."""
    key_bytes: int
    digest: bytes
    digest_salt: bytes
    digest_iterations: int
    uuid: str
    slots: list[Slot]

    @property
    def bytes(self) -> int:
        """Header and key material."""
        return self.payload_offset * SECTOR

    def pack(self) -> bytes:
        """The first 592 bytes."""
        head = _FIELDS.pack(
            MAGIC,
            1,
            self.cipher.encode(),
            self.mode.encode(),
            self.hash.encode(),
            self.payload_offset,
            self.key_bytes,
            self.digest,
            self.digest_salt,
            self.digest_iterations,
            self.uuid.encode(),
        )
        for slot in self.slots:
            state = _ACTIVE if slot.active else _DISABLED
            head += _SLOT.pack(state, slot.iterations, slot.salt, slot.offset, slot.stripes)
        return head


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("ascii", "replace")


def parse(data: bytes) -> LuksHeader:
    """Read a header; UserError if it is none or asks for what cannot be done."""
    if len(data) < HEADER_BYTES or data[:6] != MAGIC:
        fail("Volume is not in LUKS format")
    fields = _FIELDS.unpack_from(data)
    if fields[1] != 1:
        fail(f"LUKS version {fields[1]} is not supported")
    slots: list[Slot] = []
    for k in range(SLOTS):
        state, iterations, salt, offset, stripes = _SLOT.unpack_from(data, _FIELDS.size + 48 * k)
        if state not in (_ACTIVE, _DISABLED):
            fail(f"Keyslot {k} state (active/disable) is corrupted")
        slots.append(Slot(state == _ACTIVE, iterations, salt, offset, stripes))
    found = LuksHeader(
        cipher=_text(fields[2]),
        mode=_text(fields[3]),
        hash=_text(fields[4]),
        payload_offset=fields[5],
        key_bytes=fields[6],
        digest=fields[7],
        digest_salt=fields[8],
        digest_iterations=fields[9],
        uuid=_text(fields[10]),
        slots=slots,
    )
    check_hash(found.hash)
    for wrong, text in _problems(found):
        if wrong:
            fail(text)
    check_names(found.cipher, found.mode, found.key_bytes)
    return found


def _problems(header: LuksHeader) -> Iterator[tuple[bool, str]]:
    """Whether something is wrong, and what, in QEMU's words."""
    first = -(-HEADER_BYTES // SECTOR)
    yield header.payload_offset < first, "LUKS payload is overlapping with the header"
    yield not header.digest_iterations, "LUKS key iteration count is zero"
    counts = [header.digest_iterations]
    size = -(-header.key_bytes * STRIPES // SECTOR)
    for k, slot in enumerate(header.slots):
        yield (
            slot.stripes != STRIPES,
            f"Keyslot {k} is corrupted (stripes {slot.stripes} != {STRIPES})",
        )
        yield slot.offset < first, f"Keyslot {k} is overlapping with the LUKS header"
        if slot.active:
            yield not slot.iterations, f"Keyslot {k} iteration count is zero"
            counts.append(slot.iterations)
        yield (
            slot.offset + size > header.payload_offset,
            f"Keyslot {k} is overlapping with the encrypted payload",
        )
        for other in range(k + 1, SLOTS):
            yield (
                abs(slot.offset - header.slots[other].offset) < size,
                f"Keyslots {k} and {other} are overlapping in the header",
            )
    yield max(counts) > _MAX_ITERATIONS, f"LUKS iteration count is above {_MAX_ITERATIONS}"


def _diffuse(hash_name: str, block: bytes) -> bytes:
    size = hashlib.new(hash_name).digest_size
    parts: list[bytes] = []
    for k, at in enumerate(range(0, len(block), size)):
        piece = block[at : at + size]
        parts.append(hashlib.new(hash_name, k.to_bytes(4, "big") + piece).digest()[: len(piece)])
    return b"".join(parts)


def _merge(hash_name: str, material: bytes, size: int, stripes: int) -> bytes:
    """The key that was split over ``stripes`` blocks (anti-forensic splitter)."""
    block = bytes(size)
    for k in range(stripes - 1):
        block = _diffuse(hash_name, xor(block, material[k * size : (k + 1) * size]))
    return xor(block, material[(stripes - 1) * size : stripes * size])


def _split(hash_name: str, key: bytes, stripes: int) -> bytes:
    size = len(key)
    material = os.urandom(size * (stripes - 1))
    block = bytes(size)
    for k in range(stripes - 1):
        block = _diffuse(hash_name, xor(block, material[k * size : (k + 1) * size]))
    return material + xor(block, key)


def _iterations(hash_name: str, milliseconds: int, size: int) -> int:
    """How many rounds take the time on this machine."""
    rounds = 20_000
    while True:
        start = time.process_time()
        hashlib.pbkdf2_hmac(hash_name, b"password", bytes(32), rounds, size)
        taken = time.process_time() - start
        if taken > 0.02:
            found = int(rounds * milliseconds / 1000 / taken)
            return min(max(_MIN_ITERATIONS, found), _MAX_ITERATIONS)
        rounds *= 4


def new_header(wanted: Encryption) -> LuksHeader:
    """The header of a new volume, without keys."""
    algorithm, _, bits = wanted.algorithm.partition("-")
    size = int(bits) // 8 * (2 if wanted.mode.startswith("xts") else 1)
    check_hash(wanted.hash)
    Cipher(algorithm, wanted.mode, os.urandom(size))  # there is no use in one without a cipher
    material = -(-size * STRIPES // _ALIGNMENT) * _ALIGNMENT
    slots = [
        Slot(False, 0, bytes(32), (_ALIGNMENT + k * material) // SECTOR, STRIPES)
        for k in range(SLOTS)
    ]
    return LuksHeader(
        cipher=algorithm,
        mode=wanted.mode,
        hash=wanted.hash,
        payload_offset=(_ALIGNMENT + SLOTS * material) // SECTOR,
        key_bytes=size,
        digest=bytes(DIGEST_BYTES),
        digest_salt=os.urandom(32),
        digest_iterations=1,
        uuid=str(uuid.uuid4()),
        slots=slots,
    )


class Volume:
    """The encrypted area at ``start`` in a file; its cipher is there once it is unlocked."""

    def __init__(self, file: BlockImage, start: int = 0, header: LuksHeader | None = None) -> None:
        self._file = file
        self._start = start
        self.header = header or parse(self._read(0, HEADER_BYTES))
        self.cipher: Cipher | None = None
        self._key = b""

    def _read(self, offset: int, length: int) -> bytes:
        return self._file.read(self._start + offset, length)

    def _write(self, offset: int, data: bytes) -> None:
        self._file.write(self._start + offset, data)

    def _derive(self, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
        return hashlib.pbkdf2_hmac(self.header.hash, password, salt, iterations, size)

    def _digest(self, key: bytes) -> bytes:
        header = self.header
        return self._derive(key, header.digest_salt, header.digest_iterations, DIGEST_BYTES)

    def _slot_cipher(self, slot: Slot, password: bytes) -> Cipher:
        header = self.header
        derived = self._derive(password, slot.salt, slot.iterations, header.key_bytes)
        return Cipher(header.cipher, header.mode, derived)

    def _key_in(self, slot: Slot, password: bytes) -> bytes | None:
        """The master key from one slot; None if the password is not the slot's."""
        header = self.header
        length = -(-header.key_bytes * slot.stripes // SECTOR) * SECTOR
        material = self._read(slot.offset * SECTOR, length)
        plain = self._slot_cipher(slot, password).decrypt(0, material)
        key = _merge(header.hash, plain, header.key_bytes, slot.stripes)
        return key if self._digest(key) == header.digest else None

    def _use_key(self, key: bytes) -> None:
        self._key = key
        self.cipher = Cipher(self.header.cipher, self.header.mode, key)

    def matches(self, number: int, password: bytes) -> bool:
        """Whether a slot is the password's."""
        slot = self.header.slots[number]
        return slot.active and self._key_in(slot, password) is not None

    def unlock(self, password: bytes) -> None:
        """Find the key; UserError: no slot is the password's."""
        for slot in self.header.slots:
            key = self._key_in(slot, password) if slot.active else None
            if key is not None:
                self._use_key(key)
                return
        fail("Invalid password, cannot unlock any keyslot")

    def create(self, wanted: Encryption) -> None:
        """Give a new header a key, which the first slot has, and write it."""
        header = self.header
        self._use_key(os.urandom(header.key_bytes))
        found = _iterations(header.hash, wanted.milliseconds, DIGEST_BYTES)
        header.digest_iterations = max(_MIN_ITERATIONS, found // 8)
        header.digest = self._digest(self._key)
        self.set_slot(0, wanted.password, wanted.milliseconds)

    def set_slot(self, number: int, password: bytes, milliseconds: int) -> None:
        """Let a password unlock the volume, which is unlocked now."""
        header, slot = self.header, self.header.slots[number]
        slot.iterations = _iterations(header.hash, milliseconds, header.key_bytes)
        slot.salt = os.urandom(32)
        slot.stripes = STRIPES
        material = _split(header.hash, self._key, STRIPES)
        material += bytes(-len(material) % SECTOR)
        self._write(slot.offset * SECTOR, self._slot_cipher(slot, password).encrypt(0, material))
        slot.active = True
        self._save()

    def clear_slot(self, number: int) -> None:
        """Forget a password: its key material is overwritten."""
        slot = self.header.slots[number]
        length = -(-self.header.key_bytes * STRIPES // SECTOR) * SECTOR
        self._write(slot.offset * SECTOR, os.urandom(length))
        slot.active = False
        slot.iterations = 0
        slot.salt = bytes(32)
        self._save()

    def _save(self) -> None:
        self._write(0, self.header.pack())
        self._file.flush()
