"""The address space of a 32-bit guest: 4 GiB of the host's, reserved as a whole.

Guest address 0 is at ``base``.  What is not mapped stays reserved without any right, so that
the host never maps anything of its own there, and a wild address finds a page that is denied;
guards at both ends take accesses that begin inside and end outside.
"""

from __future__ import annotations

import errno
import os

from jitemu.messages import fail
from jitemu.user.hostcalls import PAGE, host_call
from jitemu.user.memory import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_FIXED_NOREPLACE,
    MAP_GROWSDOWN,
    MAP_NORESERVE,
    MAP_PRIVATE,
    MREMAP_DONTUNMAP,
    MREMAP_FIXED,
    MREMAP_MAYMOVE,
    PROT_EXEC,
    PROT_READ,
    PROT_WRITE,
    SHM_EXEC,
    SHM_RDONLY,
    SHM_REMAP,
    SHM_RND,
    GuestSpace,
    Region,
    host_protection,
    page_up,
)

_SYS_MMAP, _SYS_MREMAP, _SYS_SHMAT = 9, 25, 30
_NO_FILE = (1 << 64) - 1
GUARD = 1 << 16
SIZE = 1 << 32
LOWEST = 0x10000
"""mmap_min_addr: nothing is mapped below."""
_UNUSED = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE


class ReservedSpace(GuestSpace):
    """The mappings of a 32-bit guest."""

    def __init__(self, limit: int, wanted: int | None = None) -> None:
        """``limit``: the end of what programs can map; ``wanted``: the base asked for."""
        super().__init__()
        place = wanted - GUARD if wanted else 0
        flags = _UNUSED | (MAP_FIXED_NOREPLACE if wanted else 0)
        got = host_call(_SYS_MMAP, place, SIZE + 2 * GUARD, 0, flags, _NO_FILE, 0)
        if got < 0 or (wanted and got != place):
            reason = os.strerror(-got) if got < 0 else "the host has something there"
            advice = "choose another -B" if wanted else "raise the limit (ulimit -v)"
            fail(f"cannot reserve the guest's 4 GiB of addresses: {reason}; {advice}")
        self.base = got + GUARD
        self.limit = limit
        self._maps_end = self._maps_high = limit - (1 << 24)

    def _host_map(
        self, at: int, length: int, prot: int, flags: int, fd: int = _NO_FILE, offset: int = 0
    ) -> int:
        """Map at a guest address, over whatever is there."""
        flags = flags & ~MAP_FIXED_NOREPLACE | MAP_FIXED
        result = host_call(_SYS_MMAP, self.base + at, length, prot, flags, fd, offset)
        return result - self.base if result >= 0 else result

    def _release(self, start: int, end: int) -> None:
        """Pages are nobody's any more."""
        self._host_map(start, end - start, 0, _UNUSED)
        self._forget(start, end)

    def _placed(self, address: int, length: int, fixed: bool, replace: bool) -> int:
        """Where a mapping goes, or a negative errno."""
        if not fixed:
            hint = address & -PAGE
            if LOWEST <= hint <= self.limit - length and not self._taken(hint, hint + length):
                return hint
            return self._room_for(length) or -errno.ENOMEM
        if address % PAGE:
            return -errno.EINVAL
        if address < LOWEST:
            return -errno.EPERM
        if address + length > self.limit:
            return -errno.ENOMEM
        if not replace and self._taken(address, address + length):
            return -errno.EEXIST
        return address

    def _taken(self, start: int, end: int) -> bool:
        return next(self.overlaps(start, end), None) is not None

    def _room_for(self, length: int) -> int:
        for end in (self._maps_end, self.limit):
            while end - length >= LOWEST:
                taken = next(self.overlaps(end - length, end), None)
                if taken is None:
                    return end - length
                end = taken.start
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
        if length == 0 or length > self.limit:
            return -(errno.ENOMEM if length else errno.EINVAL)
        length = page_up(length)
        fixed = bool(flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
        at = self._placed(address, length, fixed, not flags & MAP_FIXED_NOREPLACE)
        if at < 0:
            return at
        self._announce(at, at + length)
        flags &= ~MAP_GROWSDOWN
        result = self._host_map(at, length, host_protection(prot), flags, fd, offset)
        if result < 0:
            # what was there may be gone: the host must not take the place
            host_call(_SYS_MMAP, self.base + at, length, 0, _UNUSED | MAP_FIXED_NOREPLACE, _NO_FILE)
            return result
        if not fixed and address == 0:
            self._maps_end = at
        shared = flags & 3 != MAP_PRIVATE
        self.record(Region(at, at + length, prot, shared, label))
        return at

    def munmap(self, address: int, length: int) -> int:
        end = address + page_up(length)
        if address % PAGE or length == 0 or end > self.limit:
            return -errno.EINVAL
        self._announce(address, end)
        for region in list(self.overlaps(address, end)):
            self._release(region.start, region.end)
        self._reuse(address, end)
        return 0

    def mremap(self, address: int, old: int, new: int, flags: int, target: int) -> int:
        old, new = page_up(old), page_up(new)
        region = self.region_at(address)
        if address % PAGE or new == 0 or new > self.limit or flags & ~7:
            return -errno.EINVAL
        if region is None or address + old > region.end:
            return -errno.EFAULT
        if flags & MREMAP_FIXED:
            if not flags & MREMAP_MAYMOVE or (target < address + old and address < target + new):
                return -errno.EINVAL
            target = self._placed(target, new, True, True)
            if target < 0:
                return target
        elif not flags & MREMAP_DONTUNMAP and new <= old:
            if new < old:
                self.munmap(address + new, old - new)
            return address
        elif not flags & MREMAP_MAYMOVE:
            return -errno.ENOMEM  # the host cannot extend into what is reserved
        else:
            target = self._room_for(new)
            if not target:
                return -errno.ENOMEM
        return self._move(region, address, old, new, flags, target)

    def _move(
        self, region: Region, address: int, old: int, new: int, flags: int, target: int
    ) -> int:
        self._announce(address, address + old)
        self._announce(target, target + new)
        base, how = self.base, flags | MREMAP_MAYMOVE | MREMAP_FIXED
        result = host_call(_SYS_MREMAP, base + address, old, new, how, base + target)
        if result < 0:
            return result
        if old and not flags & MREMAP_DONTUNMAP:
            self._release(address, address + old)
        self.record(region.part(target, target + new))
        return target

    def shmat(self, identifier: int, address: int, flags: int, size: int) -> int:
        size = page_up(size)
        if address and flags & SHM_RND:
            address &= -PAGE
        at = self._placed(address, size, bool(address), bool(flags & SHM_REMAP))
        if at < 0:
            return -errno.EINVAL if address else at
        self._announce(at, at + size)
        how = flags & ~SHM_EXEC | SHM_REMAP
        result = host_call(_SYS_SHMAT, identifier, self.base + at, how)
        if result < 0:
            return result
        prot = PROT_READ | (0 if flags & SHM_RDONLY else PROT_WRITE)
        prot |= PROT_EXEC if flags & SHM_EXEC else 0
        self._segments[at] = size
        self.record(Region(at, at + size, prot, True, ""))
        return at

    def shmdt(self, address: int) -> int:
        size = self._segments.pop(address, None)
        if size is None:
            return -errno.EINVAL
        self._announce(address, address + size)
        self._release(address, address + size)
        return 0
