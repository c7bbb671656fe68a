"""The rows: every job that is measured, declared once."""

from __future__ import annotations

from dataclasses import replace

from bench.inputs import DISK_KIB, PROGRAM_IN_GUEST
from bench.model import Row
from bench.new_disk import drive


def _program(group: str, source: str, size: int, about: str) -> Row:
    """A C program in user mode."""
    guest, native = ("{user}", "{program}", "{n}"), ("{native}", "{n}")
    return Row(source, group, about, guest, native, source, size, pattern=rf"^{source} \w{{16}}\n$")


def _in_guest(row: Row) -> Row:
    """The same program inside a booted Linux, which a second initramfs archive brings in.

    The lines around it are timed by the host, so neither the boot nor the guest's clock is
    in the figure (CPU time and memory are those of the whole run).
    """
    run = f"echo BENCH-BEGIN; /{PROGRAM_IN_GUEST} {{n}}; echo BENCH-END"
    return Row(
        f"system-{row.name}",
        "system",
        f"{row.about}, in a booted Linux",
        (*MACHINE, "-initrd", "{overlay}", "-append", f'{CONSOLE} quiet guest.run="{run}"'),
        row.native,
        row.source,
        row.size,
        row.pattern,
        span=("BENCH-BEGIN", "BENCH-END"),
    )


def _debian(name: str, about: str, size: int, *command: str, pattern: str = "") -> Row:
    """A program of the guest's Debian sysroot."""
    guest = ("{user}", "-L", "{root}", "{root}/usr/bin/" + command[0], *command[1:])
    return Row(name, "debian", about, guest, size=size, pattern=pattern)


def _speed(name: str, algorithm: str) -> Row:
    command = ("{user}", "-L", "{root}", "{root}/usr/bin/openssl", "speed", "-mr")
    options = ("-seconds", "1", "-bytes", "8192", "-evp", algorithm)
    about = f"openssl speed {algorithm}"
    return Row(name, "debian", about, (*command, *options), same=False, rate=RATE)


def _transfer(name: str, direction: str) -> Row:
    """A file through a forwarded port, compared on the host with what was sent."""
    command = ("{python}", "-m", "bench.transfer", direction, "{n}", "{system}")
    machine = ("-M", "virt", "-m", "1G", "-nographic", "-kernel", "{image}", "-initrd", "{modules}")
    about = f"MiB {direction} the guest by TCP through hostfwd"
    return Row(name, "net", about, (*command, *machine), size=50, same=False, rate=NET_RATE)


def _disk(mode: str, about: str, size: int) -> list[Row]:
    """The disk program in a booted Linux, in MiB, on each kind of disk; it measures by the
    guest's clock."""
    run = f"/{PROGRAM_IN_GUEST} {{n}} {mode} /dev/vda"
    return [
        Row(
            f"disk-{mode}{disk}",
            "disk",
            f"{about}{on}",
            (*before, *LINUX_WITH_MODULES, *words, "-append", f'{CONSOLE} quiet guest.run="{run}"'),
            source="disk",
            size=size,
            pattern=rf"disk {mode} \w{{16}}",
            same=False,
            rate=rf"disk {mode} \w+ (\d+) bytes/s",
        )
        for disk, on, before, words in DISKS
        if before == () or "write" in mode
    ]


def _dd(name: str, words: str, about: str) -> Row:
    """busybox's dd in a booted Linux, timed by the host between two lines."""
    run = f"echo BENCH-BEGIN; dd bs=1M count={{n}} {words} 2>/dev/null; echo BENCH-END"
    return Row(
        name,
        "disk",
        about,
        (*LINUX_WITH_MODULES, *RAW, "-append", f'{CONSOLE} quiet guest.run="{run}"'),
        source="disk",
        size=1000,
        same=False,
        span=("BENCH-BEGIN", "BENCH-END"),
    )


