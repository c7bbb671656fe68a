"""``jitemu user-riscv64`` and ``user-arm``: from options to a run."""

from __future__ import annotations

import os

from jitemu.cli import common_options as common
from jitemu.cli import user_options as options
from jitemu.cli.options import Shown, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def guest_environment(
    environ: Mapping[str, str], changes: Sequence[tuple[str, str | None]]
) -> dict[str, str]:
    """The host's variables after the -E and -U options, in the order they were given."""
    environment = dict(environ)
    for name, content in changes:
        if content is None:
            environment.pop(name, None)
        else:
            environment[name] = content
    return environment


def main(words: Sequence[str], guest: str = "riscv64") -> int:
    """Run the program that the words name; its exit status."""
    own = options.GUESTS[guest]
    parsed = parse(own.options, words, os.environ)
    if parsed[common.HELP]:
        raise Shown(options.help_text(guest))
    if not parsed.rest:
        from jitemu.messages import fail

        fail("no user program specified")
    from jitemu.user.run import UserConfig, run_user

    common.cpu_model(parsed[own.cpu], own.frontend)  # an error comes before those of the program

    log = common.make_log(parsed, *(("strace",) if parsed[options.STRACE] else ()))
    return run_user(
        UserConfig(
            program=parsed.rest[0],
            arguments=parsed.rest[1:],
            argv0=parsed[options.ARGV0],
            sysroot=parsed[options.SYSROOT],
            environment=guest_environment(os.environ, parsed[options.SET_ENV]),
            stack_size=parsed[options.STACK_SIZE],
            uname=parsed[options.UNAME],
            guest_base=parsed[options.GUEST_BASE],
            cpu=parsed[own.cpu],
            seed=parsed[options.SEED],
            one_insn=parsed[options.ONE_INSN],
            hot_threshold=parsed[common.HOT_THRESHOLD],
            cache=not parsed[common.NO_CACHE],
            log=log,
            reports=common.reports(parsed, log),
            # for the programs that the guest runs; their environment is the guest's affair
            option_words=parsed.words(options.SET_ENV, options.UNSET_ENV, options.ARGV0),
            guest=guest,
        )
    )
