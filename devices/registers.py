"""Declarative register maps.

A device is a class whose body reads like the data sheet's register table:

    class Watchdog(RegisterDevice):
        access_sizes = (4,)
        count = ro(0x00, "ticks left")
        reload = rw(0x04, "start value", mask=0xFFFF, reset=0xFFFF)
        status = w1c(0x08, "bit 0: barked")

        @reload.on_write
        def restart(self, value: int) -> None: ...

Kinds: ``ro`` (writes are guest errors), ``rw`` (``mask`` names the writable bits), ``w1c``
(ones written clear), ``port`` (reading and writing are separate things, nothing is stored).
On an instance, ``self.reload`` is a plain int (a list for a register with ``count``).
A read hook gives the value; a write hook runs after the value was stored and gets what was
written.  Hooks of a repeated register get its index first.

An access narrower than a register reaches its part; a wider one sees the register
zero-extended.  A size not in ``access_sizes`` is a BusError; an offset inside the window
where no register is reads as zero, and is reported through ``on_guest_error``.
"""

from __future__ import annotations

from functools import partial

from jitemu.memory.physical import BusError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    Hook = TypeVar("Hook", bound=Callable[..., Any])


class Row:
    """One row of the table, and what is the same for single and repeated registers."""

    def __init__(
        self, kind: str, offset: int, text: str, width: int, mask: int, reset: int
    ) -> None:
        self.kind = kind
        self.offset = offset
        self.text = text
        self.width = width
        self.mask = mask
        self.reset = reset
        self.name = ""
        self.read_hook: Callable[..., int] | None = None
        self.write_hook: Callable[..., None] | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def on_read(self, hook: Hook) -> Hook:
        """Decorator: the method's result is what a read gives."""
        self.read_hook = hook
        return hook

    def on_write(self, hook: Hook) -> Hook:
        """Decorator: the method runs at each write."""
        self.write_hook = hook
        return hook

    def places(self, device: RegisterDevice) -> list[tuple[int, tuple[int, ...]]]:
        """(offset, indices) of each register this row stands for."""
        return [(self.offset, ())]

    def initial(self, device: RegisterDevice) -> int | list[int]:
        return self.reset


class Register(Row):
    """A row for one register; made by ``ro``, ``rw``, ``w1c`` and ``port``."""

    # An instance keeps the value as an ordinary attribute that hides this object, so device
    # code pays for no descriptor; type checkers are told the same through one.
    if TYPE_CHECKING:

        @overload
        def __get__(self, device: None, owner: type) -> Register: ...
        @overload
        def __get__(self, device: RegisterDevice, owner: type) -> int: ...
        def __get__(self, device: RegisterDevice | None, owner: type) -> Register | int: ...
        def __set__(self, device: RegisterDevice, value: int) -> None: ...


class RegisterBank(Row):
    """The same register several times.  ``count`` is a number or names an attribute of the
    device that is set before ``RegisterDevice.__init__`` runs."""

    count: int | str
    stride: int

    def places(self, device: RegisterDevice) -> list[tuple[int, tuple[int, ...]]]:
        return [(self.offset + i * self.stride, (i,)) for i in range(self._number(device))]

    def initial(self, device: RegisterDevice) -> int | list[int]:
        return [self.reset] * self._number(device)

    def _number(self, device: RegisterDevice) -> int:
        return getattr(device, self.count) if isinstance(self.count, str) else self.count

    if TYPE_CHECKING:

        @overload
        def __get__(self, device: None, owner: type) -> RegisterBank: ...
        @overload
        def __get__(self, device: RegisterDevice, owner: type) -> list[int]: ...
        def __get__(
            self, device: RegisterDevice | None, owner: type
        ) -> RegisterBank | list[int]: ...
        def __set__(self, device: RegisterDevice, value: list[int]) -> None: ...


def ro(offset: int, text: str, width: int = 4, reset: int = 0) -> Register:
    """Read-only: a constant, a value the device keeps up to date, or a read hook."""
    return Register("ro", offset, text, width, 0, reset)


def rw(offset: int, text: str, width: int = 4, mask: int | None = None, reset: int = 0) -> Register:
    """Readable and writable; bits outside ``mask`` keep their value."""
    full = (1 << width * 8) - 1
    return Register("rw", offset, text, width, full if mask is None else mask, reset)


def w1c(offset: int, text: str, width: int = 4, mask: int | None = None) -> Register:
    """Status bits that the device sets and the guest clears by writing ones."""
    full = (1 << width * 8) - 1
    return Register("w1c", offset, text, width, full if mask is None else mask, 0)


def port(offset: int, text: str, width: int = 4) -> Register:
    """An address where a read and a write mean different things; hooks do all of it."""
    return Register("port", offset, text, width, 0, 0)


