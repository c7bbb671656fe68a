"""LUKS version 1: the header with its key slots, and the encryption of sectors.

The header format is the "LUKS On-Disk Format Specification", version 1.2.3.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jitemu.messages import fail

MAGIC = b"LUKS\xba\xbe"
SECTOR = 512
HEADER_BYTES = 592
SLOTS = 8
STRIPES = 4000
DIGEST_BYTES = 20
_ACTIVE = 0x00AC71F3
_DISABLED = 0x0000DEAD
_ALIGNMENT = 4096
_FIELDS = struct.Struct(">6sH32s32s32sII20s32sI40s")
_SLOT = struct.Struct(">II32sII")
_HASHES = ("sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160")
_MAX_ITERATIONS = 100_000_000
_MAX_KEY_BYTES = 512


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


def parse(data: bytes, name: str) -> LuksHeader:
    """Read a header; UserError if it is none or asks for what cannot be done."""
    if len(data) < HEADER_BYTES or data[:6] != MAGIC:
        fail(f"Could not open '{name}': Volume is not in LUKS format")
    fields = _FIELDS.unpack_from(data)
    if fields[1] != 1:
        fail(f"Could not open '{name}': LUKS version {fields[1]} is not supported")
    slots: list[Slot] = []
    for k in range(SLOTS):
        state, iterations, salt, offset, stripes = _SLOT.unpack_from(data, _FIELDS.size + 48 * k)
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
    _check(found, name)
    return found


def _check(header: LuksHeader, name: str) -> None:
    if header.hash not in _HASHES:
        fail(f"Could not open '{name}': LUKS hash '{header.hash}' is not supported")
    if not 0 < header.key_bytes <= _MAX_KEY_BYTES:
        fail(f"Could not open '{name}': LUKS key of {header.key_bytes} bytes")
    iterations = [header.digest_iterations]
    for slot in header.slots:
        if slot.active:
            iterations.append(slot.iterations)
            if not 0 < slot.stripes <= 2 * STRIPES:
                fail(f"Could not open '{name}': LUKS key slot with {slot.stripes} stripes")
    if not all(0 < count <= _MAX_ITERATIONS for count in iterations):
        fail(f"Could not open '{name}': LUKS iteration count is out of range")


class Cipher:
    """Encrypts and decrypts sectors of 512 bytes, numbered from 0."""

    def __init__(self, cipher: str, mode: str, key: bytes, name: str = "") -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        chain, _, iv = mode.partition("-")
        if cipher != "aes" or chain not in ("xts", "cbc", "ecb"):
            fail(f"Could not open '{name}': LUKS cipher '{cipher}-{mode}' is not supported")
        try:
            algorithm = algorithms.AES(key)
        except ValueError as error:
            fail(f"Could not open '{name}': LUKS key: {error}")
        self._vector = self._vectors(iv, key, name)

        def make(number: int) -> Primitive[Any]:
            if chain == "ecb":
                return Primitive(algorithm, modes.ECB())
            vector = self._vector(number)
            return Primitive(algorithm, modes.XTS(vector) if chain == "xts" else modes.CBC(vector))

        self._make = make

    @staticmethod
    def _vectors(iv: str, key: bytes, name: str) -> Callable[[int], bytes]:
        """From a sector's number to its initialisation vector."""
        if iv == "plain64" or not iv:
            return lambda number: number.to_bytes(16, "little")
        if iv == "plain":
            return lambda number: (number & 0xFFFFFFFF).to_bytes(16, "little")
        kind, _, hash_name = iv.partition(":")
        if kind != "essiv" or hash_name not in _HASHES:
            fail(f"Could not open '{name}': LUKS IV generator '{iv}' is not supported")
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import algorithms, modes

        salted = Primitive(
            algorithms.AES(hashlib.new(hash_name, key).digest()),
            modes.ECB(),
        )

        def vector(number: int) -> bytes:
            return salted.encryptor().update(number.to_bytes(16, "little"))

        return vector

    def encrypt(self, offset: int, data: bytes) -> bytes:
        """Whole sectors that will be at a byte offset."""
        number = offset // SECTOR
        return b"".join(
            self._make(number + k).encryptor().update(data[k * SECTOR : (k + 1) * SECTOR])
            for k in range(len(data) // SECTOR)
        )

    def decrypt(self, offset: int, data: bytes) -> bytes:
        """Whole sectors from a byte offset."""
        number = offset // SECTOR
        return b"".join(
            self._make(number + k).decryptor().update(data[k * SECTOR : (k + 1) * SECTOR])
            for k in range(len(data) // SECTOR)
        )


def _xor(left: bytes, right: bytes) -> bytes:
    number = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return number.to_bytes(len(left), "little")


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
        block = _diffuse(hash_name, _xor(block, material[k * size : (k + 1) * size]))
    return _xor(block, material[(stripes - 1) * size : stripes * size])


def _split(hash_name: str, key: bytes, stripes: int) -> bytes:
    size = len(key)
    material = os.urandom(size * (stripes - 1))
    block = bytes(size)
    for k in range(stripes - 1):
        block = _diffuse(hash_name, _xor(block, material[k * size : (k + 1) * size]))
    return material + _xor(block, key)


def _derive(header: LuksHeader, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
    return hashlib.pbkdf2_hmac(header.hash, password, salt, iterations, size)


Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], None]


def slot_key(header: LuksHeader, slot: Slot, read: Read, password: bytes) -> bytes | None:
    """The master key from one slot; None if the password is not the slot's."""
    size = header.key_bytes
    derived = _derive(header, password, slot.salt, slot.iterations, size)
    length = -(-size * slot.stripes // SECTOR) * SECTOR
    material = read(slot.offset * SECTOR, length)
    plain = Cipher(header.cipher, header.mode, derived).decrypt(0, material)
    key = _merge(header.hash, plain, size, slot.stripes)
    digest = _derive(header, key, header.digest_salt, header.digest_iterations, DIGEST_BYTES)
    return key if digest == header.digest else None


def unlock(header: LuksHeader, read: Read, password: bytes, name: str) -> bytes:
    """The master key; ``read`` reads relative to the header.  UserError: no slot fits."""
    for slot in header.slots:
        if slot.active:
            key = slot_key(header, slot, read, password)
            if key is not None:
                return key
    fail(f"Could not open '{name}': Invalid password, cannot unlock any keyslot")


def cipher_of(header: LuksHeader, key: bytes, name: str) -> Cipher:
    """The cipher of an unlocked volume."""
    return Cipher(header.cipher, header.mode, key, name)


def _iterations(header: LuksHeader, milliseconds: int, size: int) -> int:
    """How many rounds take the time on this machine."""
    rounds = 20_000
    while True:
        start = time.process_time()
        _derive(header, b"password", bytes(32), rounds, size)
        taken = time.process_time() - start
        if taken > 0.02:
            return max(1000, int(rounds * milliseconds / 1000 / taken))
        rounds *= 4


def make(cipher_algorithm: str, mode: str, hash_name: str) -> tuple[LuksHeader, bytes]:
    """A header without keys, and the master key of a new volume (``aes-256``, ``xts-plain64``)."""
    bits = int(cipher_algorithm.partition("-")[2])
    size = bits // 8 * (2 if mode.startswith("xts") else 1)
    material = -(-size * STRIPES // _ALIGNMENT) * _ALIGNMENT
    slots = [
        Slot(False, 0, bytes(32), (_ALIGNMENT + k * material) // SECTOR, STRIPES)
        for k in range(SLOTS)
    ]
    payload = (_ALIGNMENT + SLOTS * material) // SECTOR
    header = LuksHeader(
        cipher_algorithm.partition("-")[0],
        mode,
        hash_name,
        payload,
        size,
        bytes(DIGEST_BYTES),
        os.urandom(32),
        1,
        str(uuid.uuid4()),
        slots,
    )
    return header, os.urandom(size)


def set_digest(header: LuksHeader, key: bytes, milliseconds: int) -> None:
    """Make the check value of a new volume's key."""
    header.digest_iterations = max(1000, _iterations(header, milliseconds, DIGEST_BYTES) // 8)
    header.digest = _derive(header, key, header.digest_salt, header.digest_iterations, DIGEST_BYTES)


def set_slot(
    header: LuksHeader, number: int, key: bytes, password: bytes, milliseconds: int, write: Write
) -> None:
    """Let a password unlock the volume; the header itself is the caller's to write."""
    slot = header.slots[number]
    slot.iterations = _iterations(header, milliseconds, header.key_bytes)
    slot.salt = os.urandom(32)
    slot.stripes = STRIPES
    derived = _derive(header, password, slot.salt, slot.iterations, header.key_bytes)
    material = _split(header.hash, key, STRIPES)
    material += bytes(-len(material) % SECTOR)
    write(slot.offset * SECTOR, Cipher(header.cipher, header.mode, derived).encrypt(0, material))
    slot.active = True


def clear_slot(header: LuksHeader, number: int, write: Write) -> None:
    """Forget a password: its key material is overwritten."""
    slot = header.slots[number]
    write(slot.offset * SECTOR, os.urandom(-(-header.key_bytes * STRIPES // SECTOR) * SECTOR))
    slot.active = False
    slot.iterations = 0
    slot.salt = bytes(32)
