"""The guest's address space: which of the process's pages are the guest's, and how.

The host process has mappings of its own (the interpreter, its heap, translated code)
beside the guest's.  Every change goes through here, so that a guest can unmap or replace
its own pages only.  PROT_EXEC never reaches the host: guest code is data to it.
"""

from __future__ import annotations

import errno
import os

from jitemu.user.hostcalls import PAGE, host_call, write_guest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROT_READ, PROT_WRITE, PROT_EXEC = 1, 2, 4
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0x10, 0x20
MAP_GROWSDOWN, MAP_NORESERVE, MAP_FIXED_NOREPLACE = 0x100, 0x4000, 0x100000
_MAP_32BIT, _MAP_HUGETLB = 0x40, 0x40000
MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP = 1, 2, 4
SHM_RDONLY, SHM_RND, SHM_REMAP, SHM_EXEC = 0o10000, 0o20000, 0o40000, 0o100000

_SYS_MMAP, _SYS_MPROTECT, _SYS_MUNMAP, _SYS_MREMAP = 9, 10, 11, 25
_SYS_SHMAT, _SYS_SHMDT = 30, 67
_NO_FILE = (1 << 64) - 1
ADDRESS_LIMIT = 1 << 47
MAPS_LOW, MAPS_HIGH = 0x10_0000_0000, 0x3F_0000_0000
"""Where the guest's mappings without an address go, from the top down: away from what the
host has, so that they are at the same places in every run (translated code that is kept
for the next run has its addresses in it), and where Sv39 has its programs' memory."""


def page_up(value: int) -> int:
    """The next multiple of the page size."""
    return (value + PAGE - 1) & -PAGE


def host_protection(prot: int) -> int:
    """What the host's page tables get: no execution, and what executes can be read."""
    return (prot & ~PROT_EXEC) | (PROT_READ if prot & PROT_EXEC else 0)


class Region:
    """Guest pages [start, end) of one protection."""

    def __init__(self, start: int, end: int, prot: int, shared: bool, label: str) -> None:
        self.start = start
        self.end = end
        self.prot = prot
        self.shared = shared
        self.label = label

    def part(self, start: int, end: int) -> Region:
        """The same, of these pages."""
        return Region(start, end, self.prot, self.shared, self.label)


