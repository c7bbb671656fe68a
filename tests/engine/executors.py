"""What runs an image: each gives the bytes of its records and scratch windows afterwards."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from jitemu.frontends.riscv.extensions import parse_cpu
from jitemu.frontends.riscv.rounding import RMM
from jitemu.frontends.riscv.state import RiscvState, S
from jitemu.ir.interp import step
from jitemu.ir.machine import PAGE, Machine, PagedMemory
from tests.engine.image import (
    BASE,
    BLOCKS,
    DONE,
    HARNESS,
    RECORDS,
    SCRATCH,
    WINDOW,
    Image,
    State,
    encode,
    harness,
)
from tests.riscv.oracle import QEMU

if TYPE_CHECKING:
    from jitemu.backend_llvm.objects import Region
    from jitemu.backend_llvm.request import ReadCode, Request
    from jitemu.backend_llvm.stencil_keys import Target
    from jitemu.isa import Decoded, Decoder
    from jitemu.runtime.engine import CodeSpace, Processor
    from jitemu.runtime.guest import Guest
    from jitemu.runtime.records import Record


CPU = parse_cpu("rv64")
MASK64 = (1 << 64) - 1


@dataclass(frozen=True)
class Profile:
    """What is said to be known of the running code when a region is made (as in Request)."""

    jumps: Mapping[int, Mapping[int, int]] = field(default_factory=dict[int, Mapping[int, int]])
    seen: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    reached: Mapping[int, tuple[int, int]] | None = None


class Executor(Protocol):
    """Runs an image from its harness's entry to DONE."""

    name: str

    def run(self, image: Image) -> tuple[bytes, bytes]:
        """(records, scratch) afterwards."""
        ...


class ContextDecoder:
    """The decoder of each translation context of user mode."""

    def __init__(self) -> None:
        from jitemu.runtime.guests import riscv64_user

        self.guest = riscv64_user(CPU)
        self.contexts = [_Decoder(self.guest, ctx) for ctx in range(3)]


class _Decoder:
    def __init__(self, guest: Guest, ctx: int) -> None:
        self.guest = guest
        self.ctx = ctx

    def decode(self, word: int) -> Decoded | None:
        """The instruction that a word stands for in the context; None if illegal."""
        decoded = self.guest.decoder.decode(word)
        if decoded is None:
            return None
        names = self.guest.isa.instructions
        insn = decoded.insn
        other = self.guest.instead(insn.name, insn.when, self.ctx, names)
        if other is None:
            return decoded
        return None if other == self.guest.illegal else replace(decoded, insn=names[other])


class Reference:
    """The interpreter, block by block, without the harness."""

    name = "reference"
    STEPS = 200_000

    def __init__(self) -> None:
        self.decoder = ContextDecoder()
        self.machine = Machine(RiscvState, PagedMemory(), "user", S)

    def run_block(self, image: Image, number: int) -> State:
        """One block's state after it; other blocks' windows are not there."""
        block, machine = image.blocks[number], self.machine
        memory = PagedMemory()
        start = SCRATCH + number * WINDOW
        memory.put(start, block.memory)
        size = len(block.code) + 4 + len(block.after)
        at = block.address - HARNESS
        memory.put(block.address, bytes(image.code[at : at + size]))
        machine.memory = memory
        machine.registers["x"][:] = [*block.x, 0]
        machine.registers["f"][:] = block.f
        machine.fields["frm"] = machine.float_unit.rounding = block.fcsr >> 5
        # As user_rounding does; the jump cache that this clears is not the interpreter's.
        machine.fields["ctx"] = int(block.fcsr >> 5 == RMM)
        machine.fields["ctx_tag"] = machine.fields["ctx"] << 58
        machine.fields["fflags"] = block.fcsr & 31
        machine.float_unit.flags = 0
        machine.fields["reservation"] = MASK64
        machine.pc = block.address
        left = self.STEPS
        _, _, end = harness()
        while machine.pc != end:
            outcome = step(self.decoder.contexts[machine.fields["ctx"]], machine)
            again = outcome.kind == "leave" and machine.pc != end  # in another context
            assert again or outcome.kind in ("next", "jump", "exitnext"), (outcome, hex(machine.pc))
            left -= 1
            assert left, "a block that does not end"
        flags = machine.float_unit.flags | machine.fields["fflags"]
        fcsr = machine.fields["frm"] << 5 | flags
        x = list(machine.registers["x"][:32])
        return State(x, list(machine.registers["f"]), fcsr, memory.get(start, WINDOW))


