"""``-cpu MODEL[,feature=on|off...]`` for riscv64."""

from __future__ import annotations

from jitemu.cli.options import on_off

MODELS = ("any", "max", "rv64")
FEATURES = (
    *("m", "a", "f", "d", "c", "zicsr", "zifencei", "zba", "zbb", "zbc", "zbs", "zicond"),
    *("zihintpause", "zicbom", "zicboz", "sstc", "svinval", "sv39", "sv48", "sv57"),
)
"""What can be turned on and off; all are on unless said otherwise."""


def help_text() -> str:
    """What ``-cpu help`` prints: models, then features."""
    return "\n".join([*MODELS, "", "features (name=on|off, all on):", *FEATURES])


def features(text: str) -> dict[str, bool]:
    """The features that ``rv64,zbb=off,+zba,-zbc`` names.  ValueError for unknown ones."""
    model, *items = text.split(",")
    if model not in MODELS:
        raise ValueError(f"unable to find CPU model '{model}'")
    chosen: dict[str, bool] = {}
    for item in items:
        name, equals, content = item.partition("=")
        if not equals and name[:1] in ("+", "-"):
            name, content = name[1:], "on" if name[0] == "+" else "off"
        if name not in FEATURES:
            raise ValueError(f"Property '{model}-riscv-cpu.{name}' not found")
        try:
            chosen[name] = on_off(content or "on")
        except ValueError as error:
            raise ValueError(f"Parameter '{name}' {error}") from None
    return chosen
