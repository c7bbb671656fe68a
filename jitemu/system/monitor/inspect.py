"""Commands that look at the hart and at memory.  They run between two of its instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.system.monitor.commands import (
    FORMAT,
    NUMBER,
    STRING,
    CommandError,
    Format,
    command,
    info,
)
from jitemu.system.monitor.expression import signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jitemu.system.monitor.session import Monitor

    Read = Callable[[int, int], bytes | None]

PAGE = 4096
MASK64 = (1 << 64) - 1
MOST = 1 << 20  # items that one dump shows
LONGEST_INSTRUCTION = 4
DIGITS = {  # characters of a number of so many bytes
    "x": {1: 2, 2: 4, 4: 8, 8: 16},
    "o": {1: 3, 2: 6, 4: 11, 8: 22},
    "d": {1: 3, 2: 5, 4: 10, 8: 20},
}
DIGITS["u"] = DIGITS["d"]


def _physical(monitor: Monitor, address: int, size: int) -> bytes | None:
    """Bytes at a physical address, of memory or a device; None where there is neither."""
    return monitor.machine.space.inspect(address, size)


def _virtual(monitor: Monitor, address: int, size: int) -> bytes | None:
    """Bytes at an address as the hart sees it now; None where nothing is mapped."""
    data = b""
    while len(data) < size:
        at = address + len(data) & MASK64
        part = min(size - len(data), PAGE - at % PAGE)
        physical = monitor.machine.hart.translate(at)
        found = None if physical is None else _physical(monitor, physical, part)
        if found is None:
            return None
        data += found
    return data


@command("x", "/fmt addr", "virtual memory dump starting at 'addr'", FORMAT, NUMBER, on_hart=True)
def dump_virtual(monitor: Monitor, how: Format, address: int) -> None:
    _dump(monitor, how, address, lambda at, size: _virtual(monitor, at, size))


@command("xp", "/fmt addr", "physical memory dump starting at 'addr'", FORMAT, NUMBER, on_hart=True)
def dump_physical(monitor: Monitor, how: Format, address: int) -> None:
    _dump(monitor, how, address, lambda at, size: _physical(monitor, at, size))


def _dump(monitor: Monitor, how: Format, address: int, read: Read) -> None:
    if how.number > MOST:
        raise CommandError(f"at most {MOST} items can be shown")
    last = monitor.last_format
    shape = how.shape or last.shape
    size = how.size or (1 if shape == "c" else last.size)
    monitor.last_format = Format(1, shape, size)
    if shape == "i":
        _disassemble(monitor, how.number, address, read)
        return
    left, line_size = size * how.number, 8 if size == 1 else 16
    while left:
        length = min(left, line_size)
        data = read(address, length)
        if data is None:
            monitor.print(f"{address:016x}: Cannot access memory")
            return
        words = [data[at : at + size] for at in range(0, length, size)]
        items = [_item(shape, size, int.from_bytes(word, "little")) for word in words]
        monitor.print(f"{address:016x}: {' '.join(items)}")
        address = address + length & MASK64
        left -= length


def _item(shape: str, size: int, value: int) -> str:
    if shape == "c":
        return _character(value)
    digits = DIGITS[shape][size]
    if shape == "x":
        return f"0x{value:0{digits}x}"
    if shape == "o":
        return f"{'0' if value else ''}{value:o}".rjust(digits)
    return f"{signed(value) if shape == 'd' and size == 8 else value:{digits}d}"


def _character(value: int) -> str:
    value &= 0xFFFF_FFFF
    named = {0x27: "\\'", 0x5C: "\\\\", 0x0A: "\\n", 0x0D: "\\r"}
    plain = chr(value) if 0x20 <= value <= 0x7E else f"\\x{value:02x}"
    return f"'{named.get(value, plain)}'"


def _disassemble(monitor: Monitor, count: int, address: int, read: Read) -> None:
    from jitemu.trace_asm import guest_lines

    for _ in range(count):
        code = read(address, 2)
        if code is not None and code[0] & 3 == 3:
            code = read(address, LONGEST_INSTRUCTION)
        if code is None:
            monitor.print(f"Address {address:#x} is out of bounds.")
            return
        monitor.print("\n".join(guest_lines(address, code)))
        address = address + len(code) & MASK64


@command(
    "print|p",
    "/fmt expr",
    "print expression value (use $reg for CPU register access)",
    FORMAT,
    NUMBER,
    on_hart=True,
)
def print_value(monitor: Monitor, how: Format, value: int) -> None:
    shapes: dict[str, Callable[[int], str]] = {
        "x": lambda v: f"{v:#x}" if v else "0",
        "o": lambda v: f"0{v:o}" if v else "0",
        "u": str,
        "c": _character,
    }
    name = how.shape or monitor.last_format.shape
    monitor.last_format = monitor.last_format._replace(shape=name)
    shape = shapes.get(name)
    monitor.print(str(signed(value)) if shape is None else shape(value))


@command(
    "memsave",
    "addr size file",
    "save to disk virtual memory dump starting at 'addr' of size 'size'",
    *(NUMBER, NUMBER, STRING),
    on_hart=True,
)
def save_virtual(monitor: Monitor, address: int, size: int, path: str) -> None:
    _save(address, size, path, lambda at, length: _virtual(monitor, at, length))


@command(
    "pmemsave",
    "addr size file",
    "save to disk physical memory dump starting at 'addr' of size 'size'",
    *(NUMBER, NUMBER, STRING),
    on_hart=True,
)
def save_physical(monitor: Monitor, address: int, size: int, path: str) -> None:
    _save(address, size, path, lambda at, length: _physical(monitor, at, length))


def _save(address: int, size: int, path: str, read: Read) -> None:
    with open(path, "wb") as file:
        while size:
            part = min(size, PAGE - address % PAGE)
            data = read(address, part)
            if data is None:
                raise CommandError(f"Error: Invalid addr {address:#018x}/size {size} specified")
            file.write(data)
            address, size = address + part & MASK64, size - part


@command(
    "gva2gpa",
    "addr",
    "print the guest physical address corresponding to a guest virtual address",
    NUMBER,
    on_hart=True,
)
def show_translation(monitor: Monitor, address: int) -> None:
    physical = monitor.machine.hart.translate(address)
    monitor.print("Unmapped" if physical is None else f"gpa: {physical:#x}")


@info("registers", "", "show the cpu registers", on_hart=True)
def show_registers(monitor: Monitor) -> None:
    monitor.print("\nCPU#0")
    for line in monitor.machine.hart.register_lines():
        monitor.print(line)


@info("mem", "", "show the active virtual memory mappings", on_hart=True)
def show_mappings(monitor: Monitor) -> None:
    for line in monitor.machine.hart.mapping_lines():
        monitor.print(line)


@info("cpus", "", "show infos for each CPU")
def show_harts(monitor: Monitor) -> None:
    for index, thread in enumerate(monitor.machine.hart_threads()):
        mark = "*" if index == 0 else " "
        monitor.print(f"{mark} CPU #{index}: thread_id={thread}")
