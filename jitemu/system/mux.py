"""One character device shared by several users, with the keys of Ctrl-A to switch between
them: what ``mux=on`` and ``-nographic`` have."""

from __future__ import annotations

import time

from jitemu.system.chardev import INPUT_ROOM, NullChardev

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ESCAPE = 0x01  # Ctrl-A
NEWLINE = 0x0A


class MuxFront(NullChardev):
    """One user's end."""

    filename = "mux"
    shared = True

    def __init__(self, mux: Mux) -> None:
        self._mux = mux
        self._input = bytearray()
        self._breaks = 0

    def put(self, byte: int) -> bool:
        if self._mux.timestamps:
            self._mux.stamp(byte)
        return self._mux.base.put(byte)

    def write(self, data: bytes) -> None:
        if self._mux.timestamps:
            for byte in data:
                self.put(byte)
        else:
            self._mux.base.write(data)

    def room(self) -> int:
        return self._mux.base.room()

    def flush(self) -> None:
        self._mux.base.flush()

    def read(self, count: int) -> bytes:
        data = bytes(self._input[:count])
        del self._input[:count]
        return data

    def take_break(self) -> bool:
        if self._breaks:
            self._breaks -= 1
            return True
        return False

    def arrived(self, data: bytes) -> None:
        # What does not fit is lost: Ctrl-A x has to work however little the guest reads.
        self._input += data[: INPUT_ROOM - len(self._input)]
        if self.on_input is not None:
            self.on_input()

    def send_break(self) -> None:
        self._breaks += 1
        if self.on_input is not None:
            self.on_input()


class Mux:
    """Distributes what ``base`` receives; the first front has it until Ctrl-A c."""

    def __init__(self, base: NullChardev, leave: Callable[[], None]) -> None:
        self.base = base
        self.fronts: list[MuxFront] = []
        self.save_all: Callable[[], None] = lambda: None
        """What Ctrl-A s does."""
        self.timestamps = False
        self._leave = leave
        self._focus = 0
        self._escaped = False
        self._line_start = False
        self._started_ns = 0
        self._keys: dict[int, tuple[str, Callable[[], None]]] = {
            ord("h"): ("print this help", self._help),
            ord("x"): ("exit emulator", self._exit),
            ord("s"): ("save disk data back to file (if -snapshot)", self._save),
            ord("t"): ("toggle console timestamps", self._toggle_timestamps),
            ord("b"): ("send break (magic sysrq)", self._break),
            ord("c"): ("switch between console and monitor", self._switch),
        }
        base.on_input = self._input
        base.on_writable = self._writable

    def front(self) -> MuxFront:
        """One user more."""
        front = MuxFront(self)
        self.fronts.append(front)
        return front

    @property
    def focused(self) -> MuxFront | None:
        return self.fronts[self._focus] if self.fronts else None

    def _input(self) -> None:
        while data := self.base.read(INPUT_ROOM):
            self._distribute(data)

    def _distribute(self, data: bytes) -> None:
        """Act on the keys; the rest is for whoever has the focus at that moment."""
        plain = bytearray()
        for key in data:
            if not self._escaped:
                if key == ESCAPE:
                    self._escaped = True
                else:
                    plain.append(key)
                continue
            self._escaped = False
            if key == ESCAPE:
                plain.append(key)
            elif key in self._keys:
                self._hand_over(plain)
                self._keys[key][1]()
        self._hand_over(plain)

    def _hand_over(self, plain: bytearray) -> None:
        data = bytes(plain)
        plain.clear()
        if data and self.focused is not None:
            self.focused.arrived(data)

    def _writable(self) -> None:
        for front in self.fronts:
            if front.on_writable is not None:
                front.on_writable()

    # Keys

    def _say(self, text: str) -> None:
        """Our own words, in order with the guest's."""
        self.base.write(text.encode())
        self.base.flush()

    def _help(self) -> None:
        lines = [f"C-a {chr(key)}    {about}" for key, (about, _) in self._keys.items()]
        self._say("\r\n" + "\r\n".join([*lines, "C-a C-a  sends C-a"]) + "\r\n")

    def _exit(self) -> None:
        self._say("jitemu: Terminated\r\n")
        self._leave()

    def _save(self) -> None:
        self.save_all()

    def _break(self) -> None:
        if self.focused is not None:
            self.focused.send_break()

    def _switch(self) -> None:
        before = self.focused
        self._focus = (self._focus + 1) % max(len(self.fronts), 1)
        front = self.focused
        if front is not None and front is not before and front.on_focus is not None:
            front.on_focus()

    def _toggle_timestamps(self) -> None:
        self.timestamps = not self.timestamps
        self._started_ns = 0
        self._line_start = False

    def stamp(self, byte: int) -> None:
        """Put the time since the first such line in front of a line."""
        if self._line_start:
            now = time.monotonic_ns()
            self._started_ns = self._started_ns or now
            seconds, ms = divmod((now - self._started_ns) // 1_000_000, 1000)
            minutes, seconds = divmod(seconds, 60)
            stamp = f"[{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{ms:03}] "
            self.base.write(stamp.encode())
        self._line_start = byte == NEWLINE
