"""Guests that do what they can to harm the host: ``python -m tests.system.hostile --seeds 50``.

Each seed is random code, as a kernel (S mode) or as firmware (M mode): plain garbage, or
instructions that write random CSRs, load and store at devices, RAM and nowhere, make page
tables of anything, change privilege and overwrite themselves.  The machine has to end by
itself or when it is told to, without a traceback, in little memory.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jitemu.frontends.riscv.csrs import CSRS
from jitemu.frontends.riscv.extensions import decoder_for, isa, parse_cpu
from jitemu.system import memory_map as places
from tests.riscv.operands import random_fields

RAM_MIB = 32
PATIENCE = 20.0
"""Seconds after which a machine that was told to end hangs."""
MOST_MIB = RAM_MIB + 250

WINDOWS = (
    *((places.TEST_FINISHER + 8, 0x100), (places.RTC, 0x40), (places.CLINT, places.CLINT_SIZE)),
    *((places.PLIC, 0x3000), (places.PLIC + 0x20_0000, 0x3000), (places.UART, 0x100)),
    *((places.VIRTIO, places.VIRTIO_SIZE * places.VIRTIO_SLOTS), (places.RESET_ROM, 0x1000)),
)
"""(address, bytes) of devices; the test finisher's first register would end the machine."""
SP, T0, T1, T2 = 2, 5, 6, 7
MTVEC, STVEC, SATP, MEDELEG, MIDELEG, PMPCFG0 = 0x305, 0x105, 0x180, 0x302, 0x303, 0x3A0
TRAP_VECTORS = (MTVEC, STVEC)
HANDLERS = {MTVEC: 0, STVEC: 0x200}
"""Behind the code: places of trap handlers, and of a page table of 1 GiB mappings."""
TABLE = 0x1000
POINTERS = (SP, 8, 9, 18, 19, 20, 21, 22)


def encode(name: str, **fields: int) -> bytes:
    return isa.instructions[name].encode(**fields).to_bytes(4, "little")


def constant(rd: int, value: int) -> bytes:
    """Load 64 bits through a word behind a jump."""
    code = encode("auipc", rd=rd, imm=0) + encode("ld", rd=rd, rs1=rd, imm=12)
    return code + encode("jal", rd=0, imm=12) + (value & (1 << 64) - 1).to_bytes(8, "little")


