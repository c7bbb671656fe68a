# The bare-metal guest that jitemu ships (jitemu/get/hello.bin), for machines without a mirror.
# Made by:
#   riscv64-linux-gnu-gcc -nostdlib -static -march=rv64i -mabi=lp64 -Wl,-Ttext=0x80200000 \
#       -Wl,--build-id=none,-n -o hello.elf hello.S
#   riscv64-linux-gnu-objcopy -O binary hello.elf hello.bin
#
# S-mode, at 0x80200000.  Greets over the 16550 UART, gives each typed line back, and powers
# off through the test finisher at a line that starts with q, or at Ctrl-D.

    .equ UART, 0x10000000
    .equ LSR, 5
    .equ DATA_READY, 1
    .equ TRANSMITTER_EMPTY, 0x20
    .equ FINISHER, 0x100000
    .equ FINISH_PASS, 0x5555
    .equ LINE_LIMIT, 200

    .option norelax
    .globl _start
_start:
    j start                     # the header of a Linux Image, which loaders look for
    .balign 4
    .word 0
    .dword 0x200000             # text_offset
    .dword image_end - _start + LINE_LIMIT + 1  # image_size, with the line
    .dword 0                    # flags: little endian
    .word 2                     # header version 0.2
    .word 0
    .dword 0
    .ascii "RISCV\0\0\0"
    .ascii "RSC\5"
    .word 0

start:
    lla sp, image_end
    li s0, UART
    lla a0, greeting
    call put_string
next_line:
    lla a0, prompt
    call put_string
    mv s1, sp                   # the line is collected above the image
next_byte:
    lbu t0, LSR(s0)
    andi t0, t0, DATA_READY
    beqz t0, next_byte
    lbu s2, 0(s0)
    li t0, 4                    # Ctrl-D
    beq s2, t0, power_off
    li t0, 13
    beq s2, t0, line_done
    li t0, 10
    beq s2, t0, line_done
    li t0, 127
    beq s2, t0, rub_out
    li t0, 8
    beq s2, t0, rub_out
    sub t0, s1, sp
    li t1, LINE_LIMIT
    bgeu t0, t1, next_byte
    sb s2, 0(s1)
    addi s1, s1, 1
    mv a0, s2
    call put_byte
    j next_byte
rub_out:
    beq s1, sp, next_byte
    addi s1, s1, -1
    lla a0, erase
    call put_string
    j next_byte
line_done:
    sb zero, 0(s1)
    lbu t0, 0(sp)
    li t1, 'q'
    beq t0, t1, power_off
    lla a0, you_said
    call put_string
    mv a0, sp
    call put_string
    j next_line

power_off:
    lla a0, farewell
    call put_string
    li t0, FINISHER
    li t1, FINISH_PASS
    sw t1, 0(t0)
    j .

put_string:                     # a0: address of bytes up to a zero
    mv s3, a0
    mv s4, ra
1:  lbu a0, 0(s3)
    beqz a0, 2f
    call put_byte
    addi s3, s3, 1
    j 1b
2:  jr s4

put_byte:                       # a0: the byte
    lbu t0, LSR(s0)
    andi t0, t0, TRANSMITTER_EMPTY
    beqz t0, put_byte
    sb a0, 0(s0)
    ret

greeting:
    .ascii "\r\nHello from riscv64, bare metal.\r\n"
    .asciz "What you type comes back; q and Enter powers off."
prompt:
    .asciz "\r\n> "
you_said:
    .asciz "\r\nyou said: "
erase:
    .asciz "\b \b"
farewell:
    .asciz "\r\nPowering off.\r\n"
    .balign 16
image_end:
