"""The options of -o: rows for each format, and how they become what an image is made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jitemu.cli.options import Shown, on_off, size
from jitemu.devices.block import luks_ciphers
from jitemu.devices.block.luks import Encryption
from jitemu.devices.block.nodes import split_commas
from jitemu.devices.block.opening import find_secret
from jitemu.devices.block.qcow2.create import CreateOptions
from jitemu.messages import fail

KINDS = {"size": "<size>", "str": "<str>", "num": "<num>", "bool": "<bool (on/off)>"}


@dataclass(frozen=True, slots=True)
class FormatOption:
    """One row: a format's option as help shows it, and its default as create prints it."""

    name: str
    kind: str
    about: str
    default: str = ""
    """Printed by create where it is not given."""
    amend: bool = False
    """Can be changed later."""
    create: bool = True


def _encryption_rows(prefix: str) -> tuple[FormatOption, ...]:
    """How a LUKS volume is made, alone or in a qcow2 image."""

    def row(name: str, about: str, kind: str = "str", amend: bool = False) -> FormatOption:
        return FormatOption(prefix + name, kind, about, amend=amend)

    def later(name: str, about: str, kind: str = "str") -> FormatOption:
        return FormatOption(prefix + name, kind, about, amend=True, create=False)

    return (
        row("cipher-alg", "Name of encryption cipher algorithm"),
        row("cipher-mode", "Name of encryption cipher mode"),
        row("ivgen-alg", "Name of IV generator algorithm"),
        row("ivgen-hash-alg", "Name of IV generator hash algorithm"),
        row("hash-alg", "Name of encryption hash algorithm"),
        row("iter-time", "Time to spend in PBKDF in milliseconds", "num", amend=True),
        later("keyslot", "Select a single keyslot to modify explicitly", "num"),
        later("new-secret", "New secret to set in the matching keyslots. Empty string to erase"),
        later("old-secret", "Select all keyslots that match this password"),
        later("state", "Select new state of affected keyslots (active/inactive)"),
    )


