"""The options of -o: rows for each format, and how they become what an image is made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jitemu.cli.options import Shown, on_off, size
from jitemu.devices.block.nodes import split_commas
from jitemu.devices.block.qcow2.create import CreateOptions, Encryption
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
    FormatOption("encrypt.cipher-alg", "str", "Name of encryption cipher algorithm"),
    FormatOption("encrypt.cipher-mode", "str", "Name of encryption cipher mode"),
    FormatOption("encrypt.ivgen-alg", "str", "Name of IV generator algorithm"),
    FormatOption("encrypt.ivgen-hash-alg", "str", "Name of IV generator hash algorithm"),
    FormatOption("encrypt.hash-alg", "str", "Name of encryption hash algorithm"),
    FormatOption("encrypt.iter-time", "num", "Time to spend in PBKDF in milliseconds", amend=True),
    FormatOption(
        "encrypt.keyslot",
        "num",
        "Select a single keyslot to modify explicitly",
        amend=True,
        create=False,
    ),
    FormatOption(
        "encrypt.new-secret",
        "str",
        "New secret to set in the matching keyslots. Empty string to erase",
        amend=True,
        create=False,
    ),
    FormatOption(
        "encrypt.old-secret",
        "str",
        "Select all keyslots that match this password",
        amend=True,
        create=False,
    ),
    FormatOption(
        "encrypt.state",
        "str",
        "Select new state of affected keyslots (active/inactive)",
        amend=True,
        create=False,
    ),
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
RAW: tuple[FormatOption, ...] = (
    FormatOption("size", "size", "Virtual disk size"),
    FormatOption("preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"),
)
ROWS = {"qcow2": QCOW2, "raw": RAW}


def rows_of(format: str, amend: bool = False) -> list[FormatOption]:
    """A format's options for create, or for amend."""
    return [row for row in ROWS[format] if (row.amend if amend else row.create)]


def help_text(format: str, heading: str, amend: bool = False) -> str:
    """What ``-o help`` prints."""
    lines = [heading]
    for row in sorted(rows_of(format, amend), key=lambda row: row.name):
        lines.append(f"  {row.name + '=' + KINDS[row.kind]:<22} - {row.about}")
    return "\n".join(lines)


_PROTOCOL = (
    "\n\nThe protocol level may support further options."
    "\nSpecify the target filename to include those options."
)


def parse_options(
    format: str, texts: Sequence[str], heading: str, amend: bool = False
) -> dict[str, str]:
    """Names and values, checked against the rows; the last of a name counts."""
    rows = {row.name: row for row in rows_of(format, amend)}
    found: dict[str, str] = {}
    for text in texts:
        for item in split_commas(text):
            name, equals, content = item.partition("=")
            if name in ("help", "?") and not equals:
                raise Shown(help_text(format, heading, amend) + ("" if amend else _PROTOCOL))
            if name == "encryption" and not equals:
                content = "on"
            if name not in rows:
                later = amend and any(row.name == name for row in ROWS[format])
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


def compat(text: str) -> int:
    """The version in ``compat``."""
    versions = {"0.10": 2, "v2": 2, "1.1": 3, "v3": 3}
    if text not in versions:
        fail(f"Parameter 'version' does not accept value '{text}'")
    return versions[text]


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
        version=compat(options.get("compat", "1.1")),
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
    kind = options.get("encrypt.format", "")
    if not kind:
        if on_off(options.get("encryption", "off")):
            kind = "aes"
        else:
            return None
    if kind != "luks":
        fail(f"encrypt.format={kind}: only luks is supported")
    secret = options.get("encrypt.key-secret")
    if secret is None:
        fail("Parameter 'encrypt.key-secret' is required for cipher")
    if secret not in secrets:
        fail(f"No secret with id '{secret}'")
    found = Encryption(secrets[secret])
    found.cipher = one_of(options, "encrypt.cipher-alg", ("aes-256", "aes-192", "aes-128"))
    chain = one_of(options, "encrypt.cipher-mode", ("xts", "cbc", "ecb"))
    found.hash = one_of(
        options, "encrypt.hash-alg", ("sha256", "sha1", "sha224", "sha384", "sha512")
    )
    vectors = one_of(options, "encrypt.ivgen-alg", ("plain64", "plain", "essiv"))
    if vectors == "essiv":
        vectors += ":" + options.get("encrypt.ivgen-hash-alg", "sha256")
    found.mode = f"{chain}-{vectors}" if chain != "ecb" else "ecb"
    found.milliseconds = int(options.get("encrypt.iter-time", "2000"), 0)
    return found
