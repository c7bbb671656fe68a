"""Loads and stores of several registers, as a word of A32 for each.

The base register is written last (and loaded last, if it is in the list), so that all can
be done again after a fault; a load of the pc waits until everything else is done.
"""

from __future__ import annotations

from jitemu.frontends.arm.state import isa
from jitemu.ir.native import native
from jitemu.ir.state import RuntimeState


@native
def multiple(s: RuntimeState, word: int, k: int) -> int:
    """The k-th step of A32's LDM or STM."""
    base = word >> 16 & 15
    registers = word & 0xFFFF
    load = word >> 20 & 1
    up = word >> 23 & 1
    count = 0
    left = registers
    while left:
        left = left & left - 1
        count += 1
    if k >= count:
        if k > count or (word >> 21 & 1) == 0:
            return 0
        change = 0xE2800000 if up else 0xE2400000
        return change | base << 16 | base << 12 | count * 4
    # The base last, if it is loaded; the others ascending.
    last = load and registers >> base & 1
    number = 0
    position = 0
    taken = 0
    while 1:
        if registers >> number & 1:
            if last == 0 or number != base:
                if taken == k:
                    break
                taken += 1
            position += 1
        number += 1
        if number == 16:
            number = base
            position = 0
            left = registers & (1 << base) - 1
            while left:
                left = left & left - 1
                position += 1
            break
    offset = position * 4
    before = word >> 24 & 1
    if up:
        offset += before * 4
    else:
        offset = offset + (1 - before) * 4 - count * 4
    access = 0xE5900000 if load else 0xE5800000
    if offset >> 63:
        access = access - 0x800000
        offset = 0 - offset
    return access | base << 16 | number << 12 | offset


@native
def wide_multiple(s: RuntimeState, word: int, k: int) -> int:
    """T32's 32-bit forms: increment after, decrement before."""
    kind = 0xE8800000 if word >> 23 & 1 else 0xE9000000
    return multiple(s, kind | word & 0x003F_FFFF, k)


@native
def short_multiple(s: RuntimeState, word: int, k: int) -> int:
    """LDMIA and STMIA of low registers; a loaded base is not written back."""
    base = word >> 8 & 7
    load = word >> 11 & 1
    back = 0 if load and word >> base & 1 else 1
    return multiple(s, 0xE8800000 | back << 21 | load << 20 | base << 16 | word & 255, k)


@native
def push(s: RuntimeState, word: int, k: int) -> int:
    """16-bit PUSH of low registers and LR."""
    return multiple(s, 0xE92D0000 | (word >> 8 & 1) << 14 | word & 255, k)


@native
def pop(s: RuntimeState, word: int, k: int) -> int:
    """16-bit POP of low registers and PC."""
    return multiple(s, 0xE8BD0000 | (word >> 8 & 1) << 15 | word & 255, k)


for _name, _load in (("stm", 0), ("ldm", 1)):
    isa.steps(f"cond:4 100 pu:2 0 w:1 {_load} rn:4 list:16", _name, "arm", _name, multiple)
    for _tag, _bits in (("ia", "01"), ("db", "10")):
        _pattern = f"1110100 {_bits} 0 w:1 {_load} rn:4 list:16"
        isa.steps(_pattern, _name, "t32", f"{_name}{_tag}.w", wide_multiple)
    isa.steps(f"1100 {_load} rn:3 list:8", _name, "t32", f"{_name}.t1", short_multiple)
isa.steps("1011010 m:1 list:8", "push", "t32", "push.t1", push)
isa.steps("1011110 m:1 list:8", "pop", "t32", "pop.t1", pop)
