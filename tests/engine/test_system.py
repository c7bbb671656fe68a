"""System mode's memory: crossings, devices, code that changes, pages that move."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from jitemu.frontends.riscv.privileged import (
    EXIT_WFI,
    FETCH_ACCESS,
    LOAD_ACCESS,
    LOAD_PAGE,
    STORE_ACCESS,
    STORE_MISALIGNED,
    STORE_PAGE,
)
from jitemu.ir.machine import PAGE
from tests.engine.guest_code import Program, put_code, record_at, register, set_registers
from tests.engine.image import BASE, BLOCKS, encode
from tests.engine.system_mode import (
    DEVICE,
    DEVICE_SIZE,
    FREE,
    LEAF,
    TABLES,
    A,
    D,
    R,
    SystemMode,
    V,
    W,
    in_machine_mode,
    in_supervisor_mode,
)

HANDLER = BLOCKS + 0x8000
MODES = (in_machine_mode, in_supervisor_mode)
SIZES = {"b": 1, "h": 2, "w": 4, "d": 8}
T0, A0, A1, A2, A3 = 5, 10, 11, 12, 13

Mode = Callable[[], SystemMode]
modes = pytest.mark.parametrize("mode", MODES, ids=["M", "S"])


def start(mode: Mode, program: Program, registers: Mapping[int, int]) -> SystemMode:
    """A hart at a program's start, with a handler that stops."""
    system = mode()
    system.space.flush()
    handler = Program(HANDLER)
    handler.put("wfi")
    put_code(system, handler)
    put_code(system, program)
    system.reset(program.start)
    system.hart.state["stvec"] = system.hart.state["mtvec"] = HANDLER
    set_registers(system, registers)
    return system


def finish(system: SystemMode) -> None:
    """Run to the program's wfi, not to the handler's."""
    assert system.hart.run() == EXIT_WFI
    assert system.hart.pc != HANDLER + 4, trap_of(system)


def trap_of(system: SystemMode) -> tuple[int, int, int]:
    """(cause, pc, value) of the last trap."""
    state, letter = system.hart.state, "s" if system.supervisor else "m"
    return state[f"{letter}cause"], state[f"{letter}epc"], state[f"{letter}tval"]


def expect_trap(system: SystemMode, cause: int, pc: int, value: int) -> None:
    """Run into the handler."""
    assert system.hart.run() == EXIT_WFI
    assert system.hart.pc == HANDLER + 4
    assert trap_of(system) == (cause, pc, value)


@pytest.fixture(autouse=True)
def mapped() -> None:
    """All pages lead to themselves again."""
    system = in_supervisor_mode()
    for n in range(8):
        system.set_leaf(FREE + n * PAGE, FREE + n * PAGE, LEAF)
        system.set_leaf(BLOCKS + n * PAGE, BLOCKS + n * PAGE, LEAF)


# Crossing pages


def accesses() -> list[tuple[str, int, int]]:
    """(letter, size, bytes in front of the page's end) of all that cross or touch it."""
    return [(k, n, before) for k, n in SIZES.items() for before in range(-1, n + 2)]


