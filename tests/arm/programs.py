"""Freestanding programs in the engine: compiled C, with write and exit as its only calls."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from jitemu.frontends.arm.cpu import parse_cpu
from jitemu.hostmemory import libc
from jitemu.ir.state import EXIT_SYSCALL
from jitemu.runtime.engine import CodeSpace
from jitemu.runtime.guest_arm import arm_user
from jitemu.runtime.setup import translation_for
from jitemu.runtime.tiers import Pieces, Tiers
from jitemu.runtime.user_processor import UserProcessor, UserSpace

GCC = shutil.which("arm-linux-gnueabihf-gcc")
QEMU = shutil.which("qemu-arm")
SOURCE = Path(__file__).with_name("program.c")
STACK, STACK_SIZE = 0x20000000, 1 << 20
_PRIVATE_FIXED = 0x100000 | 0x22
_READ_WRITE = 3
_WRITE, _EXIT = 4, 1


def build(folder: Path, *flags: str) -> Path:
    """The program compiled with these flags."""
    assert GCC
    program = folder / "program"
    fixed = "-nostdlib -static -ffreestanding -fno-builtin -march=armv7ve"
    place = "-fomit-frame-pointer -mfloat-abi=soft -Wl,-Ttext=0x10000000"
    command = [GCC, *fixed.split(), *place.split(), *flags, "-o", str(program), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return program


class Memory:
    """What was mapped: (start, size, writable)."""

    base = 0

    def __init__(self) -> None:
        self.pages: list[tuple[int, int, bool]] = []

    def add(self, start: int, size: int, data: bytes, writable: bool) -> None:
        """Map pages at a guest address."""
        first = start & -4096
        size = (start + size - first + 4095) & -4096
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (
            [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        )
        got = libc.mmap(first, size, _READ_WRITE, _PRIVATE_FIXED, -1, 0)
        assert got == first, hex(got or 0)
        ctypes.memmove(start, data, len(data))
        self.pages.append((first, size, writable))

    def release(self) -> None:
        """Unmap all."""
        for start, size, _ in self.pages:
            libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(size))

    def code_size(self, pc: int) -> int:
        """Bytes from there to the end of its mapping."""
        return next((s + n - pc for s, n, w in self.pages if s <= pc < s + n and not w), 0)

    def mapped(self, address: int) -> bool:
        """It was mapped."""
        return any(s <= address < s + n for s, n, _ in self.pages)

    def writable(self, address: int) -> bool:
        """It is in memory for data."""
        return any(s <= address < s + n and w for s, n, w in self.pages)

    def shared(self, address: int) -> bool:
        """It is not."""
        return False


def load(memory: Memory, program: Path) -> int:
    """Map a static program; its entry (bit 0: Thumb)."""
    data = program.read_bytes()
    entry, table = struct.unpack_from("<II", data, 24)
    count = struct.unpack_from("<H", data, 44)[0]
    for number in range(count):
        kind, offset, address, _, file_size, size, flags, _ = struct.unpack_from(
            "<8I", data, table + 32 * number
        )
        if kind == 1:
            memory.add(address, size, data[offset : offset + file_size], bool(flags & 2))
    return entry


def _snapshot(memory: Memory):
    def snapshot(pc: int) -> Callable[[object], Pieces]:
        start, size, _ = next(m for m in memory.pages if m[0] <= pc & 0xFFFFFFFE < m[0] + m[1])
        return lambda _: [(start, ctypes.string_at(start, size))]

    return snapshot


def run(program: Path, threshold: int = 0) -> bytes:
    """What a program writes; with a threshold of 1 every block is a region."""
    guest = arm_user(parse_cpu("max"))
    memory = Memory()
    space = UserSpace(guest, translation_for(guest), memory)
    processor = UserProcessor(space)
    try:
        if threshold:
            _regions(space, memory, threshold, processor)
        memory.add(STACK, STACK_SIZE, b"", True)
        processor.pc = load(memory, program)
        return _serve(processor)
    finally:
        memory.release()


def _regions(space: CodeSpace, memory: Memory, threshold: int, processor: UserProcessor) -> None:
    tiers = Tiers(space, parse_cpu("max"), _snapshot(memory), threshold)
    tiers.attach(processor, dict)


def _serve(processor: UserProcessor) -> bytes:
    words, r = processor.state.words, processor.state.at["r"]
    words[r + 13] = STACK + STACK_SIZE - 64
    written = b""
    while True:
        reason = processor.run()
        here = processor.pc
        assert reason == EXIT_SYSCALL, (reason, hex(here), hex(processor.fault_address))
        if words[r + 7] == _EXIT:
            return written
        assert words[r + 7] == _WRITE
        written += ctypes.string_at(words[r + 1], words[r + 2])
        words[r] = words[r + 2]
        processor.pc = here + (2 if here & 1 else 4)


if __name__ == "__main__":
    import sys

    sys.stdout.buffer.write(run(Path(sys.argv[1]), int(sys.argv[2])))
