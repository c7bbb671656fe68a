"""Whole guest programs: what they print and how they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.user.conftest import PROGRAMS, run_with

Build = Callable[..., Path]
EXIT = {"code": 0, "signals": 0, "threads": 3, "calls": 0, "blocking": 0}


def expected(name: str) -> str:
    """What QEMU's user mode (signals, threads, blocking) or Linux itself (calls) gives."""
    text = (PROGRAMS / f"{name}.expected").read_text()
    status = os.stat("/etc/passwd")
    first = f"stat {status.st_size} {status.st_mode:o} {status.st_nlink} 1"
    return "\n".join(first if line.startswith("stat 1221") else line for line in text.split("\n"))


# Unicorn's atomic operations are atomic in one instance only: no threads, no exact pc of an
# illegal instruction either.
@pytest.mark.parametrize(
    ("name", "runner"),
    [
        ("calls", "unicorn"),
        ("calls", "engine"),
        ("threads", "engine"),
        ("signals", "engine"),
        ("blocking", "engine"),
        ("code", "engine"),
    ],
)
def test_program(build: Build, name: str, runner: str) -> None:
    done = run_with(runner, build(name))
    assert done.stdout == expected(name)
    assert done.returncode == EXIT[name]


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie", "-Wl,--no-dynamic-linker")])
def test_kinds_of_elf(build: Build, flags: tuple[str, ...]) -> None:
    source = """
static int zero[100000], one = 1;
static long call(long n, long a, long b, long c)
{
    register long a0 asm("a0") = a, a1 asm("a1") = b, a2 asm("a2") = c, a7 asm("a7") = n;
    asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
    return a0;
}
void start(long *sp)
{
    char *last = (char *)sp[sp[0]];
    zero[99999] += one;
    call(64, 1, (long)last, 4);
    call(94, zero[99999] + 4, 0, 0);
}
asm(".globl _start\\n_start:\\nmv a0, sp\\ncall start");
"""
    program = build("bare", *flags, "-nostdlib", "-fPIE", source=source)
    done = run_with("unicorn", program, "last")
    assert (done.stdout, done.returncode) == ("last", 5)


@pytest.mark.skipif(shutil.which("qemu-riscv64") is None, reason="needs qemu-user")
def test_clocks(build: Build) -> None:
    program = build("clocks")
    qemu = subprocess.run(["qemu-riscv64", program], capture_output=True, text=True, timeout=60)
    done = run_with("engine", program)
    assert (done.stdout, done.returncode) == (qemu.stdout, 0)
    assert "0: 0 1, null 14" in done.stdout


@pytest.mark.skipif(shutil.which("qemu-riscv64") is None, reason="needs qemu-user")
@pytest.mark.parametrize("threshold", ["0", "2"])
def test_rounding_modes(build: Build, threshold: str) -> None:
    """Also those that the host does not have: to max magnitude, and the reserved ones."""
    program = build("rounding")
    qemu = subprocess.run(["qemu-riscv64", program], capture_output=True, text=True, timeout=60)
    done = run_with("engine", "-hot-threshold", threshold, program)
    assert (done.stdout, done.returncode) == (qemu.stdout, 0)
    assert "reserved 7" in done.stdout


def test_threads_as_regions(build: Build) -> None:
    """Each block is a region, installed while other threads translate."""
    source = """
static long call(long n, long a, long b, long c, long d, long e)
{
    register long a0 asm("a0") = a, a1 asm("a1") = b, a2 asm("a2") = c, a7 asm("a7") = n;
    register long a3 asm("a3") = d, a4 asm("a4") = e;
    asm volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a7) : "memory");
    return a0;
}
#define F(n) __attribute__((noinline)) static long f##n(long x) { return x < n ? x * n : x + n; }
#define ALL(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(11) X(12) X(13) X(14) X(15) X(16)
ALL(F)
static long sums[8], done;
static char stacks[8][4096] __attribute__((aligned(16)));
void work(long n)
{
    for (int i = 0; i < 3; i++) {
#define CALL(n) sums[n % 8] += f##n(i);
        ALL(CALL)
    }
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
    call(93, 0, 0, 0, 0, 0);
}
void start(void)
{
    for (long n = 0; n < 4; n++) {
        char *stack = stacks[n + 1];
        long child = call(220, 0x50f00, (long)stack, 0, 0, 0);
        if (child == 0) work(n);
    }
    while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) < 4) call(124, 0, 0, 0, 0, 0);
    call(94, 7, 0, 0, 0, 0);
}
asm(".globl _start\\n_start:\\ncall start");
"""
    flags = ("-static", "-nostdlib", "-fno-builtin", "-O1")
    for _ in range(2):
        done = run_with("engine", "-hot-threshold", "1", build("crowd", *flags, source=source))
        assert done.returncode == 7, done.stderr


@pytest.mark.skipif(shutil.which("qemu-riscv64") is None, reason="needs qemu-user")
@pytest.mark.parametrize("threshold", ["0", "2"])
def test_faults_in_a_hot_loop(build: Build, threshold: str) -> None:
    """What a handler sees and changes, in blocks and in regions."""
    program = build("faults")
    qemu = subprocess.run(["qemu-riscv64", program], capture_output=True, text=True, timeout=60)
    done = run_with("engine", "-hot-threshold", threshold, program)
    assert (done.stdout, done.returncode) == (qemu.stdout, qemu.returncode)
    assert "158 faults" in done.stdout and done.returncode == -signal.SIGSEGV
    assert "uncaught target signal 11 (Segmentation fault)" in done.stderr


