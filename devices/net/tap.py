"""``-netdev tap``: an interface of the host's (Linux, Documentation/networking/tuntap.rst)."""

from __future__ import annotations

import fcntl
import os
import struct

from jitemu.devices.net.netdev import LARGEST_FRAME, Netdev
from jitemu.messages import fail
from jitemu.properties import STR, Kind, Options, prop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jitemu.devices.net.netdev import Frame
    from jitemu.devices.ports import EventSource

DEVICE = "/dev/net/tun"
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
IFREQ_SIZE, NAME_SIZE = 40, 16
BATCH = 64  # frames taken from the host in one turn


def _no_script(text: str) -> str:
    if text != "no":
        raise ValueError("no script is run; set the interface up beforehand and say 'no'")
    return text


NO_SCRIPT = Kind("str", _no_script)


class TapOptions(Options):
    """What ``-netdev tap`` takes."""

    ifname = prop(STR, "", "name: the interface (a new one, tapN, if empty)")
    script = prop(NO_SCRIPT, "no", "no: the interface is set up beforehand")
    downscript = prop(NO_SCRIPT, "no", "no: nothing is run at the end")


class TapNet(Netdev):
    """Frames through /dev/net/tun."""

    kind = "tap"

    def __init__(self, name: str, options: TapOptions, loop: EventSource) -> None:
        super().__init__(name, loop)
        asked = options.ifname.encode()
        if len(asked) >= NAME_SIZE:
            fail(f"-netdev tap: ifname={options.ifname}: more than {NAME_SIZE - 1} characters")
        try:
            self._fd = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            fail(f"-netdev tap: cannot open {DEVICE}: {error.strerror}")
        request = bytearray(IFREQ_SIZE)
        struct.pack_into(f"={NAME_SIZE}sH", request, 0, asked or b"tap%d", IFF_TAP | IFF_NO_PI)
        try:
            fcntl.ioctl(self._fd, TUNSETIFF, request)
        except OSError as error:
            os.close(self._fd)
            fail(f"-netdev tap: cannot have interface '{options.ifname}': {error.strerror}")
        self.ifname = bytes(request[:NAME_SIZE]).rstrip(b"\0").decode()
        self._reading = False
        self._resume()

    def send(self, frames: Sequence[Frame]) -> int:
        for index, frame in enumerate(frames):
            try:
                os.write(self._fd, frame)
            except BlockingIOError:
                self.loop.add_writer(self._fd, self._writable)
                return index
            except OSError:  # the interface is down: nobody is on the wire
                pass
            self.sent(frame)
        return len(frames)

    def took(self) -> None:
        if not self._reading and not self.held_up:
            self._resume()

    def _resume(self) -> None:
        self._reading = True
        self.loop.add_reader(self._fd, self._readable)

    def _writable(self) -> None:
        self.loop.remove_writer(self._fd)
        if self.on_writable is not None:
            self.on_writable()

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                self.arrived(os.read(self._fd, LARGEST_FRAME))
            except OSError:
                break
        if self.held_up:
            self._reading = False
            self.loop.remove_reader(self._fd)
        self.deliver()

    def describe(self) -> str:
        return f"ifname={self.ifname},script=no,downscript=no"

    def close(self) -> None:
        super().close()
        if self._fd >= 0:
            self.loop.remove_reader(self._fd)
            self.loop.remove_writer(self._fd)
            os.close(self._fd)
            self._fd = -1
