# Counts what it does with minstret, then has timers interrupt it.  The log is 64-bit words on
# the UART: COUNTS differences, then for each timer its time and minstret in the handler, then
# the time before and after a wfi.  test_icount.py knows what all must be.
    .option norvc
    .macro LOG reg
    sd \reg, 0(s1)
    addi s1, s1, 8
    .endm
    .macro BEGIN
    csrr s2, minstret
    .endm
    .macro END              # log the instructions retired since BEGIN, it itself among them
    csrr s3, minstret
    sub s3, s3, s2
    LOG s3
    .endm
    .globl _start
_start:
    la s1, log
    la t0, trap
    csrw mtvec, t0
    li t0, -1
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    BEGIN                   # nothing
    END
    BEGIN                   # straight code
    .rept 100
    nop
    .endr
    END
    li t0, 1000             # a loop
    BEGIN
1:  addi t0, t0, -1
    bnez t0, 1b
    END
    BEGIN                   # branches inside a block, taken and not
    beq x0, x0, 1f
    nop
1:  bne x0, x0, 1f
    nop
1:  END
    BEGIN                   # calls
    call leaf
    call leaf
    END
    lla t1, data + 2048     # memory: the TLB's misses, pages crossed, atomics, a device
    BEGIN
    sd t1, 0(t1)
    ld t2, 2044(t1)
    sw t2, 2046(t1)
    amoadd.d t2, t1, (t1)
    lr.d t2, (t1)
    sc.d t2, t2, (t1)
    li t3, 0x10000000
    lbu t2, 5(t3)
    END
    BEGIN                   # traps: the trapping instruction does not retire
    ebreak
    ecall
    .word 0
    ld t2, 0(x0)
    csrr t2, 0x7c0
    END
    li t2, 0
    BEGIN                   # a fetch that traps
    jalr ra, t2
    END
    li t0, 0x2000           # floating point whose state is clean (initial), then dirty
    csrs mstatus, t0
    fmv.d.x fa0, x0
    li t0, 0x2000
    csrc mstatus, t0
    li t0, 0x4000
    csrs mstatus, t0
    li t0, 0x2000
    csrc mstatus, t0
    BEGIN
    fadd.d fa0, fa0, fa0
    fadd.d fa0, fa0, fa0
    END
    la t1, patched          # code that is rewritten
    li t2, 0x00a50513
    BEGIN
    sw t2, 0(t1)
    fence.i
    call patched
    END
    li t0, 5000             # the counter is written
    csrw minstret, t0
    csrr s3, minstret
    LOG s3
    csrr s3, minstret
    LOG s3

    la t0, timer            # mtimecmp; the interrupt comes in straight code or at a branch
    csrw mtvec, t0
    csrw minstret, x0
    li s6, 0x200bff8
    li s7, 0x2004000
    li s8, 0x80
    li s4, 40
1:  ld t0, 0(s6)
    slli t1, s4, 1
    addi t1, t1, 3
    add s5, t0, t1
    sd s5, 0(s7)
    csrw mie, s8
    csrsi mstatus, 8
    li a0, 0
2:  addi a0, a0, 1
    addi a0, a0, 1
    addi a0, a0, 1
    j 2b
3:  addi s4, s4, -1
    bnez s4, 1b

    li s4, 40               # the same with stimecmp, on the next line
    li t0, 1 << 63
    csrw 0x30a, t0
    li s8, 0x20
4:  csrr t0, time
    slli t1, s4, 1
    addi t1, t1, 5
    add s5, t0, t1
    csrw 0x14d, s5
    csrw mie, s8
    csrsi mstatus, 8
    la t1, data
5:  ld a0, 0(t1)
    addi a0, a0, 1
    sd a0, 0(t1)
    bnez a0, 5b
    nop
    j 5b
6:  addi s4, s4, -1
    bnez s4, 4b

    csrci mstatus, 8        # waiting takes time, but no instructions
    li s8, 0x80
    csrw mie, s8
    ld t0, 0(s6)
    LOG t0
    li t1, 20000000
    add t0, t0, t1
    sd t0, 0(s7)
    wfi
    csrr t0, time
    LOG t0

    la s0, log              # print the log and power off
    li t1, 0x10000000
7:  lb t0, 0(s0)
    sb t0, 0(t1)
    addi s0, s0, 1
    bltu s0, s1, 7b
    li t0, 0x5555
    li t1, 0x100000
    sw t0, 0(t1)
8:  j 8b

leaf:
    nop
    ret
    .balign 64
patched:
    nop
    ret

    .balign 4
trap:                       # go on behind what trapped, or where a jump to 0 came from
    csrr t5, mepc
    beqz t5, 1f
    addi t5, t5, 4
    csrw mepc, t5
    mret
1:  csrw mepc, ra
    mret

    .balign 4
timer:
    csrr t0, minstret
    LOG s5
    LOG t0
    csrw mie, x0
    la t1, 3b
    csrr t0, mcause
    andi t0, t0, 15
    li t2, 7
    beq t0, t2, 1f
    la t1, 6b
1:  csrw mepc, t1
    mret

    .balign 4096
data:
    .zero 8192
log:
    .zero 8192
