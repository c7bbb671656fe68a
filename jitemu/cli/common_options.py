"""Options that both commands have."""

from __future__ import annotations

from jitemu.cli.options import Option, Shown, flag, integer, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jitemu.cli.options import Parsed
    from jitemu.runtime.reports import Reports
    from jitemu.trace import Log

_ENGINE_S_CHOICE: int | None = None


def version_text() -> str:
    """``jitemu version N``: the number that the installed package has."""
    from jitemu.messages import version

    number = version()
    if not number:
        return "jitemu version unknown (run from a folder that is not installed)"
    return f"jitemu version {number}"


def _show_version(_before: bool, _text: str) -> bool:
    raise Shown(version_text())


def _log_items(text: str) -> tuple[str, ...]:
    from jitemu.trace import help_text, parse_items

    if text == "help":
        raise Shown(help_text())
    return parse_items(text)


def _filter_ranges(text: str) -> tuple[tuple[int, int], ...]:
    from jitemu.trace import parse_ranges

    return parse_ranges(text)


def _cpu_module(frontend: str) -> Any:
    from jitemu.light import import_module

    return import_module(f"jitemu.frontends.{frontend}.cpu")


def cpu_option(frontend: str, default: str) -> Option[str]:
    """-cpu, whose models are those of a frontend."""

    def convert(text: str) -> str:
        if text == "help":
            raise Shown(_cpu_module(frontend).help_text())
        return text

    prose = "select CPU (-cpu help for list)"
    return value("cpu", "model", prose, default, convert, env="CPU")


HELP = flag("h", "print this help", aliases=("help",))
VERSION = Option(
    "version", "", "display version information and exit", False, _show_version, env="VERSION"
)
CPU = cpu_option("riscv", "rv64")
LOG_ITEMS = value(
    "d",
    "item[,...]",
    "enable logging of specified items (use '-d help' for a list of items)",
    (),
    _log_items,
    env="LOG",
)
LOG_FILTER = value(
    "dfilter",
    "range[,...]",
    "filter logging based on address range",
    (),
    _filter_ranges,
    env="DFILTER",
)
LOG_FILE = value(
    "D", "logfile", "write logs to 'logfile' (default stderr)", "", str, env="LOG_FILENAME"
)
HOT_THRESHOLD = value(
    "hot-threshold",
    "count",
    "make code a region after 'count' samples of 1 ms (0: never, 1: every block, at once)",
    _ENGINE_S_CHOICE,
    integer(0, 2**31 - 1),
    env="HOT_THRESHOLD",
)
NO_CACHE = flag(
    "no-cache", "use no regions of earlier runs and keep nothing of this one", env="NO_CACHE"
)
PERFMAP = flag("perfmap", "generate a /tmp/perf-${pid}.map file for perf", env="PERFMAP")
JITDUMP = flag("jitdump", "generate a jit-${pid}.dump file for perf", env="JITDUMP")

GDBJIT = flag("gdbjit", "let gdb see native code; jit-${pid}.lst is its source", env="GDBJIT")


def reports(parsed: Parsed, log: Log) -> Reports | None:
    """What is told of the translated code when the guest has ended."""
    if not (parsed[PERFMAP] or parsed[JITDUMP] or parsed[GDBJIT] or log.jit):
        return None
    from jitemu.runtime.reports import Reports

    show = log.write if log.jit else None
    return Reports(parsed[PERFMAP], parsed[JITDUMP], parsed[GDBJIT], show)


def cpu_model(text: str, frontend: str = "riscv") -> Any:
    """The processor that -cpu names, a frontend's CpuModel."""
    return _cpu_module(frontend).parse_cpu(text)


def make_log(parsed: Parsed, *more: str) -> Log:
    """The log that -d, -D and -dfilter ask for, and the items ``more``."""
    from jitemu.trace import Log

    return Log((*parsed[LOG_ITEMS], *more), parsed[LOG_FILTER], parsed[LOG_FILE])
