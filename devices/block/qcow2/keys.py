"""The passwords that unlock an encrypted image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.devices.block import luks
from jitemu.devices.block.opening import luks_header
from jitemu.messages import fail

if TYPE_CHECKING:
    from jitemu.devices.block.qcow2.image import Qcow2Image


class KeySlots:
    """The key slots of an open image.  ``force`` allows what may lose all keys."""

    def __init__(self, image: Qcow2Image, force: bool) -> None:
        self._image = image
        self._force = force
        self._header: luks.LuksHeader = luks_header(image)

    def _read(self, offset: int, length: int) -> bytes:
        return self._image.file.read(self._image.header.crypt_offset + offset, length)

    def _write(self, offset: int, data: bytes) -> None:
        self._image.file.write(self._image.header.crypt_offset + offset, data)

    def _active(self) -> list[int]:
        return [number for number, slot in enumerate(self._header.slots) if slot.active]

    @staticmethod
    def _check(number: int | None) -> None:
        if number is not None and not 0 <= number < luks.SLOTS:
            fail(f"Invalid keyslot {number}; it is a number from 0 to {luks.SLOTS - 1}")

    def add(self, password: bytes | None, number: int | None, milliseconds: int) -> None:
        """Let one more password unlock the image, by a certain slot or a free one."""
        self._check(number)
        if password is None:
            fail("Parameter 'new-secret' is required to activate a keyslot")
        free = [k for k in range(luks.SLOTS) if k not in self._active()]
        if number is None:
            if not free:
                fail("Can't add a keyslot - all keyslots are in use")
            number = free[0]
        if number not in free and not self._force:
            fail(f"Refusing to overwrite active keyslot {number} - please erase it first")
        known = self._image.cipher_password or b""
        key = luks.unlock(self._header, self._read, known, self._image.name)
        luks.set_slot(self._header, number, key, password, milliseconds, self._write)
        self._save()

    def remove(self, password: bytes | None, number: int | None) -> None:
        """Forget the slots that a password unlocks, or a certain one."""
        self._check(number)
        active = self._active()
        if number is not None:
            wanted = [number] if number in active else []
        elif password is None:
            fail("To erase keyslot(s), either explicit keyslot index or the password is required")
        else:
            wanted = [k for k in active if self._unlocks(k, password)]
        if not wanted:
            fail("No keyslots match given (old) password for erase operation")
        if len(wanted) == len(active) and not self._force:
            fail(
                "Attempt to erase all the active keyslots, which will erase all the data"
                " in the image irreversibly - refusing operation"
            )
        for k in wanted:
            luks.clear_slot(self._header, k, self._write)
        self._save()

    def _unlocks(self, number: int, password: bytes) -> bool:
        slot = self._header.slots[number]
        return luks.slot_key(self._header, slot, self._read, password) is not None

    def _save(self) -> None:
        self._write(0, self._header.pack())
        self._image.file.flush()