DIES = "#include <signal.h>\n#include <stdlib.h>\nint main(int c, char **v) { %s; return 0; }"


@pytest.mark.parametrize(
    ("statement", "number", "says"),
    [
        ("*(volatile int *)0 = 1", signal.SIGSEGV, "signal 11 (Segmentation fault)"),
        ("abort()", signal.SIGABRT, "signal 6 (Aborted)"),
        ("raise(SIGTERM)", signal.SIGTERM, ""),
        ("((void (*)(void))0x100)()", signal.SIGSEGV, "signal 11 (Segmentation fault)"),
    ],
)
def test_death_by_signal(build: Build, statement: str, number: int, says: str) -> None:
    done = run_with("unicorn", build("dies", source=DIES % statement))
    assert done.returncode == -number
    assert says in done.stderr


def test_strace(build: Build) -> None:
    source = """
#include <fcntl.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(void) {
    openat(AT_FDCWD, "/no/such", O_RDONLY | O_CLOEXEC);
    brk(0); lseek(0, 5, SEEK_CUR); syscall(9999); _exit(3);
}
"""
    done = run_with("unicorn", "-strace", build("traced", source=source))
    lines = [line.split(" ", 1)[-1] for line in done.stderr.splitlines()]
    failure = "-1 errno=2 (No such file or directory)"
    assert f'openat(AT_FDCWD,"/no/such",O_RDONLY|O_CLOEXEC) = {failure}' in lines
    assert any(line.startswith("brk(NULL) = 0x") for line in lines)
    assert any(line.startswith("lseek(0,5,SEEK_CUR) = ") for line in lines)
    assert "Unknown syscall 9999" in lines
    assert "exit_group(3)" in lines
    assert done.returncode == 3


def test_host_code_is_shown_by_guest_address(build: Build) -> None:
    """The OUT part of a block has a line for each instruction of its IN part."""
    source = """
asm(".globl _start\\n_start: li a0, 3\\n1: addi t0, sp, 8\\nsd t0, -16(t0)\\naddi a0, a0, -1\\n"
    "bnez a0, 1b\\nli a7, 94\\necall");
"""
    program = build("shown", "-static", "-nostdlib", source=source)
    done = run_with("engine", "-d", "in_asm,out_asm", program)
    blocks = done.stderr.split("----------------\n")[1:]
    assert done.returncode == 0 and blocks
    for block in blocks:
        inside, _, outside = block.partition("OUT: ")
        wanted = re.findall(r"(?m)^0x([0-9a-f]{16}):", inside)
        assert wanted == re.findall(r"(?m)^  -- guest addr 0x([0-9a-f]{16})$", outside)


def test_script_and_argv0(build: Build, tmp_path: Path) -> None:
    source = """
#include <stdio.h>
#include <unistd.h>
int main(int c, char **v) {
    for (int i = 0; i < c; i++) printf("[%s]", v[i]);
    printf("\\n"); fflush(stdout);
    if (c == 2) execl(v[1], "zero", "more", (char *)0);
    return 0;
}
"""
    program = build("args", source=source)
    script = tmp_path / "script"
    script.write_text(f"#!{program} option word\n")
    script.chmod(0o755)
    done = run_with("unicorn", "-0", "name", program, script)
    assert done.stdout == f"[name][{script}]\n[{program}][option word][{script}][more]\n"


def test_sysroot(build: Build, tmp_path: Path) -> None:
    source = """
#include <stdio.h>
int main(void) { char s[9] = ""; fgets(s, 9, fopen("/etc/only-there", "r")); puts(s); }
"""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/only-there").write_text("found")
    done = run_with("unicorn", "-L", tmp_path, build("sysroot", source=source))
    assert done.stdout == "found\n"


def test_uname_release(build: Build) -> None:
    source = """
#include <stdio.h>
#include <sys/utsname.h>
int main(void) { struct utsname u; uname(&u); puts(u.release); }
"""
    assert run_with("unicorn", "-r", "9.8.7", build("uname", source=source)).stdout == "9.8.7\n"


def test_errors(build: Build, tmp_path: Path) -> None:
    dynamic = build("dynamic", "-O1", source="int main(void) { return 0; }")
    cut = tmp_path / "cut"
    cut.write_bytes(dynamic.read_bytes()[:3000])
    text = tmp_path / "text"
    text.write_text("hello\n")
    for path in (cut, text):
        path.chmod(0o755)
    cases = [
        ("/no/such", 1, "No such file or directory"),
        ("/etc", 1, "Permission denied"),
        (cut, 255, "Invalid ELF image for this architecture"),
        (text, 255, "Invalid ELF image for this architecture"),
        ("/bin/sh", 255, "Invalid ELF image for this architecture"),
        (dynamic, 255, "Could not open '/lib/ld-linux-riscv64-lp64d.so.1'"),
    ]
    for path, status, says in cases:
        done = run_with("unicorn", "-L", tmp_path, path)
        assert (done.returncode, done.stderr.count("\n")) == (status, 1), done.stderr
        assert says in done.stderr
