"""qemu-img's command lines: options anywhere among the operands, short ones together.

The rows are those of ``jitemu.cli.options``; a name of one letter is a short option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jitemu.cli.options import Option, Parsed
from jitemu.messages import fail

HINT = "; 'jitemu img --help' has more information"


def parse_words(options: Sequence[Option[Any]], words: Sequence[str]) -> Parsed:
    """Take the options out of the words; ``rest`` has the operands."""
    short: dict[str, Option[Any]] = {}
    long: dict[str, Option[Any]] = {}
    for option in options:
        for name in (option.name, *option.aliases):
            (short if len(name) == 1 else long)[name] = option
    parsed = Parsed()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            parsed.rest += left
            break
        if word.startswith("--"):
            _take_long(long, parsed, word, left)
        elif len(word) > 1 and word[0] == "-":
            _take_short(short, parsed, word, left)
        else:
            parsed.rest.append(word)
    return parsed


def _take_long(rows: dict[str, Option[Any]], parsed: Parsed, word: str, left: list[str]) -> None:
    name, equals, text = word[2:].partition("=")
    found = [rows[name]] if name in rows else [rows[key] for key in rows if key.startswith(name)]
    if len({id(option) for option in found}) != 1:
        fail(f"unrecognized option '{word}'{HINT}")
    option = found[0]
    if not option.argument:
        if equals:
            fail(f"option '--{name}' doesn't allow an argument{HINT}")
        parsed.add(option, "")
        return
    if not equals:
        if not left:
            fail(f"missing argument for option '{word}'{HINT}")
        text = left.pop(0)
    parsed.add(option, text)


def _take_short(rows: dict[str, Option[Any]], parsed: Parsed, word: str, left: list[str]) -> None:
    at = 1
    while at < len(word):
        letter = word[at]
        option = rows.get(letter)
        at += 1
        if option is None:
            fail(f"unrecognized option '-{letter}'{HINT}")
        if not option.argument:
            parsed.add(option, "")
            continue
        if at == len(word) and not left:
            fail(f"missing argument for option '-{letter}'{HINT}")
        parsed.add(option, word[at:] or left.pop(0))
        return
