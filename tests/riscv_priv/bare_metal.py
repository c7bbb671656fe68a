"""A bare-metal program that tries privileged things and logs what it sees as words.

It keeps away from where QEMU 7.2 differs from the specification: low bits of xepc, upper
bits of pmpaddr, several pending interrupts at once, the cause of a misaligned AMO, and
execution of user pages after a load from them with SUM.
"""

from __future__ import annotations

from pathlib import Path

CSR_TRIALS = {
    "mstatus": (0, -1, 0x1800, 0x800, 0x6000, 0x2000),
    "sstatus": (0, -1, 0x4000),
    "medeleg": (0, -1),
    "mideleg": (-1, 0),
    "mie": (-1, 0),
    "sie": (-1, 0),
    "mscratch": (-1, 0x123456789ABCDEF0),
    "sscratch": (-1, 5),
    "mepc": (0x80000002, 0x80001234),
    "sepc": (0x80000006,),
    "mtval": (-1,),
    "stval": (-1,),
    "scause": (-1, 7),
    "mcause": (7,),
    "stvec": (0x80000100, 0x80000101),
    "pmpaddr5": (0x20000000, 0x123),
    "fcsr": (0xFF, 0x25),
    "frm": (4, 1),
    "fflags": (31, 9),
    "satp": (0, 8 << 60, 9 << 60 | 0xFFFF << 44, 1 << 60, 15 << 60),
}
"""Values to write; what can be read afterwards is logged."""

NUMBERS = (
    0x000,
    0x100,
    0x180,
    0x200,
    0x300,
    0x344,
    0xC00,
    0xC01,
    0xF14,
    0xF11,
    0x7C0,
    0x3A0,
    0x001,
)
"""CSRs read from each privilege; who may not, traps."""

FLAGS = tuple(
    bytes.fromhex("00 01 03 05 07 09 0b 0f 11 13 17 19 1b 1f cf df 43 57"),
)
"""Low bits of the entries of pages at 0x40000000, in order."""

HEAD = """
.macro LOG reg
    sd \\reg, 0(s1)
    addi s1, s1, 8
.endm
.option norvc
.globl _start
_start:
    la s1, results
    la t0, machine_trap
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    li a7, 0
"""

TAIL = """
    la s0, low
    li t2, {pages}
6:  ld t0, 0(s0)
    LOG t0
    addi s0, s0, 8
    addi t2, t2, -1
    bnez t2, 6b
    la s0, results
    li t1, 0x10000000
5:  lb t0, 0(s0)
    sb t0, 0(t1)
    addi s0, s0, 1
    bltu s0, s1, 5b
    li t0, 0x5555
    li t1, 0x100000
    sw t0, 0(t1)
4:  j 4b

.balign 4
machine_trap:
    csrr t5, mcause
    LOG t5
    csrr t6, mepc
    la t4, _start
    sub t6, t6, t4
    LOG t6
    li t6, 2
    beq t5, t6, 1f
    li t6, 3
    beq t5, t6, 1f
    csrr t6, mtval
    LOG t6
1:  csrr t6, mstatus
    li t4, 0x80000000007ff9aa
    and t6, t6, t4
    LOG t6
    li t6, 99
    bne a7, t6, 2f
    li a7, 0
    li t6, 0x1800
    csrs mstatus, t6
    csrw mepc, s2
    mret
2:  bltz t5, 4f
    li t6, 1
    beq t5, t6, 3f
    li t6, 12
    beq t5, t6, 3f
    csrr t6, mepc
    addi t6, t6, 4
    csrw mepc, t6
    mret
3:  csrw mepc, ra
    mret
4:  csrw mie, zero
    mret

.balign 4
supervisor_trap:
    csrr t5, scause
    LOG t5
    csrr t6, sepc
    LOG t6
    csrr t6, sstatus
    li t4, 0x80000000000de762
    and t6, t6, t4
    LOG t6
    csrr t6, sepc
    addi t6, t6, 4
    csrw sepc, t6
    sret

.balign 4096
root: .skip 4096
middle: .skip 4096
low: .skip 4096
data: .skip 4096
results: .skip 65536
"""


def run_at(priv: int, bits: int, label: int, body: list[str]) -> list[str]:
    """Run a body in a privilege (mapped one to one), and come back to M mode."""
    return [
        "li t0, 0x61980",
        "csrc mstatus, t0",
        f"li t0, {priv << 11 | bits:#x}",
        "csrs mstatus, t0",
        f"la s2, after{label}",
        f"la t0, body{label}",
        "csrw mepc, t0",
        "mret",
        f"body{label}:",
        *body,
        "li a7, 99",
        "ecall",
        f"after{label}:",
    ]


def probes(jump: bool) -> list[str]:
    """Load, store and jump to each page of 0x40000000, whatever traps."""
    return [
        "li a0, 0x40000000",
        f"li a1, {len(FLAGS)}",
        "7: li t0, 0x77",
        "lw t0, 8(a0)",
        "LOG t0",
        "sw a1, 12(a0)",
        "addi t1, a0, 0",
        "jalr ra, t1" if jump else "nop",
        "li t1, 4096",
        "add a0, a0, t1",
        "addi a1, a1, -1",
        "bnez a1, 7b",
    ]


