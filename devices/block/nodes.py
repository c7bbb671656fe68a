"""What describes an image to open: a name, or -blockdev's keys, nested or with dots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from jitemu.messages import fail

Node = dict[str, Any]


def nested(options: Mapping[str, Any]) -> Node:
    """``{"file.filename": x}`` as ``{"file": {"filename": x}}``; values that are maps too."""
    found: Node = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            value = nested(cast("Mapping[str, Any]", value))
        head, dot, rest = key.partition(".")
        if not dot:
            if isinstance(found.get(head), dict) and isinstance(value, dict):
                found[head].update(value)
            else:
                found[head] = value
            continue
        inner = found.setdefault(head, {})
        if not isinstance(inner, dict):
            fail(f"Option '{key}' contradicts '{head}'")
        _merge(cast("Node", inner), nested({rest: value}))
    return found


def _merge(into: Node, more: Node) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], cast("Node", value))
        else:
            into[key] = value


def parse_json(name: str) -> Node:
    """The keys in a ``json:{...}`` name."""
    try:
        options = json.loads(name.removeprefix("json:"))
    except (ValueError, RecursionError) as error:
        fail(f"Could not open '{name}': Could not parse the JSON options: {error}")
    if not isinstance(options, dict):
        fail(f"Could not open '{name}': Invalid JSON object given")
    return nested(cast("dict[str, Any]", options))


def protocol(name: str) -> str:
    """The protocol that a name starts with (``json``, ``file``, ``nbd``...), or nothing."""
    head, colon, _ = name.partition(":")
    return head if colon and "/" not in head else ""


def host_path(name: str) -> str:
    """The host file that a name without ``json:`` means."""
    kind = protocol(name)
    if not kind:
        return name
    if kind != "file":
        fail(f"Could not open '{name}': Unknown protocol '{kind}'")
    return name.removeprefix("file:")


def beside(name: str, other: str) -> str:
    """``name`` as the image at ``other`` means it: relative to that one's folder."""
    if protocol(name) or name.startswith("/"):
        return name
    folder, slash, _ = other.rpartition("/")
    return folder + slash + name


def parse_keyval(text: str) -> Node:
    """``driver=qcow2,file.filename=x``; a comma in a value is written twice."""
    flat: dict[str, Any] = {}
    if "=" not in text:
        fail(f"Could not open '{text}': Cannot find device='{text}' nor node-name='{text}'")
    for item in split_commas(text):
        key, equals, value = item.partition("=")
        if not equals:
            fail(f"Could not open '{text}': Expected '=' after parameter '{key}'")
        flat[key] = value
    return nested(flat)


def split_commas(text: str) -> list[str]:
    """The items between single commas."""
    items = text.replace(",,", "\0").split(",")
    return [item.replace("\0", ",") for item in items if item]
