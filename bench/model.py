"""What is measured (``Row``), who runs it (``Contestant``) and what comes out (``Sample``)."""

from __future__ import annotations

from dataclasses import dataclass

LONG = 4  # --long multiplies a row's size by this, --quick divides it by QUICK
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
class Contestant:
    """Who runs the rows.  ``cold`` runs start with an empty cache folder, each one of them.

    A cold run is what the first use of a fresh installation is: stencils are built too.
    """

    name: str
    user: tuple[str, ...] = ()  # replaces {user}; {jitemu} in it is the command of --jitemu-cmd
    system: tuple[str, ...] = ()
    cold: bool = False


def _jitemu(name: str, *options: str, cold: bool = False) -> Contestant:
    return Contestant(
        name,
        ("{jitemu}", "user-riscv64", *options),
        ("{jitemu}", "system-riscv64", *options),
        cold,
    )


BASELINE = ("-hot-threshold", "0")
QEMU = "qemu"
NATIVE = "native"
CONTESTANTS = {
    c.name: c
    for c in (
        Contestant(NATIVE),
        Contestant(QEMU, ("qemu-riscv64",), ("qemu-system-riscv64",)),
        _jitemu("baseline", *BASELINE),
        _jitemu("regions"),
        _jitemu("no-cache", "-no-cache"),
        _jitemu("baseline-cold", *BASELINE, cold=True),
        _jitemu("regions-cold", cold=True),
    )
}
DEFAULT_CONTESTANTS = (NATIVE, QEMU, "baseline", "regions")


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