class Guest:
    """Random code."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"hostile {seed}")
        enabled = decoder_for(parse_cpu("max")).enabled
        self.insns = [
            i
            for i in isa.instructions.values()
            if i.name in enabled and i.width == 32 and i.expansion is None
        ]
        self.numbers = [row.number for row in CSRS]
        self.machine_mode = self.rng.random() < 0.7
        self.size = self.rng.choice((1 << 12, 1 << 14, 1 << 16))
        self.base = places.RAM + (0 if self.machine_mode else 2 << 20)

    def pointer(self) -> int:
        """A device, RAM, near the limits of either, or anything."""
        rng = self.rng
        kind = rng.randrange(8)
        if kind < 4:
            start, size = rng.choice(WINDOWS)
            return start + rng.randrange(-8, size + 8)
        if kind < 5:
            return self.base + rng.randrange(self.size)
        if kind < 6:
            edges = (places.RAM, places.RAM + (RAM_MIB << 20), 1 << 56, 1 << 38, 1 << 63, 0)
            return rng.choice(edges) + rng.randrange(-16, 16)
        if kind < 7:
            return places.RAM + rng.randrange(RAM_MIB << 20)
        return rng.getrandbits(64)

    def csr_value(self, number: int) -> int:
        """Mostly one after which the guest goes on: else most would only loop in a trap."""
        rng = self.rng
        usual = rng.random() < 0.97
        if number in TRAP_VECTORS and usual:
            return self.base + self.size + HANDLERS[number]
        if number == SATP:
            if usual:
                return rng.choice((0, 8 << 60 | self.base + self.size + TABLE >> 12))
            return rng.choice((8, 9, 10)) << 60 | self.base + rng.randrange(self.size) >> 12
        value = rng.choice((0, rng.getrandbits(64), (1 << 64) - 1, 1 << rng.randrange(64)))
        if number in (MEDELEG, MIDELEG) and usual:
            return value & rng.getrandbits(16)
        if number >> 4 == PMPCFG0 >> 4 and usual:
            return value & 0x1F1F1F1F_1F1F1F1F  # not locked
        return value

    def piece(self) -> bytes:
        """An instruction or a few."""
        rng = self.rng
        kind = rng.randrange(20)
        if kind < 3:
            return constant(rng.choice(POINTERS), self.pointer())
        if kind < 6:
            number = rng.choice(self.numbers)
            name = rng.choice(("csrrw", "csrrw", "csrrs", "csrrc"))
            name = "csrrw" if number in (*TRAP_VECTORS, SATP) else name
            return constant(T0, self.csr_value(number)) + encode(name, rd=T1, csr=number, rs1=T0)
        if kind < 7:
            return self.entries()
        if kind < 8:
            names = ("mret", "sret", "sfence.vma", "fence.i", "ecall", "ebreak")
            name = rng.choice(names) if rng.random() < 0.99 else "wfi"
            fields = {"rs1": 0, "rs2": 0} if name == "sfence.vma" else {}
            return encode(name, **fields)
        if kind < 12:
            name = rng.choice(("lb", "lh", "lw", "ld", "sb", "sh", "sw", "sd", "amoadd.w", "fld"))
            fields = random_fields(rng, isa.instructions[name])
            fields["rs1"] = rng.choice(POINTERS)
            return encode(name, **fields)
        if kind < 13:
            distance = rng.randrange(-64, 64) * 4
            name = rng.choice(("beq", "bne", "blt"))
            return encode(name, rs1=rng.randrange(32), rs2=rng.randrange(32), imm=distance)
        if kind < 14:
            return encode("jalr", rd=1, rs1=rng.choice(POINTERS), imm=0)
        insn = rng.choice(self.insns)
        if insn.name == "wfi" or any(f.name == "csr" for f in insn.fields):
            return b""
        fields = random_fields(rng, insn)
        if "rs1" in fields and rng.random() < 0.5:
            fields["rs1"] = rng.choice(POINTERS)
        return insn.encode(**fields).to_bytes(4, "little")

    def entries(self) -> bytes:
        """Store page table entries that lead into the code's own pages, with any rights."""
        rng = self.rng
        page = self.base + rng.randrange(self.size) & -4096
        entry = page >> 12 << 10 | rng.getrandbits(8) | rng.choice((1, 0xCF, 0xDF, 0))
        where = self.base + rng.randrange(self.size) & -8
        return constant(T0, entry) + constant(T2, where) + encode("sd", rs1=T2, rs2=T0, imm=0)

    def code(self) -> bytes:
        rng = self.rng
        if rng.random() < 0.1:
            return rng.randbytes(self.size)
        out = bytearray(b"".join(constant(register, self.pointer()) for register in POINTERS))
        for number in TRAP_VECTORS if self.machine_mode else TRAP_VECTORS[1:]:
            handler = self.base + self.size + HANDLERS[number]
            out += constant(T0, handler) + encode("csrrw", rd=0, csr=number, rs1=T0)
        while len(out) < self.size:
            out += self.piece()
        out = out[: self.size]
        for number, status, epc, back in (
            (MTVEC, 0x300, 0x341, "mret"),
            (STVEC, 0x100, 0x141, "sret"),
        ):
            at = self.base + self.size + HANDLERS[number]
            out = out.ljust(at - self.base, b"\0") + self.handler(at, status, epc, back)
        out = out.ljust(self.size + TABLE, b"\0")
        for index in range(512):
            flags = rng.choice((0xCF, 0xCF, 0xDF, 0xEF, 0x4B, 0xC7, rng.getrandbits(8)))
            page = index << 28 | flags if index != 2 else 2 << 28 | 0xCF
            out += page.to_bytes(8, "little")
        return bytes(out)

    def handler(self, at: int, status: int, epc: int, back: str) -> bytes:
        """Go on anywhere in the code, in any mode, as the clock says."""
        code = encode("lui", rd=T0, imm=0x20000) + encode("csrrc", rd=0, csr=status, rs1=T0)
        if back == "mret":
            code += encode("csrrw", rd=0, csr=0x304, rs1=0)  # no interrupts for now
            code += encode("addi", rd=T0, rs1=0, imm=-1) + encode("csrrw", rd=0, csr=0x3B0, rs1=T0)
            code += encode("addi", rd=T0, rs1=0, imm=31)
            code += encode("csrrw", rd=0, csr=PMPCFG0, rs1=T0)
        code += encode("csrr", rd=T0, csr=0xC01) + encode("lui", rd=T1, imm=0x1E379000)
        code += encode("mul", rd=T0, rs1=T0, rs2=T1) + encode("srli", rd=T0, rs1=T0, shamt=9)
        mask = self.size - 1 & -4
        code += encode("lui", rd=T1, imm=mask + 0x800 & -4096)
        code += encode("addi", rd=T1, rs1=T1, imm=(mask + 0x800 & 0xFFF) - 0x800)
        code += encode("and", rd=T1, rs1=T1, rs2=T0)
        distance = self.base - (at + len(code))
        code += encode("auipc", rd=T2, imm=distance + 0x800 & -4096)
        code += encode("addi", rd=T2, rs1=T2, imm=(distance + 0x800 & 0xFFF) - 0x800)
        code += encode("add", rd=T2, rs1=T2, rs2=T1) + encode("csrrw", rd=0, csr=epc, rs1=T2)
        code += encode("lui", rd=T1, imm=0x2000) + encode("addi", rd=T1, rs1=T1, imm=-2048)
        code += encode("and", rd=T0, rs1=T0, rs2=T1)  # MPP, or FS and more of sstatus
        code += encode("csrrc", rd=0, csr=status, rs1=T1)
        code += encode("csrrs", rd=0, csr=status, rs1=T0)
        return code + encode(back)


def run(seed: int, seconds: float, folder: Path) -> str:
    """What is wrong with a seed's run; nothing if all is well."""
    guest = Guest(seed)
    image = folder / "image"
    image.write_bytes(guest.code())
    command = [sys.executable, "-m", "jitemu", "system-riscv64", "-m", str(RAM_MIB)]
    command += ["-display", "none", "-serial", "null", "-monitor", "none"]
    command += ["-bios" if guest.machine_mode else "-kernel", str(image)]
    command += ["-hot-threshold", str(random.Random(seed).choice((0, 2, 4)))]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    most = 0
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
        most = max(most, resident(process.pid))
    told = process.poll() is None
    if told:
        process.send_signal(signal.SIGTERM)
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "hangs"
    text = errors.decode(errors="replace")
    if process.returncode < 0 and not (told and process.returncode == -signal.SIGTERM):
        return f"killed by signal {-process.returncode}: {text[-400:]}"
    if "Traceback" in text:
        return text[-1500:]
    if most > MOST_MIB << 20:
        return f"{most >> 20} MiB of memory"
    return ""


def resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Run the seeds; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--seconds", type=float, default=2.0, help="that a guest has")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seed, options.seed + options.seeds):
            wrong = run(seed, options.seconds, Path(folder))
            if wrong:
                bad += 1
                print(f"seed {seed}: {wrong}", flush=True)
    print(f"{options.seeds} guests, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