CONSOLE = "console=ttyS0"
NEW_DISK = ("{python}", "-m", "bench.new_disk", "qcow2", str(DISK_KIB >> 10))
MACHINE = ("{system}", "-M", "virt", "-m", "128M", "-nographic", "-kernel", "{image}")
LINUX_WITH_MODULES = (
    *MACHINE,
    *("-initrd", "{modules_overlay}", "-global", "virtio-mmio.force-legacy=false"),
)
RAW = tuple(drive("{disk}", "raw"))
DISKS = (
    # suffix of the row's name, what help adds, words before the machine, words behind it
    ("", "", (), RAW),
    ("-qcow2", ", of a qcow2 image that has them all", (), tuple(drive("{disk_qcow2}", "qcow2"))),
    ("-new", ", of an empty qcow2 image", NEW_DISK, ()),
)
RATE = r"\+F:\d+:[^:]*:([\d.]+)"  # bytes/s in the -mr output of openssl speed
NET_RATE = r"\+F:net:\w+:(\d+)"

INTEGER = (
    _program("integer", "sieve", 1200, "sieve of Eratosthenes"),
    _program("integer", "sha256", 7400, "SHA-256"),
    _program("integer", "lz", 1200, "LZ77 compressor and CRC-32"),
    _program("integer", "sort", 370, "quicksort and heapsort"),
    _program("integer", "matrix", 3500, "integer matrix products, with remainders"),
    _program("integer", "nqueens", 30000, "n queens by bit masks"),
    _program("integer", "hashtable", 2100, "hash table of strings"),
    _program("integer", "strsearch", 1300, "substring search and wildcards"),
    _program("integer", "bytecode", 580, "a bytecode interpreter"),
    _program("integer", "lfsr", 10000, "shift registers and bit tricks"),
    _program("integer", "mix", 5300, "lists, matrices, state machine, CRC-16"),
)


def _step(name: str, tier: str, about: str) -> Row:
    """What a step of translation costs, by guest instruction (bench/steps.py)."""
    command = ("{python}", "-m", "bench.steps", name, "{program}")
    rate = r"([\d.]+) instructions/s"
    return Row(
        f"step-{name}",
        "steps",
        about,
        command,
        source="mix",
        same=False,
        rate=rate,
        only=tier,
        guests=("riscv64",),
    )


STEPS = (
    _step("decode", "baseline", "fetch and decode"),
    _step("choose", "baseline", "extract operands, choose the stencil"),
    _step("copy", "baseline", "copy the stencil, note its holes"),
    _step("finish", "baseline", "cold forms, stubs, holes, records"),
    _step("block", "baseline", "a block of the baseline tier, all steps"),
    _step("lift", "regions", "follow control flow, build micro-ops"),
    _step("write", "regions", "micro-ops to LLVM's text"),
    _step("parse", "regions", "LLVM reads the text"),
    _step("optimise", "regions", "LLVM's passes"),
    _step("emit", "regions", "LLVM makes the object"),
    _step("link", "regions", "object to blob"),
    _step("region", "regions", "a region, all steps"),
)

