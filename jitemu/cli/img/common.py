"""What several subcommands take: option rows, secrets, opening as the options say."""

from __future__ import annotations

from typing import Any

from jitemu.cli.options import Option, Parsed, flag, value
from jitemu.devices.block.access import set_flushing
from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.nodes import parse_keyval
from jitemu.devices.block.opening import (
    FORMATS,
    Mode,
    open_described,
    open_named,
)
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.devices.block.raw import RawImage
from jitemu.messages import UserError, fail
from jitemu.system.plugged import Secret

CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe")


def _secret(before: dict[str, bytes], text: str) -> dict[str, bytes]:
    from jitemu.cli.objects import make

    secret = make(text, ("secret",))
    return {**before, secret.name: secret.data} if isinstance(secret, Secret) else before


def _output(text: str) -> str:
    if text not in ("json", "human"):
        fail("--output must be used with human or json as argument.")
    return text


def cache_row(name: str, what: str, default: str, status: int = 1) -> Option[str]:
    """A row for a cache mode."""

    def parse(text: str) -> str:
        if text not in CACHES:
            fail(f"Invalid {what}cache option: {text}", status)
        return text

    return value(name, "cache", f"{what}cache mode ({', '.join(CACHES)})", default, parse)


_NO_SECRETS: dict[str, bytes] = {}
FORMAT = value("f", "fmt", "image format (guessed where it is not given)", "", str)
IMAGE_OPTS = flag("image-opts", "file names are image options (driver=qcow2,file.filename=...)")
OBJECT = Option("object", "objectdef", "secret,id=ID,data=TEXT or file=FILE", _NO_SECRETS, _secret)
FORCE_SHARE = flag(
    "U", "open without locks, beside a program that writes", aliases=("force-share",)
)
QUIET = flag("q", "print nothing but errors")
PROGRESS = flag("p", "show progress")
OUTPUT = value("output", "ofmt", "human (default) or json", "human", _output)
CACHE = cache_row("t", "", "writeback")
SOURCE_CACHE = cache_row("T", "source ", "writeback")
BACKING = value("b", "backing_file", "backing image", "", str)
BACKING_FORMAT = value("F", "backing_fmt", "the backing image's format", "", str)


def _more_options(before: tuple[str, ...], text: str) -> tuple[str, ...]:
    return (*before, text)


_NO_OPTIONS: tuple[str, ...] = ()
CREATE_OPTIONS = Option(
    "o", "options", "format options (name=value,...; help lists them)", _NO_OPTIONS, _more_options
)


def check_format(name: str) -> str:
    """The format if it is one, or nothing; UserError in QEMU's words."""
    if name and name not in FORMATS:
        fail(f"Unknown driver '{name}' (known: {', '.join(FORMATS)})")
    return name


def one_operand(parsed: Parsed, what: str = "Expecting one image file name") -> str:
    """The only operand."""
    if len(parsed.rest) != 1:
        from jitemu.cli.img.getopt import HINT

        fail(what + HINT)
    return parsed.rest[0]


def open_parsed(
    parsed: Parsed,
    name: str,
    format: str | None = None,
    **mode: Any,
) -> BlockImage:
    """The image of an operand, opened as -f, --image-opts, --object and -U say."""
    mode.setdefault("force_share", parsed[FORCE_SHARE])
    how = Mode(secrets=parsed[OBJECT], **mode)
    wanted = parsed[FORMAT] if format is None else format
    if how.force_share and not how.read_only:
        fail("Can't use -U with write access")
    try:
        if parsed[IMAGE_OPTS]:
            if wanted:
                fail("--image-opts and --format are mutually exclusive")
            node = parse_keyval(name)
            if (
                "file" not in node
                and "filename" in node
                and node.get("driver") not in ("file", None)
            ):
                node = {**node, "file": {"filename": node.pop("filename")}}
            return open_described(node, how, name)
        return open_named(name, wanted or None, how)
    except OSError as error:
        raise UserError(f"Could not open '{name}': {error.strerror or error}") from None


def qcow2_only(image: BlockImage, text: str) -> Qcow2Image:
    """The image if it is a qcow2 one; UserError with ``text``."""
    if not isinstance(image, Qcow2Image):
        fail(text)
    return image


def set_cache(image: BlockImage, mode: str) -> None:
    """Flush as a cache mode says."""
    synchronous = mode in ("writethrough", "directsync")
    set_flushing(image, synchronous=synchronous, unsafe=mode == "unsafe")


def allow_discard(image: BlockImage) -> None:
    """Let zeros and discards give space back."""
    if isinstance(image, (Qcow2Image, RawImage)):
        image.unmap = True
