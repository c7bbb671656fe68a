"""``run_user``: load a program and run it to its end."""

from __future__ import annotations

import gc
import os

from jitemu import bundle
from jitemu.messages import fail
from jitemu.user import elf
from jitemu.user.abi import Abi, abi_named
from jitemu.user.cpu import GuestCpu
from jitemu.user.execve import IGNORED_SIGNALS, guest_command, shown_environment
from jitemu.user.hostcalls import PAGE, host_call, set_base
from jitemu.user.memory import GuestSpace
from jitemu.user.paths import Paths
from jitemu.user.process import Process
from jitemu.user.signals import get_host_mask
from jitemu.user.stack import Stack, build_stack
from jitemu.user.thread import GuestThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jitemu.runtime.reports import Reports
    from jitemu.trace import Log

STATUS_NOT_LOADABLE = 255
STATUS_NOT_FOUND = 1
_SYS_PRCTL, _PR_SET_NAME = 157, 15


class UserConfig:
    """What the command line says."""

    def __init__(
        self,
        program: str,
        arguments: Sequence[str],
        environment: dict[str, str],
        log: Log,
        argv0: str | None = None,
        sysroot: str = "",
        stack_size: int = 8 << 20,
        uname: str | None = None,
        guest_base: int | None = None,
        cpu: str = "",
        seed: int | None = None,
        one_insn: bool = False,
        hot_threshold: int | None = None,
        cache: bool = True,
        reports: Reports | None = None,
        option_words: Sequence[str] = (),
        command: Sequence[str] = (),
        make_cpu: Callable[[UserConfig, GuestSpace], GuestCpu] | None = None,
        guest: str = "riscv64",
    ) -> None:
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.log = log
        self.argv0 = argv0
        self.sysroot = sysroot
        self.stack_size = stack_size
        self.uname = uname
        self.guest_base = guest_base
        self.cpu = cpu
        """What -cpu says; nothing for the default."""
        self.seed = seed
        self.one_insn = one_insn
        self.hot_threshold = hot_threshold
        self.cache = cache
        self.reports = reports
        self.option_words = option_words
        self.command = command
        """What runs another guest program (an execve); empty for this jitemu with
        option_words."""
        self.make_cpu = make_cpu
        """The processor; None for the engine's."""
        self.guest = guest


_CALLS = ("files", "polling", "memory", "net", "time", "process", "signals", "system")


def _import_calls(abi: Abi) -> None:
    """Fill the table of system calls."""
    from jitemu.light import import_module

    for name in (*_CALLS, *abi.calls):
        import_module(f"jitemu.user.syscalls.{name}")


def _open_program(path: str) -> int:
    """A descriptor of the program; UserError in QEMU's words."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(fd)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "No such file or directory"
        fail(f"Error while loading {path}: {reason}", STATUS_NOT_FOUND)
    if (status.st_mode & 0o170000) != 0o100000 or not status.st_mode & 0o111:
        fail(f"Error while loading {path}: Permission denied", STATUS_NOT_FOUND)
    return fd


def _load(space: GuestSpace, fd: int, path: str, abi: Abi, base: int = 0) -> elf.Image:
    try:
        return elf.load(space, fd, path, abi, base)
    except elf.NotForThisGuest:
        fail(f"{path}: Invalid ELF image for this architecture", STATUS_NOT_LOADABLE)
    finally:
        os.close(fd)


def _load_interpreter(process: Process, name: bytes) -> elf.Image:
    path = os.fsdecode(process.paths.translate(name))
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno or 2) if isinstance(error, OSError) else "bad name"
        fail(
            f"Could not open '{os.fsdecode(name)}': {reason}; "
            "give the folder of the guest's libraries with -L",
            STATUS_NOT_LOADABLE,
        )
    return _load(process.space, fd, path, process.abi)


def _set_comm(path: bytes) -> None:
    """The name that ps shows."""
    from jitemu.foreign import addressof, create_string_buffer

    name = create_string_buffer(os.path.basename(path)[:15])
    host_call(_SYS_PRCTL, _PR_SET_NAME, addressof(name), 0, 0, 0)


def _enter_program(config: UserConfig, process: Process) -> tuple[int, int]:
    """Map program, interpreter and stack: the first pc and sp."""
    space, paths, abi = process.space, process.paths, process.abi
    fd = _open_program(config.program)
    program = _load(space, fd, config.program, abi, abi.program_base)
    interpreter = None
    if program.interpreter is not None:
        interpreter = _load_interpreter(process, program.interpreter)
    # A page of its own, whatever is left of the last segment's.
    space.brk_start = space.brk = (program.end + PAGE - 1) & -PAGE
    argv0 = config.program if config.argv0 is None else config.argv0
    args = [os.fsencode(word) for word in (argv0, *config.arguments)]
    shown = shown_environment(config.environment)
    environ = [os.fsencode(f"{name}={value}") for name, value in shown.items()]
    name = os.fsencode(config.program)
    size, seed = config.stack_size, config.seed
    stack = build_stack(space, size, args, environ, name, program, interpreter, abi, seed)
    paths.program = os.path.realpath(name)
    paths.command_line = b"".join(word + b"\0" for word in args)
    paths.auxv = stack.auxv
    paths.stack_start = stack.pointer
    if config.log.page:
        _log_layout(process, program, interpreter, stack, len(args), len(environ))
    return (interpreter or program).entry, stack.pointer


def _log_layout(
    process: Process,
    program: elf.Image,
    interpreter: elf.Image | None,
    stack: Stack,
    arguments: int,
    variables: int,
) -> None:
    """The lines of -d page about the loaded program."""
    start_code, end_code = program.extent(1)
    start_data, end_data = program.extent(2)
    word = process.abi.word
    argv = stack.pointer + word
    env = argv + word * (arguments + 1)
    process.log.write(f"guest_base  {hex(process.space.base) if process.space.base else '(nil)'}\n")
    process.log.write_page("binary load", process.space.rights())
    process.log.write_addresses(
        [
            ("start_brk", process.space.brk_start),
            ("end_code", end_code),
            ("start_code", start_code),
            ("start_data", start_data),
            ("end_data", end_data),
            ("start_stack", stack.pointer),
            ("brk", process.space.brk),
            ("entry", (interpreter or program).entry),
            ("argv_start", argv),
            ("env_start", env),
            ("auxv_start", env + word * (variables + 1)),
        ]
    )


def run_user(config: UserConfig) -> int:
    """Run a guest program; its exit status.

    UserError where it cannot be loaded.  A program that a signal ends takes this process
    with it, by the same signal.
    """
    abi = abi_named(config.guest, config)
    _import_calls(abi)
    space = abi.make_space(config)
    set_base(space.base)
    process = Process(abi, space, Paths(config.sysroot), config.log, config.uname)
    ignored = config.environment.pop(IGNORED_SIGNALS, "")
    pc, sp = _enter_program(config, process)
    abi.map_helpers(process)
    command = [os.fsencode(word) for word in config.command]
    process.reexec = command or guest_command(abi.name, list(config.option_words))
    cpu = (config.make_cpu or abi.make_cpu)(config, space)
    space.on_code_change = cpu.invalidate
    abi.start(cpu, pc, sp)
    thread = GuestThread(process, cpu, get_host_mask())
    process.signals.start(ignored)
    _set_comm(os.fsencode(config.program))
    if config.reports is not None:
        process.before_exit = config.reports.write
    bundle.finish(keep=config.cache)
    gc.freeze()  # a fork's child need not look through what was made so far
    gc.enable()
    status = process.run_main(thread)
    process.before_exit()
    return status
