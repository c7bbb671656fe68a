"""-device, -drive and what goes with them: from words to specifications, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jitemu.cli.device_options import DEVICE, FW_CFG
from jitemu.cli.drive_options import hard_disk
from jitemu.cli.options import Shown, parse
from jitemu.cli.system_options import OPTIONS
from jitemu.devices.catalog import models
from jitemu.messages import UserError
from jitemu.system import memory_map as at
from jitemu.system.plugged import BackendSpec, DeviceSpec, devices
from jitemu.system.plugging import place

DEVICE_OF_ONES_OWN = """
from jitemu.devices.device import UINT32, prop
from jitemu.devices.platform import PlatformDevice
from jitemu.devices.registers import ro, rw

class Adder(PlatformDevice):
    model = "adder"
    compatible = "example,adder"
    window = 0x1800
    start = prop(UINT32, 0, "first value")
    value = ro(0, "the sum")
"""


def plugged(*words: str) -> list[Any]:
    return list(parse(OPTIONS, words, {})[DEVICE])


def error(*words: str) -> str:
    with pytest.raises(UserError) as caught:
        place(s for s in plugged(*words) if isinstance(s, DeviceSpec))
    text = str(caught.value)
    assert "\n" not in text
    return text


def shown(*words: str) -> str:
    with pytest.raises(Shown) as caught:
        plugged(*words)
    return str(caught.value)


def test_help_is_made_of_the_declarations() -> None:
    listing = shown("-device", "help")
    for model in models():
        assert f'name "{model.model}", bus {model.bus}' in listing
        text = shown("-device", f"{model.model},help")
        assert text.splitlines()[0] == f"{model.model} options:"
        for declared in model.properties():
            assert f"  {declared.name}=<{declared.kind.name}>" in text
    assert "Storage devices:" in listing.splitlines()
    assert "serial=<str>" in shown("-device", "virtio-blk,help")


def test_device_words() -> None:
    (spec,) = plugged("-device", "virtio-blk-device,drive=d,serial=a,,b,id=x")
    assert spec.model.model == "virtio-blk-device"
    assert spec.texts == {"drive": "d", "serial": "a,b", "id": "x"}
    (spec,) = plugged("-device", '{"driver": "virtio-rng", "max-bytes": 5, "event_idx": false}')
    assert spec.texts == {"max-bytes": "5", "event_idx": "off"}


def test_short_forms_of_drives() -> None:
    specs = plugged("-hdb", "a,b", "-drive", "file=c,if=none,id=mine", "-cdrom", "d")
    specs = hard_disk(tuple(specs), "e")
    drives = [s.id for s in specs if isinstance(s, BackendSpec)]
    assert drives == ["virtio1", "mine", "virtio2", "virtio0"]
    disks = [s.texts["drive"] for s in devices(specs)]
    assert disks == ["virtio1", "virtio2", "virtio0"]
    with pytest.raises(ValueError, match=r"drive with bus=0, unit=0 \(index=0\) exists"):
        hard_disk(specs, "f")


def test_units_name_drives() -> None:
    words = ["file=a,index=3", "b", "file=c,bus=1,unit=4", "d,if=none", "e,index=1"]
    specs = plugged(*(word for text in words for word in ("-drive", f"{text},format=raw")))
    drives = [s.id for s in specs if isinstance(s, BackendSpec)]
    assert drives == ["virtio3", "virtio0", "virtio4", "none0", "virtio1"]


def test_a_drive_that_a_device_takes_gets_no_disk_of_its_own() -> None:
    taken = ("-device", "virtio-blk-device,drive=a,id=own", "-drive", "file=x,id=a")
    specs = devices(tuple(plugged(*taken, "-drive", "file=y,id=b")))
    assert [(s.texts.get("id"), s.texts["drive"]) for s in specs] == [("own", "a"), (None, "b")]
    specs = devices(tuple(plugged(*taken, "-drive", "file=y,id=b,if=virtio")))
    assert len(specs) == 2
    specs = devices(
        tuple(plugged("-device", "virtio-blk-device,drive=a", "-drive", "if=virtio,file=x,id=a"))
    )
    assert len(specs) == 2  # which the second is refused for: the drive is in use


def test_nodes_become_part_of_those_that_name_them() -> None:
    specs = plugged(
        *("-blockdev", "driver=file,filename=a.qcow2,node-name=f"),
        *("-blockdev", '{"driver": "qcow2", "file": "f", "node-name": "q"}'),
    )
    assert [(s.kind, s.id) for s in specs] == [("drive", "q")]
    assert specs[0].options == {
        "driver": "qcow2",
        "file.driver": "file",
        "file.filename": "a.qcow2",
    }


def test_places_fill_slots_from_the_last_one_down() -> None:
    specs = plugged(
        *("-device", "virtio-rng-device"),
        *("-device", "virtio-rng-device,bus=virtio-mmio-bus.6"),
        *("-device", "virtio-rng-device"),
        *("-device", "virtio-serial-device", "-device", "virtconsole"),
    )
    places = place(specs)
    assert [(p.name, p.base, p.irq) for p in places] == [
        ("virtio-mmio.7", 0x1000_8000, 8),
        ("virtio-mmio.6", 0x1000_7000, 7),
        ("virtio-mmio.5", 0x1000_6000, 6),
        ("virtio-mmio.4", 0x1000_5000, 5),
        ("virtconsole", 0, 0),
    ]


def test_a_device_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "adder.py"
    file.write_text(DEVICE_OF_ONES_OWN)
    specs = plugged("-device-file", f"{file},start=5", "-device-file", str(file))
    assert specs[0].texts == {"start": "5"}
    places = place(specs)
    assert [(p.base, p.size, p.irq, p.compatible) for p in places] == [
        (at.PLATFORM_BUS, 0x2000, 64, "example,adder"),
        (at.PLATFORM_BUS + 0x2000, 0x2000, 65, "example,adder"),
    ]
    assert "start=<uint32>" in shown("-device-file", f"{file},help")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("class X:\n pass\n", "has 0 classes of devices"),
        (DEVICE_OF_ONES_OWN + "class B(Adder):\n model = 'b'\n", "has 2 classes of devices"),
        ("1 +\n", "invalid syntax"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module"),
        ("\n\n1 / 0\n", "line 3)"),
        ("x = '\0'", "null bytes"),
    ],
)
def test_device_files_that_are_wrong(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(content)
    text = error("-device-file", str(file))
    assert message in text and str(file) in text
    assert "No such file" in error("-device-file", str(tmp_path / "missing.py"))
    assert "Is a directory" in error("-device-file", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-device", "foo"], "-device foo: 'foo' is not a valid device model name"),
        (["-device", "virtio-blk-pci"], "(there is no PCI; take virtio-blk-device)"),
        (["-device", ""], "Parameter 'driver' is missing"),
        (["-device", "{"], "JSON parse error"),
        (["-device", "[]"], "'[]' is not a valid device model name"),
        (["-device", "virtconsole"], "No 'virtio-serial-bus' bus found for device 'virtconsole'"),
        (["-device", "virtio-rng,bus=x"], "Bus 'x' not found"),
        (["-device", "virtio-rng,bus=virtio-mmio-bus.8"], "Bus 'virtio-mmio-bus.8' not found"),
        (["-device", "virtio-rng"] * 9, "No 'virtio-bus' bus found for device 'virtio-rng-device'"),
        (["-drive", "if=virtio"], "A block device must be specified"),
        (["-drive", "x,if=ide"], "if=ide: expected virtio or none"),
        (["-drive", "x,werror=stop"], "werror=stop: expected report"),
        (["-drive", "x,index=1", "-hdb", "y"], "drive with bus=0, unit=1 (index=1) exists"),
        (["-drive", "x,index=1,bus=1"], "index cannot be used with bus and unit"),
        (["-drive", "x,unit=a"], "unit=a: expected a number"),
        (["-object", "secret,id=a"], "Must provide 'file' or 'data' property"),
        (["-object", "secret,data=a"], "Parameter 'id' is missing"),
        (["-object", "secret,id=a,data=a,x=y"], "Property 'secret.x' not found"),
        (["-object", "secret,id=a,data=!,format=base64"], "secret 'a' is not base64"),
        (["-object", "iothread,id=a"], "invalid object type: iothread"),
        (["-drive", "x,cache=maybe"], "cache=maybe"),
        (["-drive", "x,discard=bad"], "discard=bad: expected ignore or off or unmap or on"),
        (["-drive", "x,id=a", "-drive", "y,id=a"], "Duplicate ID 'a' for drive"),
        (["-global", "virtio-mmio.force-legacy=1"], "expects 'on' or 'off'"),
        (["-global", "x.y=1"], "no such property here: x.y"),
        (["-blockdev", "driver=raw"], "'node-name' must be specified"),
        (["-fw_cfg", "opt/a"], "either a file or a string"),
        (["-fw_cfg", "opt/a,string=x,file=y"], "either a file or a string"),
        (["-fw_cfg", "opt/a,file=/nowhere"], "can't load /nowhere: No such file"),
        (["-fw_cfg", f"opt/{'x' * 52},string=x"], "name too long"),
        (["-fw_cfg", "opt/a,string=x", "-fw_cfg", "opt/a,string=y"], "duplicate fw_cfg file name"),
    ],
)
def test_errors_are_one_line(words: list[str], message: str) -> None:
    assert message in error(*words)


def test_fw_cfg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f").write_bytes(b"\0\1")
    words = ["-fw_cfg", "name=opt/a,string=x,,y", "-fw_cfg", f"b,file={tmp_path / 'f'}"]
    assert parse(OPTIONS, words, {})[FW_CFG] == (("opt/a", b"x,y"), ("b", b"\0\1"))
    assert "should be prefixed with opt/" in capsys.readouterr().err
