"""The same questions to QEMU's monitor and to jitemu's, of the same guest."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitor.talk import ROOT, Emulator

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-riscv64") is None or shutil.which("riscv64-linux-gnu-gcc") is None,
    reason="needs qemu-system-riscv64 and riscv64-linux-gnu-gcc",
)
NET = ["-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0,id=nic"]


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    elf = tmp_path_factory.mktemp("guest") / "guest.elf"
    source = ROOT / "tests/monitor/guest.S"
    words = ["-nostdlib", "-static", "-march=rv64imafd_zicsr", "-mabi=lp64d"]
    words += ["-Wl,-Ttext=0x80000000", "-Wl,-N", "-Wl,--build-id=none", "-o", str(elf), str(source)]
    subprocess.run(["riscv64-linux-gnu-gcc", *words], check=True)
    return elf


@pytest.fixture(scope="module")
def pair(guest: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Emulator]]:
    """QEMU and jitemu with the guest spinning."""
    folder = tmp_path_factory.mktemp("pair")
    words = ["-bios", "none", "-kernel", str(guest), *NET]
    both = [Emulator(folder / name, words, name == "q", wait="ready") for name in ("q", "j")]
    time.sleep(0.2)  # from the UART to where it spins
    yield both
    for emulator in both:
        emulator.close()


@pytest.mark.parametrize(
    "command",
    [
        "info registers",
        "info mem",
        "info status",
        "info name",
        "info network",
        "x /4xw 0x40000000",
        "x /3xg 0x40000010",
        "x /5xh 0x40002000",
        "x /17xb 0x40000000",
        "x /14c 0x40000000",
        "x /3dg 0x40000010",
        "x /2ug 0x40000010",
        "x /4dw 0x40000010",
        "x /2dh 0x40000010",
        "x /9ub 0x40000010",
        "x /3og 0x40000010",
        "x /5ob 0x40000010",
        "x 0x40000000",
        "x /3 0x40000000",
        "x /2xg 0x40200000",
        "x /20xw 0x40000fe8",
        "x 0x50000000",
        "x /2i 0xffffffffc0000000",
        "xp /8xw 0x80000000",
        "xp /4xb 0x1000",
        "xp /4xw 0x10001000",
        "xp /3xh 0x10000000",
        "xp /2xg 0x10000000",
        "xp /2xw 0x0c000000",
        "xp /xw 0x0c000001",
        "xp /xw 0x100000",
        "xp /xw 0x02000000",
        "xp /2xg 0x0200bff8",
        "xp /xw 0x10100000",
        "xp /2xb 0x101000",
        "xp /xw 0x5000000",
        "print 1+2*3",
        "print 1+2|4",
        "print 7&3+1",
        "print -1",
        "print ~0",
        "print /x -1",
        "print /o 8",
        "print /u -1",
        "print /c 0x41",
        "print /c 10",
        "print 010",
        "print 'a'",
        "print (1+2)*3",
        "print 7/2",
        "print 7%4",
        "print -5/2",
        "print 1<<2",
        "print 5/0",
        "print (1",
        "print",
        "print $nothing",
        "print 0x",
        "print zz",
        "x",
        "x /zz 0",
        "memsave 1",
        "memsave 1 2",
        "gva2gpa 0x40002123",
        "gva2gpa 0x40203456",
        "gva2gpa 0x60000000",
        "help x",
        "help print",
        "help memsave",
        "help stop",
        "help info",
        "stop now",
        "nothing",
        "info nothing",
        "hostfwd_add",
        "hostfwd_add tcp::1",
        "hostfwd_add n9 tcp::1-:2",
        "hostfwd_remove tcp::4",
        "hostfwd_remove",
        "eject nothing",
        "block_resize nothing 1G",
        "block_resize nothing",
        "block_resize nothing -5",
        "block_resize nothing 9E",
        "help block_resize",
        "eject -z nothing",
        "chardev-send-break nothing",
        "",
        "   ",
    ],
)
def test_answers(pair: list[Emulator], command: str) -> None:
    qemu, jitemu = (emulator.ask(command) for emulator in pair)
    if command == "help info":
        ours = [line.split(" -- ")[0].split()[1] for line in jitemu.splitlines()]
        theirs = [line.split(" -- ")[0].split()[1] for line in qemu.splitlines() if "--" in line]
        assert set(ours) <= set(theirs)
        return
    if command == "x /2i 0xffffffffc0000000":  # another disassembler's spelling
        qemu, jitemu = (re.sub(r"(: +[0-9a-f]+).*", r"\1", text) for text in (qemu, jitemu))
    assert jitemu == qemu


def test_saved_memory(pair: list[Emulator], tmp_path: Path) -> None:
    files: list[bytes] = []
    for number, emulator in enumerate(pair):
        for what in ("memsave 0x40000000 40", "pmemsave 0x80000000 5000"):
            path = tmp_path / f"{number}"
            assert emulator.ask(f'{what} "{path}"') == ""
            files.append(path.read_bytes())
    assert files[:2] == files[2:]
    assert files[0].startswith(b"Some text\n")


def test_forwards(pair: list[Emulator]) -> None:
    for emulator in pair:
        assert "TCP" not in emulator.ask("info usernet")
        assert emulator.ask("hostfwd_add n0 tcp:127.0.0.1:0-:22") == ""
        table = emulator.ask("info usernet")
        row = re.search(r"TCP\[HOST_FORWARD\] +\d+ +127.0.0.1 +(\d+) +10.0.2.15 +22", table)
        assert row is not None
        removed = emulator.ask(f"hostfwd_remove tcp:127.0.0.1:{row[1]}")
        assert removed == f"host forwarding rule for tcp:127.0.0.1:{row[1]} removed\n"
        assert "TCP" not in emulator.ask("info usernet")


def test_stop_and_continue(pair: list[Emulator]) -> None:
    for emulator in pair:
        assert emulator.ask("stop") == ""
        assert emulator.ask("info status") == "VM status: paused\n"
        assert emulator.ask("s") == ""
        assert "pc       ffffffff" in emulator.ask("info registers")
        assert emulator.ask("c") == ""
        assert emulator.ask("info status") == "VM status: running\n"


def test_banner(pair: list[Emulator]) -> None:
    qemu, jitemu = (emulator.talk.banner for emulator in pair)
    assert re.fullmatch(r"jitemu [0-9.]* monitor - type 'help' for more information\r\n", jitemu)
    assert qemu.partition("monitor")[2] == jitemu.partition("monitor")[2]


def test_frozen_at_the_start(guest: Path, tmp_path: Path) -> None:
    words = ["-S", "-bios", "none", "-kernel", str(guest)]
    for name in ("q", "j"):
        emulator = Emulator(tmp_path / name, words, name == "q")
        try:
            assert emulator.ask("info status") == "VM status: paused (prelaunch)\n"
            assert " pc       0000000000001000\n" in emulator.ask("info registers")
            assert emulator.ask("xp /1xw 0x1000") == "0000000000001000: 0x00000297\n"
            assert emulator.ask("cont") == ""
            time.sleep(0.5)
            assert " pc       0000000000001000\n" not in emulator.ask("info registers")
            emulator.ask("stop")
            assert emulator.ask("system_reset") == ""
            time.sleep(0.2)
            assert emulator.ask("info status") == "VM status: paused (prelaunch)\n"
            assert " pc       0000000000001000\n" in emulator.ask("info registers")
            emulator.ask("quit")
            assert emulator.process.wait(20) == 0
        finally:
            emulator.close()
