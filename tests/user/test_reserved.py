"""The 4 GiB of a 32-bit guest, and its structures."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Generator
from importlib import import_module
from pathlib import Path

import pytest

from jitemu.user import hostcalls, siginfo32
from jitemu.user.arm import Arm, helpers
from jitemu.user.hostcalls import PAGE, GuestFault, read_guest, write_guest
from jitemu.user.layouts32 import LAYOUTS
from jitemu.user.memory import MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_PRIVATE
from jitemu.user.registers32 import fetch, guest_open_flags, open_flags
from jitemu.user.reserved import SIZE, ReservedSpace
from jitemu.user.signals import fault_info, make_info
from jitemu.user.syscalls.table import every_row

ANONYMOUS, NO_FILE = MAP_PRIVATE | MAP_ANONYMOUS, (1 << 64) - 1
LIMIT = 0xFFFF0000


@pytest.fixture
def space() -> Generator[ReservedSpace]:
    made = ReservedSpace(LIMIT)
    hostcalls.set_base(made.base)
    yield made
    hostcalls.set_base(0)


def test_nothing_leaves_the_reservation(space: ReservedSpace) -> None:
    at = space.mmap(0, 2 * PAGE, 3, ANONYMOUS, NO_FILE, 0)
    assert 0 < at < LIMIT
    write_guest(at, b"text")
    assert read_guest(at, 4) == b"text"
    for wild in (0, 8, at + 2 * PAGE, LIMIT, SIZE - 4):
        with pytest.raises(GuestFault):
            read_guest(wild, 16)
    fixed = ANONYMOUS | MAP_FIXED
    assert space.mmap(LIMIT, PAGE, 3, fixed, NO_FILE, 0) == -errno.ENOMEM
    assert space.mmap(LIMIT - PAGE, 2 * PAGE, 3, fixed, NO_FILE, 0) == -errno.ENOMEM
    assert space.mmap(0, PAGE, 3, fixed, NO_FILE, 0) == -errno.EPERM
    assert space.mmap(at, PAGE, 3, ANONYMOUS | MAP_FIXED_NOREPLACE, NO_FILE, 0) == -errno.EEXIST
    assert space.mmap(0, LIMIT, 3, ANONYMOUS, NO_FILE, 0) == -errno.ENOMEM
    assert space.munmap(LIMIT, PAGE) == -errno.EINVAL
    assert space.munmap(at, PAGE) == 0
    with pytest.raises(GuestFault):
        read_guest(at, 1)
    assert read_guest(at + PAGE, 1) == b"\0"


def _holes() -> list[str]:
    """Host mappings in the reservation's part of /proc/self/maps."""
    with open("/proc/self/maps") as file:
        return file.readlines()


def test_reservation_has_no_holes(space: ReservedSpace) -> None:
    first = space.mmap(0x100000, 4 * PAGE, 3, ANONYMOUS, NO_FILE, 0)
    assert first == 0x100000
    write_guest(first, b"moved")
    second = space.mremap(first, 4 * PAGE, 8 * PAGE, 1, 0)
    assert second not in (first, 0) and read_guest(second, 5) == b"moved"
    assert space.mremap(second, 8 * PAGE, 9 * PAGE, 0, 0) == -errno.ENOMEM
    third = space.mremap(second, 8 * PAGE, 2 * PAGE, 3, 0x200000)
    assert third == 0x200000 and read_guest(third, 5) == b"moved"
    assert space.mremap(third, 2 * PAGE, PAGE, 0, 0) == third
    assert space.mmap(0x300000, PAGE, 3, MAP_PRIVATE | MAP_FIXED, NO_FILE, 0) == -errno.EBADF
    assert space.munmap(third, PAGE) == 0
    at = space.base
    for line in _holes():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if low <= at < high:
            at = high
    assert at >= space.base + SIZE


def test_table_numbers() -> None:
    """Numbers, against the cross compiler's headers."""
    names = (*"files polling memory net time process signals system".split(), *Arm.calls)
    for topic in names:
        import_module(f"jitemu.user.syscalls.{topic}")
    found: dict[str, int] = {}
    for header in Path("/usr/arm-linux-gnueabihf/include/asm").glob("unistd-*.h"):
        pattern = r"__NR_(\w+)\s+\(__NR_SYSCALL_BASE \+ (\d+)\)"
        found |= {name: int(number) for name, number in re.findall(pattern, header.read_text())}
    if not found:
        pytest.skip("needs libc6-dev-armhf-cross")
    rows = {row.name: number for number, row in every_row("arm").items() if number < 0xF0000}
    assert {n: v for n, v in rows.items() if found.get(n) != v} == {}
    assert len(rows) > 360


def test_arguments_in_pairs() -> None:
    registers = [0x10 + i for i in range(7)]
    take = fetch(registers.__getitem__, tuple(range(7)), ("fd", "ptr", "size", "loff"))
    assert take() == (0x10, 0x11, 0x12, 0x14 | 0x15 << 32)
    registers[1] = 0xFFFFFFFE
    take = fetch(registers.__getitem__, tuple(range(7)), ("fd", "off", "whence"))
    assert take() == (0x10, (1 << 64) - 2, 0x12)
    for flags in (0o40000, 0o100000, 0o200000, 0o2400002, os.O_CREAT):
        assert guest_open_flags(open_flags(flags)) == flags
    assert open_flags(0o40000) == os.O_DIRECTORY


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_agree(name: str) -> None:
    """Small numbers survive the way to the host's form and back."""
    layout = LAYOUTS[name]
    count = len(layout.guest.unpack(bytes(layout.guest.size)))
    guest = layout.guest.pack(*range(1, count + 1))
    assert layout.to_guest(layout.to_host(guest)) == guest


def test_siginfo() -> None:
    info = fault_info(11, 1, 0xF0000010)
    assert siginfo32.to_guest(info)[:16] == bytes.fromhex("0b0000000000000001000000100000f0")
    for given in (info, make_info(10, 0, 1234, 1000), make_info(17, 1, 5, 6, 7)):
        info = given.ljust(128, b"\0")
        assert siginfo32.to_host(siginfo32.to_guest(info)) == info


def test_helper_page_is_where_the_kernel_has_it() -> None:
    page = helpers()
    assert page[0xFFC] == 5 and page[0xFE0:0xFE8] == bytes.fromhex("700f1dee1eff2fe1")
