"""``-fsdev`` and ``-virtfs``: folders of the host for the guest."""

from __future__ import annotations

from jitemu.cli.options import Option, integer, on_off, one_of
from jitemu.keyval import Taker, parse
from jitemu.messages import fail
from jitemu.system.plugged import KEY, NOTHING, BackendSpec, DeviceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.p9.server import Server
    from jitemu.system.machine import Machine
    from jitemu.system.plugged import Plugged

MODELS = ("none", "passthrough", "mapped", "mapped-xattr")
DEVICE = "virtio-9p-device"
IGNORED = ("writeout", "multidevs")


def _backend(before: Plugged, name: str, values: Taker, prefix: str) -> Plugged:
    driver = values.take("fsdriver")
    if driver != "local":
        raise ValueError(f"fsdriver {driver} not found; there is local")
    path, model = values.take("path"), values.take_as("security_model", one_of(*MODELS), "")
    if not path:
        raise ValueError("fsdev: No path specified")
    if not model:
        raise ValueError(f"security_model property not set; give one of {', '.join(MODELS)}")
    read_only = values.take_as("readonly", on_off, False)
    fmode = values.take_as("fmode", integer(0, 0o777), 0o600)
    dmode = values.take_as("dmode", integer(0, 0o777), 0o700)
    for key in IGNORED:
        values.take(key)
    values.end()
    if any(isinstance(s, BackendSpec) and (s.kind, s.id) == ("fsdev", name) for s in before):
        raise ValueError(f"Duplicate ID '{name}' for fsdev")

    def make(_machine: Machine) -> Server:
        from jitemu.devices.p9.folder import Folder, MappedFolder
        from jitemu.devices.p9.server import Server

        try:
            if model.startswith("mapped"):
                folder = MappedFolder(path, True, fmode, dmode)
            else:
                folder = Folder(path, model == "passthrough")
        except (OSError, ValueError) as error:
            fail(f"{prefix}: cannot open {path}: {getattr(error, 'strerror', error)}")
        return Server(folder, read_only)

    return (*before, BackendSpec("fsdev", name, make))


def _fsdev(before: Plugged, text: str) -> Plugged:
    values = Taker(parse(text, "fsdriver"))
    name = values.take("id")
    if not name:
        raise ValueError("Parameter 'id' is missing")
    return _backend(before, name, values, f"-fsdev {text}")


def _virtfs(before: Plugged, text: str) -> Plugged:
    from jitemu.devices.catalog import find

    values, prefix = Taker(parse(text, "fsdriver")), f"-virtfs {text}"
    tag = values.take("mount_tag")
    if not tag:
        raise ValueError("mount_tag property not set")
    name = values.take("id", tag)
    plugged = _backend(before, name, values, prefix)
    return (*plugged, DeviceSpec(find(DEVICE), {"fsdev": name, "mount_tag": tag}, prefix))


_ARGUMENT = "local,path=path,security_model=mapped-xattr|passthrough|none"
FSDEV = Option(
    "fsdev",
    f"{_ARGUMENT},id=id[,readonly=on][,fmode=m][,dmode=m]",
    "make a folder known, for -device virtio-9p-device,fsdev=id,mount_tag=tag",
    NOTHING,
    _fsdev,
    key=KEY,
)
VIRTFS = Option(
    "virtfs",
    f"{_ARGUMENT},mount_tag=tag[,id=id][,readonly=on][,fmode=m][,dmode=m]",
    "share a folder with the guest\n(in it: mount -t 9p -o trans=virtio,version=9p2000.L tag /mnt)",
    NOTHING,
    _virtfs,
    key=KEY,
)
FOLDER_OPTIONS = (FSDEV, VIRTFS)
