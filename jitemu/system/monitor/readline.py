"""Line editing on a terminal that understands ANSI's cursor movements (ECMA-48)."""

from __future__ import annotations

from itertools import takewhile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HISTORY = 64  # lines remembered
LONGEST = 4095  # characters of a line
LEFT, CLEAR_RIGHT = "\x1b[D", "\x1b[K"
ESCAPE, DELETE = 0x1B, 0x7F


class Readline:
    """Bytes in, whole lines out; what the terminal has to show goes to ``write``."""

    def __init__(
        self,
        prompt: str,
        write: Callable[[str], None],
        complete: Callable[[str], list[str]],
    ) -> None:
        self._prompt = prompt
        self._write = write
        self._complete = complete
        self._history: list[str] = []
        self._recalled = 0
        self._text = ""
        self._at = 0
        self._shown = ""
        self._shown_at = 0
        self._sequence: bytearray | None = None
        self._keys: dict[int, Callable[[], None]] = {
            0x01: self._home,
            0x02: self._left,
            0x04: self._delete,
            0x05: self._end,
            0x06: self._right,
            0x08: self._backspace,
            0x09: self._tab,
            0x0B: self._kill_right,
            0x0E: self._newer,
            0x10: self._older,
            0x15: self._kill_left,
            0x17: self._kill_word,
            DELETE: self._backspace,
        }
        self._sequences: dict[bytes, Callable[[], None]] = {
            b"[A": self._older,
            b"[B": self._newer,
            b"[C": self._right,
            b"[D": self._left,
            b"[H": self._home,
            b"[F": self._end,
            b"[1~": self._home,
            b"[4~": self._end,
            b"[3~": self._delete,
            b"OA": self._older,
            b"OB": self._newer,
            b"OC": self._right,
            b"OD": self._left,
            b"OH": self._home,
            b"OF": self._end,
        }

    def show_prompt(self) -> None:
        """A fresh line, with what was typed already."""
        self._write(self._prompt)
        self._shown, self._shown_at = "", 0
        self._update()

    def feed(self, byte: int) -> str | None:
        """One byte of input; the line if it is complete."""
        if self._sequence is not None:
            self._escape(byte)
        elif byte == ESCAPE:
            self._sequence = bytearray()
        elif byte in (0x0A, 0x0D):
            return self._enter()
        elif byte in self._keys:
            self._keys[byte]()
        elif 0x20 <= byte < DELETE and len(self._text) < LONGEST:
            self._text = self._text[: self._at] + chr(byte) + self._text[self._at :]
            self._at += 1
        self._update()
        return None

    def _escape(self, byte: int) -> None:
        sequence = self._sequence
        assert sequence is not None
        sequence.append(byte)
        if len(sequence) > 1 and 0x40 <= byte <= 0x7E:
            self._sequence = None
            self._sequences.get(bytes(sequence), lambda: None)()
        elif len(sequence) > 8 or (len(sequence) == 1 and byte not in b"[O"):
            self._sequence = None

    def _enter(self) -> str:
        line, self._text, self._at = self._text, "", 0
        self._shown, self._shown_at = "", 0
        self._write("\n")
        if line and line not in self._history[-1:]:
            self._history.append(line)
            del self._history[:-HISTORY]
        self._recalled = len(self._history)
        return line

    def _update(self) -> None:
        """Make the terminal show the line as it is."""
        out = ""
        if self._text != self._shown:
            out = LEFT * self._shown_at + self._text + CLEAR_RIGHT
            self._shown, self._shown_at = self._text, len(self._text)
        if self._at < self._shown_at:
            out += LEFT * (self._shown_at - self._at)
        else:
            out += self._text[self._shown_at : self._at]
        self._shown_at = self._at
        if out:
            self._write(out)

    # Keys

    def _home(self) -> None:
        self._at = 0

    def _end(self) -> None:
        self._at = len(self._text)

    def _left(self) -> None:
        self._at = max(self._at - 1, 0)

    def _right(self) -> None:
        self._at = min(self._at + 1, len(self._text))

    def _backspace(self) -> None:
        if self._at:
            self._at -= 1
            self._delete()

    def _delete(self) -> None:
        self._text = self._text[: self._at] + self._text[self._at + 1 :]

    def _kill_right(self) -> None:
        self._text = self._text[: self._at]

    def _kill_left(self) -> None:
        self._text, self._at = self._text[self._at :], 0

    def _kill_word(self) -> None:
        kept = self._text[: self._at].rstrip()
        start = kept.rfind(" ") + 1
        self._text, self._at = self._text[:start] + self._text[self._at :], start

    def _older(self) -> None:
        self._recall(self._recalled - 1)

    def _newer(self) -> None:
        self._recall(self._recalled + 1)

    def _recall(self, index: int) -> None:
        if 0 <= index < len(self._history):
            self._text = self._history[index]
        elif index == len(self._history):
            self._text = ""
        else:
            return
        self._recalled = index
        self._at = len(self._text)

    def _tab(self) -> None:
        """Complete the word in front of the cursor as far as it is certain."""
        before = self._text[: self._at]
        found = self._complete(before)
        start = before.rfind(" ") + 1
        if not found:
            return
        first, last = min(found), max(found)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
        common = "".join(a for a, _ in same) + (" " if len(found) == 1 else "")
        if len(common) > self._at - start:
            self._text = before[:start] + common + self._text[self._at :]
            self._at = start + len(common)
        elif len(found) > 1:
            self._write("\n" + "  ".join(found) + "\n")
            self.show_prompt()
