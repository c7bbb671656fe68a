"""``jitemu system-riscv64``: from options to a machine that runs."""

from __future__ import annotations

import os
from contextlib import suppress

from jitemu.cli import common_options as common
from jitemu.cli import system_options as options
from jitemu.cli.options import ENVIRONMENT_PREFIXES, Parsed, Shown, parse
from jitemu.messages import fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.memory.physical import PhysicalSpace
    from jitemu.system.boot import BootFiles
    from jitemu.system.hart import Hart


def serial_devices(parsed: Parsed) -> tuple[str, ...]:
    """What the serial ports are tied to.

    Without -serial the first is the console, with the keys of Ctrl-A, unless there is no
    display to take its place and no -nographic either (as QEMU has it).
    """
    if parsed[options.SERIAL]:
        return parsed[options.SERIAL]
    if parsed.given(options.DISPLAY) and not parsed[options.NOGRAPHIC]:
        return ("null",)
    return ("mon:stdio",)


def check(parsed: Parsed) -> None:
    """UserError for options that do not go together."""
    if parsed.rest:
        fail(f"{parsed.rest[0]}: no disk image can be given; a kernel is given by -kernel")
    for option in (options.APPEND, options.INITRD):
        if parsed.given(option) and not parsed[options.KERNEL]:
            fail(f"-{option.name} only allowed with -kernel option")


def symbols(files: BootFiles) -> Callable[[int], str]:
    """Names for addresses, as far as kernel and firmware are ELF files that have them."""
    from jitemu.trace_symbols import SymbolTable

    tables = [SymbolTable(path) for path in (files.kernel, files.bios) if path]

    def lookup(address: int) -> str:
        return next(filter(None, (table.lookup(address) for table in tables)), "")

    return lookup


def main(words: Sequence[str]) -> int:
    """Run the machine that the words describe; the process's exit status."""
    variables = [prefix + str(common.NO_CACHE.env) for prefix in ENVIRONMENT_PREFIXES]
    environ = {name: os.environ[name] for name in variables if name in os.environ}
    parsed = parse(options.OPTIONS, words, environ)
    if parsed[common.HELP]:
        raise Shown(options.help_text())
    check(parsed)
    pidfile = parsed[options.PIDFILE]
    if pidfile:
        _write_pidfile(pidfile)
    try:
        return _run(parsed)
    finally:
        if pidfile:
            with suppress(OSError):  # somebody else may have removed it
                os.unlink(pidfile)


def _write_pidfile(path: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        fail(f"-pidfile {path}: cannot create PID file: {error.strerror}")


def _run(parsed: Parsed) -> int:
    from jitemu.frontends.riscv.cpu import isa_string
    from jitemu.system.machine import Machine, MachineConfig, dump_device_tree

    choice = parsed[options.MACHINE]
    model = common.cpu_model(parsed[common.CPU])
    log = common.make_log(parsed)
    config = MachineConfig(
        machine=choice.name,
        memory=parsed[options.MEMORY],
        aclint=choice.aclint,
        isa=isa_string(model),
        mmu_type=model.mmu_type,
        bios=parsed[options.BIOS],
        kernel=parsed[options.KERNEL],
        initrd=parsed[options.INITRD],
        append=parsed[options.APPEND],
        dtb=parsed[options.DTB],
        serial=serial_devices(parsed),
        reboot=not parsed[options.NO_REBOOT],
        stopped=parsed[options.STOPPED],
        on_guest_error=log.write_line if log.guest_errors else None,
    )
    if choice.dumpdtb:
        dump_device_tree(config, choice.dumpdtb)
        return 0
    from jitemu.system.processor import make_hart

    def factory(space: PhysicalSpace, hart_id: int) -> Hart:
        return make_hart(
            space,
            hart_id,
            cpu=model,
            log=log,
            symbol=symbols(config.boot_files()),
            hot_threshold=parsed[common.HOT_THRESHOLD],
            cache=not parsed[common.NO_CACHE],
        )

    return Machine(config, factory).run()
