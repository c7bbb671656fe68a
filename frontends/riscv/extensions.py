"""All of RISC-V: importing this module defines every instruction."""

from __future__ import annotations

from jitemu.frontends.riscv import (
    a,
    c,
    d,
    f,
    i,
    m,
    system_insns,
    zba,
    zbb,
    zbc,
    zbs,
    zicbo,
    zicond,
    zicsr,
    zifencei,
    zihintpause,
)
from jitemu.frontends.riscv.cpu import EXTENSIONS, CpuModel, Extension, isa_string, parse_cpu
from jitemu.frontends.riscv.state import isa
from jitemu.isa import Decoder

__all__ = [
    "DEFINITIONS",
    "EXTENSIONS",
    "CpuModel",
    "Extension",
    "decoder_for",
    "isa",
    "isa_string",
    "parse_cpu",
]

DEFINITIONS = (
    *(i, m, a, f, d, c, zicsr, system_insns, zifencei, zihintpause),
    *(zba, zbb, zbc, zbs, zicond, zicbo),
)
"""The modules that add instructions to ``isa``."""


def decoder_for(model: CpuModel) -> Decoder:
    """A decoder of the instructions that a model has."""
    return isa.decoder(model.extensions)
