"""Images that QEMU makes read the same here, and images made here read the same in QEMU."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jitemu.devices.block.opening import open_image
from jitemu.devices.block.qcow2.create import CreateOptions, create
from jitemu.devices.block.qcow2.image import Qcow2Image
from jitemu.messages import UserError
from tests.block.both import jitemu_img, qemu_img
from tests.block.model import qemu

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")

SIZE = 3 << 20
SECRET = "secret,id=key,data=correct horse"
SECRETS = {"key": b"correct horse"}


def kinds() -> Iterator[str]:
    """The -o of every kind of qcow2 image without a secret."""
    yield "compat=0.10"
    for bits in (1, 2, 4, 8, 32, 64):
        yield f"refcount_bits={bits}"
    for cluster in ("512", "1k", "4k", "16k", "128k", "1M", "2M"):
        yield f"cluster_size={cluster}"
        yield f"cluster_size={cluster},compat=0.10"
    for cluster in ("16k", "64k", "2M"):
        yield f"extended_l2=on,cluster_size={cluster}"
    for mode in ("metadata", "falloc", "full"):
        yield f"preallocation={mode}"
        yield f"preallocation={mode},extended_l2=on"
    yield "lazy_refcounts=on"
    yield "compression_type=zstd"
    yield "data_file={data}"
    yield "data_file={data},data_file_raw=on"
    yield "data_file={data},extended_l2=on"


def pattern(size: int = SIZE) -> bytes:
    """Data, zeros, and data that compresses."""
    chance = random.Random(7)
    content = bytearray(size)
    for _ in range(40):
        start = chance.randrange(size)
        length = min(size - start, chance.choice((1, 512, 4096, 70_000)))
        data = chance.randbytes(length) if chance.random() < 0.5 else b"text" * length
        content[start : start + length] = data[:length]
    return bytes(content)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw image with the pattern."""
    path = tmp_path / "pattern.raw"
    path.write_bytes(pattern())
    return path


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_both_ways(kind: str, packed: bool, tmp_path: Path, raw: Path) -> None:
    words = ["convert", "-f", "raw", "-O", "qcow2", *(["-c"] if packed else [])]
    theirs, own = tmp_path / "theirs.qcow2", tmp_path / "own.qcow2"
    options = kind.replace("{data}", str(tmp_path / "theirs.data"))
    made = qemu_img(tmp_path, *words, "-o", options, str(raw), str(theirs))
    if made.status:  # compressed clusters need a place that is not fixed
        refused = jitemu_img(tmp_path, *words, "-o", options, str(raw), str(own))
        assert (refused.status, refused.out) == (1, "")
        assert "not supported at the same time" in refused.err
        assert packed and ("data_file" in kind or "preallocation" in kind)
        return
    with open_image(str(theirs), "qcow2", read_only=True) as image:
        assert image.read(0, image.size) == raw.read_bytes()
    options = kind.replace("{data}", str(tmp_path / "own.data"))
    assert jitemu_img(tmp_path, *words, "-o", options, str(raw), str(own)).status == 0
    qemu("qemu-img", "check", str(own))
    qemu("qemu-img", "compare", "-f", "raw", str(raw), str(own))
    _same_options(theirs, own)
    if "data_file_raw" in kind:
        assert (tmp_path / "own.data").read_bytes() == raw.read_bytes()


def _same_options(left: Path, right: Path) -> None:
    """The format's options that ``info`` shows are the same."""
    found = [
        json.loads(qemu("qemu-img", "info", "--output=json", str(path))) for path in (left, right)
    ]
    data = [one["format-specific"]["data"] for one in found]
    for one in data:
        one.pop("data-file", None)
    assert data[0] == data[1]
    assert found[0]["cluster-size"] == found[1]["cluster-size"]


def secret_node(path: Path) -> str:
    """An encrypted image as --image-opts has it."""
    return f"driver=qcow2,file.filename={path},encrypt.key-secret=key"


OTHER_CIPHER = (
    ",encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv"
    ",encrypt.ivgen-hash-alg=sha256,encrypt.hash-alg=sha512"
)


@pytest.mark.parametrize("cipher", [",compat=0.10", OTHER_CIPHER], ids=["v2", "cbc-essiv"])
def test_encrypted_images_both_ways(cipher: str, tmp_path: Path, raw: Path) -> None:
    options = f"encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10{cipher}"
    words = ["convert", "--object", SECRET, "-f", "raw", "-O", "qcow2", "-o", options, str(raw)]
    theirs, own = tmp_path / "theirs.qcow2", tmp_path / "own.qcow2"
    made = qemu_img(tmp_path, *words, str(theirs))
    while "accurate CPU usage" in made.err:  # QEMU cannot time itself on a busy machine
        made = qemu_img(tmp_path, *words, str(theirs))
    assert made.status == 0, made
    key = {"encrypt.key-secret": "key"}
    with open_image(str(theirs), "qcow2", options=key, secrets=SECRETS) as image:
        assert image.read(0, image.size) == raw.read_bytes()
        image.write(1000, b"changed" * 100)
        image.write_zeroes(200_000, 70_000)
    content = bytearray(raw.read_bytes())
    content[1000:1700] = b"changed" * 100
    content[200_000:270_000] = bytes(70_000)
    raw.write_bytes(content)
    compare = ["qemu-img", "compare", "--object", SECRET, "--image-opts"]
    qemu(*compare, f"driver=raw,file.filename={raw}", secret_node(theirs))
    assert jitemu_img(tmp_path, *words, str(own)).status == 0
    qemu(*compare, f"driver=raw,file.filename={raw}", secret_node(own))
    for secrets, text in (({}, "No secret with id"), ({"key": b"wrong"}, "Invalid password")):
        with pytest.raises(UserError, match=text):
            open_image(str(own), "qcow2", options=key, secrets=secrets)


