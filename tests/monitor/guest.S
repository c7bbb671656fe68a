# Sets registers and page tables to what the test knows, says "ready" on the UART, and spins in
# S mode behind Sv39, with nothing changing any more.
    .option norvc
    .globl _start
_start:
    li t0, 0x02004000           # mtimecmp: never
    li t1, -1
    sd t1, 0(t0)
    li t0, 0x222                # some delegation
    csrw mideleg, t0
    li t0, 0xb109
    csrw medeleg, t0
    la t0, trap
    csrw mtvec, t0
    csrw stvec, t0
    li t0, 0x1234567890abcdef
    csrw mscratch, t0
    csrw sscratch, t1
    csrw mcause, x0
    li t0, 0x22
    csrw mie, t0
    li t0, -1                   # PMP: everything
    csrw pmpaddr0, t0
    li t0, 0x1f
    csrw pmpcfg0, t0
    li t0, 0x2000               # FS
    csrs mstatus, t0
    li t0, 0x400921fb54442d18
    fmv.d.x fa0, t0
    li t0, 0x3f800000
    fmv.w.x ft11, t0
    la t0, root                 # root[511] -> 1 GiB at RAM; root[1] -> middle -> leaf
    li t1, 0x80000000 >> 2 | 0xcf
    li t2, 4088
    add t2, t2, t0
    sd t1, 0(t2)
    la t2, middle
    srli t3, t2, 2
    ori t3, t3, 1
    sd t3, 8(t0)
    la t4, leaves
    srli t3, t4, 2
    ori t3, t3, 1
    sd t3, 0(t2)
    li t3, 0x80200000 >> 2 | 0xdb  # 2 MiB, user, no write (W clear): r-xu-ad
    sd t3, 8(t2)
    la t5, data
    srli t3, t5, 2
    ori t3, t3, 0xc7            # page 0: rw-  ad
    sd t3, 0(t4)
    sd t3, 16(t4)               # page 2: the same again
    srli t0, t0, 12
    li t1, 8 << 60
    or t0, t0, t1
    csrw satp, t0
    sfence.vma
    li t0, 0x1800               # MPP = S
    csrc mstatus, t0
    li t0, 0x0800
    csrs mstatus, t0
    la t0, spin
    li t1, 0xffffffff40000000   # the same place through root[511]
    add t0, t0, t1
    csrw mepc, t0
    li t0, 0x10000000
    la t1, text
1:  lbu t2, 0(t1)
    beqz t2, 2f
    sb t2, 0(t0)
    addi t1, t1, 1
    j 1b
2:  li a0, 0x1111
    li a7, -2
    li s11, 0x7fffffffffffffff
    mret
    .balign 4
spin:
    j spin
trap:
    j trap
text:
    .asciz "ready\n"
    .balign 4096
data:
    .ascii "Some text\n'\\\t\377"
    .balign 8
    .quad 0x8000000000000000, -1, 10
    .balign 4096
root:
    .fill 512, 8, 0
middle:
    .fill 512, 8, 0
leaves:
    .fill 512, 8, 0