class Unicorn:
    """QEMU 5's TCG in this process: RV64GC, trusted for I, M, A and C."""

    name = "unicorn"

    def __init__(self) -> None:
        from unicorn import riscv_const
        from unicorn.unicorn import Uc
        from unicorn.unicorn_const import UC_ARCH_RISCV, UC_MODE_RISCV64

        self.uc: Any = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
        self.uc.mem_map(BASE, 0x80_0000)
        self.status = riscv_const.UC_RISCV_REG_MSTATUS

    def run(self, image: Image) -> tuple[bytes, bytes]:
        uc = self.uc
        uc.mem_write(HARNESS, bytes(image.code))
        uc.ctl_remove_cache(HARNESS, DONE)
        uc.mem_write(RECORDS, bytes(image.records))
        uc.mem_write(SCRATCH, bytes(image.scratch))
        uc.reg_write(self.status, int(uc.reg_read(self.status)) | 0x6000)
        uc.emu_start(harness()[1], DONE)
        records = bytes(uc.mem_read(RECORDS, len(image.records)))
        return records, bytes(uc.mem_read(SCRATCH, len(image.scratch)))


def _write_call(address: int, size: int) -> list[bytes]:
    """write(1, address, size), all of it."""
    constants = ((11, address), (12, size), (17, 64), (10, 1))
    code: list[bytes] = []
    for register, value in constants:
        upper = value + 0x800 & -4096
        upper -= (1 << 32) if upper >> 31 & 1 else 0
        code.append(encode("lui", rd=register, imm=upper))
        low = (value + 0x800 & 0xFFF) - 0x800
        code.append(encode("addi", rd=register, rs1=register, imm=low))
        code.append(encode("slli", rd=register, rs1=register, shamt=32))
        code.append(encode("srli", rd=register, rs1=register, shamt=32))
    return [*code, encode("ecall")]


class Qemu:
    """qemu-riscv64 on the image as a static program that writes its memory out."""

    name = "qemu"

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.output = Path(self.folder.name) / "output"

    def start(self, image: Image) -> subprocess.Popen[bytes]:
        """The process that runs an image."""
        assert QEMU
        done = _write_call(RECORDS, len(image.records)) + _write_call(SCRATCH, len(image.scratch))
        done += [encode("addi", rd=10, rs1=0, imm=0), encode("addi", rd=17, rs1=0, imm=93)]
        text = bytes(image.code).ljust(DONE - HARNESS, b"\0") + b"".join([*done, encode("ecall")])
        data = bytes(image.records).ljust(SCRATCH - RECORDS, b"\0") + bytes(image.scratch)
        parts = ((HARNESS, text, 5), (RECORDS, data, 6))
        head = b"\x7fELF\2\1\1".ljust(16, b"\0")
        head += struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, harness()[1], 64, 0, 5, 64, 56, 2, 0, 0, 0)
        at = PAGE
        for address, part, rights in parts:
            size = len(part)
            head += struct.pack("<IIQQQQQQ", 1, rights, at, address, address, size, size, PAGE)
            at += size + PAGE - 1 & -PAGE
        file = head.ljust(PAGE, b"\0") + text.ljust(len(text) + PAGE - 1 & -PAGE, b"\0") + data
        program = Path(self.folder.name) / "image"
        program.write_bytes(file)
        program.chmod(0o755)
        # To a file: what a pipe takes is less than all if the process is stopped meanwhile.
        with self.output.open("wb") as output:
            return subprocess.Popen([QEMU, "-cpu", "rv64", str(program)], stdout=output)

    def finish(self, process: subprocess.Popen[bytes], image: Image) -> tuple[bytes, bytes]:
        """Its result."""
        process.wait(timeout=600)
        output = self.output.read_bytes()
        records = len(image.records)
        assert len(output) == records + len(image.scratch), (process.returncode, len(output))
        return output[:records], output[records:]

    def run(self, image: Image) -> tuple[bytes, bytes]:
        return self.finish(self.start(image), image)


