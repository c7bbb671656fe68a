"""The parts of Linux user mode by themselves."""

from __future__ import annotations

import errno
import os
import random
import struct
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from jitemu.user import elf
from jitemu.user.hostcalls import (
    PAGE,
    GuestError,
    GuestFault,
    read_guest,
    read_string,
    signed32,
    write_guest,
)
from jitemu.user.memory import (
    ADDRESS_LIMIT,
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_PRIVATE,
    MAPS_LOW,
    GuestSpace,
)
from jitemu.user.reserved import ReservedSpace
from jitemu.user.riscv64 import Riscv64
from jitemu.user.strace import format_argument
from jitemu.user.syscalls.table import every_row

ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS
NO_FILE = (1 << 64) - 1


def new_pages(space: GuestSpace, count: int, prot: int = 3) -> int:
    at = space.mmap(0, count * PAGE, prot, ANONYMOUS, NO_FILE, 0)
    assert at > 0
    return at


def test_copies_check_pointers() -> None:
    space = GuestSpace()
    at = new_pages(space, 2)
    write_guest(at + 10, b"text\0")
    assert read_guest(at + 10, 4) == b"text"
    assert read_string(at + 10) == b"text"
    space.mprotect(at + PAGE, PAGE, 1)
    with pytest.raises(GuestFault):
        write_guest(at + PAGE - 2, b"1234")
    space.munmap(at + PAGE, PAGE)
    write_guest(at + PAGE - 3, b"end")
    with pytest.raises(GuestFault):
        read_string(at + PAGE - 3)
    for wild in (0, 8, 1 << 47, (1 << 64) - 1, 1 << 63):
        with pytest.raises(GuestFault):
            read_guest(wild, 8)
    with pytest.raises(GuestFault):
        read_guest(at, 1 << 40)
    write_guest(at, b"a" * PAGE)
    with pytest.raises(GuestError):
        read_string(at, 64)
    space.munmap(at, PAGE)


def test_host_memory_is_out_of_reach() -> None:
    space = GuestSpace()
    with open("/proc/self/maps") as file:
        low = next(int(line.split("-")[0], 16) for line in file if "libc" in line)
    fixed = ANONYMOUS | MAP_FIXED
    assert space.mmap(low, PAGE, 3, fixed, NO_FILE, 0) == -errno.ENOMEM
    assert space.mmap(low - 64 * PAGE, 65 * PAGE, 3, fixed, NO_FILE, 0) == -errno.ENOMEM
    assert space.munmap(low, PAGE) == 0
    assert space.mprotect(low, PAGE, 0) == -errno.ENOMEM
    assert space.mremap(low, PAGE, 2 * PAGE, 1, 0) == -errno.EFAULT
    at = new_pages(space, 1)
    assert space.mremap(at, PAGE, PAGE, 3, low) == -errno.ENOMEM
    assert space.regions() == [space.region_at(at)]
    assert os.getpid() > 0  # libc still answers


SPACES = pytest.mark.parametrize(
    "make_space", [GuestSpace, lambda: ReservedSpace(0xFFFF0000)], ids=["host", "reserved"]
)


@SPACES
def test_bookkeeping_against_a_page_map(make_space: Callable[[], GuestSpace]) -> None:
    space, chance = make_space(), random.Random(1)
    base, count = new_pages(space, 64), 64
    model: list[int | None] = [3] * count
    for _ in range(400):
        first = chance.randrange(count)
        length = chance.randrange(1, count - first + 1)
        prot = chance.randrange(8)
        pages = range(first, first + length)
        at, size = base + first * PAGE, length * PAGE
        action = chance.randrange(3)
        if action == 0:
            assert space.munmap(at, size) == 0
            for page in pages:
                model[page] = None
        elif action == 1:
            assert space.mmap(at, size, prot, ANONYMOUS | MAP_FIXED, NO_FILE, 0) == at
            for page in pages:
                model[page] = prot
        else:
            whole = all(model[page] is not None for page in pages)
            assert space.mprotect(at, size, prot) == (0 if whole else -errno.ENOMEM)
            if whole:
                for page in pages:
                    model[page] = prot
        found = [space.region_at(base + page * PAGE) for page in range(count)]
        assert [region and region.prot for region in found] == model
    space.munmap(base, count * PAGE)
    assert space.regions() == []


