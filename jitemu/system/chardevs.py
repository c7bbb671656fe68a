"""The character devices of a machine: ``-chardev``, ``-serial``, ``-monitor`` and forwards
name them in two ways, which one table of kinds serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jitemu.keyval import on_off
from jitemu.messages import fail
from jitemu.properties import BOOL, STR, Options, describe, names, pop, prop, split, take
from jitemu.system.chardev import NullChardev
from jitemu.system.chardev_files import (
    FileChardev,
    FileOptions,
    PipeChardev,
    PipeOptions,
    PtyChardev,
    StdioChardev,
    StdioOptions,
)
from jitemu.system.mux import Mux

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from jitemu.system.eventloop import EventLoop
    from jitemu.system.terminal import SignalGuard

    Pairs = list[tuple[str, str]]


class CommonOptions(Options):
    """What every kind takes."""

    mux = prop(BOOL, False, "several may use it, with the keys of Ctrl-A")
    logfile = prop(STR, "", "file: what the guest sends, too")
    logappend = prop(BOOL, False, "keep what the log holds")


class NoOptions(Options):
    """For kinds with nothing to tell."""


class Request(NamedTuple):
    """What a maker gets."""

    chardevs: Chardevs
    options: Any
    label: str
    where: str
    mux: bool


class Kind(NamedTuple):
    """A row: what gives the class of its options, those that have to be given, its maker."""

    options: Callable[[], type[Any]]
    required: tuple[str, ...]
    make: Callable[[Request], NullChardev]


def _stdio(request: Request) -> NullChardev:
    chardevs = request.chardevs
    if chardevs.stdio_user:
        fail(f"{request.where}: cannot use stdio by multiple character devices")
    chardevs.stdio_user = request.label
    signal = request.options.signal
    signals = on_off(signal) if signal else not request.mux
    return StdioChardev(chardevs.loop, chardevs.guard, signals)


def _null(_request: Request) -> NullChardev:
    return NullChardev()


def _file(request: Request) -> NullChardev:
    return FileChardev(request.chardevs.loop, request.options, request.where)


def _pipe(request: Request) -> NullChardev:
    return PipeChardev(request.chardevs.loop, request.options, request.where)


def _pty(request: Request) -> NullChardev:
    return PtyChardev(request.chardevs.loop, request.label, request.where)


def _socket_options() -> type[Any]:
    from jitemu.system.chardev_sockets import SocketOptions

    return SocketOptions


def _socket(request: Request) -> NullChardev:
    from jitemu.system.chardev_sockets import SocketChardev

    return SocketChardev(request.chardevs.loop, request.options, request.where)


KINDS: dict[str, Kind] = {
    "null": Kind(lambda: NoOptions, (), _null),
    "stdio": Kind(lambda: StdioOptions, (), _stdio),
    "file": Kind(lambda: FileOptions, ("path",), _file),
    "pipe": Kind(lambda: PipeOptions, ("path",), _pipe),
    "pty": Kind(lambda: NoOptions, (), _pty),
    "socket": Kind(_socket_options, (), _socket),
}
SHORT_FORMS = "stdio, mon:stdio, pty, null, none, file:PATH, pipe:PATH, unix:PATH, tcp:HOST:PORT"


def short_form(spec: str) -> Pairs | None:
    """The pairs that ``-serial`` and its kind write shorter (``tcp:host:port,server``)."""
    kind, colon, rest = spec.partition(":")
    if spec in ("null", "none"):
        return [("backend", "null")]
    if spec in ("stdio", "pty"):
        return [("backend", spec)]
    if not colon or not rest:
        return None
    if kind in ("file", "pipe"):
        return [("backend", kind), ("path", rest)]
    if kind == "unix":
        return [("backend", "socket"), *split(rest, "path")]
    if kind == "tcp":
        (_, place), *more = split(rest, "place")
        host, _, port = place.rpartition(":")
        return [("backend", "socket"), ("host", host), ("port", port), *more]
    return None


def listing() -> str:
    """What ``-chardev help`` prints."""
    return "\n".join(["Available chardev backend types:", *(f"  {kind}" for kind in KINDS)])


def listing_of(kind: str) -> str:
    """What ``-chardev KIND,help`` prints."""
    if kind not in KINDS:
        fail(f"-chardev {kind}: no such backend; there are {', '.join(KINDS)}")
    return "\n".join(
        [f"{kind} options:", *describe(KINDS[kind].options()), *describe(CommonOptions)]
    )


class Chardevs:
    """All of one machine, by label."""

    def __init__(self, loop: EventLoop, guard: SignalGuard, leave: Callable[[], None]) -> None:
        self.loop = loop
        self.guard = guard
        self.leave = leave
        self.stdio_user = ""
        self.save_all: Callable[[], object] = lambda: None
        self._made: dict[str, NullChardev] = {}
        self._shared: dict[str, Mux] = {}
        self._used: set[str] = set()
        self._logs: list[Any] = []

    def add(self, text: str) -> str:
        """``-chardev``'s text; the id."""
        where = f"-chardev {text}"
        pairs = split(text, "backend")
        label = pop(pairs, "id")
        if not label:
            fail(f"{where}: chardev: no id specified")
        self._make(pairs, label, where)
        return label

    def open(self, spec: str, label: str, where: str) -> NullChardev:
        """A user's end of what ``spec`` says: the id of one there is (``chardev:ID``), or a
        short form, which makes one.  ``mon:`` in front has it shared with a monitor."""
        kind, _, rest = spec.partition(":")
        if kind == "chardev":
            return self.end(rest, where)
        pairs = short_form(rest if kind == "mon" else spec)
        if pairs is None:
            fail(f"{where}: no such character device; use {SHORT_FORMS} or chardev:ID")
        if kind == "mon":
            pairs.append(("mux", "on"))
        self._make(pairs, label, where)
        return self.end(label, where)

    def end(self, label: str, where: str) -> NullChardev:
        """A user's end of one there is; only shared ones have several."""
        if label not in self._made:
            fail(f"{where}: Chardev '{label}' not found")
        mux = self._shared.get(label)
        if mux is not None:
            return mux.front()
        if label in self._used:
            fail(f"{where}: Device '{label}' is in use")
        self._used.add(label)
        return self._made[label]

    def shared(self) -> list[Mux]:
        """Those with several users."""
        return list(self._shared.values())

    def describe(self) -> list[str]:
        """The lines of ``info chardev``."""
        lines: list[str] = []
        for label, chardev in self._made.items():
            if label in self._shared:
                lines += [f"{label}: filename=mux", f"{label}-base: filename={chardev.filename}"]
            else:
                lines.append(f"{label}: filename={chardev.filename}")
        return lines

    def send_break(self, label: str) -> None:
        """A break condition for whoever uses it."""
        chardev = self._made.get(label)
        mux = self._shared.get(label)
        end = chardev if mux is None else mux.focused
        if end is None:
            fail(f"Chardev '{label}' not found")
        end.send_break()

    def close(self) -> None:
        """Write what is left, and let go."""
        made, self._made = self._made, {}
        for chardev in made.values():
            chardev.close()
        for log in self._logs:
            log.close()

    def _make(self, pairs: Pairs, label: str, where: str) -> None:
        if label in self._made:
            fail(f"{where}: Duplicate ID '{label}' for chardev")
        kind = pop(pairs, "backend")
        row = KINDS.get(kind)
        if row is None:
            fail(f"{where}: '{kind}' is not a valid char driver; there are {', '.join(KINDS)}")
        shared = names(CommonOptions)
        common = take(CommonOptions, [p for p in pairs if p[0] in shared], where)
        options = take(row.options(), [p for p in pairs if p[0] not in shared], where)
        for name in row.required:
            if not getattr(options, name):
                fail(f"{where}: chardev: {kind}: no {name} given")
        chardev = row.make(Request(self, options, label, where, common.mux))
        self._made[label] = chardev
        if common.logfile:
            self._log(chardev, common, where)
        if common.mux:
            mux = self._shared[label] = Mux(chardev, self.leave)
            mux.save_all = self._save_all

    def _save_all(self) -> None:
        self.save_all()

    def _log(self, chardev: NullChardev, common: CommonOptions, where: str) -> None:
        mode = "ab" if common.logappend else "wb"
        try:
            file = open(common.logfile, mode, buffering=0)  # noqa: SIM115
        except OSError as error:
            fail(f"{where}: cannot open {common.logfile}: {error.strerror}")
        self._logs.append(file)

        def write(data: bytes) -> None:
            try:
                file.write(data)
            except OSError:  # the guest goes on without its log
                chardev.on_log = None

        chardev.on_log = write
