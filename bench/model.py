"""What is measured (``Row``), who runs it (``Contestant``) and what comes out (``Sample``)."""

from __future__ import annotations

from dataclasses import dataclass

LONG = 11  # --long multiplies a row's size by this, --quick divides it by QUICK
QUICK = 25


@dataclass(frozen=True)
class Row:
    """One job.  ``guest`` and ``native`` are command templates, one word an item.

    The words ``{user}`` and ``{system}`` become a contestant's emulator command (several
    words); inside other words ``{program}`` is the guest binary of ``bench/programs``'s
    ``source``, ``{native}`` the same program for the host, ``{n}`` the size, and
    ``bench.inputs.Inputs`` has the rest.
    """

    name: str
    group: str
    about: str
    guest: tuple[str, ...] = ()  # empty: there is no emulated form
    native: tuple[str, ...] = ()  # the same work on the host; empty: there is none
    source: str = ""  # name of the C program, without .c
    size: int = 0  # {n}: 2-3 s under qemu-riscv64; 0 where the job has no size
    pattern: str = ""  # regular expression that the output must contain
    same: bool = True  # the output is the same in every run
    span: tuple[str, str] | None = None  # take time and output between these console lines
    rate: str = ""  # regular expression: group 1 is bytes/s, measured instead of the time
    instructions: int = 0  # guest instructions for each unit of size: time is by instruction
    guests: tuple[str, ...] = ()  # that it is for; empty: all
    only: str = ""  # the contestant whose part it measures; empty: all run it

    def scaled(self, scale: str) -> int:
        """The size for ``scale``: quick, normal or long."""
        if scale == "long":
            return self.size * LONG
        return max(1, self.size // QUICK) if scale == "quick" else self.size

    @property
    def unit(self) -> str:
        """What a sample's ``seconds`` are."""
        if self.instructions or self.only:
            return "ns/insn"
        return "s/GB" if self.rate else "s"


@dataclass(frozen=True)
class Guest:
    """A processor that programs are built and run for."""

    name: str  # of jitemu's commands and of QEMU's programs
    compiler: str
    root: str  # the guest of ``jitemu get`` with its programs
    system: bool = False  # it has machines as well
    flags: tuple[str, ...] = ()  # for the compiler

    @property
    def package(self) -> str:
        """Debian's package of the compiler."""
        return "gcc-" + self.compiler.removesuffix("-gcc")


RISCV64 = Guest("riscv64", "riscv64-linux-gnu-gcc", "riscv64-root", system=True)
ARM = Guest(
    "arm",
    "arm-linux-gnueabihf-gcc",
    "armhf-root",
    flags=("-march=armv7-a", "-mfpu=neon-vfpv4"),
)
GUESTS = {guest.name: guest for guest in (RISCV64, ARM)}


@dataclass(frozen=True)
class Contestant:
    """Who runs the rows.  ``cold`` runs start with an empty cache folder, each one of them.

    A cold run is what the first use of a fresh installation is; the stencils that belong to an
    installation are made before.  A ``bare`` one is what that is on another processor than it
    was installed for: there are none of these either, so the run builds some.
    """

    name: str
    user: tuple[str, ...] = ()  # replaces {user}; {jitemu} in it is the command of --jitemu-cmd
    system: tuple[str, ...] = ()
    cold: bool = False
    bare: bool = False


BASELINE = ("-hot-threshold", "0")
QEMU = "qemu"
NATIVE = "native"
JITEMU: dict[str, tuple[tuple[str, ...], bool, bool]] = {
    "baseline": (BASELINE, False, False),
    "regions": ((), False, False),
    "no-cache": (("-no-cache",), False, False),
    "baseline-cold": (BASELINE, True, False),
    "regions-cold": ((), True, False),
    "regions-bare": ((), True, True),
}
"""Options, and whether its runs are cold and bare."""
CONTESTANTS = (NATIVE, QEMU, *JITEMU)
DEFAULT_CONTESTANTS = (NATIVE, QEMU, "baseline", "regions")


def contestant(name: str, guest: Guest) -> Contestant:
    """One of CONTESTANTS for a guest."""
    if name == NATIVE:
        return Contestant(NATIVE)
    if name == QEMU:
        system = (f"qemu-system-{guest.name}",) if guest.system else ()
        return Contestant(QEMU, (f"qemu-{guest.name}",), system)
    options, cold, bare = JITEMU[name]
    system = ("{jitemu}", f"system-{guest.name}", *options) if guest.system else ()
    return Contestant(name, ("{jitemu}", f"user-{guest.name}", *options), system, cold, bare)


@dataclass(frozen=True)
class Sample:
    """One run.  ``seconds`` is wall time (or seconds a GB where the row has a rate)."""

    seconds: float  # or the row's unit
    cpu: float  # user and system seconds of the process and the children it waited for
    rss_kib: int  # the largest resident set of any one of these processes
    status: int  # exit status; -N: ended by signal N
    output: bytes = b""
    workers: float = 0  # processor seconds of processes it left behind: compile workers
    trouble: str = ""  # one line on what went wrong; empty when nothing did
