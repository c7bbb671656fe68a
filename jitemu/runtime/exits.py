"""Why native code was left, and what it can be asked to look for."""

from __future__ import annotations

EXIT_BREAKPOINT, EXIT_ILLEGAL, EXIT_FENCE_I = 2, 3, 4
"""User mode, from instructions' bodies, as ir.state.EXIT_SYSCALL: the pc is at the instruction
(at the next for the fence)."""
EXIT_CALLED = 77
"""The host has served the system call at pc; ``call_result`` asks for more than being passed on
(user mode)."""
EXIT_FAULT = 68
"""Translated code faulted (user mode; backend_llvm.natives puts it in the handler)."""
EXIT_HOT = 65
"""The block at this pc has been seen often."""
EXIT_REQUESTED = 66
"""Someone asked the engine to look up."""
EXIT_MADE = 67
"""A block was made (``made``), and the engine wants to know."""
EXIT_ENTER = 69
"""A block (``made``) is about to be entered, and the engine wants to know."""
EXIT_PAGE = 70
"""The page ``wanted_page`` of guest code is not known."""
EXIT_FULL = 71
"""No room for another block."""
EXIT_BUSY = 72
"""Another thread is changing the code."""
EXIT_WRITTEN = 74
"""The guest has written to a page that held translated code (user mode)."""
EXIT_KNOWN = 75
"""A block (``made``) was made where the cache has a region."""
EXIT_CONTEXT = 73
"""The translation context has no table yet."""

REQUEST_ENGINE = 1
"""exit_request: leave native code."""
REQUEST_SAMPLE = 2
"""exit_request: count where time is spent."""
REQUEST_WRITTEN = 8
"""exit_request: the guest has written to a guarded page (user mode)."""
REQUEST_INTERRUPT = 4
"""exit_request: an interrupt may be pending (system mode)."""