def program() -> str:
    """The assembly text."""
    lines = [HEAD]
    for name, values in CSR_TRIALS.items():
        lines += [f"csrr s4, {name}" if name != "fcsr" else "li s4, 0"]
        if name in ("fcsr", "frm", "fflags"):
            lines += ["li t0, 0x2000", "csrs mstatus, t0"]
        for value in values:
            lines += [f"li t0, {value}", f"csrw {name}, t0", f"csrr t1, {name}"]
            if name in ("mstatus", "sstatus"):  # QEMU lets UXL change
                lines += ["li t2, 0x80000000007ff9aa", "and t1, t1, t2"]
            elif name in ("medeleg",):
                lines += ["li t2, 0xb1ff", "and t1, t1, t2"]
            elif name in ("mideleg", "mie"):
                lines += ["li t2, 0xaaa", "and t1, t1, t2"]
            lines += ["LOG t1"]
        lines += [f"csrw {name}, s4"]
    lines += ["csrw satp, zero", "csrw medeleg, zero", "csrw mie, zero", "csrw mideleg, zero"]
    lines += ["li t0, -1", "csrw mcounteren, t0", "csrw scounteren, zero"]
    lines += _tables()
    label = 0
    for priv in (3, 1, 0):
        body = [f"csrr t0, {number:#x}\nnop" for number in NUMBERS]
        body += ["ecall", "ebreak", "csrw 0xc00, t0", "mret" if priv < 3 else "nop"]
        body += ["sfence.vma"] if priv < 3 else []
        body += [".word 0"]
        lines += run_at(priv, 0x2000, label, body)
        label += 1
    lines += _interrupts()
    lines += ["la t0, supervisor_trap", "csrw stvec, t0"]
    lines += ["la t0, root", "srli t0, t0, 12", "li t1, 8", "slli t1, t1, 60", "or t0, t0, t1"]
    lines += ["csrw satp, t0", "sfence.vma"]
    for bits in (0, 1 << 18, 1 << 19, 3 << 18):
        lines += run_at(1, bits, label, probes(jump=not bits & 1 << 18))
        label += 1
        for mpp in (0, 1):
            lines += _mprv(mpp, bits, label)
            label += 1
    lines += ["li t0, 0x1ff", "csrw medeleg, t0"]
    body = ["csrr t0, mstatus", "ebreak", ".word 0", "csrr t0, sstatus", "nop"]
    lines += run_at(1, 0x20, label, body)
    return "\n".join(lines) + TAIL.format(pages=len(FLAGS))


def _tables() -> list[str]:
    """0x40000000: the pages of FLAGS; 0x80000000: itself."""
    lines = ["la t0, root", "la t1, middle", "srli t1, t1, 2", "ori t1, t1, 1", "sd t1, 8(t0)"]
    lines += ["li t1, 0x200000cf", "sd t1, 16(t0)"]
    lines += ["la t0, middle", "la t1, low", "srli t1, t1, 2", "ori t1, t1, 1", "sd t1, 0(t0)"]
    lines += ["la t0, low", "la t1, data", "srli t1, t1, 2"]
    for n, flags in enumerate(FLAGS):
        lines += [f"ori t2, t1, {flags}", f"sd t2, {8 * n}(t0)"]
    lines += ["la t0, data", "li t1, 0x8067", "sw t1, 0(t0)", "li t1, 0x55", "sw t1, 8(t0)"]
    return lines


def _mprv(mpp: int, bits: int, label: int) -> list[str]:
    """Loads and stores of each page from M mode, with another mode's rights."""
    return [
        "li a0, 0x40000000",
        f"li a1, {len(FLAGS)}",
        f"loop{label}:",
        *("li t0, 0x61980", "csrc mstatus, t0", f"li t0, {1 << 17 | mpp << 11 | bits:#x}"),
        *("li t3, 0x77", "csrs mstatus, t0", "lw t3, 8(a0)"),
        *("li t0, 0x61980", "csrc mstatus, t0", "LOG t3"),
        *(f"li t0, {1 << 17 | mpp << 11 | bits:#x}", "csrs mstatus, t0", "sw a1, 12(a0)"),
        *("li t0, 0x61980", "csrc mstatus, t0", "li t1, 4096", "add a0, a0, t1"),
        *("addi a1, a1, -1", f"bnez a1, loop{label}"),
    ]


def _interrupts() -> list[str]:
    """Software-made supervisor interrupts, taken in M mode, in their order."""
    lines: list[str] = []
    for pending in (0x2, 0x20, 0x200, 0x22):
        lines += [f"li t0, {pending}", "csrw mip, t0", "csrr t1, mip", "andi t1, t1, 0x222"]
        lines += ["LOG t1", "csrw mie, t0"]
        lines += ["csrsi mstatus, 8", "nop", "nop", "csrci mstatus, 8", "csrw mip, zero"]
    return lines


def build(folder: Path) -> Path:
    """Assemble and link at 0x80000000; the ELF file."""
    import subprocess

    source, output = folder / "priv.S", folder / "priv.elf"
    source.write_text(program())
    command = ["riscv64-linux-gnu-gcc", "-nostdlib", "-static", "-march=rv64imafd_zicsr"]
    command += ["-mabi=lp64d", "-Wl,-Ttext=0x80000000,--no-relax,--build-id=none", "-Wl,-N"]
    subprocess.run([*command, "-mno-relax", "-o", str(output), str(source)], check=True)
    return output
