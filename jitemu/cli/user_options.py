"""The options of ``jitemu user-riscv64`` and ``user-arm``, a row each."""

from __future__ import annotations

from jitemu.cli import common_options as common
from jitemu.cli.options import Option, flag, integer, size, table_with_environment, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    EnvironmentChanges = tuple[tuple[str, str | None], ...]

DEFAULT_STACK = 8 << 20  # bytes


def _set_variables(before: EnvironmentChanges, text: str) -> EnvironmentChanges:
    changes = list(before)
    for item in text.split(","):
        name, equals, content = item.partition("=")
        if not (name and equals):
            raise ValueError("expected var=value")
        changes.append((name, content))
    return tuple(changes)


def _unset_variables(before: EnvironmentChanges, text: str) -> EnvironmentChanges:
    names = text.split(",")
    if any(not name or "=" in name for name in names):
        raise ValueError("expected the name of a variable")
    return (*before, *((name, None) for name in names))


_NO_CHANGES: EnvironmentChanges = ()
_NO_NAME: str | None = None
_NO_NUMBER: int | None = None

SYSROOT = value("L", "path", "set the elf interpreter prefix to 'path'", "", str, env="LD_PREFIX")
STACK_SIZE = value(
    "s", "size", "set the stack size to 'size' bytes", DEFAULT_STACK, size, env="STACK_SIZE"
)
SET_ENV = Option(
    "E",
    "var=value",
    "sets targets environment variable (see below)",
    _NO_CHANGES,
    _set_variables,
    env="SET_ENV",
)
UNSET_ENV = Option(
    "U",
    "var",
    "unsets targets environment variable (see below)",
    _NO_CHANGES,
    _unset_variables,
    env="UNSET_ENV",
    key=SET_ENV.key,
)
ARGV0 = value(
    "0", "argv0", "forces target process argv[0] to be 'argv0'", _NO_NAME, str, env="ARGV0"
)
UNAME = value("r", "uname", "set uname release string to 'uname'", _NO_NAME, str, env="UNAME")
GUEST_BASE = value(
    "B",
    "address",
    "set guest_base address to 'address'",
    _NO_NUMBER,
    integer(0, 2**47 - 1),
    env="GUEST_BASE",
)
ONE_INSN = flag(
    "one-insn-per-tb",
    "run with one guest instruction per emulated TB",
    env="ONE_INSN_PER_TB",
    aliases=("singlestep",),
)
STRACE = flag("strace", "log system calls", env="STRACE")
SEED = value(
    "seed",
    "number",
    "Seed for pseudo-random number generator",
    _NO_NUMBER,
    integer(0, 2**64 - 1),
    env="RAND_SEED",
)


class Guest:
    """What the command of a guest has of its own."""

    def __init__(self, name: str, frontend: str, cpu: Option[str]) -> None:
        self.name = name
        self.frontend = frontend
        self.cpu = cpu
        self.options: tuple[Option[Any], ...] = tuple(cpu if o is common.CPU else o for o in _ALL)


_ALL: tuple[Option[Any], ...] = (
    common.HELP,
    SYSROOT,
    STACK_SIZE,
    common.CPU,
    SET_ENV,
    UNSET_ENV,
    ARGV0,
    UNAME,
    GUEST_BASE,
    common.LOG_ITEMS,
    common.LOG_FILTER,
    common.LOG_FILE,
    ONE_INSN,
    STRACE,
    SEED,
    common.HOT_THRESHOLD,
    common.NO_CACHE,
    common.PERFMAP,
    common.JITDUMP,
    common.GDBJIT,
    common.VERSION,
)


GUESTS = {
    "riscv64": Guest("riscv64", "riscv", common.CPU),
    "arm": Guest("arm", "arm", common.cpu_option("arm", "max")),
}
OPTIONS = GUESTS["riscv64"].options


def help_text(guest: str = "riscv64") -> str:
    """What ``jitemu user-riscv64 -help`` prints, in QEMU's layout."""
    return f"""\
usage: jitemu user-{guest} [options] program [arguments...]
Linux CPU emulator ({guest} programs)

Options and associated environment variables:

{table_with_environment(GUESTS[guest].options)}

QEMU_* is read where the JITEMU_* variable of the same ending is not set.

Defaults:
JITEMU_LD_PREFIX  = none
JITEMU_STACK_SIZE = {DEFAULT_STACK} byte

You can use -E and -U options or the JITEMU_SET_ENV and
JITEMU_UNSET_ENV environment variables to set and unset
environment variables for the target process.
It is possible to provide several variables by separating them
by commas in getsubopt(3) style. Additionally it is possible to
provide the -E and -U options multiple times.
Note that if you provide several changes to a single variable
the last change will stay in effect."""
