"""Processor models: which extensions a hart has, from QEMU's ``-cpu`` syntax.

Plain data, so that a command line can be checked without the instruction definitions.
"""

from __future__ import annotations

from jitemu.messages import fail

MODELS = ("any", "max", "rv64")
DEFAULT = "rv64"
SWITCH = {
    **dict.fromkeys(("on", "yes", "true", "y"), True),
    **dict.fromkeys(("off", "no", "false", "n"), False),
}


class Extension:
    """A feature that a model has or lacks."""

    def __init__(
        self,
        name: str,
        prose: str,
        requires: tuple[str, ...] = (),
        default: bool = True,
        in_isa_string: bool = True,
    ) -> None:
        self.name = name
        self.prose = prose
        self.requires = requires
        self.default = default
        """Whether ``rv64`` has it; ``any`` and ``max`` have all."""
        self.in_isa_string = in_isa_string


# In the order of the isa string: the specification's for single letters, then Z by the
# category that the second letter names and by alphabet, then the privileged ones.
EXTENSIONS = {
    e.name: e
    for e in (
        Extension("i", "base integer instructions"),
        Extension("m", "multiplication and division"),
        Extension("a", "atomics"),
        Extension("f", "single-precision floating point", ("zicsr",)),
        Extension("d", "double-precision floating point", ("f",)),
        Extension("c", "compressed instructions"),
        Extension("zicbom", "cache-block management"),
        Extension("zicboz", "cache-block zero"),
        Extension("zicond", "integer conditional operations"),
        Extension("zicsr", "control and status registers"),
        Extension("zifencei", "instruction-fetch fence"),
        Extension("zihintpause", "pause hint"),
        Extension("zba", "address generation"),
        Extension("zbb", "basic bit manipulation"),
        Extension("zbc", "carry-less multiplication"),
        Extension("zbs", "single-bit instructions"),
        Extension("sstc", "supervisor timer compare", ("zicsr",)),
        Extension("svinval", "fine-grained TLB invalidation", ("sv39",)),
        Extension("sv39", "39-bit virtual addresses", ("zicsr",), in_isa_string=False),
        Extension("sv48", "48-bit virtual addresses", ("sv39",), in_isa_string=False),
        Extension("sv57", "57-bit virtual addresses", ("sv48",), in_isa_string=False),
        Extension("pmp", "physical memory protection", ("zicsr",), in_isa_string=False),
    )
}


def help_text() -> str:
    """What ``-cpu help`` prints."""
    lines = [f"  {e.name:<12} {e.prose}" for e in EXTENSIONS.values()]
    return "\n".join([*MODELS, "", "Features (name=on or name=off):", *lines])


class CpuModel:
    """A hart's features."""

    def __init__(self, name: str, extensions: frozenset[str], flags: frozenset[str]) -> None:
        self.name = name
        self.extensions = extensions
        """Those that the isa string names."""
        self.flags = flags
        """The others: address translation modes and pmp."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CpuModel) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.name, self.extensions, self.flags))

    @property
    def mmu_type(self) -> str | None:
        """The device tree's mmu-type: the widest translation mode; None without one."""
        modes = sorted(f for f in self.flags if f.startswith("sv"))
        return f"riscv,{modes[-1]}" if modes else None


def _switches(model: str, items: list[str]) -> dict[str, bool]:
    """What the user asks for by ``name=on|off``, ``+name`` and ``-name``."""
    asked: dict[str, bool] = {}
    for item in items:
        name, equals, setting = item.partition("=")
        if not equals and name[:1] in ("+", "-"):
            name, setting = name[1:], "on" if name[0] == "+" else "off"
        elif not equals:
            setting = "on"
        name = name.lower()
        if name not in EXTENSIONS:
            fail(f"-cpu: property '{model}-riscv-cpu.{name}' not found; '-cpu help' lists them")
        if setting not in SWITCH:
            fail(f"-cpu: parameter '{name}' expects 'on' or 'off', not '{setting}'")
        asked[name] = SWITCH[setting]
    return asked


def parse_cpu(text: str) -> CpuModel:
    """The model that ``rv64,zbb=off,sstc=false`` names; UserError in one line.

    What requires a feature that is turned off goes with it, unless the user asks for it.
    """
    model, *items = text.split(",")
    if model not in MODELS:
        fail(f"-cpu: unable to find CPU model '{model}'; models are {', '.join(MODELS)}")
    asked = _switches(model, items)
    if not asked.get("i", True):
        fail("-cpu: 'i', the base instruction set, cannot be turned off")
    has = {e.name: asked.get(e.name, e.default or model != "rv64") for e in EXTENSIONS.values()}
    changed = True
    while changed:
        changed = False
        for e in EXTENSIONS.values():
            missing = [name for name in e.requires if not has[name]]
            if has[e.name] and missing:
                if asked.get(e.name):
                    fail(f"-cpu: '{e.name}' requires '{missing[0]}', which is off")
                has[e.name] = False
                changed = True
    named = frozenset(e.name for e in EXTENSIONS.values() if has[e.name] and e.in_isa_string)
    return CpuModel(model, named, frozenset(n for n in has if has[n]) - named)


def isa_string(model: CpuModel) -> str:
    """The device tree's riscv,isa: ``rv64imafdc_zicsr_...``."""
    names = [name for name in EXTENSIONS if name in model.extensions]
    letters = "".join(name for name in names if len(name) == 1)
    return "_".join([f"rv64{letters}", *(name for name in names if len(name) > 1)])
