"""The options of ``jitemu system-riscv64``, a row each."""

from __future__ import annotations

from jitemu.cli import common_options as common
from jitemu.cli.device_options import DEVICE_OPTIONS
from jitemu.cli.drive_options import DRIVE_OPTIONS
from jitemu.cli.folder_options import FOLDER_OPTIONS
from jitemu.cli.host_options import HOST_OPTIONS
from jitemu.cli.options import Option, Shown, flag, one_of, size, table, value
from jitemu.keyval import on_off, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jitemu.system.icount import Icount

MACHINES = {"virt": "RISC-V VirtIO board"}
DEFAULT_MEMORY = 128 << 20  # bytes


class MachineChoice:
    """``-M``: the board's name and its properties."""

    __slots__ = ("aclint", "dumpdtb", "name")

    def __init__(self) -> None:
        self.name = "virt"
        self.aclint = False
        self.dumpdtb = ""
        """The file that gets the device tree instead of a run, or nothing."""


def _machine(text: str) -> MachineChoice:
    choice = MachineChoice()
    name, *properties = text.split(",")
    choice.name = name.removeprefix("type=")
    if "help" in (choice.name, *properties):
        lines = [f"{name:<20} {about}" for name, about in MACHINES.items()]
        raise Shown("\n".join(["Supported machines are:", *lines]))
    if choice.name not in MACHINES:
        raise ValueError("unsupported machine type (use -machine help to list supported machines)")
    for item in properties:
        key, _, content = item.partition("=")
        if key == "aclint":
            choice.aclint = on_off(content)
        elif key == "dumpdtb" and content:
            choice.dumpdtb = content
        else:
            raise ValueError(f"Property '{choice.name}-machine.{key}' not found")
    return choice


def _memory(text: str) -> int:
    return size(text.removeprefix("size="), "m")


def _processors(text: str) -> int:
    if text.removeprefix("cpus=") != "1":
        raise ValueError("the max CPUs supported by machine 'virt' is 1")
    return 1


def _add_serial(before: tuple[str, ...], text: str) -> tuple[str, ...]:
    return (*before, text)


def _guest_name(text: str) -> str:
    return text.split(",")[0]


def _icount(text: str) -> Icount:
    """As QEMU takes it, where there is neither auto nor align: both follow the host's clock."""
    from jitemu.system.icount import MAX_SHIFT, Icount

    items = parse(text, implied="shift")
    shift = items.pop("shift", "")
    sleep = on_off(items.pop("sleep", "on"))
    if on_off(items.pop("align", "off")):
        raise ValueError("align=on is not supported: runs would not repeat")
    if items:
        raise ValueError(f"Invalid parameter '{next(iter(items))}'")
    if shift == "auto":
        raise ValueError(f"shift=auto is not supported: give a number from 0 to {MAX_SHIFT}")
    if not (shift.isascii() and shift.isdecimal() and int(shift) <= MAX_SHIFT):
        raise ValueError("icount: Invalid shift value")
    return Icount(int(shift), sleep)


_NO_SERIAL: tuple[str, ...] = ()
_NOT_COUNTED: Icount | None = None

MACHINE = value(
    "machine",
    "[type=]name[,prop[=value][,...]]",
    "selects emulated machine ('-machine help' for list)"
    "\ndumpdtb=file writes the device tree to 'file' and exits"
    "\naclint=on|off gives the ACLINT in place of the CLINT (default=off)",
    MachineChoice(),
    _machine,
    aliases=("M",),
)
PROCESSORS = value("smp", "n", "set the number of CPUs to 'n' (only 1)", 1, _processors)
MEMORY = value(
    "m",
    "[size=]megs",
    "configure guest RAM; suffix K, M or G (default: 128M)",
    DEFAULT_MEMORY,
    _memory,
)
BIOS = value("bios", "file", "set the filename for the firmware ('none': built in)", "", str)
KERNEL = value("kernel", "file", "use 'file' as kernel image", "", str)
APPEND = value("append", "cmdline", "use 'cmdline' as kernel command line", "", str)
INITRD = value("initrd", "file", "use 'file' as initial ram disk", "", str)
DTB = value("dtb", "file", "use 'file' as device tree image", "", str)
NOGRAPHIC = flag("nographic", "disable graphical output and redirect serial I/Os to console")
DISPLAY = value("display", "none", "select display backend type (only none)", "", one_of("none"))
SERIAL = Option(
    "serial",
    "dev",
    "redirect the serial port to char device 'dev'"
    "\n(stdio, mon:stdio, pty, null, none, file:PATH, pipe:PATH, chardev:ID,"
    "\nunix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,server=on][,wait=off][,nodelay=on])",
    _NO_SERIAL,
    _add_serial,
)
NO_REBOOT = flag("no-reboot", "exit instead of rebooting")
STOPPED = flag("S", "freeze CPU at startup")
ICOUNT = value(
    "icount",
    "shift=N[,sleep=on|off]",
    "let time pass with instructions, 2^N ns each (N from 0 to 10): runs repeat exactly"
    "\nsleep=off skips time that the guest waits; regions are off, the real-time clock"
    "\nbegins at 2000-01-01 and the device tree's random seed is the same each time",
    _NOT_COUNTED,
    _icount,
)
NAME = value("name", "string", "set the name of the guest", "", _guest_name)
PIDFILE = value("pidfile", "file", "write PID to 'file'", "", str)

OPTIONS: tuple[Option[Any], ...] = (
    common.HELP,
    common.VERSION,
    MACHINE,
    common.CPU,
    PROCESSORS,
    MEMORY,
    NAME,
    DISPLAY,
    NOGRAPHIC,
    BIOS,
    KERNEL,
    APPEND,
    INITRD,
    DTB,
    *DRIVE_OPTIONS,
    *FOLDER_OPTIONS,
    *DEVICE_OPTIONS,
    SERIAL,
    *HOST_OPTIONS,
    PIDFILE,
    STOPPED,
    NO_REBOOT,
    ICOUNT,
    common.LOG_ITEMS,
    common.LOG_FILE,
    common.LOG_FILTER,
    common.HOT_THRESHOLD,
    common.NO_CACHE,
    common.PERFMAP,
    common.JITDUMP,
    common.GDBJIT,
)


def help_text() -> str:
    """What ``jitemu system-riscv64 -help`` prints, in QEMU's layout."""
    return f"""\
usage: jitemu system-riscv64 [options]

{table(OPTIONS)}

During emulation with -nographic, Ctrl-A x quits and Ctrl-A h helps."""
