"""Open an image by name: format probing, ``json:`` and ``file:`` names, backing chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jitemu.devices.block.image import BlockImage


def open_image(
    name: str,
    format: str | None = None,
    *,
    read_only: bool = False,
    snapshot: bool = False,
    force_share: bool = False,
    options: Mapping[str, Any] | None = None,
    secrets: Mapping[str, bytes] | None = None,
) -> BlockImage:
    """The image called ``name`` (a path, ``file:path`` or ``json:{...}``), ready for use.

    ``format`` None probes; a raw image that was probed refuses writes that would make it
    look like another format.  ``snapshot`` keeps writes in a temporary file.  ``options``
    are runtime options (QEMU's -blockdev keys with dots: ``encrypt.key-secret``), and
    ``secrets`` the values of ``-object secret`` by id.  UserError says what cannot be opened.
    """
    raise NotImplementedError


def open_node(
    options: Mapping[str, Any],
    *,
    read_only: bool = False,
    force_share: bool = False,
    secrets: Mapping[str, bytes] | None = None,
) -> BlockImage:
    """The image that -blockdev's or ``json:``'s keys describe, nested or with dots."""
    raise NotImplementedError
