"""LUKS volumes that are disks as they are, against qemu-img and a plain model."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from jitemu.devices.block.luks_image import LuksImage
from jitemu.devices.block.opening import open_image, open_node
from jitemu.messages import UserError
from tests.block.both import jitemu_img, qemu_img

SIZE = 3 << 20
SECRET = ("--object", "secret,id=s,data=key")
NODE = {"driver": "luks", "key-secret": "s"}


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    options = "key-secret=s,iter-time=10"
    create = ("create", "-q", *SECRET, "-f", "luks", "-o", options, "v", str(SIZE))
    made = qemu_img(tmp_path, *create)
    assert made.status == 0, made.err
    return tmp_path / "v"


def open_volume(path: Path, password: bytes = b"key", *more: tuple[str, str]) -> LuksImage:
    node = {**NODE, "file": {"driver": "file", "filename": str(path)}, **dict(more)}
    image = open_node(node, secrets={"s": password})
    assert isinstance(image, LuksImage)
    return image


@pytest.mark.parametrize("detect", ["off", "unmap"])
def test_operations_are_a_models(volume: Path, detect: str) -> None:
    dice = random.Random(3)
    image = open_volume(volume, b"key", ("detect-zeroes", detect), ("discard", "unmap"))
    assert image.size == SIZE
    image.write(0, bytes(SIZE))
    model = bytearray(SIZE)
    for _ in range(120):
        at = dice.choice((0, 512, 700, dice.randrange(SIZE)))
        length = min(dice.choice((0, 1, 511, 512, 513, 4096, 1 << 20, SIZE)), SIZE - at)
        kind = dice.random()
        if kind < 0.4:
            data = dice.randbytes(length)
            image.writev(at, [memoryview(data)[: length // 3], memoryview(data)[length // 3 :]])
            model[at : at + length] = data
        elif kind < 0.6:
            image.write_zeroes(at, length, unmap=True)
            model[at : at + length] = bytes(length)
        elif kind < 0.7:
            image.discard(at, length)
        else:
            assert image.read(at, length) == model[at : at + length]
    with pytest.raises(ValueError, match="beyond"):
        image.read(SIZE, 1)
    image.close()
    file = {"file.filename": str(volume)}
    options = ",".join(f"{key}={value}" for key, value in {**NODE, **file}.items())
    convert = ["convert", *SECRET, "--image-opts", options, "-O", "raw", "plain"]
    assert qemu_img(volume.parent, *convert).status == 0
    assert (volume.parent / "plain").read_bytes() == model
    assert jitemu_img(volume.parent, *convert).status == 0
    assert (volume.parent / "plain").read_bytes() == model


def test_another_size(volume: Path) -> None:
    with open_volume(volume) as image:
        image.resize(SIZE + 4096)
        image.write(SIZE + 100, b"behind")
    with open_volume(volume) as image:
        assert (image.size, image.read(SIZE + 100, 6)) == (SIZE + 4096, b"behind")


def test_what_info_says(volume: Path) -> None:
    for words in (["info", "v"], ["info", "--output=json", "v"]):
        theirs, ours = qemu_img(volume.parent, *words), jitemu_img(volume.parent, *words)
        assert ours.status == 0
        lines = [
            sorted(line.strip(" ,") for line in said.out.splitlines()) for said in (theirs, ours)
        ]
        assert lines[0] == lines[1]


def test_volumes_that_cannot_be_opened(volume: Path) -> None:
    with pytest.raises(UserError, match="Parameter 'key-secret' is required"):
        open_image(str(volume))
    with pytest.raises(UserError, match="No secret with id 'other'"):
        open_volume(volume, b"key", ("key-secret", "other"))
    with pytest.raises(UserError, match="Invalid password"):
        open_volume(volume, b"wrong")
    with pytest.raises(UserError, match="another process"):
        first = open_volume(volume)
        try:
            open_volume(volume)
        finally:
            first.close()
    head = volume.read_bytes()
    dice = random.Random(5)
    for _ in range(60):
        damaged = bytearray(head[: dice.choice((100, 592, 4096, len(head)))])
        for _ in range(dice.randrange(1, 4)):
            damaged[
                dice.choice((*range(8, 12), *range(104, 112), *range(208, 260))) % len(damaged)
            ] = dice.choice((0, 1, 255))
        volume.write_bytes(damaged)
        try:
            with open_volume(volume) as image:
                image.read(0, min(512, image.size))
        except (UserError, OSError) as error:
            assert "\n" not in str(error)


def test_conversion_and_opening_by_name(volume: Path) -> None:
    convert = ["convert", "-n", *SECRET, "-f", "raw", "--target-image-opts", "r"]
    (volume.parent / "r").write_bytes(random.Random(1).randbytes(SIZE))
    target = f"driver=luks,key-secret=s,file.filename={volume}"
    assert jitemu_img(volume.parent, *convert, target).status == 0
    subprocess.run(
        [
            "qemu-img",
            "compare",
            "-q",
            *SECRET,
            "--image-opts",
            target,
            "driver=raw,file.filename=r",
        ],
        cwd=volume.parent,
        check=True,
    )
    image = open_image(str(volume), "luks", options={"key-secret": "s"}, secrets={"s": b"key"})
    assert image.read(1000, 5000) == random.Random(1).randbytes(SIZE)[1000:6000]
    image.close()


CIPHERS = (
    "cipher-alg=aes-128",
    "cipher-alg=aes-192,hash-alg=sha1",
    "cipher-mode=cbc,ivgen-alg=essiv,hash-alg=sha512",
    "cipher-alg=aes-128,cipher-mode=ctr,ivgen-alg=plain,hash-alg=ripemd160",
    "cipher-mode=ecb,hash-alg=md5",
    "ivgen-alg=essiv,hash-alg=sha224",
    "cipher-alg=cast5-128,cipher-mode=cbc,hash-alg=sha384",
    "cipher-alg=cast5-128,cipher-mode=ecb",
)


FORMS = [(cipher, "luks") for cipher in CIPHERS] + [(cipher, "qcow2") for cipher in CIPHERS[:2]]


@pytest.mark.parametrize(("cipher", "form"), FORMS)
def test_ciphers_both_ways(cipher: str, form: str, tmp_path: Path) -> None:
    data = random.Random(cipher).randbytes(300 << 10)
    (tmp_path / "raw").write_bytes(data)
    prefix, more = ("", "") if form == "luks" else ("encrypt.", "encrypt.format=luks,")
    options = more + ",".join(
        prefix + item for item in f"key-secret=s,iter-time=10,{cipher}".split(",")
    )
    convert = ("convert", *SECRET, "-f", "raw", "-O", form, "-o", options, "raw")
    for name, program, other in (("a", qemu_img, jitemu_img), ("b", jitemu_img, qemu_img)):
        made = program(tmp_path, *convert, name)
        assert made.status == 0, made
        node = f"driver={form},{prefix}key-secret=s,file.filename={name}"
        back = other(tmp_path, "convert", *SECRET, "--image-opts", node, "-O", "raw", "back")
        assert back.status == 0, back
        assert (tmp_path / "back").read_bytes() == data
        said = [run(tmp_path, "info", name).out for run in (qemu_img, jitemu_img)]
        assert said[0].splitlines()[4:] == said[1].splitlines()[4:]


def test_a_cipher_that_the_library_lacks_is_refused(tmp_path: Path) -> None:
    options = "key-secret=s,iter-time=10,cipher-alg=serpent-256"
    create = ("create", *SECRET, "-f", "luks", "-o", options, "v", "1M")
    own = jitemu_img(tmp_path, *create)
    assert own.status == 1
    assert own.err == "jitemu: v: Algorithm 'serpent' not supported; there is aes, cast5\n"
    assert not (tmp_path / "v").exists()
    assert qemu_img(tmp_path, *create).status == 0
    said = [run(tmp_path, "info", "v").out for run in (qemu_img, jitemu_img)]
    assert said[0] == said[1]
    node = "driver=luks,key-secret=s,file.filename=v"
    opened = jitemu_img(tmp_path, "map", *SECRET, "--image-opts", node)
    assert (opened.status, opened.err.count("not supported")) == (1, 1)