_VERSION = "Compatibility level (v2 [0.10] or v3 [1.1])"
QCOW2: tuple[FormatOption, ...] = (
    FormatOption(
        "encryption",
        "bool",
        "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    ),
    FormatOption("encrypt.format", "str", "Encrypt the image, format choices: 'aes', 'luks'"),
    FormatOption(
        "encrypt.key-secret", "str", "ID of secret providing qcow AES key or LUKS passphrase"
    ),
    *_encryption_rows("encrypt."),
    FormatOption("cluster_size", "size", "qcow2 cluster size", "65536"),
    FormatOption("extended_l2", "bool", "Extended L2 tables", "off"),
    FormatOption(
        "preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"
    ),
    FormatOption(
        "compression_type", "str", "Compression method used for image cluster compression", "zlib"
    ),
    FormatOption("size", "size", "Virtual disk size", amend=True),
    FormatOption("compat", "str", _VERSION, amend=True),
    FormatOption("backing_file", "str", "File name of a base image", amend=True),
    FormatOption("backing_fmt", "str", "Image format of the base image", amend=True),
    FormatOption("data_file", "str", "File name of an external data file", amend=True),
    FormatOption(
        "data_file_raw", "bool", "The external data file must stay valid as a raw image", amend=True
    ),
    FormatOption("lazy_refcounts", "bool", "Postpone refcount updates", "off", amend=True),
    FormatOption(
        "refcount_bits", "num", "Width of a reference count entry in bits", "16", amend=True
    ),
)
"""In the order that create prints them."""
_SIZE = FormatOption("size", "size", "Virtual disk size")
RAW = (_SIZE,)
LUKS = (
    _SIZE,
    FormatOption("key-secret", "str", "ID of the secret that provides the keyslot passphrase"),
    *_encryption_rows(""),
)
ROWS = {"qcow2": QCOW2, "raw": RAW, "luks": LUKS}
HOST_FILE: tuple[FormatOption, ...] = (
    FormatOption("preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"),
    FormatOption("nocow", "bool", "Turn off copy-on-write (valid only on btrfs)"),
    FormatOption("extent_size_hint", "size", "Extent size hint for the image file, 0 to disable"),
)
"""What the file takes, whatever format is in it."""
_PROTOCOL = (
    "\n\nThe protocol level may support further options."
    "\nSpecify the target filename to include those options."
)


def rows_of(format: str) -> list[FormatOption]:
    """What create takes, with what the host file takes."""
    rows = {row.name: row for row in HOST_FILE}
    own = [row for row in ROWS[format] if row.create]
    for row in own:
        rows.pop(row.name, None)
    return [*own, *rows.values()]


def amend_rows_of(format: str) -> list[FormatOption]:
    """What amend takes; nothing for formats that cannot be amended."""
    return [row for row in ROWS.get(format, ()) if row.amend]


def help_text(heading: str, rows: Sequence[FormatOption]) -> str:
    """What ``-o help`` prints."""
    lines = [heading]
    for row in sorted(rows, key=lambda row: row.name):
        lines.append(f"  {row.name + '=' + KINDS[row.kind]:<22} - {row.about}")
    return "\n".join(lines)


def asks_for_help(texts: Sequence[str]) -> bool:
    """Whether ``help`` is among the options."""
    return any(item in ("help", "?") for text in texts for item in split_commas(text))


def show_help(format: str, texts: Sequence[str], named: bool) -> None:
    """Print create's options if they are asked for: the format's alone where no file is named."""
    if not asks_for_help(texts):
        return
    if named:
        raise Shown(help_text("Supported options:", rows_of(format)))
    own = [row for row in ROWS[format] if row.create]
    raise Shown(help_text(f"Supported {format} options:", own) + _PROTOCOL)


def parse_options(format: str, texts: Sequence[str], amend: bool = False) -> dict[str, str]:
    """Names and values, checked against the rows; the last of a name counts."""
    known = amend_rows_of(format) if amend else rows_of(format)
    rows = {row.name: row for row in known}
    found: dict[str, str] = {}
    for text in texts:
        if not text:
            fail("Invalid option list: ")
        for item in split_commas(text):
            name, equals, content = item.partition("=")
            if name == "encryption" and not equals:
                content = "on"
            if name not in rows:
                later = amend and any(row.name == name for row in rows_of(format))
                more = "; this option is only supported for image creation" if later else ""
                fail(f"Invalid parameter '{name}'{more}")
            _check_value(rows[name], content)
            found[name] = content
    return found


def _check_value(row: FormatOption, content: str) -> None:
    try:
        if row.kind == "size":
            size(content)
        elif row.kind == "bool":
            on_off(content)
        elif row.kind == "num":
            int(content, 0)
    except ValueError:
        wanted = {
            "size": "a non-negative number below 2^64",
            "bool": "'on' or 'off'",
            "num": "a number",
        }
        fail(f"Parameter '{row.name}' expects {wanted[row.kind]}")


def summary(format: str, name: str, options: dict[str, str]) -> str:
    """The line that create prints."""
    parts: list[str] = []
    for row in rows_of(format):
        content = options.get(row.name, row.default)
        if row.name in options or row.default:
            if row.kind == "size":
                content = str(size(content))
            elif row.kind == "bool":
                content = "on" if on_off(content) else "off"
            parts.append(f"{row.name}={content.replace(',', ',,')}")
    return " ".join([f"Formatting '{name}', fmt={format}", *parts])


VERSIONS = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
"""By what ``compat`` says."""


def _version(text: str) -> int:
    if text not in VERSIONS:
        fail(f"Parameter 'version' does not accept value '{text}'")
    return VERSIONS[text]


def one_of(options: dict[str, str], name: str, allowed: Sequence[str]) -> str:
    """A word that must be one of some; the first where it is not given."""
    text = options.get(name, allowed[0])
    if text not in allowed:
        fail(f"Parameter '{name.replace('_', '-')}' does not accept value '{text}'")
    return text


def qcow2_options(options: dict[str, str], secrets: dict[str, bytes]) -> CreateOptions:
    """What a new qcow2 image is like."""
    made = CreateOptions(
        size=size(options.get("size", "0")),
        cluster_size=size(options.get("cluster_size", "65536")),
        version=_version(options.get("compat", "1.1")),
        backing_file=options.get("backing_file", ""),
        backing_format=options.get("backing_fmt", ""),
        lazy_refcounts=on_off(options.get("lazy_refcounts", "off")),
        refcount_bits=int(options.get("refcount_bits", "16"), 0),
        compression=one_of(options, "compression_type", ("zlib", "zstd")),
        extended_l2=on_off(options.get("extended_l2", "off")),
        data_file=options.get("data_file", ""),
        data_file_raw=on_off(options.get("data_file_raw", "off")),
        preallocation=one_of(options, "preallocation", ("off", "metadata", "falloc", "full")),
    )
    made.encryption = _encryption(options, secrets)
    return made


def _encryption(options: dict[str, str], secrets: dict[str, bytes]) -> Encryption | None:
    if "encryption" in options and "encrypt.format" in options:
        fail("'encrypt.format' and its alias 'encryption' can't be used at the same time")
    kind = options.get("encrypt.format", "")
    if on_off(options.get("encryption", "off")):
        kind = "aes"
    if not kind:
        if any(name.startswith("encrypt.") for name in options):
            fail("Parameter 'encrypt.format' is missing")
        return None
    if kind == "aes":
        fail("encrypt.format=aes is not supported, as it is broken; give encrypt.format=luks")
    if kind != "luks":
        fail(f"Parameter 'format' does not accept value '{kind}'")
    return luks_options(options, secrets, "encrypt.")


def luks_options(
    options: dict[str, str], secrets: dict[str, bytes], prefix: str = ""
) -> Encryption:
    """How a new volume is made."""

    def choice(name: str, allowed: Sequence[str]) -> str:
        text = options.get(prefix + name, allowed[0])
        if text not in allowed:
            fail(f"Parameter '{name}' does not accept value '{text}'")
        return text

    found = Encryption(find_secret(options, secrets, prefix + "key-secret"))
    found.algorithm = choice("cipher-alg", luks_ciphers.NAMES)
    chain = choice("cipher-mode", luks_ciphers.CHAINS)
    found.hash = choice("hash-alg", luks_ciphers.HASHES)
    vectors = choice("ivgen-alg", luks_ciphers.VECTORS)
    vector_hash = choice("ivgen-hash-alg", luks_ciphers.HASHES)
    found.mode = f"{chain}-{vectors}" + (f":{vector_hash}" if vectors == "essiv" else "")
    found.milliseconds = int(options.get(prefix + "iter-time", "2000"), 0)
    return found
