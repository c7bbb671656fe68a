"""``jitemu system-riscv64``: from options to a machine that runs."""

from __future__ import annotations

import os
from contextlib import suppress

from jitemu.cli import common_options as common
from jitemu.cli import system_options as options
from jitemu.cli.device_options import DEVICE, DEVICE_FILE, FW_CFG, GLOBAL
from jitemu.cli.drive_options import SNAPSHOT, hard_disk
from jitemu.cli.host_options import CHARDEV, MONITOR, OBJECT
from jitemu.cli.options import ENVIRONMENT_PREFIXES, Parsed, Shown, parse
from jitemu.messages import UserError, fail, warn
from jitemu.system.plugged import BackendSpec, CaptureSpec, Secret, devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.memory.physical import PhysicalSpace
    from jitemu.system.boot import BootFiles
    from jitemu.system.hart import Hart


def consoles(parsed: Parsed) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the serial ports are tied to, and what monitors.

    What is not said is on standard input and output, both on the same with the keys of
    Ctrl-A, unless there is no display to take its place and no -nographic either (as QEMU
    has it).
    """
    serial, monitors = parsed[options.SERIAL], parsed[MONITOR]
    has_monitor = parsed.given(MONITOR) or any(text.startswith("mon:") for text in serial)
    if parsed.given(options.DISPLAY) and not parsed[options.NOGRAPHIC]:
        return serial or ("null",), _but_none(monitors)
    if not serial and not has_monitor:
        return ("mon:stdio",), ()
    if not has_monitor and "stdio" not in serial and not _uses_stdio(parsed):
        monitors = ("stdio",)
    return serial or ("stdio",), _but_none(monitors)


def _uses_stdio(parsed: Parsed) -> bool:
    return any(text.partition(",")[0] in ("stdio", "backend=stdio") for text in parsed[CHARDEV])


def _but_none(monitors: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in monitors if text not in ("none", "null"))


def check(parsed: Parsed) -> None:
    """UserError for options that do not go together."""
    if parsed.rest[1:]:
        fail(f"{parsed.rest[1]}: options go before the disk image {parsed.rest[0]}")
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
    serial, monitors = consoles(parsed)
    plugged = parsed[DEVICE]
    for image in parsed.rest:
        try:
            plugged = hard_disk(plugged, image)
        except ValueError as error:
            fail(f"{image}: {error}")
    config = MachineConfig(
        machine=choice.name,
        name=parsed[options.NAME],
        memory=parsed[options.MEMORY],
        aclint=choice.aclint,
        legacy_virtio=parsed[GLOBAL],
        isa=isa_string(model),
        mmu_type=model.mmu_type,
        bios=parsed[options.BIOS],
        kernel=parsed[options.KERNEL],
        initrd=parsed[options.INITRD],
        append=parsed[options.APPEND],
        dtb=parsed[options.DTB],
        chardevs=parsed[CHARDEV],
        serial=serial,
        monitors=monitors,
        captures=tuple(made for made in parsed[OBJECT] if isinstance(made, CaptureSpec)),
        secrets={made.name: made.data for made in parsed[OBJECT] if isinstance(made, Secret)},
        devices=devices(plugged),
        backends=tuple(spec for spec in plugged if isinstance(spec, BackendSpec)),
        fw_cfg=parsed[FW_CFG],
        snapshot=parsed[SNAPSHOT],
        reboot=not parsed[options.NO_REBOOT],
        stopped=parsed[options.STOPPED],
        icount=parsed[options.ICOUNT],
        log=log,
    )
    if choice.dumpdtb:
        dump_device_tree(config, choice.dumpdtb)
        return 0
    from jitemu.system.processor import make_hart

    reports = common.reports(parsed, log)
    hot_threshold = parsed[common.HOT_THRESHOLD]
    if config.icount:
        if hot_threshold:
            warn("-hot-threshold has no effect with -icount: regions do not count instructions")
        hot_threshold = 0

    def factory(space: PhysicalSpace, hart_id: int) -> Hart:
        return make_hart(
            space,
            hart_id,
            cpu=model,
            log=log,
            symbol=symbols(config.boot_files()),
            hot_threshold=hot_threshold,
            cache=not parsed[common.NO_CACHE],
            reports=reports,
        )

    try:
        return Machine(config, factory).run()
    except Exception as error:
        if parsed.given(DEVICE_FILE) and not isinstance(error, UserError):
            from jitemu.devices.catalog import blame

            if line := blame(error):
                fail(f"-device-file: {line}")
        raise
    finally:
        if reports is not None:
            reports.write()
