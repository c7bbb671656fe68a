"""What stencils are made for; light, for every start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jitemu.ir.emitter import Emitter
    from jitemu.ir.state import Layout, RegisterClass


class Key:
    """What a stencil is made for."""

    def __init__(self, name: str, places: str, backward: bool = False) -> None:
        self.name = name
        self.places = places
        """One letter a register operand: "m" in the state, "z" zero, a digit: pinned."""
        self.backward = backward
        """Its direct jump goes backward, so it looks for requests."""

    def __str__(self) -> str:
        return f"{self.name}:{self.places}{'-' if self.backward else ''}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash((self.name, self.places, self.backward))


def parse_key(text: str) -> Key:
    """The key that prints like this."""
    name, _, places = text.rpartition(":")
    return Key(name, places.rstrip("-"), places.endswith("-"))


class Target:
    """What stencils of one guest and mode have in common."""

    def __init__(
        self,
        mode: str,
        layout: Layout,
        classes: Mapping[str, RegisterClass],
        pinned_class: str,
        pinned: tuple[int, ...],
        functions: dict[str, int],
        emitter: Callable[[str], Emitter],
        based: bool = False,
        home: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        self.mode = mode
        self.layout = layout
        self.classes = classes
        self.pinned_class = pinned_class
        self.pinned = pinned
        self.functions = functions
        """Native functions' places in the state's table (filled when the set is made)."""
        self.emitter = emitter
        self.based = based
        """In user mode: guest addresses have 32 bits and count from the state's guest_base."""
        self.home = home
        """Link register and stack pointer: a return's address comes from one of them."""


def place_letter(target: Target, kind: str, register: int) -> str:
    """The place of a register operand, as in a stencil's key."""
    if kind != target.pinned_class:
        return "m"
    if register == target.classes[kind].zero:
        return "z"
    return str(target.pinned.index(register)) if register in target.pinned else "m"
