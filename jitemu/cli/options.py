"""The command line's machinery: options are rows, and parser, help and errors come from them.

Names follow QEMU: one dash (two are accepted), the argument in the next word, and where a
row has one, an environment variable.  Kept free of argparse and of anything slow to import
(typing too: 11 of the 12 ms that it took), because every run of a guest program pays for it.
"""

from __future__ import annotations

from jitemu.keyval import SIZE_SUFFIXES as SIZE_SUFFIXES
from jitemu.keyval import integer as integer
from jitemu.keyval import on_off as on_off
from jitemu.keyval import one_of as one_of
from jitemu.keyval import size as size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
else:
    T = None

    class Generic:
        """Stands for typing's: only type checkers read the parameter."""

        def __class_getitem__(cls, _parameter: object) -> type:
            return cls


ENVIRONMENT_PREFIXES = ("JITEMU_", "QEMU_")


class Shown(Exception):
    """Text that was asked for (-help, -version, -cpu help): printed, exit status 0."""


class Option(Generic[T]):
    """One row: an option, how its text becomes a value, and what help says of it.

    ``fold(before, text)`` gives the value after one more occurrence (``text`` is empty for
    a flag) and raises UserError for text it cannot take.  Options with one ``key`` share
    one value, so that their order on the command line is kept.
    """

    def __init__(
        self,
        name: str,
        argument: str,
        description: str,
        default: T,
        fold: Callable[[T, str], T],
        *,
        env: str = "",
        aliases: tuple[str, ...] = (),
        key: str = "",
    ) -> None:
        self.name = name
        self.argument = argument
        self.description = description
        self.default = default
        self.fold = fold
        self.env = env
        self.aliases = aliases
        self.key = key or name


def flag(
    name: str, description: str, *, env: str = "", aliases: tuple[str, ...] = ()
) -> Option[bool]:
    """An option without an argument."""
    return Option(name, "", description, False, _set, env=env, aliases=aliases)


def _set(_before: bool, _text: str) -> bool:
    return True


def value(
    name: str,
    argument: str,
    description: str,
    default: T,
    parse: Callable[[str], T],
    *,
    env: str = "",
    aliases: tuple[str, ...] = (),
) -> Option[T]:
    """An option whose last occurrence counts."""

    def fold(_before: T, text: str) -> T:
        return parse(text)

    return Option(name, argument, description, default, fold, env=env, aliases=aliases)


class Parsed:
    """What one command line said: ``parsed[ROW]`` is that row's value, typed as the row."""

    def __init__(self) -> None:
        self._taken: list[tuple[Option[Any], str]] = []
        self.rest: list[str] = []
        """The words from the first one that is not an option."""
        self._values: dict[str, Any] = {}

    def __getitem__(self, option: Option[T]) -> T:
        return self._values.get(option.key, option.default)

    def given(self, option: Option[Any]) -> bool:
        """Whether the option was on the command line or in the environment."""
        return option.key in self._values

    def words(self, *but: Option[Any]) -> list[str]:
        """Words that say the same again, wherever it was said; without the options ``but``."""
        words: list[str] = []
        for option, text in self._taken:
            if option not in but:
                words += [f"-{option.name}", text] if option.argument else [f"-{option.name}"]
        return words

    def add(self, option: Option[Any], text: str) -> None:
        """Take one occurrence; an error names the option and its text."""
        self._taken.append((option, text))
        try:
            self._values[option.key] = option.fold(self[option], text)
        except ValueError as error:
            from jitemu.messages import fail

            fail(f"-{option.name} {text}: {error}")


def parse(
    options: Iterable[Option[Any]], words: Sequence[str], environ: Mapping[str, str]
) -> Parsed:
    """Read the environment, then the words up to the first that is not an option.

    A value parser says what is wrong by ValueError; this adds where, as a UserError.
    """
    rows: dict[str, Option[Any]] = {}
    parsed = Parsed()
    for option in options:
        for name in (option.name, *option.aliases):
            rows[name] = option
        if option.env:
            for prefix in ENVIRONMENT_PREFIXES:
                text = environ.get(prefix + option.env)
                if text is not None:
                    parsed.add(option, text)
                    break
    index = 0
    while index < len(words):
        word = words[index]
        if len(word) < 2 or word[0] != "-":
            break
        index += 1
        if word == "--":
            break
        index = _take(rows, parsed, words, index)
    parsed.rest = list(words[index:])
    return parsed


def _take(rows: dict[str, Option[Any]], parsed: Parsed, words: Sequence[str], index: int) -> int:
    """Take the option before ``index`` and its argument; the index after them."""
    word = words[index - 1]
    option = rows.get(word[2:] if word[1] == "-" else word[1:])
    if option is None:
        from jitemu.messages import fail

        fail(f"{word}: invalid option")
    if not option.argument:
        parsed.add(option, "")
        return index
    if index == len(words):
        from jitemu.messages import fail

        fail(f"{word}: requires an argument")
    parsed.add(option, words[index])
    return index + 1


def invocation(option: Option[Any]) -> str:
    """The option as help shows it: ``-name argument``."""
    return f"-{option.name} {option.argument}".rstrip()


def table_with_environment(options: Sequence[Option[Any]]) -> str:
    """QEMU's user-mode table: argument, environment variable, description."""
    names = [(option.env and ENVIRONMENT_PREFIXES[0] + option.env) for option in options]
    left = max(len(invocation(option)) for option in options)
    middle = max(len("Env-variable"), *map(len, names))
    lines = [f"{'Argument':<{left}} {'Env-variable':<{middle}} Description"]
    for option, env in zip(options, names, strict=True):
        lines.append(f"{invocation(option):<{left}} {env:<{middle}} {option.description}")
        lines += [f"{'-' + alias:<{left}}" for alias in option.aliases]
    return "\n".join(lines)


def table(options: Iterable[Option[Any]]) -> str:
    """QEMU's system-mode list: description in column 16, or below a long argument."""
    lines: list[str] = []
    for option in options:
        head = " or ".join([f"-{alias}" for alias in option.aliases] + [invocation(option)])
        about = option.description.split("\n")
        lines.append(f"{head:<15} {about.pop(0)}" if len(head) < 16 else head)
        lines += [" " * 16 + line for line in about]
    return "\n".join(lines)