class GuestSpace:
    """The guest's mappings.  Results are addresses or negative errnos, as the kernel's are."""

    base = 0
    """Host address of guest address 0."""
    limit = ADDRESS_LIMIT
    """The end of addresses that a guest can have."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self.generation = 0
        """Goes up with every change of the mappings."""
        self.brk_start = 0
        self.brk = 0
        self._segments: dict[int, int] = {}
        self._maps_end = self._maps_high = MAPS_HIGH
        """Below it the next mapping without an address goes."""
        self.images: list[tuple[str, int]] = []
        """File and load bias of the program and its interpreter, whose symbols traces show."""
        self.on_code_change: Callable[[int, int], None] = lambda _start, _size: None
        """Called with start and size before executable pages are changed in any way."""

    # -- bookkeeping ------------------------------------------------------------------

    def _above(self, address: int) -> int:
        """Index of the first region that begins above an address (bisect costs an import)."""
        low, high = 0, len(self._regions)
        while low < high:
            middle = (low + high) // 2
            if self._regions[middle].start > address:
                high = middle
            else:
                low = middle + 1
        return low

    def overlaps(self, start: int, end: int) -> Iterator[Region]:
        """The parts of guest regions inside [start, end), in order."""
        regions = self._regions
        index = max(self._above(start) - 1, 0)
        for region in regions[index:]:
            if region.start >= end:
                return
            if region.end > start:
                yield region.part(max(region.start, start), min(region.end, end))

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that are not the guest's."""
        for region in self.overlaps(start, end):
            if region.start > start:
                yield start, region.start
            start = region.end
        if start < end:
            yield start, end

    def covered(self, start: int, end: int) -> bool:
        """True where every page of [start, end) is the guest's."""
        return next(self.gaps(start, end), None) is None

    def region_at(self, address: int) -> Region | None:
        """The region that holds an address."""
        index = self._above(address) - 1
        if index >= 0 and address < self._regions[index].end:
            return self._regions[index]
        return None

    def code_size(self, pc: int) -> int:
        """Bytes of executable memory from an address to its region's end."""
        region = self.region_at(pc)
        return region.end - pc if region is not None and region.prot & PROT_EXEC else 0

    def mapped(self, address: int) -> bool:
        """There is memory of the guest's."""
        return self.region_at(address) is not None

    def writable(self, address: int) -> bool:
        """The guest may write there."""
        region = self.region_at(address)
        return region is not None and bool(region.prot & PROT_WRITE)

    def shared(self, address: int) -> bool:
        """Others may write there, or the guest at another address."""
        region = self.region_at(address)
        return region is not None and region.shared

    def rights(self) -> list[tuple[int, int, str]]:
        """Start, end and "rwx" of all mappings; neighbours with the same rights are one."""
        found: list[tuple[int, int, str]] = []
        for region in self._regions:
            prot = region.prot
            letters = "".join(c if prot & 1 << n else "-" for n, c in enumerate("rwx"))
            if found and found[-1][1] == region.start and found[-1][2] == letters:
                found[-1] = (found[-1][0], region.end, letters)
            else:
                found.append((region.start, region.end, letters))
        return found

    def regions(self) -> list[Region]:
        """All regions, in address order."""
        return list(self._regions)

    def _forget(self, start: int, end: int) -> None:
        regions = self._regions
        first = max(self._above(start) - 1, 0)
        last = self._above(end - 1)
        kept: list[Region] = []
        for region in regions[first:last]:
            if region.start < start:
                kept.append(region.part(region.start, min(region.end, start)))
            if region.end > end:
                kept.append(region.part(max(region.start, end), region.end))
        regions[first:last] = kept
        self.generation += 1

    def _announce(self, start: int, end: int) -> None:
        """Pages are about to change: translations of code in them end first."""
        if any(region.prot & PROT_EXEC for region in self.overlaps(start, end)):
            self.on_code_change(start, end - start)

    def record(self, region: Region) -> None:
        """Note pages as the guest's, replacing what was known of them."""
        self._forget(region.start, region.end)
        self._regions.insert(self._above(region.start), region)

    def map_code(self, code: bytes, label: str, address: int = 0) -> int:
        """Map a page with code of the kernel's for the guest; where it is."""
        flags = MAP_PRIVATE | MAP_ANONYMOUS | (MAP_FIXED if address else 0)
        prot = PROT_READ | PROT_WRITE
        at = self.mmap(address, PAGE, prot, flags, _NO_FILE, 0, label)
        if at < 0:
            from jitemu.messages import fail

            fail(f"no memory for the page {label}: {os.strerror(-at)}")
        write_guest(at, code)
        self.mprotect(at, PAGE, PROT_READ | PROT_EXEC)
        return at

    # -- the calls --------------------------------------------------------------------

    def _claim(self, start: int, end: int) -> int:
        """Make [start, end) the guest's, host mappings permitting: 0 or -ENOMEM."""
        claimed: list[tuple[int, int]] = []
        flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE
        for low, high in list(self.gaps(start, end)):
            if host_call(_SYS_MMAP, low, high - low, 0, flags, _NO_FILE, 0) != low:
                for taken_low, taken_high in claimed:
                    host_call(_SYS_MUNMAP, taken_low, taken_high - taken_low)
                return -errno.ENOMEM
            claimed.append((low, high))
        for low, high in claimed:
            self.record(Region(low, high, 0, False, ""))
        return 0

    def mmap(
        self,
        address: int,
        length: int,
        prot: int,
        flags: int,
        fd: int,
        offset: int,
        label: str = "",
    ) -> int:
        """mmap(2): the address, or a negative errno."""
        if length == 0 or length >= ADDRESS_LIMIT:
            return -(errno.ENOMEM if length else errno.EINVAL)
        if flags & _MAP_HUGETLB:
            return -errno.ENOMEM
        length = page_up(length)
        flags &= ~(_MAP_32BIT | MAP_GROWSDOWN)
        before: list[tuple[int, int]] = []
        fixed = bool(flags & MAP_FIXED) and not flags & MAP_FIXED_NOREPLACE
        if fixed:
            if address % PAGE or address + length > ADDRESS_LIMIT:
                return -(errno.EINVAL if address % PAGE else errno.ENOMEM)
            before = list(self.gaps(address, address + length))
            self._announce(address, address + length)
            failure = self._claim(address, address + length)
            if failure:
                return failure
        hint = address
        if address == 0 and not flags & (MAP_FIXED | MAP_FIXED_NOREPLACE):
            hint = self._room_for(length)
        rest = (length, host_protection(prot))
        result = -errno.EEXIST
        if hint != address:  # the host may disregard a mere hint for a large file
            result = host_call(_SYS_MMAP, hint, *rest, flags | MAP_FIXED_NOREPLACE, fd, offset)
        if result == -errno.EEXIST:
            result = host_call(_SYS_MMAP, hint, *rest, flags, fd, offset)
        if result >= 0:
            if result == hint != address:
                self._maps_end = hint
            shared = flags & 3 != MAP_PRIVATE
            self.record(Region(result, result + length, prot, shared, label))
        else:
            for low, high in before:
                self.munmap(low, high - low)
        return result

    def _room_for(self, length: int) -> int:
        """Where the next mapping may go; 0 leaves it to the host."""
        end = self._maps_end
        while end - length >= MAPS_LOW:
            taken = next(self.overlaps(end - length, end), None)
            if taken is None:
                return end - length
            end = taken.start
        return 0

    def munmap(self, address: int, length: int) -> int:
        """munmap(2) of the guest's own pages; the host's are left alone."""
        end = address + page_up(length)
        if address % PAGE or length == 0 or end > ADDRESS_LIMIT:
            return -errno.EINVAL
        self._announce(address, end)
        for region in list(self.overlaps(address, end)):
            self._forget(region.start, region.end)
            result = host_call(_SYS_MUNMAP, region.start, region.end - region.start)
            if result < 0:
                return result
        self._reuse(address, end)
        return 0

    def _reuse(self, address: int, end: int) -> None:
        """What was unmapped may be room for the next mapping without an address."""
        high = self._maps_high
        if address <= self._maps_end < end <= high:
            following = next(self.overlaps(end, high), None)
            self._maps_end = following.start if following is not None else high

    def mprotect(self, address: int, length: int, prot: int) -> int:
        """mprotect(2)."""
        end = address + page_up(length)
        if address % PAGE:
            return -errno.EINVAL
        if length == 0:
            return 0
        if end > self.limit or not self.covered(address, end):
            return -errno.ENOMEM
        self._announce(address, end)
        at = self.base + address
        result = host_call(_SYS_MPROTECT, at, end - address, host_protection(prot))
        if result == 0:
            for region in list(self.overlaps(address, end)):
                self.record(Region(region.start, region.end, prot & 7, region.shared, region.label))
        return result

    def mremap(self, address: int, old: int, new: int, flags: int, target: int) -> int:
        """mremap(2) inside one region."""
        old, new = page_up(old), page_up(new)
        region = self.region_at(address)
        if address % PAGE or new == 0 or new >= ADDRESS_LIMIT or flags & ~7:
            return -errno.EINVAL
        if region is None or address + old > region.end:
            return -errno.EFAULT
        if flags & MREMAP_FIXED:
            if target % PAGE or target + new > ADDRESS_LIMIT or not flags & MREMAP_MAYMOVE:
                return -errno.EINVAL
            if target < address + old and address < target + new:
                return -errno.EINVAL
            self._announce(target, target + new)
            failure = self._claim(target, target + new)
            if failure:
                return failure
        self._announce(address, address + old)
        result = host_call(_SYS_MREMAP, address, old, new, flags, target)
        if result < 0:
            return result
        if old and not flags & MREMAP_DONTUNMAP:
            self._forget(address, address + old)
        self.record(region.part(result, result + new))
        return result

    def set_brk(self, address: int) -> int:
        """brk(2): the new end of the data segment, or the old one where it cannot move."""
        if address < self.brk_start or address >= self.limit:
            return self.brk
        old_end, new_end = page_up(self.brk), page_up(address)
        if new_end > old_end:
            flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
            prot = PROT_READ | PROT_WRITE
            got = self.mmap(old_end, new_end - old_end, prot, flags, _NO_FILE, 0, "[heap]")
            if got != old_end:
                return self.brk
        elif new_end < old_end:
            self.munmap(new_end, old_end - new_end)
        self.brk = address
        return address

    def shmat(self, identifier: int, address: int, flags: int, size: int) -> int:
        """shmat(2) of a segment of ``size`` bytes."""
        if address and flags & SHM_RND:
            address &= -PAGE
        if flags & SHM_REMAP:
            if not address or address % PAGE:
                return -errno.EINVAL
            self._announce(address, address + page_up(size))
            failure = self._claim(address, address + page_up(size))
            if failure:
                return failure
        result = host_call(_SYS_SHMAT, identifier, address, flags & ~SHM_EXEC)
        if result >= 0:
            prot = PROT_READ | (0 if flags & SHM_RDONLY else PROT_WRITE)
            prot |= PROT_EXEC if flags & SHM_EXEC else 0
            self._segments[result] = page_up(size)
            self.record(Region(result, result + page_up(size), prot, True, ""))
        return result

    def shmdt(self, address: int) -> int:
        """shmdt(2) of a segment that shmat gave."""
        size = self._segments.pop(address, None)
        if size is None:
            return -errno.EINVAL
        self._announce(address, address + size)
        self._forget(address, address + size)
        return host_call(_SYS_SHMDT, address)
