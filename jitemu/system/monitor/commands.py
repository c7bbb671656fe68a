"""Declaring commands: name, arguments, help and handler in one place.

    @command("memsave", "addr size file", "save to disk virtual memory ...", NUMBER, NUMBER, FILE)
    def memory_save(monitor: Monitor, address: int, size: int, path: str) -> None: ...

The line is taken apart by the kinds of the arguments; help, completion and messages come from
the declaration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jitemu.keyval import size
from jitemu.system.monitor.expression import Expression, ExpressionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.system.monitor.session import Monitor

    Register = Callable[[str], int | None]
    Handler = Callable[..., None]


class CommandError(Exception):
    """The command cannot be done; the text is what the user sees."""


class UsageError(CommandError):
    """The line is not as the command wants it."""


class Line:
    """What is left of a line."""

    def __init__(self, text: str, command: str, register: Register) -> None:
        self.text = text
        self.at = 0
        self.command = command
        self.register = register

    def peek(self) -> str:
        """The next character after blanks; empty at the end."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def word(self, what: str) -> str:
        """A word, or a string in double quotes with backslashes."""
        if not self.peek():
            raise UsageError(f"{self.command}: {what} expected")
        if self.text[self.at] != '"':
            start = self.at
            while self.at < len(self.text) and not self.text[self.at].isspace():
                self.at += 1
            return self.text[start : self.at]
        return self._quoted()

    def _quoted(self) -> str:
        self.at += 1
        characters: list[str] = []
        while (character := self.text[self.at : self.at + 1]) != '"':
            if character == "\\":
                self.at += 1
                escaped = self.text[self.at : self.at + 1]
                character = {"n": "\n", "r": "\r"}.get(escaped, escaped)
            if not character:
                raise UsageError("unterminated string")
            characters.append(character)
            self.at += 1
        self.at += 1
        return "".join(characters)


class Format(NamedTuple):
    """``/4xw``: how many, shown how, of how many bytes (0: as the last time)."""

    number: int = 1
    shape: str = ""
    size: int = 0


class Kind(NamedTuple):
    """A kind of argument; ``default`` is what an optional one is without its text."""

    take: Callable[[Line], Any]
    optional: bool = False
    default: Any = None
    flag: str = ""


SHAPES, SIZES = "xduoci", {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}


def _number(line: Line) -> int:
    expression = Expression(line.text, line.at, line.register)
    try:
        value = expression.evaluate()
    except ExpressionError as error:
        raise UsageError(str(error)) from None
    line.at = expression.at
    return value


def _format(line: Line) -> Format:
    line.at += 1
    start = line.at
    while line.text[line.at : line.at + 1].isdigit():
        line.at += 1
    count = int(line.text[start : line.at] or "1")
    shape, size = "", 0
    while (character := line.text[line.at : line.at + 1]) and not character.isspace():
        if character in SHAPES:
            shape = character
        elif character in SIZES:
            size = SIZES[character]
        else:
            raise UsageError(f"invalid char in format: '{character}'")
        line.at += 1
    return Format(count, shape, size)


def _rest(line: Line) -> str:
    line.peek()
    text, line.at = line.text[line.at :], len(line.text)
    return text


def _size(line: Line) -> int:
    try:
        value = size(line.word("size"), "m")
    except (UsageError, ValueError):
        value = 1 << 63
    if value >> 63:
        raise UsageError("invalid size")
    return value


def word(what: str) -> Kind:
    """A word; ``what`` it is, for the message that it is missing."""

    def take(line: Line) -> str:
        return line.word(what)

    return Kind(take)


def flag(letter: str) -> Kind:
    """``-x``: True when it is given."""
    return Kind(Line.peek, True, False, letter)


def optional(kind: Kind, default: Any = None) -> Kind:
    """An argument that may be left out, at the end of the line."""
    return kind._replace(optional=True, default=default)


NUMBER = Kind(_number)
SIZE = Kind(_size)
"""Bytes; a number without a suffix is of MiB."""
FORMAT = Kind(_format, True, Format())
STRING, FILE, DEVICE = word("string"), word("filename"), word("block device name")
REST = Kind(_rest, True, "")


class Command(NamedTuple):
    """A row of the table."""

    names: tuple[str, ...]
    parameters: str
    about: str
    kinds: tuple[Kind, ...]
    handler: Handler
    on_hart: bool
    """It looks at the hart, so it runs between two of its instructions."""

    def help_line(self, prefix: str = "") -> str:
        """``name|alias parameters -- about``."""
        return f"{prefix}{'|'.join(self.names)} {self.parameters} -- {self.about}"

    def run(self, monitor: Monitor, line: Line) -> None:
        """Take the arguments and do it; CommandError if that is not possible."""
        values = self._arguments(line)
        if line.peek():
            name = "|".join(self.names)
            raise UsageError(f"{name}: extraneous characters at the end of line")
        self.handler(monitor, *values)

    def _arguments(self, line: Line) -> list[Any]:
        flags = {kind.flag for kind in self.kinds if kind.flag}
        given: set[str] = set()
        while flags and line.peek() == "-":
            letters = line.word("")[1:]
            for letter in letters:
                if letter not in flags:
                    raise UsageError(f"{line.command}: unsupported option -{letter}")
            given.update(letters)
        values: list[Any] = []
        for kind in self.kinds:
            if kind.flag:
                values.append(kind.flag in given)
            elif kind is FORMAT:
                values.append(kind.take(line) if line.peek() == "/" else kind.default)
            elif kind.optional and not line.peek():
                values.append(kind.default)
            else:
                values.append(kind.take(line))
        return values


COMMANDS: dict[str, Command] = {}
INFO: dict[str, Command] = {}


def _declare(
    table: dict[str, Command], name: str, parameters: str, about: str, *kinds: Kind, on_hart: bool
) -> Callable[[Handler], Handler]:
    names = tuple(name.split("|"))

    def add(handler: Handler) -> Handler:
        row = Command(names, parameters, about, kinds, handler, on_hart)
        table.update(dict.fromkeys(names, row))
        return handler

    return add


def command(
    name: str, parameters: str, about: str, *kinds: Kind, on_hart: bool = False
) -> Callable[[Handler], Handler]:
    """Decorator: a command (``name|alias``); the handler gets the monitor and the arguments."""
    return _declare(COMMANDS, name, parameters, about, *kinds, on_hart=on_hart)


def info(
    name: str, parameters: str, about: str, *kinds: Kind, on_hart: bool = False
) -> Callable[[Handler], Handler]:
    """Decorator: something that ``info`` shows."""
    return _declare(INFO, name, parameters, about, *kinds, on_hart=on_hart)


def listing(table: dict[str, Command], prefix: str = "") -> list[str]:
    """A line of help for each row, by name."""
    rows = {row.names[0]: row for row in table.values()}
    return [rows[name].help_line(prefix) for name in sorted(rows)]
