"""Faults in user mode are exact: pc, registers, flags and memory are those before."""

from __future__ import annotations

import ctypes
import mmap
import random
import struct
from collections.abc import Iterator
from importlib.resources import files

import pytest

from jitemu.backend_llvm.stencil_keys import Key, parse_key
from jitemu.frontends.riscv.extensions import decoder_for
from jitemu.frontends.riscv.state import PINNED, RiscvState, S, isa
from jitemu.hostmemory import libc
from jitemu.ir.interp import step
from jitemu.ir.machine import PAGE, Machine, PagedMemory
from jitemu.runtime.exits import EXIT_FAULT
from tests.engine.compare import pool
from tests.engine.executors import CPU, UserMode, user_mode
from tests.engine.image import BASE, BLOCKS, encode
from tests.engine.pool import QEMU_HAS, float_word
from tests.riscv.operands import FREE, kind_of, ops_of, random_fields, word

READ_ONLY, NOTHING = BASE + 0x7E_0000, BASE + 0x7E_2000
"""Pages; what is behind READ_ONLY is writable, what is before NOTHING too."""
MAPERR, ACCERR = 1, 2
DECODER = decoder_for(CPU)
IN_STATE = (5, 6, 7, 16, 17, 20, 28)
BEFORE = 3
"""Instructions in front of the faulting one."""


READ_ONLY_C, NOTHING_C = ctypes.c_void_p(READ_ONLY), ctypes.c_void_p(NOTHING)
PAGE_C = ctypes.c_size_t(PAGE)


@pytest.fixture(scope="module")
def user() -> Iterator[UserMode]:
    """User mode with a read-only page and one that is not mapped."""
    user = user_mode()
    libc.mprotect(READ_ONLY_C, PAGE_C, mmap.PROT_READ)
    libc.munmap(NOTHING_C, PAGE_C)
    user.mappings.hole = range(NOTHING, NOTHING + PAGE)
    yield user
    user.mappings.hole = range(0)
    rights, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    for address in (READ_ONLY, NOTHING):
        assert libc.mmap(address, PAGE, rights, flags | 0x10, -1, 0) == address


def keys() -> list[Key]:
    """Every stencil of an access to memory."""
    text = files("jitemu.frontends.riscv").joinpath("stencil_profile.txt").read_text()
    chosen = [parse_key(line) for line in text.split()]
    general = [Key(i.name, "mmm") for i in isa.instructions.values() if i.body and i.width]
    found: list[Key] = []
    for key in (*chosen, *general):
        insn = isa.instructions[key.name]
        if insn.name in DECODER.enabled and kind_of(insn) == "memory":
            registers = [o for o in insn.operands if o[0] == "r"]
            places = key.places[: len(registers)]
            if places[registers.index("rs1")] != "z":
                found.append(Key(key.name, places))
    return list(dict.fromkeys(found))


