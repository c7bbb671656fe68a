"""Data accesses that miss the TLB in translated code: fill, device, page crossing, code.

These functions clear ``trapped`` first, and set it when they raise an exception at the
state's pc (which the caller has brought up to date).
"""

from __future__ import annotations

from jitemu.frontends.riscv.mmu import in_ram, tlb_fill, to_host
from jitemu.frontends.riscv.pmp import pmp_allows
from jitemu.frontends.riscv.privileged import (
    LOAD_ACCESS,
    OFFSET_MASK,
    PAGE_MASK,
    PAGE_SIZE,
    READ,
    STORE_ACCESS,
    STORE_MISALIGNED,
    TLB_CODE,
    WRITE,
    HartState,
)
from jitemu.frontends.riscv.traps import raise_exception
from jitemu.ir.native import (
    extern,
    hostcall,
    load8,
    load16,
    load32,
    load64,
    native,
    store8,
    store16,
    store32,
    store64,
)
from jitemu.ir.state import TLB_ENTRIES

ALL_ONES = (1 << 64) - 1

code_written = extern("code_written", "physical", "size")
"""The engine's: bytes in one page of RAM that hold translated code are being written."""


@native
def load_host(s: HartState, host: int, size: int) -> int:
    """1, 2, 4 or 8 bytes of host memory."""
    if size == 8:
        return load64(host)
    if size == 4:
        return load32(host)
    if size == 2:
        return load16(host)
    return load8(host)


@native
def store_host(s: HartState, host: int, size: int, value: int) -> None:
    """1, 2, 4 or 8 bytes of host memory."""
    if size == 8:
        store64(host, value)
    elif size == 4:
        store32(host, value)
    elif size == 2:
        store16(host, value)
    else:
        store8(host, value)


@native
def slot_of(s: HartState, va: int, mode: int) -> int:
    """The TLB entry that an address has."""
    return mode * TLB_ENTRIES + (va >> 12) % TLB_ENTRIES


@native
def check(s: HartState, va: int, access: int, mode: int) -> int:
    """Translate: 1, or trap."""
    cause = tlb_fill(s, va, access, mode)
    if cause:
        raise_exception(s, cause, va)
        return 0
    return 1


@native
def find_page(s: HartState, va: int, access: int, mode: int) -> int:
    """The distance from a page to the host's memory if the TLB holds it, filled if need be, or 0;
    for an access that may not come, so that no page is made dirty."""
    slot = slot_of(s, va, mode)
    page = va & PAGE_MASK
    tag = slot * 4 + (1 if access == WRITE else 0)
    if s.tlb[tag] != page:
        if s.tlb[slot * 4] == page and s.tlb_flags[slot] & TLB_CODE:
            return 0
        if tlb_fill(s, va, READ, mode):
            return 0
        if s.tlb[tag] != page:
            return 0
    return s.tlb[slot * 4 + 2]


@native
def find_window(s: HartState, first: int, last: int, access: int, mode: int) -> int:
    """The distance from these bytes to the host's memory, or 0 where the TLB does not hold them,
    or they are in two pages that are apart on the host."""
    distance = find_page(s, first, access, mode)
    if distance == 0 or (first ^ last) & PAGE_MASK == 0:
        return distance
    return distance if find_page(s, last, access, mode) == distance else 0


# Loads


@native
def slow_load(s: HartState, va: int, size: int, mode: int) -> int:
    """The value of so many bytes, zero-extended."""
    s.trapped = 0
    if (va & OFFSET_MASK) + size <= PAGE_SIZE:
        return load_within(s, va, size, mode)
    value = 0
    if check(s, va, READ, mode) and check(s, (va + size - 1) & PAGE_MASK, READ, mode):
        done = 0
        while done < size and s.trapped == 0:
            value |= load_within(s, va + done, 1, mode) << 8 * done
            done += 1
    return value


@native
def load_within(s: HartState, va: int, size: int, mode: int) -> int:
    """A load that does not cross a page."""
    entry = slot_of(s, va, mode) * 4
    if s.tlb[entry] != va & PAGE_MASK:
        if not check(s, va, READ, mode):
            return 0
        if s.tlb[entry] != va & PAGE_MASK:
            return load_physical(s, va, size, mode)
    return load_host(s, va + s.tlb[entry + 2], size)


