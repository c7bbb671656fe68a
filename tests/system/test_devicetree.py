"""The generated device tree beside QEMU's, and checks of one that the user gives."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import fdt
import pytest

from jitemu.messages import UserError
from jitemu.system.boot import BootFiles, load
from jitemu.system.devicetree import complete, parse_blob, virt_tree
from jitemu.system.machine import MachineConfig, dump_device_tree, make_space

Properties = dict[str, bytes]
NOT_HERE = ("pmu", "flash@", "soc/pci@")
DIFFERENT = {"/chosen": ["rng-seed"], "/cpus/cpu@0": ["riscv,isa"]}


def raw(item: Any) -> bytes:
    """A property's bytes, however the library took them apart."""
    blob = item.to_dtb("")[0]
    return blob[12 : 12 + int.from_bytes(blob[4:8], "big")]


def nodes(blob: bytes) -> dict[str, Properties]:
    tree = fdt.parse_dtb(blob)
    found: dict[str, Properties] = {}

    def visit(node: Any, path: str) -> None:
        found[path or "/"] = {item.name: raw(item) for item in node.props}
        for child in node.nodes:
            visit(child, f"{path}/{child.name}")

    visit(tree.root, "")
    return found


@pytest.mark.skipif(shutil.which("qemu-system-riscv64") is None, reason="needs QEMU")
@pytest.mark.parametrize("aclint", [False, True])
@pytest.mark.parametrize("memory", [128, 4096])
def test_tree_is_that_of_qemu(tmp_path: Path, aclint: bool, memory: int) -> None:
    kernel, initrd = tmp_path / "kernel", tmp_path / "initrd"
    kernel.write_bytes(bytes(1000))
    initrd.write_bytes(b"070701" + bytes(12345))
    machine = f"virt,aclint={'on' if aclint else 'off'},dumpdtb={tmp_path / 'qemu.dtb'}"
    options = f"-M {machine} -m {memory} -display none -kernel {kernel} -initrd {initrd}".split()
    subprocess.run(
        ["qemu-system-riscv64", *options, "-append", "console=ttyS0 quiet"],
        check=True,
        capture_output=True,
    )
    config = MachineConfig(
        memory=memory << 20,
        aclint=aclint,
        kernel=str(kernel),
        initrd=str(initrd),
        append="console=ttyS0 quiet",
    )
    dump_device_tree(config, str(tmp_path / "ours.dtb"))
    theirs = nodes((tmp_path / "qemu.dtb").read_bytes())
    ours = nodes((tmp_path / "ours.dtb").read_bytes())
    for path in [p for p in theirs if p[1:].startswith(NOT_HERE)]:
        del theirs[path]
    for path, names in DIFFERENT.items():
        for name in names:
            assert len(theirs[path].pop(name)) > 0
            assert len(ours[path].pop(name)) > 0
    assert ours == theirs


@pytest.mark.skipif(shutil.which("dtc") is None, reason="needs dtc")
def test_dtc_reads_it(tmp_path: Path) -> None:
    isa = "rv64imafdc_zicbom_zicboz_zicsr"
    blob = complete(virt_tree(1 << 27, 1, isa, "riscv,sv57", False), "", None)
    source = subprocess.run(
        ["dtc", "-q", "-I", "dtb", "-O", "dts"], input=blob, capture_output=True, check=True
    ).stdout.decode()
    assert f'riscv,isa = "{isa}"' in source
    assert 'mmu-type = "riscv,sv57"' in source
    assert "riscv,cbom-block-size = <0x40>" in source
    assert "riscv,cboz-block-size = <0x40>" in source
    assert "bootargs" not in source


def test_each_seed_is_new_and_bare_harts_have_no_mmu() -> None:
    first, second = (
        nodes(complete(virt_tree(1 << 27, 1, "rv64i", None, False), "", None)) for _ in range(2)
    )
    assert len(first["/chosen"]["rng-seed"]) == 32
    assert first["/chosen"]["rng-seed"] != second["/chosen"]["rng-seed"]
    assert "mmu-type" not in first["/cpus/cpu@0"]


def test_a_users_tree_gets_command_line_and_initrd(tmp_path: Path) -> None:
    tree = virt_tree(1 << 27, 1, "rv64imac", None, False)
    (tmp_path / "mine.dtb").write_bytes(complete(tree, "old", None))
    (tmp_path / "kernel").write_bytes(bytes(100))
    (tmp_path / "initrd").write_bytes(b"070701")
    files = BootFiles(
        bios="",
        kernel=str(tmp_path / "kernel"),
        initrd=str(tmp_path / "initrd"),
        append="new",
        dtb=str(tmp_path / "mine.dtb"),
    )
    space = make_space(1 << 27)
    state = load(files, space, lambda: pytest.fail("the machine's own tree was used"))
    found = nodes(space.dma_read(state.dtb, len(state.blob)))
    assert found["/chosen"]["bootargs"] == b"new\0"
    assert found["/chosen"]["linux,initrd-start"] == (0x84200000).to_bytes(4, "big")
    assert found["/cpus/cpu@0"]["riscv,isa"] == b"rv64imac\0"


GOOD = complete(virt_tree(1 << 27, 1, "rv64imac", None, False), "x", None)


def header(**changes: int) -> bytes:
    names = ("magic", "size", "structure", "strings", "rsv", "version", "compatible")
    words = dict(zip(names, struct.unpack(">7I", GOOD[:28]), strict=True)) | changes
    return struct.pack(">7I", *words.values()) + GOOD[28:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xd0\x0d\xfe\xed", "too short for a device tree"),
        (header(magic=0x12345678), "not a device tree blob"),
        (header(version=3), "version 3 is not supported"),
        (header(compatible=18), "is not supported"),
        (GOOD[:-100], "truncated"),
        (header(structure=1 << 31), "corrupt"),
        (header(rsv=1 << 31), "corrupt"),
        (header(structure=60), "corrupt"),
        (GOOD[:56] + bytes(len(GOOD) - 56), "corrupt"),
    ],
)
def test_a_corrupt_tree_is_one_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse_blob(data, "x.dtb")
    assert "\n" not in str(error.value)
    assert "-dtb x.dtb" in str(error.value)