@pytest.mark.parametrize("regions", [False, True])
def test_crossing_accesses(regions: bool) -> None:
    """Two neighbours in virtual memory that are apart and swapped in physical memory."""
    rng = random.Random(1)
    page = FREE + PAGE
    program = Program()
    for n, (letter, _, before) in enumerate(accesses()):
        program.put("ld", rd=A2, rs1=A1, imm=8 * n)
        program.put(f"s{letter}", rs1=A0, rs2=A2, imm=-before)
        program.put(f"l{letter}", rd=A3, rs1=A0, imm=-before)
        program.put("sd", rs1=A1, rs2=A3, imm=8 * n)
    program.put("wfi")
    values = FREE + 6 * PAGE
    system = start(in_supervisor_mode, program, {A0: page, A1: values})
    first, second = FREE + 4 * PAGE, FREE + 2 * PAGE
    system.set_leaf(page - PAGE, first, LEAF)
    system.set_leaf(page, second, LEAF)
    if regions:
        finish(system)
        head = record_at(system, BLOCKS)
        assert head is not None and system.force_region(head)
        system.hart.pc = BLOCKS
        set_registers(system, {A0: page, A1: values})
    data = bytearray(rng.randbytes(2 * PAGE))
    system.memory[first - BASE : first - BASE + PAGE] = data[:PAGE]
    system.memory[second - BASE : second - BASE + PAGE] = data[PAGE:]
    words = [rng.getrandbits(64) for _ in accesses()]
    packed = b"".join(w.to_bytes(8, "little") for w in words)
    system.memory[values - BASE : values - BASE + len(packed)] = packed
    finish(system)
    for n, (letter, size, before) in enumerate(accesses()):
        stored = words[n].to_bytes(8, "little")[:size]
        data[PAGE - before : PAGE - before + size] = stored
        got = system.memory[values - BASE + 8 * n : values - BASE + 8 * n + 8]
        signed = int.from_bytes(stored, "little", signed=True)
        assert int.from_bytes(got, "little", signed=True) == signed, (letter, before)
    assert bytes(system.memory[first - BASE : first - BASE + PAGE]) == bytes(data[:PAGE])
    assert bytes(system.memory[second - BASE : second - BASE + PAGE]) == bytes(data[PAGE:])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ["sh", "sw", "sd", "lh", "lw", "ld", "fsd", "fld"])
def test_crossing_into_a_fault(name: str, first: bool) -> None:
    """Nothing is written where one of the two pages may not be; tval is the byte that fails."""
    store = "s" in name
    page = FREE + PAGE
    program = Program()
    program.put("addi", rd=A1, rs1=A1, imm=1)
    access = program.here
    kind = {"rs2": A1} if store else {"rd": A1}
    program.put(name, rs1=A0, imm=-1, **kind)
    program.put("wfi")
    system = start(in_supervisor_mode, program, {A0: page, A1: 41})
    rights = V | R | A | D if store else V | W
    system.set_leaf(page - PAGE if first else page, page, rights if store else 0)
    before = bytes(system.memory[page - PAGE - BASE : page + PAGE - BASE])
    cause = STORE_PAGE if store else LOAD_PAGE
    expect_trap(system, cause, access, page - 1 if first else page)
    assert register(system, A1) == 42
    assert bytes(system.memory[page - PAGE - BASE : page + PAGE - BASE]) == before


@modes
@pytest.mark.parametrize("name", ["amoadd.w", "amoswap.d", "sc.w", "sc.d"])
def test_misaligned_atomics_trap(mode: Mode, name: str) -> None:
    program = Program()
    program.put(name, rd=A1, rs1=A0, rs2=A2)
    program.put("wfi")
    system = start(mode, program, {A0: FREE + 2, A1: 7})
    system.hart.state["reservation"] = FREE + 2
    expect_trap(system, STORE_MISALIGNED, BLOCKS, FREE + 2)
    assert register(system, A1) == 7


# Devices