def test_passwords_are_added_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "e.qcow2"
    options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"
    jitemu_img(
        tmp_path, "create", "--object", SECRET, "-f", "qcow2", "-o", options, str(path), "1M"
    )
    more = ["--object", SECRET, "--object", "secret,id=new,data=second"]
    add = "encrypt.state=active,encrypt.new-secret=new,encrypt.iter-time=10"
    jitemu_img(tmp_path, "amend", *more, "-o", add, "--image-opts", secret_node(path))
    second = {"key": b"second"}
    open_image(str(path), "qcow2", options={"encrypt.key-secret": "key"}, secrets=second).close()
    qemu(
        "qemu-io",
        "--object",
        "secret,id=key,data=second",
        "--image-opts",
        secret_node(path),
        "-c",
        "read 0 4k",
    )
    remove = "encrypt.state=inactive,encrypt.old-secret=key"
    second_words = [
        "--object",
        "secret,id=key,data=second",
        "--object",
        "secret,id=old,data=correct horse",
    ]
    jitemu_img(
        tmp_path,
        "amend",
        *second_words,
        "-o",
        remove.replace("=key", "=old"),
        "--image-opts",
        secret_node(path),
    )
    with pytest.raises(UserError, match="Invalid password"):
        open_image(str(path), "qcow2", options={"encrypt.key-secret": "key"}, secrets=SECRETS)


def test_lazy_refcounts_are_repaired_when_the_image_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), CreateOptions(size=SIZE, lazy_refcounts=True))
    image = open_image(str(path))
    assert isinstance(image, Qcow2Image)
    image.write(100_000, b"kept" * 1000)
    image.flush()
    image.close_files()  # as a kill would
    assert "cleanly shut down: no" in qemu("qemu-img", "info", str(path))
    copy = tmp_path / "b.qcow2"
    shutil.copyfile(path, copy)
    with open_image(str(path)) as image:
        assert image.read(100_000, 4000) == b"kept" * 1000
    qemu("qemu-io", "-c", "read 0 512", str(copy))
    for repaired in (path, copy):
        assert "cleanly" not in qemu("qemu-img", "info", str(repaired))
        qemu("qemu-img", "check", str(repaired))


def test_writes_are_marked_in_enabled_bitmaps(tmp_path: Path) -> None:
    theirs, own = tmp_path / "theirs.qcow2", tmp_path / "own.qcow2"
    writes = ((0, 1), (70_000, 5000), (1_000_000, 300_000), (SIZE - 1, 1))
    for path in (theirs, own):
        qemu("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(SIZE))
        qemu("qemu-img", "bitmap", "--add", "-g", "4096", str(path), "on")
        qemu("qemu-img", "bitmap", "--add", "--disable", str(path), "off")
    with open_image(str(own)) as image:
        for offset, length in writes:
            image.write(offset, b"x" * length)
    for offset, length in writes:
        qemu("qemu-io", "-c", f"write -P 120 {offset} {length}", str(theirs))
    assert _bitmap_map(theirs, "on") == _bitmap_map(own, "on")
    qemu("qemu-img", "check", str(own))
    info = json.loads(qemu("qemu-img", "info", "--output=json", str(own)))
    flags = {one["name"]: one["flags"] for one in info["format-specific"]["data"]["bitmaps"]}
    assert flags == {"on": ["auto"], "off": []}


def _bitmap_map(path: Path, name: str) -> list[tuple[int, int, bool]]:
    """What a bitmap has, by qemu-nbd's and qemu-img's words: merged into a coarse one."""
    from jitemu.devices.block.qcow2 import bitmaps

    with open_image(str(path), read_only=True) as image:
        assert isinstance(image, Qcow2Image)
        found = next(one for one in bitmaps.list_bitmaps(image) if one.name == name)
        bits = bitmaps.read_bits(image, found)
        return [
            (found.granularity_bits, at, bool(bits[at // 8] >> at % 8 & 1))
            for at in range(len(bits) * 8)
        ]


@pytest.mark.parametrize("damage", ["leak", "error", "flags", "block"])
def test_check_repairs_what_qemu_img_then_finds_sound(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), CreateOptions(size=SIZE, cluster_size=4096))
    with open_image(str(path)) as image:
        assert isinstance(image, Qcow2Image)
        image.write(0, pattern())
        block = image.refcounts.table[0]
        table = image.tables.l1[0] & (1 << 56) - 512
        reftable = image.header.reftable_offset
        last = image.refcounts.tail()
    with path.open("r+b") as file:
        match damage:
            case "leak":
                os.pwrite(file.fileno(), b"\0\3", block + 2 * (last - 1))
            case "error":
                os.pwrite(file.fileno(), bytes(20), block + 2 * (last - 20))
            case "flags":
                os.pwrite(file.fileno(), b"\0", table)
            case _:
                os.pwrite(file.fileno(), bytes(8), reftable)
    copy = tmp_path / "b.qcow2"
    shutil.copyfile(path, copy)
    theirs = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True)
    own = jitemu_img(tmp_path, "check", str(path))
    assert own.status == theirs.returncode != 0
    if damage != "block":
        assert own.err == theirs.stderr
        assert own.out.split("\nImage end")[0] == theirs.stdout.split("\nImage end")[0]
    mode = "leaks" if damage == "leak" else "all"
    assert jitemu_img(tmp_path, "check", "-r", mode, str(path)).status == 0
    qemu("qemu-img", "check", str(path))
    qemu("qemu-img", "check", "-q", "-r", "all", str(copy))
    qemu("qemu-img", "compare", str(path), str(copy))
