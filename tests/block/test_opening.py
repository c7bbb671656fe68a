"""Opening images: names, locks, probing, chains, ranges."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from jitemu.devices.block.image import BlockImage
from jitemu.devices.block.opening import open_image, open_node
from jitemu.devices.block.qcow2.create import CreateOptions, create
from jitemu.devices.block.raw import create_raw
from jitemu.messages import UserError
from tests.block.both import jitemu_img
from tests.block.model import qemu
from tests.block.test_images import SIZE, pattern

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="qemu-img is not installed")


def test_a_second_writer_is_locked_out(tmp_path: Path) -> None:
    path = tmp_path / "a.qcow2"
    create(str(path), CreateOptions(size=SIZE))
    with open_image(str(path), "qcow2"):
        with pytest.raises(UserError, match='Failed to get "write" lock'):
            open_image(str(path), "qcow2")
        with pytest.raises(UserError, match='Failed to get shared "write" lock'):
            open_image(str(path), "qcow2", read_only=True)
        open_image(str(path), "qcow2", read_only=True, force_share=True).close()
        for words in (["info"], ["resize", "+1M"]):
            done = subprocess.run(
                ["qemu-img", words[0], str(path), *words[1:]], capture_output=True, text=True
            )
            assert done.returncode == 1
            assert "lock" in done.stderr
        assert (
            subprocess.run(["qemu-img", "info", "-U", str(path)], capture_output=True).returncode
            == 0
        )
    qemu("qemu-img", "info", str(path))
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdin and holder.stdout
        holder.stdin.write(b"length\n")
        holder.stdin.flush()
        while b"MiB" not in holder.stdout.readline():
            pass
        with pytest.raises(UserError, match="lock"):
            open_image(str(path), "qcow2")
    open_image(str(path), "qcow2").close()


def test_raw_images_have_one_writer_and_readers_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    create_raw(str(path), SIZE)
    with open_image(str(path), "raw"):
        with pytest.raises(UserError, match='Failed to get "write" lock'):
            open_image(str(path), "raw")
        open_image(str(path), "raw", read_only=True).close()


def test_a_probed_raw_image_stays_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(4096))
    header = b"QFI\xfb\0\0\0\3" + bytes(504)
    with open_image(str(path)) as image:
        assert "Image format was not specified" in capsys.readouterr().err
        image.write(0, b"boot" * 128)
        for offset, data in ((0, header), (1, header[1:]), (0, header[:4])):
            before = image.read(0, 512)
            if offset:
                image.write(0, b"Q" + bytes(511))
            if offset == 0 and len(data) == 4:
                image.write(4, b"\0\0\0\3")
            with pytest.raises(PermissionError):
                image.write(offset, data)
            image.write(0, before)
        image.write(512, header)
    with open_image(str(path), "raw") as image:
        image.write(0, header)
    assert capsys.readouterr().err == ""


def test_backing_names_are_relative_to_the_image(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    content = pattern()
    (folder / "base.raw").write_bytes(content)
    inner = {"driver": "raw", "file": {"driver": "file", "filename": str(folder / "base.raw")}}
    names = {
        "relative": "base.raw",
        "absolute": str(folder / "base.raw"),
        "file": f"file:{folder / 'base.raw'}",
        "json": "json:" + json.dumps(inner),
    }
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for kind, name in names.items():
            path = folder / f"{kind}.qcow2"
            qemu(
                "qemu-img",
                "create",
                "-q",
                "-f",
                "qcow2",
                "-F",
                "raw",
                "-b",
                name,
                f"folder/{kind}.qcow2",
            )
            with open_image(f"folder/{kind}.qcow2") as image:
                assert image.read(0, image.size) == content, kind
                image.write(100, b"over")
            own = folder / f"own-{kind}.qcow2"
            jitemu_img(tmp_path, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", name, str(own))
            with open_image(str(own)) as image:
                image.write(100, b"over")
            qemu("qemu-img", "compare", str(path), str(own))
    finally:
        os.chdir(before)


def test_snapshot_mode_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(pattern())
    with open_image(str(path), "raw", snapshot=True) as image:
        image.write(5, b"gone afterwards")
        assert image.read(5, 15) == b"gone afterwards"
        assert image.read(SIZE - 100, 100) == pattern()[-100:]
    assert path.read_bytes() == pattern()


def test_runtime_options(tmp_path: Path) -> None:
    path = str(tmp_path / "a.qcow2")
    create(path, CreateOptions(size=SIZE))
    options = {"detect-zeroes": "unmap", "discard": "unmap", "cache.no-flush": "on"}
    with open_image(path, options=options) as image:
        image.write(0, b"x" * 200_000)
        image.write(0, bytes(131_072))
        assert image.extent(0, SIZE).zero
        image.flush()
    first = qemu("qemu-img", "map", "--output=json", path).splitlines()[0]
    assert '"length": 131072, "depth": 0, "present": true, "zero": true' in first
    with open_image(path, options={"discard": "ignore"}) as image:
        image.discard(131_072, 65536)
        assert image.read(131_072, 10) == b"x" * 10
    unlocked = {"driver": "qcow2", "file": {"filename": path, "locking": "off"}}
    with open_image(path), open_node(unlocked) as second:
        assert second.size == SIZE
    for key in ("detect-zeroes", "no-such-option"):
        with pytest.raises(UserError, match=key):
            open_image(path, options={key: "perhaps"})


def test_commit_over_an_image_that_is_shorter(tmp_path: Path) -> None:
    base, middle, top = (str(tmp_path / name) for name in ("base", "middle", "top"))
    (tmp_path / "base").write_bytes(b"b" * SIZE)
    create(middle, CreateOptions(size=SIZE // 2, backing_file=base, backing_format="raw"))
    create(top, CreateOptions(size=SIZE, backing_file=middle, backing_format="qcow2"))
    with open_image(top) as image:
        image.write(0, b"t" * 10)
    with open_image(top, read_only=True) as image:
        content = image.read(0, SIZE)
    assert content == b"t" * 10 + b"b" * (SIZE // 2 - 10) + bytes(SIZE // 2)
    assert jitemu_img(tmp_path, "commit", "-q", "-b", base, top).status == 0
    assert (tmp_path / "base").read_bytes() == content


def test_nodes_nest(tmp_path: Path) -> None:
    outer, content = tmp_path / "outer.qcow2", pattern()
    with_offset = tmp_path / "with-offset"
    create(str(outer), CreateOptions(size=SIZE))
    with open_image(str(outer)) as image:
        image.write(0, content)
    with_offset.write_bytes(bytes(1 << 20) + outer.read_bytes())
    node = {
        "driver": "qcow2",
        "file.driver": "raw",
        "file.offset": 1 << 20,
        "file.file.filename": str(with_offset),
    }
    with open_node(node) as image:
        assert image.read(0, SIZE) == content
        image.write(7, b"inside")
        image.resize(2 * SIZE)
        image.write(SIZE, content)
    outer.write_bytes(with_offset.read_bytes()[1 << 20 :])
    qemu("qemu-img", "check", str(outer))
    with open_node(node, read_only=True) as image:
        assert image.read(0, 13) == content[:7] + b"inside"
        with pytest.raises(OSError, match="read-only"):
            image.write(0, b"x")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ("json:{", "Could not parse the JSON options"),
        ("json:[]", "Invalid JSON object given"),
        ('json:{"driver":"qcow2"}', "A block device must be specified"),
        ('json:{"driver":"raw","file":{"filename":"/nonexistent"}}', "No such file or directory"),
        ('json:{"driver":"vmdk","file":{"filename":"/dev/null"}}', "driver requires"),
        ("nbd:localhost:10809", "Unknown protocol 'nbd'"),
        ("/dev/zero", "to be a regular file or a block device"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_names_that_cannot_be_opened(node: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        open_image(node)


def test_a_chain_that_comes_round_is_an_error(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a.qcow2", "b.qcow2")]
    for name, other in zip(names, reversed(names), strict=True):
        create(name, CreateOptions(size=SIZE, backing_file=other, backing_format="qcow2"))
    with pytest.raises(UserError, match="creates an infinite loop"):
        open_image(names[0], read_only=True)


def test_ranges_beyond_the_disk_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.qcow2")
    create(path, CreateOptions(size=SIZE))

    def actions(image: BlockImage, offset: int, length: int) -> None:
        buffers = [memoryview(bytearray(length))]
        for action in (
            lambda: image.readv(offset, buffers),
            lambda: image.writev(offset, buffers),
            lambda: image.write_zeroes(offset, length),
            lambda: image.discard(offset, length),
        ):
            with pytest.raises(ValueError, match="beyond"):
                action()

    with open_image(path) as image:
        for offset, length in ((SIZE, 1), (-1, 2), (SIZE - 1, 2), (1 << 70, 1)):
            actions(image, offset, length)
