"""Layouts of the block translator's tables (runtime/tables.py makes them) and of its notes."""

from __future__ import annotations

from jitemu.runtime.layouts import BlockRecord, ExitRecord, Node

LEAF = 0x8000_0000
PAGE = 4096
MAX_OPERANDS = 7


class Insn:
    """Byte offsets in an instruction's table entry; operands follow."""

    COUNT = 0x00
    FLAGS = 0x04
    CHOICE = 0x08
    """Index of its first entry in the choice table."""
    RELATIVE = 0x0C
    """Operand that is added to the pc; NONE if there is none."""
    PREDICATE = 0x10
    """Lowest bit of its predicate; NONE if it has none."""
    OPERANDS = 0x18
    LENGTH = 0x18 + MAX_OPERANDS * 0x38


class Operand:
    """Byte offsets in an operand's description."""

    KIND = 0x00
    SIGN = 0x04
    """Bits, if it is to be sign-extended."""
    PIECES = 0x08
    SLOT = 0x0C
    """State offset of the class's register 0."""
    FUNCTION = 0x10
    """Place among the native functions of the one that makes the value; NONE if there is none."""
    SCALE = 0x14
    """Of a register: log2 of the bytes from one to the next."""
    PLUS = 0x18
    """What is added last."""
    FIRST = 0x20
    """Pieces: low | width << 8 | dest << 16."""
    LENGTH = 0x38


NONE = 0xFFFF_FFFF
KIND_IMMEDIATE, KIND_PINNED, KIND_STATE, KIND_PINNED_RESULT = 0, 1, 2, 3
ENDS, FALLS, JUMPS, STEPS = 1, 2, 4, 8
"""STEPS: it stands for several; CHOICE is the place of the function that gives their words."""

# Symbols of relocations; below them, the operands' numbers.
SYMBOL_PC, SYMBOL_NPC, SYMBOL_TARGET = range(MAX_OPERANDS, MAX_OPERANDS + 3)
SYMBOL_TLB, SYMBOL_MODE = SYMBOL_TARGET + 1, SYMBOL_TARGET + 2
SYMBOL_NEXT, SYMBOL_COLD, SYMBOL_TAKEN = range(SYMBOL_MODE + 1, SYMBOL_MODE + 4)
SYMBOL_SITE, SYMBOL_DELTA, SYMBOL_ENTRY = range(SYMBOL_TAKEN + 1, SYMBOL_TAKEN + 4)
SYMBOL_AFTER = SYMBOL_ENTRY + 1
"""Host address behind all pieces of the instruction."""
KIND_64, KIND_32, KIND_8, KIND_RELATIVE = 0, 1, 2, 3

SPECIAL_LINK, SPECIAL_FAR, SPECIAL_GUARD, SPECIAL_COUNT, SPECIAL_SPILL = 0, 1, 2, 3, 4


class Context:
    """Byte offsets in a translation context's table; an index for each instruction follows:
    of the definition that takes its place, or its own."""

    TLB = 0x00
    MODE = 0x08
    FETCH = 0x10
    """State index of the first word of the fetches' TLB."""
    TREE = 0x18
    """Number of the decoder's tree for 32-bit words."""
    SHORT_TREE = 0x20
    """For 16-bit words; 0 where the table of short words is used.  With RULE_WORDS: for words
    without a predicate, whose upper 4 bits are 1111."""
    FETCH_RULE = 0x28
    """How long words are: see ``word_length``."""
    PREDICATES = 0x30
    """Table index of the first of the definitions that skip an instruction, one for each
    predicate up to ALWAYS; NONE where instructions have no predicates and no pc register."""
    PC_REGISTER = 0x38
    """Number of the register that reads as the address of the instruction."""
    READ_PC = 0x40
    """Table index of the definition that brings it up to date."""
    WRITE_PC = 0x48
    """Table index of the definition that jumps to what was written to it."""
    INSTEAD = 0x50


RULE_PARCELS, RULE_WORDS, RULE_HALFWORDS = 0, 1, 2
ALWAYS, NO_PREDICATE = 14, 15
"""Predicates: one that holds always, and one that no instruction may have."""


class Work:
    """Byte offsets in the note of a piece: a stencil and the values of its holes.  The
    symbols up to ENTRY index the words from VALUES on."""

    STENCIL = 0x00
    START = 0x08
    """Executable address of its hot code."""
    AFTER = 0x10
    FIRST = 0x18
    """1 for the first piece of a guest instruction."""
    FLAGS = 0x20
    VALUES = 0x28
    LENGTH = 0x28 + (SYMBOL_AFTER + 1) * 8


MAX_PIECES = 96
"""A block with so many pieces ends.  (records.WORK_BYTES has room for another instruction.)"""
PC_AT = Work.VALUES + 8 * SYMBOL_PC
TARGET_AT = Work.VALUES + 8 * SYMBOL_TARGET
MAX_EXITS = 64
POOL_NEED = BlockRecord.LENGTH + MAX_EXITS * ExitRecord.LENGTH + 2 * Node.LENGTH
ARENA_NEED = 64 << 10
"""Bytes that a block may take at most (checked before it is begun)."""