@SPACES
def test_changed_code_is_announced(make_space: Callable[[], GuestSpace]) -> None:
    space = make_space()
    told: list[tuple[int, int]] = []
    at = new_pages(space, 4, prot=5)
    space.on_code_change = lambda start, size: told.append((start, size))
    space.mprotect(at, PAGE, 3)
    space.mmap(at + PAGE, PAGE, 3, ANONYMOUS | MAP_FIXED, NO_FILE, 0)
    space.munmap(at + 2 * PAGE, 2 * PAGE)
    assert told == [(at, PAGE), (at + PAGE, PAGE), (at + 2 * PAGE, 2 * PAGE)]
    space.munmap(at, 2 * PAGE)
    assert len(told) == 3


def test_damaged_headers(tmp_path: Path) -> None:
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01".ljust(16, b"\0"), 2, Riscv64.elf_machine, 1, 0x10000, 64, 0, 0),
        *(64, 56, 1, 0, 0, 0),
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x10000, 0x10000, 120, 120, PAGE)
    good, chance = header + load, random.Random(2)
    path = tmp_path / "program"
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 127, 255))
        path.write_bytes(data[: chance.randrange(1, 121)] if chance.random() < 0.3 else data)
        fd = os.open(path, os.O_RDONLY)
        try:
            assert elf.read_headers(fd, Riscv64(), ADDRESS_LIMIT).loads
        except elf.NotForThisGuest:
            refused += 1
        finally:
            os.close(fd)
    assert 30 < refused < 300


def test_table_numbers() -> None:
    for topic in "files polling memory net time process signals system".split():
        import_module(f"jitemu.user.syscalls.{topic}")
    # Linux's uapi: asm-generic numbers for riscv64, unistd_64.h for the host.
    known = {"read": (63, 0), "openat": (56, 257), "clone": (220, 56), "statx": (291, 332)}
    by_name = {row.name: (number, row.host) for number, row in every_row("riscv64").items()}
    assert all(by_name[name] == numbers for name, numbers in known.items())
    assert len(every_row("riscv64")) > 280
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if header.exists():
        words = [line.split() for line in header.read_text().splitlines()]
        host = {w[1][5:]: int(w[2]) for w in words if len(w) == 3 and w[1].startswith("__NR_")}
        wrong = {n for n, (_, number) in by_name.items() if number not in (None, host.get(n))}
        assert not wrong


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("prot", 3, "PROT_READ|PROT_WRITE"),
        ("prot", 0, "PROT_NONE"),
        ("oflags", 0o2000000, "O_RDONLY|O_CLOEXEC"),
        ("oflags", 0o102, "O_RDWR|O_CREAT"),
        ("dirfd", (1 << 64) - 100, "AT_FDCWD"),
        ("ptr", 0, "NULL"),
        ("signal", 11, "SIGSEGV"),
        ("futexop", 129, "FUTEX_PRIVATE_FLAG|FUTEX_WAKE"),
        ("size", (1 << 64) - 1, "-1"),
        ("path", 8, "0x0000000000000008"),
    ],
)
def test_strace_arguments(kind: str, value: int, text: str) -> None:
    assert format_argument(kind, value) == text


def test_signed() -> None:
    assert signed32(0xFFFFFFFF) == -1


def test_mappings_are_at_the_same_places_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the top of an area of their own down; what is freed at the lower end is used again."""
    top = MAPS_LOW + (1 << 30)  # other tests have left mappings at the real one
    monkeypatch.setattr("jitemu.user.memory.MAPS_HIGH", top)
    places: list[list[int]] = []
    for _ in range(2):
        space = GuestSpace()

        first, second, third = (new_pages(space, count) for count in (3, 1, 2))
        assert (first, second, third) == (top - 3 * PAGE, first - PAGE, second - 2 * PAGE)
        assert space.munmap(third, 2 * PAGE) == 0
        assert new_pages(space, 1) == second - PAGE
        fixed = second - 3 * PAGE
        assert space.mmap(fixed, PAGE, 1, ANONYMOUS | MAP_FIXED, NO_FILE, 0) == fixed
        assert new_pages(space, 2) == fixed - 2 * PAGE  # below what is in the way
        places.append([region.start for region in space.regions()])
        for region in space.regions():
            space.munmap(region.start, region.end - region.start)
    assert places[0] == places[1]
