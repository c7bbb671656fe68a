"""``jitemu COMMAND ...``: picks the command, prints errors, gives the exit status."""

# Nor does it import __future__: what comes before the bundle of modules is to be little.
import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SHORT = "user-"
"""Commands that run programs: their start and end are made short."""
INTERRUPTED = 130  # what a shell gives a program that SIGINT ended


def _user(words: "Sequence[str]") -> int:
    from jitemu.cli.user import main as run

    return run(words)


def _user_arm(words: "Sequence[str]") -> int:
    from jitemu.cli.user import main as run

    return run(words, "arm")


def _system(words: "Sequence[str]") -> int:
    from jitemu.cli.system import main as run

    return run(words)


def _get(words: "Sequence[str]") -> int:
    from jitemu.cli.get import main as run

    return run(words)


def _cache(words: "Sequence[str]") -> int:
    from jitemu.cli.cache import main as run

    return run(words)


def _img(words: "Sequence[str]") -> int:
    from jitemu.cli.img.main import main as run

    return run(words)


def _help(words: "Sequence[str]") -> int:
    if words:
        return _run([words[0], "-help"])
    from jitemu.cli.options import Shown

    raise Shown(help_text())


def _version(_words: "Sequence[str]") -> int:
    from jitemu.cli.common_options import version_text
    from jitemu.cli.options import Shown

    raise Shown(version_text())


COMMANDS: "dict[str, tuple[Callable[[Sequence[str]], int], str]]" = {
    "user-riscv64": (_user, "run a Linux program made for riscv64"),
    "user-arm": (_user_arm, "run a Linux program made for 32-bit ARM"),
    "system-riscv64": (_system, "run a riscv64 machine: kernel, firmware or bare metal"),
    "get": (_get, "fetch a guest to run (riscv64-linux, riscv64-root, armhf-root)"),
    "cache": (_cache, "show, limit or clear the translated code kept between runs"),
    "img": (_img, "make, convert, check and change disk images (raw, qcow2, LUKS)"),
    "help": (_help, "print this help, or a command's (jitemu help get)"),
    "version": (_version, "print the version"),
}
ALIASES = {"-h": "help", "-help": "help", "--help": "help", "-version": "version"}
ALIASES["--version"] = "version"


def help_text() -> str:
    """What ``jitemu help`` prints."""
    lines = [f"  {name:<16} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: jitemu command [options]", "", *lines])


def _run(words: "Sequence[str]") -> int:
    if words and words[0].startswith(_SHORT):
        from jitemu import bundle

        bundle.use(words[0])
    from jitemu.messages import fail

    if not words:
        fail("no command; jitemu help lists them")
    name = ALIASES.get(words[0], words[0])
    if name not in COMMANDS:
        fail(f"{name}: unknown command; jitemu help lists them")
    return COMMANDS[name][0](words[1:])


def main(words: "Sequence[str] | None" = None) -> int:
    """Run one command line; the process's exit status."""
    if words is not None:
        return _answer(words)
    words = sys.argv[1:]
    if words and words[0].startswith(_SHORT):
        gc.disable()  # start-up makes no garbage; run_user turns it on
        status = _answer(words)
        # Nothing is left to do, and Python would tidy up for milliseconds.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by who started this
                stream.flush()
        os._exit(status & 0xFF)
    return _to_output(lambda: _answer(words))


def _answer(words: "Sequence[str]") -> int:
    """Run it, and print what was asked for or what is wrong."""
    try:
        return _run(words)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from jitemu.cli.options import Shown
        from jitemu.messages import UserError

        if isinstance(error, UserError):
            print(f"jitemu: {error}", file=sys.stderr, flush=True)
            return error.status
        if not isinstance(error, Shown):
            raise
        text = str(error)
    return _to_output(lambda: print(text) or 0)


def _to_output(do: "Callable[[], int]") -> int:
    """Do something that prints; the exit status, which is 1 where that cannot be printed."""
    from jitemu.cli.stdout import finish, take_over

    take_over()
    status = do()
    problem = finish()
    if problem:
        print(f"jitemu: cannot print: {problem}", file=sys.stderr, flush=True)
    return status or int(bool(problem))
