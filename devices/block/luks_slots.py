"""Changing the passwords of a volume: what may be asked for, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

from jitemu.devices.block.luks import SLOTS, Volume
from jitemu.messages import fail


@dataclass(slots=True)
class SlotChange:
    """What amend is to do with key slots.  ``force`` allows what may lose all keys."""

    active: bool
    number: int | None = None
    new: bytes | None = None
    old: bytes | None = None
    milliseconds: int | None = None
    force: bool = False


def change_slots(volume: Volume, change: SlotChange) -> None:
    """Set a slot's password, or erase slots; UserError in QEMU's words."""
    number = change.number
    if number is not None and not 0 <= number < SLOTS:
        fail(f"Invalid keyslot {number} specified, must be between 0 and {SLOTS - 1}")
    if change.active:
        _activate(volume, change)
    else:
        _erase(volume, change)


def _activate(volume: Volume, change: SlotChange) -> None:
    if change.new is None:
        fail("'new-secret' is required to activate a keyslot")
    if change.old is not None:
        fail("'old-secret' must not be given when activating keyslots")
    slots, number = volume.header.slots, change.number
    if number is None:
        free = [k for k, slot in enumerate(slots) if not slot.active]
        if not free:
            fail("Can't add a keyslot - all keyslots are in use")
        number = free[0]
    elif slots[number].active and not change.force:
        fail(f"Refusing to overwrite active keyslot {number} - please erase it first")
    milliseconds = 2000 if change.milliseconds is None else change.milliseconds
    volume.set_slot(number, change.new, milliseconds)


def _erase(volume: Volume, change: SlotChange) -> None:
    for name, given in (("new-secret", change.new), ("iter-time", change.milliseconds)):
        if given is not None:
            fail(f"'{name}' must not be given when erasing keyslots")
    number = change.number
    active = [k for k, slot in enumerate(volume.header.slots) if slot.active]
    if number is not None:
        if change.old is not None and not volume.matches(number, change.old):
            fail(
                f"Given keyslot {number} doesn't contain the given old password for erase operation"
            )
        if number not in active and not change.force:
            fail(f"Given keyslot {number} is already erased (inactive)")
        if active == [number] and not change.force:
            fail(
                f"Attempt to erase the only active keyslot {number} which will erase all"
                " the data in the image irreversibly - refusing operation"
            )
        volume.clear_slot(number)
        return
    if change.old is None:
        fail(
            "To erase keyslot(s), either explicit keyslot index or the password"
            " currently contained in them must be given"
        )
    wanted = [k for k in active if volume.matches(k, change.old)]
    if not wanted:
        fail("No keyslots match given (old) password for erase operation")
    if wanted == active and not change.force:
        fail(
            "All the active keyslots match the (old) password that was given and erasing them"
            " will erase all the data in the image irreversibly - refusing operation"
        )
    for k in wanted:
        volume.clear_slot(k)
