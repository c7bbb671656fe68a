"""Commands of the network device's control queue (virtio 1.2, 5.1.6.5)."""

from __future__ import annotations

import struct

from jitemu.devices.net.filters import ADDRESS_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.devices.net.filters import ReceiveFilter

    Command = Callable[[ReceiveFilter, bytes], bool]

RX_MODES = (
    "promiscuous",
    "all_multicast",
    "all_unicast",
    "no_multicast",
    "no_unicast",
    "no_broadcast",
)
"""The attribute that each command of the receive mode's class sets."""
RX, MAC, VLAN = 0, 1, 2
TABLE_SET, ADDRESS_SET = 0, 1
VLAN_ADD, VLAN_DELETE = 0, 1
COUNT = struct.Struct("<I")


def answer(filter: ReceiveFilter, command: bytes) -> bool:
    """Do what a command says; whether it could be done."""
    kind, number, content = command[:1], command[1:2], command[2:]
    if not number:
        return False
    row = COMMANDS.get((kind[0], number[0]))
    return row is not None and row(filter, content)


def _mode(attribute: str) -> Command:
    def set_mode(filter: ReceiveFilter, content: bytes) -> bool:
        if len(content) != 1:
            return False
        setattr(filter, attribute, bool(content[0]))
        return True

    return set_mode


def _set_tables(filter: ReceiveFilter, content: bytes) -> bool:
    """Two tables, each with the number of its addresses before it."""
    tables: list[list[bytes]] = []
    for _ in range(2):
        if len(content) < COUNT.size:
            return False
        (count,) = COUNT.unpack_from(content)
        size = count * ADDRESS_SIZE
        content = content[COUNT.size :]
        if len(content) < size:
            return False
        tables.append([content[at : at + ADDRESS_SIZE] for at in range(0, size, ADDRESS_SIZE)])
        content = content[size:]
    if content:
        return False
    filter.set_tables(*tables)
    return True


def _set_address(filter: ReceiveFilter, content: bytes) -> bool:
    if len(content) != ADDRESS_SIZE:
        return False
    filter.mac = content
    return True


def _vlan(add: bool) -> Command:
    def change(filter: ReceiveFilter, content: bytes) -> bool:
        if len(content) != 2 or int.from_bytes(content, "little") > 0xFFF:
            return False
        number = int.from_bytes(content, "little")
        if add:
            filter.vlans.add(number)
        else:
            filter.vlans.discard(number)
        return True

    return change


COMMANDS: dict[tuple[int, int], Command] = {
    **{(RX, number): _mode(attribute) for number, attribute in enumerate(RX_MODES)},
    (MAC, TABLE_SET): _set_tables,
    (MAC, ADDRESS_SET): _set_address,
    (VLAN, VLAN_ADD): _vlan(True),
    (VLAN, VLAN_DELETE): _vlan(False),
}
