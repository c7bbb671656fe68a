"""The log behind -d, -D and -dfilter, in the shapes that scripts for QEMU's logs read.

``Log`` has a boolean for each item (``if log.in_asm:`` is all that a silent log costs) and
a ``write_*`` method for each shape; they take numbers, bytes and text only.  Every record
is one write to the file, so that records survive a crash and a fork does not repeat them.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Ranges = Sequence[tuple[int, int]]

ITEMS = {
    "out_asm": "show generated host assembly code for each compiled TB",
    "in_asm": "show target assembly code for each compiled TB",
    "op": "show micro ops for each compiled TB",
    "op_opt": "show micro ops after optimization",
    "int": "show interrupts/exceptions in short format",
    "exec": "show trace before each executed TB (lots of logs)",
    "cpu": "show CPU registers before entering a TB (lots of logs)",
    "mmu": "log MMU-related activities",
    "unimp": "log unimplemented functionality",
    "guest_errors": "log when the guest OS does something invalid (eg accessing a\n"
    "non-existent register)",
    "page": "dump pages at beginning of user mode emulation",
    "nochain": 'do not chain compiled TBs so that "exec" and "cpu" show\ncomplete traces',
    "jit": "show at the end what was translated and compiled",
    "strace": "log every user-mode syscall, its input, and its result",
}
ADDRESS_LIMIT = (1 << 64) - 1
STANDARD_ERROR = 2


def help_text() -> str:
    """The list that ``-d help`` prints."""
    lines = [f"{name:<15} {about}" for name, about in ITEMS.items()]
    return "\n".join(["Log items (comma separated):", *lines])


def parse_items(text: str) -> tuple[str, ...]:
    """The items of ``in_asm,exec`` (``all`` names every one).  ValueError for unknown ones."""
    items: list[str] = []
    for name in text.split(","):
        if name == "all":
            items += ITEMS
        elif name in ITEMS:
            items.append(name)
        else:
            raise ValueError(f"unknown log item '{name}' (-d help lists them)")
    return tuple(items)


def parse_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """``a+n``, ``a-n`` and ``a..b`` as pairs of first and last address.

    As in QEMU, a+n is n bytes from a, and a-n is the n bytes that end with a.
    """
    return tuple(_parse_range(item) for item in text.split(","))


def _parse_range(text: str) -> tuple[int, int]:
    for operator in ("..", "+", "-"):
        left, found, right = text.partition(operator)
        if found:
            break
    else:
        raise ValueError("Bad range specifier (use a+n, a-n or a..b)")
    try:
        base = int(left, 0)
    except ValueError:
        raise ValueError(f"Invalid number to the left of {operator}") from None
    try:
        other = int(right, 0)
    except ValueError:
        raise ValueError(f"Invalid number to the right of {operator}") from None
    if operator == "..":
        first, last = base, other
    elif operator == "+":
        first, last = base, base + other - 1
    else:
        first, last = base - other + 1, base
    if not 0 <= first <= last <= ADDRESS_LIMIT:
        raise ValueError("Invalid range")
    return first, last


class Log:
    """One log file (standard error by default) and what is wanted in it."""

    def __init__(self, items: Iterable[str] = (), ranges: Ranges = (), path: str = "") -> None:
        self.ranges = tuple(ranges)
        self.path = ""
        self._file = STANDARD_ERROR
        self.select(items)
        if path and self.enabled:
            self.redirect(path)

    def select(self, items: Iterable[str]) -> None:
        """What is wanted from now on."""
        enabled = frozenset(items)
        self.out_asm = "out_asm" in enabled
        self.in_asm = "in_asm" in enabled
        self.op = "op" in enabled
        self.op_opt = "op_opt" in enabled
        self.int = "int" in enabled
        self.exec = "exec" in enabled
        self.cpu = "cpu" in enabled
        self.mmu = "mmu" in enabled
        self.unimp = "unimp" in enabled
        self.guest_errors = "guest_errors" in enabled
        self.page = "page" in enabled
        self.nochain = "nochain" in enabled
        self.jit = "jit" in enabled
        self.strace = "strace" in enabled
        self.enabled = enabled

    def redirect(self, path: str) -> None:
        """Write to another file from now on; UserError if it cannot be opened."""
        self._file = _open(path)
        self.path = path

    def wants(self, pc: int) -> bool:
        """Whether -dfilter lets records about the block at ``pc`` through."""
        return not self.ranges or any(first <= pc <= last for first, last in self.ranges)

    def write(self, text: str) -> None:
        """Text as it is (the strace item writes lines in parts).  A full disk is no error."""
        data = text.encode(errors="surrogateescape")
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError:
            return

    def write_in_asm(
        self,
        pc: int,
        code: bytes,
        symbol: str = "",
        privilege: int | None = None,
        frontend: str = "riscv",
    ) -> None:
        """A translated block's guest instructions; ``privilege`` in system mode only."""
        from jitemu.trace_asm import DISASSEMBLERS

        head = [f"IN: {symbol}"]
        if privilege is not None:
            head.append(f"Priv: {privilege}; Virt: 0")
        self.write("\n".join(["-" * 16, *head, *DISASSEMBLERS[frontend](pc, code), "", ""]))

    def write_op(self, text: str, optimised: bool = False) -> None:
        """A block's micro-ops, as text, before or after the passes."""
        title = "OP after optimization and liveness analysis:" if optimised else "OP:"
        self.write(f"{title}\n{text.rstrip()}\n\n")

    def write_out_asm(
        self, address: int, code: bytes, guest: Sequence[tuple[int, int]] = ()
    ) -> None:
        """A block's host code at host ``address``.

        ``guest`` holds (offset in the code, guest pc) in order of offsets, each written
        before the host instructions that stand for that guest instruction.
        """
        from jitemu.trace_asm import host_lines

        lines = [f"OUT: [size={len(code)}]", *host_lines(address, code, guest), "", ""]
        self.write("\n".join(lines))

    def write_exec(
        self,
        host: int,
        pc: int,
        symbol: str = "",
        *,
        flags: int = 0,
        compile_flags: int = 0,
        hart: int = 0,
        digits: int = 16,
    ) -> None:
        """A block about to run: its host address and guest pc."""
        self.write(
            f"Trace {hart}: {host:#x} "
            f"[{0:0{digits}x}/{pc:0{digits}x}/{flags:08x}/{compile_flags:08x}] {symbol}\n"
        )

    def write_cpu(self, lines: Iterable[str]) -> None:
        """The state before a block, made of ``register_line`` and ``register_lines``."""
        self.write("".join(line + "\n" for line in lines))

    def write_int(
        self, hart: int, interrupt: bool, cause: int, epc: int, tval: int, description: str
    ) -> None:
        """A trap taken; ``cause`` is without the interrupt bit."""
        self.write(
            f"riscv_cpu_do_interrupt: hart:{hart}, async:{interrupt:d}, cause:{cause:016x}, "
            f"epc:{epc:#018x}, tval:{tval:#018x}, desc={description}\n"
        )

    def write_mmu(
        self, address: int, access: int, privilege: int, physical: int | None, rights: int
    ) -> None:
        """A TLB fill: access 0 load, 1 store, 2 fetch; ``physical`` None when it faults.

        ``rights`` is read 1, write 2, execute 4.
        """
        failed = physical is None
        self.write(
            f"riscv_cpu_tlb_fill ad {address:x} rw {access} mmu_idx {privilege}\n"
            f"riscv_cpu_tlb_fill address={address:x} ret {failed:d} "
            f"physical {physical or 0:016x} prot {rights}\n"
        )

    def write_page(self, event: str, mappings: Iterable[tuple[int, int, str]]) -> None:
        """The guest's address space after ``event``: (start, end, "rwx" with dashes)."""
        lines = [f"page layout changed following {event}"]
        lines.append(f"{'start':<16} {'end':<16} {'size':<16} prot")
        lines += [
            f"{start:016x}-{end:016x} {end - start:016x} {rights}"
            for start, end, rights in mappings
        ]
        self.write("\n".join(lines) + "\n")

    def write_addresses(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Where a loaded program's parts are (``entry``, ``brk``...), under -d page."""
        self.write("".join(f"{name:<11} {address:#018x}\n" for name, address in addresses))

    def write_line(self, text: str) -> None:
        """One line, for unimp and guest_errors."""
        self.write(text + "\n")


def register_line(name: str, value: int) -> str:
    """One register on a line of its own, as pc and CSRs stand under -d cpu."""
    return f" {name:<8} {value:016x}"


def register_lines(names: Sequence[str], values: Sequence[int]) -> list[str]:
    """Registers four on a line (names such as ``x1/ra``)."""
    cells = [f"{name:<8} {value:016x}" for name, value in zip(names, values, strict=True)]
    return [" " + " ".join(cells[i : i + 4]) for i in range(0, len(cells), 4)]


def _open(path: str) -> int:
    """A log file of this process: ``%d`` in the name becomes the process id."""
    name = path.replace("%d", str(os.getpid()), 1)
    try:
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        from jitemu.messages import fail

        fail(f"-D {path}: cannot open the log file: {error.strerror}")
