"""Layouts of what native code and Python share of translated code: control block and records.

They are apart from the functions that use them: a start from a warm cache needs no more.
"""

from __future__ import annotations

EMPTY = 0xFFFF_FFFF_FFFF_FFFF
DELETED = 0xFFFF_FFFF_FFFF_FFFE
"""Keys of table entries.  They are stored inverted, so that fresh memory is an empty table."""
HASH = 0x9E37_79B9_7F4A_7C15
MASK_BYTES = 4096 // 2 // 8
"""A bit for every 2 bytes of a page."""


class Control:
    """Byte offsets in the control block (``s.code``)."""

    NEXT = 0x00
    """Executable address of the arena's next free byte."""
    END = 0x08
    DELTA = 0x10
    """Writable minus executable address."""
    POOL = 0x18
    """Next free byte of the record pool."""
    POOL_END = 0x20
    GENERATION = 0x28
    """Counts flushes: records of an earlier one are void."""
    BLOCKS = 0x30
    """The block table: (tag, physical pc, record, 0) entries."""
    BLOCKS_MASK = 0x38
    BLOCKS_USED = 0x40
    PAGES = 0x48
    """The page table: (number, first node, host address, guard) entries.  Guard is 1 where
    the guest's writes fault because there is code, 2 after a write that went through."""
    PAGES_MASK = 0x50
    LOCK = 0x58
    LIMIT = 0x60
    """Instructions in a block."""
    FLAGS = 0x68
    CONTEXTS = 0x70
    """For each translation context its table (see Context), or 0."""
    TREE = 0x78
    SHORT = 0x80
    INSNS = 0x88
    CHOICES = 0x90
    STENCILS = 0x98
    SPECIALS = 0xA0
    PLACES = 0xA8
    """Place of each register of the pinned class, a byte each."""
    RADIX = 0xB0
    """Number of places."""
    SCRATCH = 0xB8
    """State offset that takes writes to the zero register."""
    WORK = 0xC0
    """Scratch memory of the translator."""
    MADE_BLOCKS = 0xC8
    MADE_INSNS = 0xD0
    MISSING = 0xD8
    """Pieces made without a stencil for their places."""
    REMOVED = 0xE0
    LINKS = 0xE8
    WRITTEN = 0xF0
    """1: the guest has written to a guarded page, whose code must be forgotten."""
    HEADS = 0xF8
    """Addresses where regions in the cache begin (stored inverted), or 0."""
    HEADS_MASK = 0x100
    ADDRESS_BITS = 0x108
    """The bits of a pc word that are an address."""
    COUNTS = 0x110
    """1: every instruction is counted (-icount)."""
    SIZE = 0x118


FLAG_TRACE = 1
"""Leave to the engine after making a block."""
FLAG_NO_CHAIN = 2
"""Leave to the engine before entering any block."""
FLAG_SHARED = 4
"""Several host threads run this code: sites that straddle cache lines stay unlinked."""


class NativeCall:
    """A word of ``calls``: how native code makes a system call."""

    NUMBER = 0xFFFF
    """The host's number plus 1."""
    POINTERS = 16
    """First bit of the set of arguments that are pointers."""
    SIGNED = 24
    """First bit of the set of those whose low half is a signed word."""
    SET_MASK = 1 << 32
    """It is rt_sigprocmask, which changes words of the state."""


def native_call(number: int, pointers: int = 0, signed: int = 0) -> int:
    """The word for a call of the host's."""
    return number + 1 | pointers << NativeCall.POINTERS | signed << NativeCall.SIGNED


class BlockRecord:
    """Byte offsets in a block's or region's record."""

    PC = 0x00
    TAG = 0x08
    PHYSICAL = 0x10
    SIZE = 0x18
    """Guest bytes."""
    CODE = 0x20
    """Host address of the baseline (or the region's) code; 0: forgotten."""
    ENTRY = 0x28
    """Where others enter: the code, or the region that took over."""
    EXITS = 0x30
    EXIT_COUNT = 0x38
    INCOMING = 0x40
    """First exit record that is linked to this block."""
    REGION = 0x48
    """The region that took over (of a block), or its first head (of a region)."""
    SECOND = 0x50
    """Physical address behind the page that its only instruction crosses, or 0."""
    HOST_SIZE = 0x58
    INSNS = 0x60
    NEXT_HEAD = 0x68
    """Of a head: the region's next one."""
    IS_REGION = 0x70
    LENGTH = 0x78


class ExitRecord:
    """Byte offsets in the record of a direct exit."""

    SITE = 0x00
    """Host address of the jump's 32-bit distance."""
    TARGET = 0x08
    STUB = 0x10
    NEXT = 0x18
    """The next exit that is linked to the same block."""
    LINKED = 0x20
    """The block it is linked to, or 0."""
    LENGTH = 0x28


class Node:
    """Byte offsets in a node of a page's list: bytes [START, END) of it made BLOCK."""

    BLOCK = 0x00
    NEXT = 0x08
    START = 0x10
    END = 0x18
    LENGTH = 0x20
