"""``python -m tests.user.unicorn_main [-L ROOT] [-0 ARGV0] [-strace] PROGRAM ARGS``."""

from __future__ import annotations

import os
import sys

from jitemu.messages import UserError
from jitemu.trace import Log
from jitemu.user.run import UserConfig, run_user
from tests.user.unicorn_cpu import make_cpu

HERE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
START = (
    f"import sys; sys.path.insert(0, {HERE!r}); "
    "from tests.user.unicorn_main import main; sys.exit(main(sys.argv[1:]))"
)
COMMAND = (sys.executable, "-c", START)


def main(words: list[str]) -> int:
    """Run a guest program on the Unicorn processor."""
    options: dict[str, str] = {}
    items: list[str] = []
    given: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        if rest[0] == "-strace":
            items = ["strace", "unimp"]
            given.append(rest.pop(0))
        else:
            option, value = rest.pop(0), rest.pop(0)
            options[option] = value
            if option != "-0":
                given += [option, value]
    try:
        return run_user(
            UserConfig(
                program=rest[0],
                arguments=rest[1:],
                environment=dict(os.environ),
                log=Log(items),
                argv0=options.get("-0"),
                sysroot=options.get("-L", ""),
                uname=options.get("-r"),
                stack_size=int(options.get("-s", "8388608")),
                command=[*COMMAND, *given],
                make_cpu=make_cpu,
            )
        )
    except UserError as error:
        print(f"jitemu: {error}", file=sys.stderr)
        return error.status
