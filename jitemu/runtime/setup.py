"""Making a guest ready to run: its stencil set from the cache, or built at first use."""

from __future__ import annotations

from jitemu.backend_llvm import cache
from jitemu.backend_llvm.stencilset import StencilSet, general_keys
from jitemu.runtime.guest import Guest


def stencils_for(guest: Guest, use_cache: bool = True) -> StencilSet:
    """The guest's stencils and native library."""
    stencils = StencilSet(guest.target, guest.isa, guest.roots)
    path = cache.folder() / "stencils" / f"{guest.name}-{cache.fingerprint()}"
    if use_cache and stencils.load(path):
        return stencils
    keys = [*general_keys(guest.target, guest.isa), *guest.common_keys()]
    from jitemu.runtime.progress import building

    with building("Building stencils for this processor (first use)") as progress:
        stencils.build(keys, progress)
    if use_cache:
        stencils.save(path)
    return stencils