class Case:
    """Some instructions and an access that faults."""

    def __init__(self, rng: random.Random, key: Key) -> None:
        insn = isa.instructions[key.name]
        fields = random_fields(rng, insn)
        registers = [o for o in insn.operands if o[0] == "r"]
        for name, where in zip(registers, key.places, strict=True):
            chosen = IN_STATE if where == "m" else (PINNED[int(where)],) if where != "z" else (0,)
            fields[name] = rng.choice(chosen)
        if "imm" in fields:
            fields["imm"] = rng.randrange(-2048, 2048)
        base = fields["rs1"]
        self.name = f"{key}"
        self.writes = bool(ops_of(insn) & {"store", "amo", "casif"})
        plain = pool(QEMU_HAS).kinds["plain"]
        before: list[bytes] = []
        while len(before) < BEFORE:
            data = rng.choice(rng.choice(plain))
            decoded = DECODER.decode(int.from_bytes(data, "little"))
            assert decoded is not None
            if decoded.fields.get("rd") != base and decoded.insn.when != "zicsr":
                before.append(data)
        self.at = sum(map(len, before))
        self.code = b"".join(before) + insn.encode(**fields).to_bytes(4, "little")
        self.code += encode("ebreak")
        self.page = READ_ONLY if self.writes and rng.random() < 0.5 else NOTHING
        self.address = self.page + rng.randrange(PAGE // 64) * 64
        self.x = [0, *(word(rng) for _ in range(31))]
        self.x[base] = self.address - fields.get("imm", 0) & (1 << 64) - 1
        self.f = [float_word(rng) for _ in range(32)]
        self.reservation = self.address

    def expected(self, pc: int) -> Machine:
        """The reference's hart when it faults."""
        memory = PagedMemory()
        memory.put(pc, self.code)
        memory.map(READ_ONLY, PAGE, writable=False)
        machine = Machine(RiscvState, memory, "user", S)
        machine.registers["x"][:] = [*self.x, 0]
        machine.registers["f"][:] = self.f
        machine.fields["reservation"] = self.reservation
        machine.pc = pc
        while machine.pc < pc + self.at:
            assert step(DECODER, machine).kind == "next"
        assert step(DECODER, machine).kind == "fault", self.name
        return machine


def flags_of(user: UserMode) -> int:
    """fflags, from the state and the saved MXCSR."""
    state = user.processor.state
    bits = ((0x20, 1), (0x10, 2), (0x08, 4), (0x04, 8), (0x01, 16))
    return state["fflags"] | sum(g for h, g in bits if state["guest_mxcsr"] & h)


def run_to_fault(user: UserMode, case: Case, pc: int) -> None:
    """Load the registers and run."""
    state = user.processor.state
    words, x, f = state.words, state.at["x"], state.at["f"]
    words[x : x + 32] = memoryview(struct.pack("<32Q", *case.x)).cast("Q")
    words[f : f + 32] = memoryview(struct.pack("<32Q", *case.f)).cast("Q")
    user.processor.native("user_rounding", 0)
    state["frm"] = state["fflags"] = 0
    state["guest_mxcsr"] = 0x1F80
    state["reservation"], state["reserved_value"] = case.reservation, 0
    user.processor.pc = pc
    assert user.processor.run() == EXIT_FAULT, case.name


@pytest.mark.parametrize("regions", [False, True], ids=["stencils", "regions"])
def test_state_at_faults(user: UserMode, regions: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user.space, "exact", regions)
    rng = random.Random("faults")
    cases = [Case(rng, key) for key in keys()]
    assert len(cases) > 300 and {"lr.d", "sc.w", "fld", "amoadd.w"} <= {
        c.name.partition(":")[0] for c in cases
    }
    user.space.flush()
    pc = BLOCKS
    bad: list[str] = []
    made = 0
    for case in cases:
        user.memory[pc - BASE : pc - BASE + len(case.code)] = case.code
        run_to_fault(user, case, pc)
        if regions:
            head = user.processor.find(pc)
            assert head is not None
            made += user.force_region(head)
            run_to_fault(user, case, pc)
        machine = case.expected(pc)
        words, at = user.processor.state.words, user.processor.state.at
        thread = user.thread
        code = ACCERR if case.page == READ_ONLY else MAPERR
        got = (
            user.processor.pc - pc,
            list(words[at["x"] : at["x"] + 32]),
            list(words[at["f"] : at["f"] + 32]),
            flags_of(user),
            words[at["reservation"]],
            thread.fault_address,
            thread.fault_code,
        )
        wanted = (
            case.at,
            machine.registers["x"][:32],
            machine.registers["f"],
            machine.float_unit.flags,
            case.reservation,
            case.address,
            code,
        )
        if got != wanted:
            names = ("pc", "x", "f", "fflags", "reservation", "address", "code")
            wrong = [n for n, a, b in zip(names, got, wanted, strict=True) if a != b]
            bad.append(f"{case.name}: {wrong}")
        pc += 64
        if pc + 64 > BASE + 0xF0000:
            user.space.flush()
            pc = BLOCKS
    assert not bad, (len(bad), bad[:20])
    assert made > len(cases) * 3 // 4 or not regions


@pytest.mark.parametrize("page", [READ_ONLY, NOTHING])
def test_crossing_stores_write_nothing(user: UserMode, page: int) -> None:
    """A store whose second half faults leaves the first as it was."""
    before = page - PAGE
    user.space.flush()
    pc = BLOCKS
    for name, size in (("sh", 2), ("sw", 4), ("sd", 8), ("fsd", 8), ("fsw", 4)):
        for inside in range(1, size):
            address = page - inside
            user.memory[before - BASE : page - BASE] = bytes([0xA5]) * PAGE
            code = encode("addi", rd=11, rs1=11, imm=1) + encode(name, rs1=10, rs2=11, imm=0)
            user.memory[pc - BASE : pc - BASE + len(code)] = code
            state = user.processor.state
            state.words[state.at["x"] + 10] = address
            user.processor.pc = pc
            assert user.processor.run() == EXIT_FAULT
            assert user.processor.pc == pc + 4
            assert user.thread.fault_address == page
            assert bytes(user.memory[before - BASE : page - BASE]) == bytes([0xA5]) * PAGE
            pc += 16


def test_signal_stack_is_not_shared(user: UserMode) -> None:
    """The child of a fork has a signal stack of its own."""
    test_jump_to_nothing(user)
    stack = (ctypes.c_uint64 * 3)()
    assert libc.sigaltstack(None, ctypes.byref(stack)) == 0
    with open("/proc/self/maps", encoding="ascii") as maps:
        rights = [
            words[1]
            for words in map(str.split, maps)
            for start, end in [(int(n, 16) for n in words[0].split("-"))]
            if start <= stack[0] < end
        ]
    assert rights == ["rw-p"]


def test_jump_to_nothing(user: UserMode) -> None:
    """Going to memory that is not code faults at the target."""
    user.space.flush()
    code = encode("jalr", rd=1, rs1=10, imm=0)
    user.memory[BLOCKS - BASE : BLOCKS - BASE + 4] = code
    state = user.processor.state
    for target in (0, 0x1000, 1 << 63, (1 << 64) - 4096, BASE - 2):
        state.words[state.at["x"] + 10] = target
        user.processor.pc = BLOCKS
        assert user.processor.run() == EXIT_FAULT
        assert (user.processor.pc, user.thread.fault_address) == (target, target)
        assert user.thread.fault_code == MAPERR
        assert state.words[state.at["x"] + 1] == BLOCKS + 4


def test_free_registers_cover_all_places() -> None:
    assert set(IN_STATE) <= set(FREE) and not set(IN_STATE) & set(PINNED)
