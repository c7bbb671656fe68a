"""The ciphers of LUKS volumes: algorithms, chaining modes, initialisation vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jitemu.messages import fail

SECTOR = 512
HASHES = ("sha256", "md5", "sha1", "sha224", "sha384", "sha512", "ripemd160")
CHAINS = ("xts", "cbc", "ecb", "ctr")
VECTORS = ("plain64", "plain", "essiv")
"""Each with the default first."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A block cipher; ``maker`` is its class's name, empty where the library has none."""

    key_sizes: tuple[int, ...]
    block: int
    maker: str = ""


ALGORITHMS = {
    "aes": Algorithm((32, 24, 16), 16, "AES"),
    "cast5": Algorithm((16,), 8, "CAST5"),
    "serpent": Algorithm((32, 24, 16), 16),
    "twofish": Algorithm((32, 24, 16), 16),
}
NAMES = tuple(f"{name}-{size * 8}" for name, row in ALGORITHMS.items() for size in row.key_sizes)
"""As options name them, with the key's bits."""


def check_names(algorithm: str, mode: str, key_bytes: int) -> None:
    """UserError unless a header's names are of a cipher that there is."""
    chain, dash, vectors = mode.partition("-")
    kind, _, hash_name = vectors.partition(":")
    if not dash:
        fail(f"Unexpected cipher mode string format '{mode}'")
    if chain not in CHAINS:
        fail(f"Cipher mode '{chain}' not supported")
    size = key_bytes // 2 if chain == "xts" else key_bytes
    if algorithm not in ALGORITHMS or size not in ALGORITHMS[algorithm].key_sizes:
        fail(f"Algorithm '{algorithm}' with key size {key_bytes} bytes not supported")
    if kind not in VECTORS:
        fail(f"IV generator '{kind}' not supported")
    if kind == "essiv":
        check_hash(hash_name)
        length = hashlib.new(hash_name).digest_size
        if length not in ALGORITHMS[algorithm].key_sizes:
            fail(f"No {algorithm.upper()} cipher with key size {length} available")
    if chain == "xts" and ALGORITHMS[algorithm].block != 16:
        fail("Unsupported cipher mode xts")


def check_hash(name: str) -> None:
    """UserError unless it is one of LUKS's, and there."""
    if name not in HASHES or name not in hashlib.algorithms_available:
        fail(f"Hash algorithm '{name}' not supported")


def xor(left: bytes, right: bytes) -> bytes:
    """Of two texts of one length."""
    number = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return number.to_bytes(len(left), "little")


class Cipher:
    """Encrypts and decrypts sectors of 512 bytes, numbered from 0.

    ``algorithm`` and ``mode`` are a header's (``aes``, ``xts-plain64``).
    """

    def __init__(self, algorithm: str, mode: str, key: bytes) -> None:
        check_names(algorithm, mode, len(key))
        chain, _, vectors = mode.partition("-")
        self._algorithm = algorithm
        if chain == "xts" and len(key) == 48:
            self._make: Callable[[int], Any] = self._own_xts(vectors, key)
        else:
            self._make = self._maker(chain, vectors, key)

    def _with_key(self, key: bytes) -> Any:
        from cryptography.hazmat.decrepit.ciphers import algorithms as old
        from cryptography.hazmat.primitives.ciphers import algorithms

        maker = ALGORITHMS[self._algorithm].maker
        if not maker:
            known = ", ".join(name for name, row in ALGORITHMS.items() if row.maker)
            fail(f"Algorithm '{self._algorithm}' not supported; there is {known}")
        return getattr(algorithms if hasattr(algorithms, maker) else old, maker)(key)

    def _maker(self, chain: str, vectors: str, key: bytes) -> Callable[[int], Any]:
        """From a sector's number to what encrypts and decrypts it."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
        from cryptography.hazmat.primitives.ciphers import modes

        keyed = self._with_key(key)
        if chain == "ecb":
            plain = Primitive(keyed, modes.ECB())
            return lambda _number: plain
        mode = {"xts": modes.XTS, "cbc": modes.CBC, "ctr": modes.CTR}[chain]
        vector = self._vectors(vectors, key)

        def make(number: int) -> Any:
            return Primitive(keyed, mode(vector(number)))

        try:
            make(0).encryptor()
        except UnsupportedAlgorithm:
            fail(f"Algorithm '{self._algorithm}' not supported in mode '{chain}'")
        return make

    def _vectors(self, vectors: str, key: bytes) -> Callable[[int], bytes]:
        """From a sector's number to its initialisation vector."""
        kind, _, hash_name = vectors.partition(":")
        size = ALGORITHMS[self._algorithm].block
        if kind == "plain64":
            return lambda number: number.to_bytes(size, "little")
        if kind == "plain":
            return lambda number: (number & 0xFFFFFFFF).to_bytes(size, "little")
        salted = self._maker("ecb", "", hashlib.new(hash_name, key).digest())(0)
        return lambda number: salted.encryptor().update(number.to_bytes(size, "little"))

    def _own_xts(self, vectors: str, key: bytes) -> Callable[[int], _Xts]:
        data, tweak = (self._maker("ecb", "", half)(0) for half in (key[:24], key[24:]))
        vector = self._vectors(vectors, key)
        return lambda number: _Xts(data, tweak.encryptor().update(vector(number)))

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


class _Xts:
    """A sector in XTS (IEEE 1619) with 192-bit keys, which the library's XTS does not take."""

    def __init__(self, cipher: Any, tweak: bytes) -> None:
        self._cipher = cipher
        self._tweak = int.from_bytes(tweak, "little")

    def encryptor(self) -> _Masked:
        return _Masked(self._cipher.encryptor(), self._tweak)

    def decryptor(self) -> _Masked:
        return _Masked(self._cipher.decryptor(), self._tweak)


class _Masked:
    def __init__(self, context: Any, tweak: int) -> None:
        self._context = context
        self._tweak = tweak

    def update(self, data: bytes) -> bytes:
        mask, tweak = b"", self._tweak
        for _ in range(len(data) // 16):
            mask += tweak.to_bytes(16, "little")
            tweak <<= 1
            if tweak >> 128:
                tweak ^= 1 << 128 | 0x87
        return xor(self._context.update(xor(data, mask)), mask)