def bank(row: Register, count: int | str, stride: int) -> RegisterBank:
    """``count`` copies of a row, ``stride`` bytes apart: ``bank(rw(0, "..."), 96, 4)``."""
    copy = RegisterBank(row.kind, row.offset, row.text, row.width, row.mask, row.reset)
    copy.count = count
    copy.stride = stride
    return copy


class RegisterDevice:
    """A device's registers and their dispatch; satisfies ``memory.physical.MmioDevice``."""

    access_sizes: tuple[int, ...] = (4,)
    on_guest_error: Callable[[str], None] | None = None
    """Told, in one line, what the guest did that the data sheet does not allow."""

    def __init__(self) -> None:
        # Both keyed by offset << 4 | access size: one look-up finds register, part and hook.
        self._readers: dict[int, Callable[[], int]] = {}
        self._writers: dict[int, Callable[[int], None]] = {}
        self.reset_registers()
        for register in self.register_map():
            for offset, indices in register.places(self):
                self._bind(register, offset, indices)

    @classmethod
    def register_map(cls) -> list[Row]:
        """The rows in address order."""
        rows: dict[str, Row] = {}
        for owner in reversed(cls.__mro__):
            rows.update({n: r for n, r in vars(owner).items() if isinstance(r, Row)})
        return sorted(rows.values(), key=lambda row: row.offset)

    def reset_registers(self) -> None:
        """Every stored register back to its reset value; devices' ``reset`` calls it."""
        for register in self.register_map():
            setattr(self, register.name, register.initial(self))

    def read(self, offset: int, size: int) -> int:
        reader = self._readers.get(offset << 4 | size)
        if reader is not None:
            return reader()
        self._unanswered(offset, size, "read")
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        writer = self._writers.get(offset << 4 | size)
        if writer is not None:
            writer(value)
        else:
            self._unanswered(offset, size, f"write of {value:#x}")

    def guest_error(self, text: str) -> None:
        """Report, where somebody listens, that the guest misused the device."""
        if self.on_guest_error is not None:
            self.on_guest_error(f"{type(self).__name__}: {text}")

    def _unanswered(self, offset: int, size: int, what: str) -> None:
        if size not in self.access_sizes:
            raise BusError(f"{type(self).__name__} does not answer accesses of {size} bytes")
        self.guest_error(f"{size}-byte {what} at offset {offset:#x}, where it cannot be")

    def _bind(self, register: Row, offset: int, indices: tuple[int, ...]) -> None:
        get, put = self._reader(register, indices), self._writer(register, indices)
        full = (1 << register.width * 8) - 1
        for size in self.access_sizes:
            if size >= register.width:
                if get is not None:
                    self._readers[offset << 4 | size] = get
                if put is not None and size == register.width:
                    self._writers[offset << 4 | size] = put
                elif put is not None:
                    self._writers[offset << 4 | size] = partial(_write_low, put, full)
                continue
            for part in range(0, register.width, size):
                key, shift, bits = (offset + part) << 4 | size, part * 8, (1 << size * 8) - 1
                if get is not None:
                    self._readers[key] = partial(_read_part, get, shift, bits)
                if get is not None and put is not None and register.kind != "w1c":
                    self._writers[key] = partial(_write_part, get, put, shift, bits)
                elif put is not None:
                    self._writers[key] = partial(_write_shifted, put, shift)

    def _reader(self, register: Row, indices: tuple[int, ...]) -> Callable[[], int] | None:
        if register.read_hook is not None:
            return partial(register.read_hook, self, *indices)
        if register.kind == "port":
            return None
        if indices:
            return partial(self._load_item, register.name, indices[0])
        return partial(getattr, self, register.name)

    def _writer(self, register: Row, indices: tuple[int, ...]) -> Callable[[int], None] | None:
        hook = register.write_hook
        bound = None if hook is None else partial(hook, self, *indices)
        if register.kind in ("ro", "port"):
            return bound
        return partial(self._store, register, indices, bound)

    def _load_item(self, name: str, index: int) -> int:
        return getattr(self, name)[index]

    def _store(
        self,
        register: Row,
        indices: tuple[int, ...],
        hook: Callable[[int], None] | None,
        value: int,
    ) -> None:
        state = self.__dict__
        old = state[register.name][indices[0]] if indices else state[register.name]
        mask = register.mask
        new = old & ~(value & mask) if register.kind == "w1c" else old & ~mask | value & mask
        if indices:
            state[register.name][indices[0]] = new
        else:
            state[register.name] = new
        if hook is not None:
            hook(value)


def _read_part(get: Callable[[], int], shift: int, bits: int) -> int:
    return get() >> shift & bits


def _write_part(
    get: Callable[[], int], put: Callable[[int], None], shift: int, bits: int, value: int
) -> None:
    put(get() & ~(bits << shift) | (value & bits) << shift)


def _write_shifted(put: Callable[[int], None], shift: int, value: int) -> None:
    put(value << shift)


def _write_low(put: Callable[[int], None], bits: int, value: int) -> None:
    put(value & bits)
