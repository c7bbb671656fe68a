"""Options about the host's side: character devices, monitors, networks."""

from __future__ import annotations

from jitemu.cli.options import Option, Shown
from jitemu.keyval import parse
from jitemu.messages import fail
from jitemu.system.plugged import KEY, NOTHING, BackendSpec, DeviceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Netdev
    from jitemu.system.machine import Machine
    from jitemu.system.plugged import CaptureSpec, Plugged, Secret

    Objects = tuple[CaptureSpec | Secret, ...]

_NO_TEXTS: tuple[str, ...] = ()
_NO_OBJECTS: Objects = ()
NIC_MODEL = "virtio-net-device"


def _add(before: tuple[str, ...], text: str) -> tuple[str, ...]:
    return (*before, text)


def _chardev(before: tuple[str, ...], text: str) -> tuple[str, ...]:
    kind, _, rest = text.partition(",")
    if kind in ("help", "?") or rest in ("help", "?"):
        from jitemu.system import chardevs

        raise Shown(chardevs.listing_of(kind) if rest else chardevs.listing())
    return (*before, text)


def _mon(before: tuple[str, ...], text: str) -> tuple[str, ...]:
    """As -monitor's text for a character device there is."""
    values = parse(text, "chardev")
    chardev, mode = values.pop("chardev", ""), values.pop("mode", "readline")
    values.pop("id", "")
    if mode != "readline":
        raise ValueError(f"there is no mode '{mode}'; only readline")
    for key in values:
        raise ValueError(f"Invalid parameter '{key}'")
    return (*before, f"chardev:{chardev}")


def _netdev_spec(before: Plugged, text: str, name: str) -> BackendSpec:
    number = sum(isinstance(s, BackendSpec) and s.kind == "netdev" for s in before)

    def open_it(machine: Machine) -> Netdev:
        from jitemu.devices.net.backends import make_netdev

        netdev = make_netdev(text, machine.loop, machine.open_stream, name)
        netdev.index = number
        return netdev

    return BackendSpec("netdev", name, open_it)


def _taken(before: Plugged, name: str) -> bool:
    return any(isinstance(s, BackendSpec) and (s.kind, s.id) == ("netdev", name) for s in before)


def _netdev(before: Plugged, text: str) -> Plugged:
    kind, _, rest = text.partition(",")
    if kind in ("help", "?") or rest in ("help", "?"):
        from jitemu.devices.net import backends

        raise Shown(backends.listing_of(kind) if rest else backends.listing())
    name = parse(text, "type").get("id", "")
    if not name:
        raise ValueError("Parameter 'id' is missing")
    if _taken(before, name):
        raise ValueError(f"Duplicate ID '{name}' for netdev")
    return (*before, _netdev_spec(before, text, name))


def _nic(before: Plugged, text: str) -> Plugged:
    """A back end and the device for it in one."""
    from jitemu.devices import catalog

    if text == "none":
        return before
    values = parse(text, "type")
    if "help" in (values["type"], values.get("model")):
        raise Shown(f"Available NIC models:\n{NIC_MODEL}")
    model = catalog.find(values.get("model", NIC_MODEL))
    number = sum(isinstance(s, BackendSpec) and s.kind == "netdev" for s in before)
    name = values.get("id") or f"nic{number}"
    if _taken(before, name):
        raise ValueError(f"Duplicate ID '{name}' for netdev")
    own = ("id", "mac", "model")
    backend = ",".join(part for part in _parts(text) if part.partition("=")[0] not in own)
    texts = {"netdev": name} | ({"mac": values["mac"]} if "mac" in values else {})
    return (*before, _netdev_spec(before, backend, name), DeviceSpec(model, texts, f"-nic {text}"))


def _parts(text: str) -> list[str]:
    """The parts of an option text, as they were written."""
    return [part.replace("\0", ",,") for part in text.replace(",,", "\0").split(",")]


def _net(before: Plugged, text: str) -> Plugged:
    """The old way, of which the shorthands are left."""
    kind, _, rest = text.partition(",")
    if kind == "none":
        return before
    if kind == "nic":
        fail(f"-net {text}: use -nic, or -netdev with -device {NIC_MODEL}")
    return _nic(before, ",".join([kind, *([rest] if rest else [])]))


def _object(before: Objects, text: str) -> Objects:
    from jitemu.cli import objects

    if text == "help":
        raise Shown("\n  ".join(["List of user creatable objects:", *objects.KINDS]))
    return (*before, objects.make(text))


CHARDEV = Option(
    "chardev",
    "backend,id=id[,mux=on|off][,logfile=f][,...]",
    "a character device for -serial chardev:id, -mon and devices"
    "\n(null, stdio, file, pipe, pty, socket; '-chardev help' for list,"
    "\n'-chardev backend,help' for what one takes)",
    _NO_TEXTS,
    _chardev,
)
MONITOR = Option(
    "monitor",
    "dev",
    "redirect the monitor to char device 'dev'"
    "\n(stdio, pty, none, unix:PATH..., tcp:HOST:PORT..., chardev:ID)",
    _NO_TEXTS,
    _add,
)
MON = Option(
    "mon",
    "[chardev=]name[,mode=readline]",
    "a monitor on a -chardev",
    _NO_TEXTS,
    _mon,
    key=MONITOR.key,
)
NETDEV = Option(
    "netdev",
    "user|tap|socket,id=str[,option][,...]",
    "a network back end, which -device virtio-net-device,netdev=id takes"
    "\n('-netdev help' for list, '-netdev user,help' for what one takes)",
    NOTHING,
    _netdev,
    key=KEY,
)
NIC = Option(
    "nic",
    "none|user|tap|socket[,option][,...][,mac=macaddr]",
    "a network back end and the device for it",
    NOTHING,
    _nic,
    key=KEY,
)
NET = Option("net", "none|user|tap|socket[,option][,...]", "as -nic", NOTHING, _net, key=KEY)
OBJECT = Option(
    "object",
    "filter-dump,id=id,netdev=dev,file=filename[,maxlen=n]|secret,id=id,data=text|file=f",
    "write what passes a network back end to a file (pcap),"
    "\nor a password that images name (encrypt.key-secret=id)",
    _NO_OBJECTS,
    _object,
)
HOST_OPTIONS = (CHARDEV, MONITOR, MON, NETDEV, NIC, NET, OBJECT)