@native
def load_physical(s: HartState, va: int, size: int, mode: int) -> int:
    """A load, at ``physical``, of what the TLB cannot hold."""
    address = s.physical
    if pmp_allows(s, address, size, READ, mode):
        if in_ram(s, address, size):
            return load_host(s, to_host(s, address), size)
        s.mmio_failed = 0
        value = hostcall(s.mmio_read, address, size)
        if s.mmio_failed == 0:
            return value & (ALL_ONES >> 64 - 8 * size)
    raise_exception(s, LOAD_ACCESS, va)
    return 0


# Stores


@native
def slow_store(s: HartState, va: int, size: int, value: int, mode: int) -> None:
    """Write so many bytes: all of them, or none and trap (but for failing devices)."""
    s.trapped = 0
    if (va & OFFSET_MASK) + size <= PAGE_SIZE:
        store_within(s, va, size, value, mode)
    elif check(s, va, WRITE, mode) and check(s, (va + size - 1) & PAGE_MASK, WRITE, mode):
        done = 0
        while done < size and s.trapped == 0:
            store_within(s, va + done, 1, value >> 8 * done, mode)
            done += 1


@native
def store_within(s: HartState, va: int, size: int, value: int, mode: int) -> None:
    """A store that does not cross a page."""
    host = writable(s, va, size, mode)
    if host:
        store_host(s, host, size, value)
    elif s.trapped == 0:
        s.mmio_failed = 0
        hostcall(s.mmio_write, s.physical, size, value & (ALL_ONES >> 64 - 8 * size))
        if s.mmio_failed:
            raise_exception(s, STORE_ACCESS, va)


@native
def writable(s: HartState, va: int, size: int, mode: int) -> int:
    """The host address of bytes in one page that are about to be written.

    0 after a trap, or (``physical`` is set then) where a device is.
    """
    slot = slot_of(s, va, mode)
    entry = slot * 4
    page = va & PAGE_MASK
    if s.tlb[entry + 1] == page:
        return va + s.tlb[entry + 2]
    if s.tlb_flags[slot] & TLB_CODE == 0 or s.tlb[entry] != page:
        if not check(s, va, WRITE, mode):
            return 0
        if s.tlb[entry + 1] == page:
            return va + s.tlb[entry + 2]
        if s.tlb_flags[slot] & TLB_CODE == 0 or s.tlb[entry] != page:
            return writable_physical(s, va, size, mode)
    host = va + s.tlb[entry + 2]
    if before_store(s, host - s.ram_host, size) == 0:
        s.tlb[entry + 1] = page
    return host


@native
def writable_physical(s: HartState, va: int, size: int, mode: int) -> int:
    """``writable`` at ``physical``, where the TLB cannot hold the page."""
    address = s.physical
    if not pmp_allows(s, address, size, WRITE, mode):
        raise_exception(s, STORE_ACCESS, va)
        return 0
    if not in_ram(s, address, size):
        return 0
    before_store(s, address - s.ram_base, size)
    return to_host(s, address)


@native
def before_store(s: HartState, offset: int, size: int) -> int:
    """Tell the engine if a store to RAM hits code; whether its page still holds some."""
    word = s.code_pages + (offset >> 12) * 8
    code = load64(word)
    if code >> (offset >> 6 & 63) & 1 or code >> (offset + size - 1 >> 6 & 63) & 1:
        code_written(s, s.ram_base + offset, size)
    return load64(word) != 0


@native
def slow_address(s: HartState, va: int, size: int, mode: int) -> int:
    """The host address for an atomic access, which must be aligned and in RAM; 0: trapped."""
    s.trapped = 0
    if va & size - 1:
        raise_exception(s, STORE_MISALIGNED, va)
        return 0
    host = writable(s, va, size, mode)
    if host == 0 and s.trapped == 0:
        raise_exception(s, STORE_ACCESS, va)
    return host
