"""F: single-precision floating point (unprivileged specification, chapter "F")."""

from __future__ import annotations

from jitemu.frontends.riscv.floating import SINGLE, define

define(SINGLE)