ROWS = (
    Row(
        "hello",
        "startup",
        "a static program that prints a line",
        ("{user}", "{program}"),
        ("{native}",),
        "hello",
    ),
    Row(
        "true",
        "startup",
        "true of the sysroot, dynamically linked",
        ("{user}", "-L", "{root}", "{root}/usr/bin/true"),
    ),
    Row(
        "python-pass",
        "startup",
        "python3 -c pass on the host, for comparison",
        native=("{python}", "-c", "pass"),
    ),
    *INTEGER,
    replace(
        _program("instruction", "instructions", 10000, "time per guest instruction of each tier"),
        instructions=200_000,
    ),
    *STEPS,
    _program("float", "nbody", 700, "gravity of five bodies, double"),
    _program("float", "matmul", 1800, "matrix product with fused multiply-add, double"),
    _program("float", "fft", 3800, "fast Fourier transform, double"),
    _program("float", "mandelbrot", 750, "escape times, double"),
    _program("float", "spectral", 1850, "spectral norm, double"),
    _program("float", "filter", 480, "digital filters, single"),
    _program("vector", "blend", 7000, "bytes blended, brightened, compared; vectors"),
    _program("vector", "convolve", 5600, "16-bit filter with 32-bit sums; vectors"),
    _program("vector", "vertices", 2000, "points turned by matrices, single; vectors"),
    _program("memory", "memcopy", 1100, "memcpy, memmove, memset"),
    _program("memory", "stride", 530, "reads and writes with strides"),
    _program("memory", "chase", 1700, "pointer chasing"),
    _program("memory", "list", 10000, "linked lists on the heap"),
    _program("branch", "fib", 7500, "recursive calls"),
    _program("branch", "indirect", 4400, "calls through a table"),
    _program("branch", "dispatch", 1400, "switch of many cases"),
    _program("branch", "jump", 24000, "setjmp and longjmp"),
    _program("warmup", "progress", 15000, "many small loops in turn (bench/warmup.py)"),
    _program("syscall", "getpid", 7700, "getpid"),
    _program("syscall", "pipe", 16000, "write and read of a pipe"),
    _program("syscall", "clock", 12000, "clock_gettime"),
    _debian(
        "python-sum",
        "python3, a sum of squares",
        2_000_000,
        *("python3", "-S", "-B", "-c", "print(sum(i * i for i in range({n})))"),
        pattern=r"^\d+\n$",
    ),
    _debian(
        "python-imports",
        "python3, library imports",
        0,
        *("python3", "-B", "-c", "import json, re, decimal; print(json.dumps([1]))"),
        pattern=r"^\[1\]\n$",
    ),
    _debian(
        "bash-loop",
        "bash, an arithmetic loop",
        100_000,
        *("bash", "-c", "for ((i = 0; i < {n}; i++)); do ((s += i % 7)); done; echo $s"),
        pattern=r"^\d+\n$",
    ),
    _debian(
        "gawk",
        "gawk, fields into an array",
        1_500_000,
        *("gawk", "BEGIN {{ for (i = 0; i < {n}; i++) a[i % 1000] += i * 3 % 11; print a[7] }}"),
        pattern=r"^\d+\n$",
    ),
    _debian(
        "python-long",
        "python3, pure Python: dictionaries, sorting, text",
        20,
        *("python3", "-S", "-B", "{scripts}/long.py", "{n}"),
        pattern=r"^\d+\n$",
    ),
    _debian(
        "python-broad",
        "python3, thirty modules imported, part of the library compiled",
        60,
        *("python3", "-B", "{scripts}/broad.py", "{n}"),
        pattern=r"^30 \d+\n$",
    ),
    _debian(
        "bash-configure",
        "bash, many small tests in subshells",
        40,
        *("bash", "{scripts}/configure.sh", "{n}"),
        pattern=r"^checked \d+",
    ),
    _debian(
        "gawk-lines",
        "gawk, words of a text counted",
        8 << 10,
        *("gawk", "{{ n += NF; a[$1 % 977]++ }} END {{ print n, length(a) }}", "{data}"),
        pattern=r"^\d+ \d+\n$",
    ),
    _debian(
        "sha256sum",
        "sha256sum of a file",
        100 << 10,
        *("sha256sum", "{data}"),
        pattern=r"^[0-9a-f]{64}  ",
    ),
    _debian("gzip", "gzip of a file", 8 << 10, "gzip", "-n", "-c", "{data}"),
    _debian(
        "openssl-dgst",
        "openssl dgst -sha512 of a file",
        100 << 10,
        *("openssl", "dgst", "-sha512", "{data}"),
        pattern=r"= [0-9a-f]{128}\n$",
    ),
    _speed("speed-sha256", "sha256"),
    _speed("speed-aes", "aes-128-cbc"),
    Row(
        "boot",
        "boot",
        "Debian's kernel to power-off",
        (*MACHINE, "-initrd", "{initrd}", "-append", f"{CONSOLE} guest.end=poweroff"),
        pattern=r"(?m)^GUEST-END ",
        same=False,
    ),
    *(_in_guest(row) for row in INTEGER),
    _transfer("net-to-guest", "to"),
    _transfer("net-from-guest", "from"),
    *_disk("read", "1 MiB direct reads one after another, two at a time", 1000),
    *_disk("write", "1 MiB direct writes one after another, two at a time", 1000),
    *_disk("randread", "4 KiB direct reads at random places, 32 at a time", 80),
    *_disk("randwrite", "4 KiB direct writes at random places, 32 at a time", 80),
    _dd("dd-read", "if=/dev/vda of=/dev/null", "dd of a disk to nowhere, through the page cache"),
    _dd("dd-write", "if=/dev/zero of=/dev/vda conv=fsync", "dd of zeros to a disk"),
)
