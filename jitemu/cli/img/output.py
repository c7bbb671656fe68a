"""The forms that qemu-img prints in: sizes, JSON in its order, nested text, progress."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, cast

_BUCKETS = 512
_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


def human_size(count: int) -> str:
    """Three digits and a unit: ``1.25 MiB``."""
    _, exponent = math.frexp(count / (1000.0 / 1024.0))
    step = max(0, (exponent - 1) // 10)
    return f"{count / (1 << 10 * step):.3g} {_UNITS[step]}B"


def _bucket(key: str) -> int:
    """QEMU prints the members of an object in the order of a hash table."""
    data = key.encode()
    value = 0x238F13AF * len(data)
    for at, byte in enumerate(data):
        value = (value + (byte << at * 5 % 24)) & 0xFFFFFFFF
    return (1103515243 * value + 12345 & 0xFFFFFFFF) % _BUCKETS


def in_order(members: dict[str, Any]) -> list[tuple[str, Any]]:
    """An object's members as QEMU prints them."""
    return sorted(members.items(), key=lambda item: _bucket(item[0]))


def pretty(value: Any, indent: int = 0) -> str:
    """JSON as ``--output=json`` prints it."""
    inner, outer = "    " * (indent + 1), "    " * indent
    if isinstance(value, dict):
        members = in_order(cast("dict[str, Any]", value))
        lines = [f'{inner}"{key}": {pretty(member, indent + 1)}' for key, member in members]
        return "{\n" + ",\n".join(lines) + f"\n{outer}}}"
    if isinstance(value, list):
        items = [inner + pretty(item, indent + 1) for item in cast("list[Any]", value)]
        return "[\n" + ",\n".join(items) + ("\n" if items else "") + f"{outer}]"
    return json.dumps(value)


def nested_text(value: Any, indent: int) -> Iterator[str]:
    """Lines of an object or list, for people."""
    items: list[tuple[str, Any]]
    if isinstance(value, dict):
        members = in_order(cast("dict[str, Any]", value))
        items = [(key.replace("-", " "), member) for key, member in members]
    else:
        items = [(f"[{at}]", item) for at, item in enumerate(cast("list[Any]", value))]
    for key, member in items:
        head = "    " * indent + key + ":"
        if isinstance(member, (dict, list)):
            yield head
            yield from nested_text(member, indent + 1)
        else:
            yield f"{head} {str(member).lower() if isinstance(member, bool) else member}"


Advance = Callable[[int], None]


@contextmanager
def progress(wanted: bool, total: int) -> Generator[Advance]:
    """Shows how much of ``total`` is done: a bar on a terminal, QEMU's percentages elsewhere."""
    if not wanted:
        yield lambda _count: None
        return
    if sys.stdout.isatty():
        with _bar(total) as advance:
            yield advance
        return
    done = 0
    shown = -1.0

    def show(percent: float) -> None:
        print(f"    ({percent:.2f}/100%)", end="\r", flush=True)

    def add(count: int) -> None:
        nonlocal done, shown
        done += count
        percent = 100.0 * done / total if total else 100.0
        if percent >= shown + 1:
            show(percent)
            shown = percent

    show(0)
    yield add
    show(100)
    print()


@contextmanager
def _bar(total: int) -> Generator[Advance]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    with Progress(BarColumn(), DownloadColumn(True), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.update(task, advance=count)
        bar.update(task, completed=total)
