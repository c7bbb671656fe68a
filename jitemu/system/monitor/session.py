"""A monitor on a character device: reads lines, runs commands, shows what they say."""

from __future__ import annotations

import os

from jitemu.messages import UserError, version
from jitemu.system.monitor.commands import (
    COMMANDS,
    INFO,
    Command,
    CommandError,
    Format,
    Line,
    UsageError,
)
from jitemu.system.monitor.readline import Readline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.system.chardev import NullChardev
    from jitemu.system.machine import Machine

PROMPT = "(qemu) "
"""What scripts that talk to monitors wait for."""


class Monitor:
    """One user of a machine's monitor.  ``print`` is for the commands."""

    def __init__(self, machine: Machine, chardev: NullChardev) -> None:
        self.machine = machine
        self.chardev = chardev
        self._output: list[str] = []
        self._typed = bytearray()
        self._busy = False
        self._greeted = False
        self.last_format = Format(1, "x", 4)
        """How memory was dumped the last time, which is how it goes on."""
        self._readline = Readline(PROMPT, self._write, self._complete)
        chardev.on_input = self._input
        chardev.on_opened = self._opened
        chardev.on_focus = self._greet
        if chardev.present and not chardev.shared:
            self._greet()

    def print(self, text: str = "") -> None:
        """Show a line (or several)."""
        self._output.append(text + "\n")

    def print_part(self, text: str) -> None:
        """Show text as it is."""
        self._output.append(text)

    # The terminal

    def _write(self, text: str) -> None:
        data = text.replace("\n", "\r\n").encode(errors="surrogateescape")
        self.chardev.write(data)
        self.chardev.flush()

    def _opened(self) -> None:
        """Somebody else is there now."""
        self._greeted = False
        self._greet()

    def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._write(f"jitemu {version()} monitor - type 'help' for more information\n")
        if not self._busy:
            self._readline.show_prompt()

    def _input(self) -> None:
        self._typed += self.chardev.read(4096)
        while self._typed and not self._busy:
            line = self._readline.feed(self._typed.pop(0))
            if line is not None:
                self._run(line)

    def _complete(self, before: str) -> list[str]:
        _declare()
        words = before.split(" ")
        table = COMMANDS if len(words) == 1 else INFO if words[0] == "info" else {}
        if len(words) > 2 or (len(words) == 2 and words[0] in ("help", "?")):
            table = COMMANDS if words[0] in ("help", "?") else {}
        found = sorted(name for name in table if name.startswith(words[-1]))
        return found or _files(words[-1])

    # Commands

    def _run(self, text: str) -> None:
        """Do what a line says; the next is taken when it is done."""
        if not text.strip():
            self._done()
            return
        try:
            command, line = self._find(text)
        except CommandError as error:
            self.print(str(error))
            self._done()
            return
        self._busy = True

        def run() -> None:
            self._execute(command, line)
            if command.on_hart:
                self.machine.loop.call_soon(self._done)
            else:
                self._done()

        if command.on_hart:
            self.machine.on_hart(run)
        else:
            run()

    def _find(self, text: str) -> tuple[Command, Line]:
        _declare()
        line = Line(text, "", self.machine.hart.register)
        name = line.word("command")
        row = COMMANDS.get(name)
        if name == "info" and line.peek():
            subject = line.word("")
            name = f"info {subject}"
            row = INFO.get(subject)
        if row is None:
            raise CommandError(f"unknown command: '{name}'")
        line.command = name
        return row, line

    def _execute(self, command: Command, line: Line) -> None:
        try:
            command.run(self, line)
        except UsageError as error:
            self.print(f'{error}\nTry "help {line.command}" for more information')
        except (CommandError, UserError) as error:
            self.print(f"Error: {error}" if isinstance(error, UserError) else str(error))
        except OSError as error:
            self.print(f"Error: {error.filename or ''}: {error.strerror}")

    def _done(self) -> None:
        text, self._output = "".join(self._output), []
        self._busy = False
        if text:
            self._write(text)
        if self.machine.ending:
            return
        self._readline.show_prompt()
        if self._typed:
            self.machine.loop.call_soon(self._input)


def _declare() -> None:
    """The commands are declared by importing their files, which only who uses them pays for."""
    from jitemu.system.monitor import control, info, inspect, plugs

    _ = (control, info, inspect, plugs)


def _files(start: str) -> list[str]:
    """Names that a file name could go on with."""
    folder, name = os.path.split(start)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return []
    return sorted(os.path.join(folder, n) for n in names if n.startswith(name)) if start else []
