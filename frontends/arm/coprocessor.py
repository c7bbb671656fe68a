"""What user mode may do with the system control coprocessor: barriers and thread registers."""

from __future__ import annotations

from typing import Any

from jitemu.frontends.arm.state import S, define, thumb


def _access(name: str, read: bool, code: tuple[int, int, int], body: Any) -> None:
    """mrc or mcr p15, 0, rt, crn, crm, op2: (crn, crm, op2) is the register."""
    crn, crm, op2 = code
    rest = f"1110 000{int(read)} {crn:04b} rt:4 1111 {op2:03b}1 {crm:04b}"
    define(name, f"cond:4 {rest}", "rt", body)
    thumb(name, f"1110 {rest}")


def _barrier(s: S, rt: Any) -> None:
    """ARMv6's form of dmb, dsb and isb."""
    s.fence()


for _name, _code in (("isb", (7, 5, 4)), ("dsb", (7, 10, 4)), ("dmb", (7, 10, 5))):
    _access(f"mcr_{_name}", False, _code, _barrier)


def _mrc_tpidruro(s: S, rt: Any) -> None:
    s.set_reg(rt, s.field("tls").trunc(32))


def _mrc_tpidrurw(s: S, rt: Any) -> None:
    s.set_reg(rt, s.field("tpidrurw").trunc(32))


def _mcr_tpidrurw(s: S, rt: Any) -> None:
    s.set_field("tpidrurw", s.reg(rt).zext())


_access("mrc_tpidruro", True, (13, 0, 3), _mrc_tpidruro)
_access("mrc_tpidrurw", True, (13, 0, 2), _mrc_tpidrurw)
_access("mcr_tpidrurw", False, (13, 0, 2), _mcr_tpidrurw)
