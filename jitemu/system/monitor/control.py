"""Commands that stop the machine, let it go on, or end it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jitemu.messages import UserError
from jitemu.system.monitor.commands import (
    COMMANDS,
    FILE,
    INFO,
    REST,
    STRING,
    CommandError,
    UsageError,
    command,
    listing,
)

CHANGEABLE = frozenset(("int", "mmu", "guest_errors", "unimp"))
"""Items of the log that need no code made anew."""

if TYPE_CHECKING:
    from jitemu.system.monitor.session import Monitor


@command("help|?", "[cmd]", "show the help", REST)
def show_help(monitor: Monitor, subject: str) -> None:
    name, _, more = subject.strip().partition(" ")
    if not name:
        for line in listing(COMMANDS):
            monitor.print(line)
    elif name == "info":
        rows = INFO if not more else {k: v for k, v in INFO.items() if k == more.strip()}
        for line in listing(rows, "info "):
            monitor.print(line)
    elif name in COMMANDS:
        monitor.print(COMMANDS[name].help_line())


@command("info", "[subcommand]", "show various information about the system state")
def show_subjects(monitor: Monitor) -> None:
    for line in listing(INFO, "info "):
        monitor.print(line)


@command("stop|s", "", "stop emulation")
def stop(monitor: Monitor) -> None:
    monitor.machine.pause()


@command("cont|c", "", "resume emulation")
def go_on(monitor: Monitor) -> None:
    monitor.machine.resume()


@command("system_reset", "", "reset the system")
def reset(monitor: Monitor) -> None:
    monitor.machine.reset()


@command("system_powerdown", "", "send system power down event")
def power_down(monitor: Monitor) -> None:
    raise CommandError("Error: the virt machine has no power button that its guest could see")


@command("quit|q", "", "quit the emulator")
def leave(monitor: Monitor) -> None:
    monitor.machine.shutdown(0)


@command("log", "item1[,...]", "activate logging of the specified items", STRING, on_hart=True)
def log_items(monitor: Monitor, text: str) -> None:
    from jitemu.trace import help_text, parse_items

    if text == "help":
        monitor.print(help_text())
        return
    try:
        items = () if text == "none" else parse_items(text)
    except (UserError, ValueError) as error:
        raise UsageError(str(error)) from None
    log = monitor.machine.config.log
    changed = (set(items) ^ log.enabled) - CHANGEABLE
    if changed:
        names = ", ".join(sorted(changed))
        raise CommandError(f"Error: {names} cannot be changed while the machine runs; use -d")
    log.select(items)
    monitor.machine.hart.use_log(log)


@command("logfile", "filename", "output logs to 'filename'", FILE)
def log_file(monitor: Monitor, path: str) -> None:
    monitor.machine.config.log.redirect(path)
