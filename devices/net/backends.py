"""The kinds of ``-netdev``: a row each."""

from __future__ import annotations

from typing import NamedTuple

from jitemu.devices.net.sockets import SocketOptions, make_socket_net
from jitemu.devices.net.tap import TapNet, TapOptions
from jitemu.devices.net.user import UserNet, UserOptions
from jitemu.messages import fail
from jitemu.properties import describe, pop, split, take

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.devices.net.netdev import Netdev
    from jitemu.devices.net.user import OpenStream
    from jitemu.devices.ports import EventSource

    Make = Callable[[str, Any, EventSource, OpenStream], Netdev]


class Kind(NamedTuple):
    """A row: what it is, the class of its options, and its maker of (id, options, event loop,
    and what opens the character devices that forwards lead to)."""

    about: str
    options: type[Any]
    make: Make


def _tap(name: str, options: TapOptions, loop: EventSource, _open: OpenStream) -> Netdev:
    return TapNet(name, options, loop)


def _socket(name: str, options: SocketOptions, loop: EventSource, _open: OpenStream) -> Netdev:
    return make_socket_net(name, options, loop)


KINDS: dict[str, Kind] = {
    "user": Kind("a network of the guest's own, by libslirp", UserOptions, UserNet),
    "tap": Kind("an interface of the host's", TapOptions, _tap),
    "socket": Kind("another machine's network device, by TCP or UDP", SocketOptions, _socket),
}


def make_netdev(
    text: str, loop: EventSource, open_stream: OpenStream, fallback_id: str = ""
) -> Netdev:
    """The back end of ``kind,id=name,option=...``; UserError when it cannot be had."""
    pairs = split(text, "type")
    kind, name = pop(pairs, "type"), pop(pairs, "id") or fallback_id
    row = KINDS.get(kind)
    if row is None:
        fail(f"-netdev {text}: '{kind}' is no network back end; there are {', '.join(KINDS)}")
    if not name:
        fail(f"-netdev {text}: Parameter 'id' is missing")
    return row.make(name, take(row.options, pairs, f"-netdev {text}"), loop, open_stream)


def listing() -> str:
    """What ``-netdev help`` prints."""
    return "\n".join(["Available netdev backend types:", *KINDS])


def listing_of(kind: str) -> str:
    """What ``-netdev KIND,help`` prints."""
    row = KINDS.get(kind)
    if row is None:
        fail(f"-netdev {kind}: no network back end; there are {', '.join(KINDS)}")
    return "\n".join([f"{kind}: {row.about}", *describe(row.options)])