@modes
@pytest.mark.parametrize("regions", [False, True])
def test_device_window(mode: Mode, regions: bool) -> None:
    program = Program()
    for n, letter in enumerate(SIZES):
        program.put(f"l{letter}", rd=A1, rs1=A0, imm=16 * n)
        program.put(f"s{letter}", rs1=A0, rs2=A1, imm=16 * n + 8)
    program.put("ld", rd=0, rs1=A0, imm=256)
    program.put("wfi")
    system = start(mode, program, {A0: DEVICE})
    if regions:
        finish(system)
        head = record_at(system, BLOCKS)
        assert head is not None and system.force_region(head)
        system.reset(BLOCKS)
        set_registers(system, {A0: DEVICE})
    device = system.device
    device.data[:] = bytes(range(256)) * (DEVICE_SIZE // 256)
    device.log.clear()
    finish(system)
    expected: list[tuple[str, int, int, int]] = []
    for n, size in enumerate(SIZES.values()):
        value = int.from_bytes(bytes(range(16 * n, 16 * n + size)), "little")
        expected += [("read", 16 * n, size, value), ("write", 16 * n + 8, size, value)]
    expected.append(("read", 256, 8, int.from_bytes(bytes(range(8)), "little")))
    assert device.log == expected


@modes
@pytest.mark.parametrize("name", ["lw", "sw", "amoadd.w", "fld", "fsd"])
def test_bus_errors_are_access_faults(mode: Mode, name: str) -> None:
    address = DEVICE + DEVICE_SIZE // 2
    fields = {"rd": A1} if name in ("lw", "fld") else {"rs2": A1}
    program = Program()
    program.put("csrrs", rd=0, csr=0x100, rs1=A2)
    program.put("addi", rd=A1, rs1=A1, imm=1)
    access = program.here
    program.put(name, rs1=A0, **fields)
    system = start(mode, program, {A0: address, A1: 1, A2: 1 << 13})
    cause = LOAD_ACCESS if name in ("lw", "fld") else STORE_ACCESS
    expect_trap(system, cause, access, address)
    assert register(system, A1) == 2


# Code that changes

STORES = ("sw", "sd", "amoswap.w", "sw, misaligned", "fence.i first")


@modes
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("how", STORES)
def test_self_modifying_loop(mode: Mode, how: str, regions: bool) -> None:
    """A loop overwrites an instruction of its own before it gets there: adds 0 + 1 + 2 ..."""
    count = 20
    target = BLOCKS + 64
    program = Program()
    program.label("loop")
    program.put("slli", rd=T0, rs1=A1, shamt=20)
    program.put("or", rd=T0, rs1=T0, rs2=A2)
    if how == "sw":
        program.put("sw", rs1=A0, rs2=T0, imm=0)
    elif how == "sd":
        program.put("slli", rd=T0, rs1=T0, shamt=32)
        program.put("srli", rd=T0, rs1=T0, shamt=32)
        program.put("slli", rd=6, rs1=A3, shamt=32)
        program.put("or", rd=T0, rs1=T0, rs2=6)
        program.put("sd", rs1=A0, rs2=T0, imm=0)
    elif how == "amoswap.w":
        program.put("amoswap.w", rd=0, rs1=A0, rs2=T0)
    else:
        # The two halves of the word, by bytes at odd addresses.
        program.put("srli", rd=6, rs1=T0, shamt=8)
        program.put("sb", rs1=A0, rs2=T0, imm=0)
        program.put("sh", rs1=A0, rs2=6, imm=1)
        program.put("srli", rd=6, rs1=T0, shamt=24)
        program.put("sb", rs1=A0, rs2=6, imm=3)
    program.put("fence.i")
    while program.here < target:
        program.put("addi", rd=0, rs1=0, imm=0)
    program.put("addi", rd=14, rs1=14, imm=0)
    program.put("addi", rd=A1, rs1=A1, imm=1)
    program.jump("blt", "loop", rs1=A1, rs2=15)
    program.put("wfi")
    word = int.from_bytes(encode("addi", rd=14, rs1=14, imm=0), "little")
    after = int.from_bytes(encode("addi", rd=A1, rs1=A1, imm=1), "little")
    start_values = {A0: target, A1: 0, A2: word, A3: after, 14: 0, 15: count}
    system = start(mode, program, start_values)
    if regions:
        finish(system)
        for pc in (BLOCKS, target):
            head = record_at(system, pc)
            if head is not None and not head.region:
                system.force_region(head)
        system.hart.pc = BLOCKS
        set_registers(system, start_values)
    finish(system)
    assert register(system, 14) == count * (count - 1) // 2


@modes
@pytest.mark.parametrize("regions", [False, True])
def test_code_written_elsewhere(mode: Mode, regions: bool) -> None:
    """A function in another page changes between calls; a neighbour in its page stays."""
    function = BLOCKS + PAGE
    program = Program()
    program.label("loop")
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("add", rd=14, rs1=14, rs2=A3)
    program.put("jalr", rd=1, rs1=A0, imm=128)
    program.put("slli", rd=T0, rs1=A1, shamt=20)
    program.put("or", rd=T0, rs1=T0, rs2=A2)
    program.put("sw", rs1=A0, rs2=T0, imm=0)
    program.put("fence.i")
    program.put("addi", rd=A1, rs1=A1, imm=1)
    program.jump("blt", "loop", rs1=A1, rs2=15)
    program.put("wfi")
    callee = Program(function)
    callee.put("addi", rd=A3, rs1=0, imm=0)
    callee.put("jalr", rd=0, rs1=1, imm=0)
    while callee.here < function + 128:
        callee.put("addi", rd=0, rs1=0, imm=0)
    callee.put("addi", rd=16, rs1=16, imm=1)
    callee.put("jalr", rd=0, rs1=1, imm=0)
    word = int.from_bytes(encode("addi", rd=A3, rs1=0, imm=0), "little")
    values = {A0: function, A1: 0, A2: word, 14: 0, 15: 30, 16: 0}
    system = start(mode, program, values)
    put_code(system, callee)
    if regions:
        finish(system)
        for pc in (BLOCKS, function, function + 128):
            head = record_at(system, pc)
            if head is not None and not head.region:
                system.force_region(head)
        system.hart.pc = BLOCKS
        system.memory[function - BASE : function - BASE + 4] = word.to_bytes(4, "little")
        system.hart.native("code_written", function, 4)
        set_registers(system, values)
    finish(system)
    assert (register(system, 14), register(system, 16)) == (sum(range(29)), 30)


def test_code_written_through_an_alias() -> None:
    """The store goes to another virtual address of the code's page."""
    function, alias = BLOCKS + PAGE, FREE
    program = Program()
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("sw", rs1=A1, rs2=A2, imm=0)
    program.put("fence.i")
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("wfi")
    callee = Program(function)
    callee.put("addi", rd=A3, rs1=A3, imm=1)
    callee.put("jalr", rd=0, rs1=1, imm=0)
    word = int.from_bytes(encode("addi", rd=A3, rs1=A3, imm=100), "little")
    system = start(in_supervisor_mode, program, {A0: function, A1: alias, A2: word, A3: 0})
    put_code(system, callee)
    system.set_leaf(alias, function, LEAF)
    finish(system)
    assert register(system, A3) == 101


def crossing_program(kind: str) -> Program:
    """A program that calls x10 four times, with a change in the middle."""
    program = Program()
    for n in range(4):
        program.put("jalr", rd=1, rs1=A0, imm=0)
        if n == 1:
            if kind == "remap":
                program.put("sd", rs1=A1, rs2=A2, imm=0)
                program.put("sfence.vma", rs1=0, rs2=0)
            else:
                program.put("sh", rs1=A1, rs2=A2, imm=0)
                program.put("fence.i")
    program.put("wfi")
    return program


@pytest.mark.parametrize("kind", ["remap", "write"])
def test_instruction_across_pages(kind: str) -> None:
    """Its second half is in a page that is mapped elsewhere or written meanwhile."""
    page, other = BLOCKS + 2 * PAGE, FREE + 3 * PAGE
    old, new = (encode("addi", rd=A3, rs1=A3, imm=n) for n in (1, 100))
    assert old[:2] == new[:2]
    program = crossing_program(kind)
    back = encode("jalr", rd=0, rs1=1, imm=0)
    if kind == "remap":
        values = {A1: leaf_address(page), A2: other >> 12 << 10 | LEAF}
    else:
        values = {A1: page, A2: int.from_bytes(new[2:], "little")}
    system = start(in_supervisor_mode, program, {A0: page - 2, A3: 0, **values})
    system.memory[page - 2 - BASE : page + 2 - BASE] = old
    system.memory[page + 2 - BASE : page + 6 - BASE] = back
    system.memory[other - BASE : other + 2 - BASE] = new[2:]
    system.memory[other + 2 - BASE : other + 6 - BASE] = back
    finish(system)
    assert register(system, A3) == 1 + 1 + 100 + 100


def leaf_address(address: int) -> int:
    """Where a page's leaf entry is."""
    return TABLES + 4 * PAGE + 8 * (address - BASE >> 12)


def test_page_of_code_mapped_elsewhere() -> None:
    """The same virtual page shows other code after the mapping changed, and back."""
    page, other = BLOCKS + 3 * PAGE, FREE + 2 * PAGE
    program = Program()
    program.label("loop")
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("xor", rd=A2, rs1=A2, rs2=14)
    program.put("sd", rs1=A1, rs2=A2, imm=0)
    program.put("sfence.vma", rs1=A0, rs2=0)
    program.put("addi", rd=15, rs1=15, imm=-1)
    program.jump("bne", "loop", rs1=15, rs2=0)
    program.put("wfi")
    here, there = (p >> 12 << 10 | LEAF for p in (page, other))
    values = {A0: page, A1: leaf_address(page), A2: here, 14: here ^ there, 15: 10, A3: 0}
    system = start(in_supervisor_mode, program, values)
    for place, amount in ((page, 1), (other, 100)):
        callee = Program(place)
        callee.put("addi", rd=A3, rs1=A3, imm=amount)
        callee.put("jalr", rd=0, rs1=1, imm=0)
        put_code(system, callee)
    finish(system)
    assert register(system, A3) == 5 * 1 + 5 * 100


def test_device_writes_code() -> None:
    """What a device writes into RAM is executed once the hart has looked around."""
    program = Program()
    program.label("loop")
    program.put("addi", rd=A3, rs1=A3, imm=1)
    program.put("sw", rs1=A0, rs2=A2, imm=0)
    program.put("addi", rd=15, rs1=15, imm=-1)
    program.jump("bne", "loop", rs1=15, rs2=0)
    program.put("wfi")
    system = start(in_machine_mode, program, {A0: DEVICE, A2: 0, A3: 0, 15: 10})
    physical, device = system.physical, system.device
    original = device.write

    def write(offset: int, size: int, value: int) -> None:
        original(offset, size, value)
        if register(system, 9) == 0:
            set_registers(system, {9: 1})
            system.memory[BLOCKS - BASE : BLOCKS - BASE + 4] = encode("addi", rd=A3, rs1=A3, imm=50)
            assert physical.on_ram_write is not None
            physical.on_ram_write(BLOCKS, 4)

    set_registers(system, {9: 0})
    device.write = write  # type: ignore[method-assign]
    try:
        finish(system)
    finally:
        device.write = original  # type: ignore[method-assign]
    assert register(system, A3) == 1 + 9 * 50


# Privileges


def test_code_of_another_privilege_is_not_entered() -> None:
    """No address that U mode can jump to names M mode's code, whatever its upper bits."""
    function = BLOCKS + PAGE
    user = BLOCKS + 2 * PAGE
    program = Program()
    program.put("csrrw", rd=0, csr=0x3B0, rs1=A3)  # pmpaddr0, pmpcfg0: all may do all
    program.put("csrrw", rd=0, csr=0x3A0, rs1=A2)
    program.put("csrrw", rd=0, csr=0x341, rs1=A1)  # mepc
    program.put("jalr", rd=1, rs1=A0, imm=0)
    program.put("mret")
    callee = Program(function)
    callee.put("addi", rd=16, rs1=16, imm=1)
    callee.put("jalr", rd=0, rs1=1, imm=0)
    jumps = Program(user)
    jumps.put("jalr", rd=1, rs1=14, imm=0)
    for upper in range(1, 64):
        values = {A0: function, A1: user, A2: 0x1F, A3: -1, 14: function ^ upper << 58, 16: 0}
        system = start(in_machine_mode, program, values)
        put_code(system, callee)
        put_code(system, jumps)
        expect_trap(system, FETCH_ACCESS, function ^ upper << 58, function ^ upper << 58)
        assert register(system, 16) == 1
