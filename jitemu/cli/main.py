"""``jitemu COMMAND ...``: picks the command, prints errors, gives the exit status."""

from __future__ import annotations

import os
import sys

from jitemu.cli.options import Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SHORT = "user-"
"""Commands that run programs: their start and end are made short."""
INTERRUPTED = 130  # what a shell gives a program that SIGINT ended


def _user(words: Sequence[str]) -> int:
    from jitemu.cli.user import main as run

    return run(words)


def _user_arm(words: Sequence[str]) -> int:
    from jitemu.cli.user import main as run

    return run(words, "arm")


def _system(words: Sequence[str]) -> int:
    from jitemu.cli.system import main as run

    return run(words)


def _get(words: Sequence[str]) -> int:
    from jitemu.cli.get import main as run

    return run(words)


def _cache(words: Sequence[str]) -> int:
    from jitemu.cli.cache import main as run

    return run(words)


def _img(words: Sequence[str]) -> int:
    from jitemu.cli.img.main import main as run

    return run(words)


def _help(words: Sequence[str]) -> int:
    if words:
        return _run([words[0], "-help"])
    raise Shown(help_text())


def _version(_words: Sequence[str]) -> int:
    from jitemu.cli.common_options import version_text

    raise Shown(version_text())


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
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


def _run(words: Sequence[str]) -> int:
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


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; the process's exit status."""
    try:
        status = _run(sys.argv[1:] if words is None else words)
        if words is None and sys.argv[1].startswith(_SHORT):
            # Nothing is left to do, and Python would tidy up for milliseconds.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status & 0xFF)
        return status
    except Shown as shown:
        return _print(str(shown))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from jitemu.messages import UserError

        if not isinstance(error, UserError):
            raise
        print(f"jitemu: {error}", file=sys.stderr, flush=True)
        return error.status


def _print(text: str) -> int:
    """Print what was asked for; a reader that stops early (``| head``) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _forget_output()
    except OSError as error:
        _forget_output()
        print(f"jitemu: cannot print: {error.strerror}", file=sys.stderr, flush=True)
        return 1
    return 0


def _forget_output() -> None:
    """Python writes what is left of standard output at its end, and complains if it cannot."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