class Engine:
    """What user and system mode have in common: an image goes into memory at BASE."""

    name: str
    space: CodeSpace
    processor: Processor
    memory: memoryview

    def load(self, image: Image) -> None:
        """Put an image into memory; what was translated is forgotten."""
        self.space.flush()
        self.memory[: len(image.code)] = image.code
        self.load_data(image)

    def load_data(self, image: Image) -> None:
        """Only what a run changes."""
        for start, data in ((RECORDS - BASE, image.records), (SCRATCH - BASE, image.scratch)):
            self.memory[start : start + len(data)] = data

    def result(self, image: Image) -> tuple[bytes, bytes]:
        """(records, scratch)."""
        at, window = RECORDS - BASE, SCRATCH - BASE
        records = bytes(self.memory[at : at + len(image.records)])
        return records, bytes(self.memory[window : window + len(image.scratch)])

    def go(self) -> None:
        """From the harness's entry to DONE."""
        raise NotImplementedError

    def holes(self, ctx: int) -> dict[str, int]:
        """Of a region in a translation context."""
        raise NotImplementedError

    def context(self, record: Record) -> int:
        """The translation context that a block was made for."""
        tag = record.pc ^ record.tag
        secret = self.processor.state["ctx_secret"] if self.processor.paged else 1 << 58
        return next(ctx for ctx in range(128) if ctx * secret & MASK64 == tag)

    def run(self, image: Image) -> tuple[bytes, bytes]:
        self.load(image)
        self.go()
        return self.result(image)

    def made(self) -> list[Record]:
        """The live blocks of the image."""
        return [r for r in self.space.tables.live() if BLOCKS <= r.pc < DONE]

    def force_region(
        self,
        head: Record,
        single: bool = False,
        profile: Profile | None = None,
    ) -> bool:
        """Let a region take over a block's entry; False if it cannot be lifted."""
        from jitemu.backend_llvm.regions import compile_region

        region = compile_region(*self.region_request(head, single, profile or Profile()))
        if region is not None:
            self.install(region, head)
        return region is not None

    def region_request(
        self, head: Record, single: bool, profile: Profile
    ) -> tuple[Target, Decoder, ReadCode, Request]:
        """What regions are made from."""
        from jitemu.backend_llvm.request import Request

        guest, ctx = self.space.guest, self.context(head)
        forbidden = frozenset(self.space.translation.replaced(guest, ctx))
        holes = self.holes(ctx)
        request = Request(head.pc, holes, single=single, forbidden=forbidden)
        request = replace(request, **vars(profile))
        return guest.target, guest.decoder, self.read_code, request

    def install(self, region: Region, head: Record) -> None:
        """Put a region in its head's place."""
        self.space.install(region, head, self.processor)
        assert head.region

    def read_code(self, pc: int) -> bytes:
        """Guest code that regions may be made from."""
        return bytes(self.memory[pc - BASE : pc - BASE + 4]) if BLOCKS <= pc < DONE else b""


class AllMemory:
    """The guest's mappings as translation asks for them."""

    base = 0

    def __init__(self) -> None:
        self.writable_code = False
        """Code can be overwritten, so its pages have to be guarded."""
        self.hole = range(0)
        """What is not mapped."""

    def code_size(self, pc: int) -> int:
        return max(DONE + PAGE - pc, 0) if pc >= BASE else 0

    def mapped(self, address: int) -> bool:
        return BASE <= address < BASE + (8 << 20) and address not in self.hole

    def writable(self, address: int) -> bool:
        return self.writable_code

    def shared(self, address: int) -> bool:
        return False


class UserMode(Engine):
    """The engine in user mode: stencils, and regions where they are asked for."""

    name = "user"

    def __init__(self) -> None:
        import mmap

        from jitemu.hostmemory import libc
        from jitemu.runtime.guests import riscv64_user
        from jitemu.runtime.setup import translation_for
        from jitemu.runtime.user_processor import UserProcessor, UserSpace

        size, rights = 0x80_0000, mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000
        assert libc.mmap(BASE, size, rights, flags, -1, 0) == BASE
        self.memory = memoryview((ctypes.c_char * size).from_address(BASE)).cast("B")
        self.mappings = AllMemory()
        guest = riscv64_user(CPU)
        self.space = UserSpace(guest, translation_for(guest), self.mappings)
        self.thread = self.processor = UserProcessor(self.space)

    def load(self, image: Image) -> None:
        super().load(image)
        self.memory[DONE - BASE : DONE - BASE + 4] = encode("ebreak")

    def go(self) -> None:
        from jitemu.frontends.riscv.i import EXIT_BREAKPOINT
        from jitemu.frontends.riscv.zifencei import EXIT_FENCE_I

        self.processor.pc = harness()[1]
        while (reason := self.processor.run()) == EXIT_FENCE_I:
            pass
        where = (reason, hex(self.processor.pc))
        assert reason == EXIT_BREAKPOINT and self.processor.pc == DONE, where

    def holes(self, ctx: int) -> dict[str, int]:
        return {"exact": int(self.thread.user_space.exact)}


@cache
def user_mode() -> UserMode:
    """The one of this process: code arenas are few."""
    return UserMode()
