"""Platform-level interrupt controller, as SiFive lays it out (RISC-V PLIC 1.0.0).

Source 0 does not exist.  Gateways are level-triggered: a source asks again on completion
while its wire is still high.
"""

from __future__ import annotations

from jitemu.devices.registers import RegisterDevice, bank, port, ro, rw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from jitemu.devices.ports import IrqLine

PRIORITY_MASK = 7
WORD = 0xFFFF_FFFF


class PlicSource:
    """The wire from a device to one source's gateway."""

    def __init__(self, plic: Plic, number: int) -> None:
        self._plic = plic
        self._bit = 1 << number

    def set(self, level: bool) -> None:
        self._plic.set_level(self._bit, level)


class Plic(RegisterDevice):
    """``outputs`` are the wires to the harts, one a context: hart 0 M, hart 0 S, hart 1 M..."""

    access_sizes = (4,)
    priority = bank(rw(0x000000, "priority of a source, 0 never", mask=PRIORITY_MASK), "count", 4)
    pending = bank(ro(0x001000, "a bit for each source that asks"), "words", 4)
    enable = bank(port(0x002000, "a context's enabled sources"), "enable_words", 4)
    threshold = bank(
        rw(0x200000, "only higher priorities reach the context", mask=PRIORITY_MASK),
        "contexts",
        0x1000,
    )
    claim = bank(port(0x200004, "read claims, write completes"), "contexts", 0x1000)

    ENABLE_WORDS = 0x80 // 4  # between the first words of two contexts

    def __init__(self, sources: int, outputs: Sequence[IrqLine]) -> None:
        self.count = sources + 1
        self.words = (self.count + 31) // 32
        self.contexts = len(outputs)
        self.enable_words = self.contexts * self.ENABLE_WORDS
        self._implemented = ((1 << self.count) - 1) & ~1
        self._outputs = outputs
        self._levels = 0  # the state of the wires, which a reset does not change
        self._clear()
        super().__init__()

    def source(self, number: int) -> PlicSource:
        """The wire that raises interrupt ``number`` (1 and up)."""
        if not 1 <= number < self.count:
            raise ValueError(f"the PLIC has no source {number}")
        return PlicSource(self, number)

    def describe(self) -> list[str]:
        """A line for each source that is raised, asks, is served or is enabled."""
        lines: list[str] = []
        for number in range(1, self.count):
            bit = 1 << number
            contexts = [str(c) for c in range(self.contexts) if self._enabled[c] & bit]
            states = (
                ("raised", self._levels),
                ("pending", self._asking),
                ("claimed", self._in_service),
            )
            words = [name for name, bits in states if bits & bit]
            if words or contexts:
                enabled = f"enabled for {','.join(contexts) or 'none'}"
                priority = f"priority {self.priority[number]}"
                lines.append(f"{number:4}: {', '.join([enabled, priority, *words])}")
        return lines

    def reset(self) -> None:
        self.reset_registers()
        self._clear()
        self._asking = self._levels
        self._update()

    def _clear(self) -> None:
        self._asking = 0  # pending bits, one integer
        self._in_service = 0  # claimed and not yet completed: the gateway is closed
        self._enabled = [0] * self.contexts
        self._raised = [False] * self.contexts

    def set_level(self, bit: int, level: bool) -> None:
        """A wire changed.  A request that was forwarded stays until it is claimed."""
        if level:
            if self._levels & bit:
                return
            self._levels |= bit
            if not self._in_service & bit:
                self._asking |= bit
                self._update()
        else:
            self._levels &= ~bit

    def _best(self, context: int) -> int:
        """The source to serve: highest priority above the threshold, lowest number; or 0."""
        candidates = self._asking & self._enabled[context]
        best, best_priority = 0, self.threshold[context]
        priority = self.priority
        while candidates:
            low = candidates & -candidates
            number = low.bit_length() - 1
            if priority[number] > best_priority:
                best, best_priority = number, priority[number]
            candidates ^= low
        return best

    def _update(self) -> None:
        for context, output in enumerate(self._outputs):
            level = self._best(context) != 0
            if level != self._raised[context]:
                self._raised[context] = level
                output.set(level)

    @priority.on_write
    def write_priority(self, number: int, value: int) -> None:
        if number == 0:
            self.priority[0] = 0
        self._update()

    @threshold.on_write
    def write_threshold(self, context: int, value: int) -> None:
        self._update()

    @pending.on_read
    def read_pending(self, word: int) -> int:
        return self._asking >> word * 32 & WORD

    @enable.on_read
    def read_enable(self, index: int) -> int:
        context, word = divmod(index, self.ENABLE_WORDS)
        return self._enabled[context] >> word * 32 & WORD

    @enable.on_write
    def write_enable(self, index: int, value: int) -> None:
        context, word = divmod(index, self.ENABLE_WORDS)
        shift = word * 32
        enabled = self._enabled[context] & ~(WORD << shift) | value << shift
        self._enabled[context] = enabled & self._implemented
        self._update()

    @claim.on_read
    def read_claim(self, context: int) -> int:
        number = self._best(context)
        if number:
            self._asking &= ~(1 << number)
            self._in_service |= 1 << number
            self._update()
        return number

    @claim.on_write
    def write_claim(self, context: int, number: int) -> None:
        if not 0 < number < self.count or not self._enabled[context] >> number & 1:
            self.guest_error(f"completion of {number}, not enabled for context {context}")
            return
        bit = 1 << number
        self._in_service &= ~bit
        if self._levels & bit:
            self._asking |= bit
        self._update()
