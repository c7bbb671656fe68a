"""What traps are called in logs, by cause (privileged specification, table 3.6)."""

from __future__ import annotations

EXCEPTIONS = (
    "misaligned_fetch",
    "fault_fetch",
    "illegal_instruction",
    "breakpoint",
    "misaligned_load",
    "fault_load",
    "misaligned_store",
    "fault_store",
    "user_ecall",
    "supervisor_ecall",
    "hypervisor_ecall",
    "machine_ecall",
    "exec_page_fault",
    "load_page_fault",
    "reserved",
    "store_page_fault",
)
INTERRUPTS = {
    1: "s_software",
    3: "m_software",
    5: "s_timer",
    7: "m_timer",
    9: "s_external",
    11: "m_external",
}


def cause_name(interrupt: bool, code: int) -> str:
    """The name of a cause without its interrupt bit."""
    if interrupt:
        return INTERRUPTS.get(code, "(unknown)")
    return EXCEPTIONS[code] if code < len(EXCEPTIONS) else "(unknown)"
