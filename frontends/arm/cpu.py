"""Processor models: which instructions a 32-bit ARM has, by QEMU's ``-cpu`` names.

Plain data, so that a command line can be checked without the instruction definitions.
"""

from __future__ import annotations

from jitemu.messages import fail

FEATURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "v5": ("ARMv5TE: blx, clz, saturating and 16-bit multiplications, pairs", ()),
    "v6": ("ARMv6: media, extension, exclusive access", ("v5",)),
    "v6k": ("ARMv6K: exclusive access of all sizes, hints", ("v6",)),
    "v6t2": ("Thumb-2, bit fields, movw", ("v6k",)),
    "v7": ("ARMv7-A: barriers", ("v6t2",)),
    "div": ("sdiv and udiv", ("v7",)),
    "v8": ("ARMv8 AArch32: acquire and release, hlt", ("div",)),
    "crc": ("crc32", ("v8",)),
    "swp": ("swp", ()),
    "vfp2": ("VFPv2", ()),
    "vfp3": ("VFPv3: constants, fixed point", ("vfp2",)),
    "vfp4": ("VFPv4: fused multiply-add, half precision", ("vfp3",)),
    "d32": ("32 double registers", ("vfp2",)),
    "neon": ("Advanced SIMD", ("vfp3", "d32")),
    "aes": ("AES and 64-bit polynomial multiplication", ("neon", "v8")),
    "sha1": ("SHA-1", ("neon", "v8")),
    "sha2": ("SHA-256", ("neon", "v8")),
}
"""Prose, and what each contains."""


class CpuModel:
    """A processor's features."""

    def __init__(self, name: str, extensions: frozenset[str], flags: frozenset[str]) -> None:
        self.name = name
        self.extensions = extensions
        self.flags = flags
        """None."""

    @property
    def architecture(self) -> str:
        """uname's machine, which is AT_PLATFORM and an ``l``."""
        levels = (("v7", "armv7l"), ("v6", "armv6l"), ("v5", "armv5tel"))
        return next((text for f, text in levels if f in self.extensions), "armv4tl")


def _with(*names: str) -> frozenset[str]:
    found = set(names)
    for name in names:
        found |= _with(*FEATURES[name][1])
    return frozenset(found)


_V7 = ("v7", "swp", "neon")
MODELS = {
    "ti925t": _with("swp"),
    "arm946": _with("v5", "swp"),
    "arm1026": _with("v5", "swp", "vfp2"),
    "arm926": _with("v5", "swp", "vfp2"),
    "arm1136": _with("v6", "swp", "vfp2"),
    "arm11mpcore": _with("v6k", "swp", "vfp2"),
    "arm1176": _with("v6k", "swp", "vfp2"),
    "cortex-a7": _with(*_V7, "div", "vfp4"),
    "cortex-a8": _with(*_V7),
    "cortex-a9": _with(*_V7),
    "cortex-a15": _with(*_V7, "div", "vfp4"),
    "max": _with("crc", "swp", "vfp4", "aes", "sha1", "sha2"),
}
MODELS["any"] = MODELS["max"]
DEFAULT = "max"


def parse_cpu(text: str) -> CpuModel:
    """The model of a name; UserError in one line."""
    name = text or DEFAULT
    if name not in MODELS:
        fail(f"-cpu: unable to find CPU model '{name}'; models are {', '.join(sorted(MODELS))}")
    return CpuModel(name, MODELS[name], frozenset())


def help_text() -> str:
    """What ``-cpu help`` prints."""
    return "\n".join(["Available CPUs:", *(f"  {name}" for name in sorted(MODELS))])
