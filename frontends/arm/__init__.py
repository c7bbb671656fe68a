"""32-bit ARM: A32 and T32 instructions (Architecture Reference Manual, ARMv7-A and ARMv7-R)."""
