"""Passes over micro-op functions, one a file: ``run(function)`` changes it in place."""

from __future__ import annotations

from jitemu.ir.code import Function
from jitemu.ir.passes import dce, deadstore, fold, forward

PIPELINE = (forward.run, fold.run, deadstore.run, dce.run)
"""Forwarding shows folding its constants; both leave stores and ops without readers."""


def optimize(function: Function) -> None:
    """Run the default passes."""
    for run in PIPELINE:
        run(function)
