"""The device tree of the `virt` machine: nodes, names and properties as QEMU's, for the
devices that are here; and checking and completing one that the user gives."""

from __future__ import annotations

import os

from jitemu.messages import fail
from jitemu.system import memory_map as at
from jitemu.system.clock import TIMEBASE_HZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from fdt import FDT, Node

    from jitemu.system.plugging import Place

DTB_MAGIC = 0xD00D_FEED
DTB_VERSION = 17
DTB_COMPATIBLE_VERSION = 16
HEADER_SIZE = 40
CACHE_BLOCK_BYTES = 64
RNG_SEED_BYTES = 32
S_SOFTWARE, M_SOFTWARE, M_TIMER, S_EXTERNAL, M_EXTERNAL = 1, 3, 7, 9, 11

Cells = tuple[int, ...]


def _node(name: str, properties: dict[str, int | str | Cells | None], *nodes: Node) -> Node:
    """A node; a property is a cell, a string (NULs part several), cells, or empty (None)."""
    import fdt

    node = fdt.Node(name)
    for key, value in properties.items():
        if value is None:
            node.append(fdt.Property(key))
        elif isinstance(value, str):
            node.append(fdt.PropStrings(key, *value.split("\0")))
        else:
            node.append(fdt.PropWords(key, *((value,) if isinstance(value, int) else value)))
    for child in nodes:
        node.append(child)
    return node


def _pair(number: int) -> Cells:
    """An address or size in two cells."""
    return (number >> 32, number & 0xFFFF_FFFF)


def _reg(base: int, size: int) -> Cells:
    return (*_pair(base), *_pair(size))


class _Handles:
    """phandles, numbered as QEMU does: two for each hart, then the controllers."""

    def __init__(self, harts: int) -> None:
        self.cpus = [1 + 2 * i for i in range(harts)]
        self.interrupts = [2 + 2 * i for i in range(harts)]
        self.plic = 2 * harts + 1
        self.finisher = 2 * harts + 2

    def wires(self, *numbers: int) -> Cells:
        """interrupts-extended: these interrupts of every hart."""
        return tuple(cell for h in self.interrupts for n in numbers for cell in (h, n))


def virt_tree(
    memory: int,
    harts: int,
    isa: str,
    mmu_type: str | None,
    aclint: bool,
    places: Sequence[Place] = (),
    seed: bytes = b"",
) -> FDT:
    """The generated tree; ``memory`` in bytes, ``isa`` and ``mmu_type`` as properties of the
    same names take them; ``places`` of the devices plugged in; ``seed`` (RNG_SEED_BYTES) for
    the guest's random numbers, instead of the host's."""
    import fdt

    handles = _Handles(harts)
    tree = fdt.FDT()
    tree.root = _node(
        "/",
        {
            "#address-cells": 2,
            "#size-cells": 2,
            "compatible": "riscv-virtio",
            "model": "riscv-virtio,qemu",
        },
        _chosen(seed or os.urandom(RNG_SEED_BYTES)),
        _syscon("poweroff", 0x5555, handles.finisher),
        _syscon("reboot", 0x7777, handles.finisher),
        _node(
            f"fw-cfg@{at.FW_CFG:x}",
            {
                "dma-coherent": None,
                "reg": _reg(at.FW_CFG, at.FW_CFG_SIZE),
                "compatible": "qemu,fw-cfg-mmio",
            },
        ),
        _node(f"memory@{at.RAM:x}", {"device_type": "memory", "reg": _reg(at.RAM, memory)}),
        _platform_bus(handles, [p for p in places if p.compatible]),
        _cpus(handles, isa, mmu_type),
        _node(
            "soc",
            {"#address-cells": 2, "#size-cells": 2, "compatible": "simple-bus", "ranges": None},
            *_devices(handles),
            _plic(handles),
            *(_aclint(handles) if aclint else (_clint(handles),)),
        ),
    )
    return tree


def _chosen(seed: bytes) -> Node:
    words = tuple(int.from_bytes(seed[i : i + 4], "big") for i in range(0, len(seed), 4))
    return _node("chosen", {"stdout-path": f"/soc/serial@{at.UART:x}", "rng-seed": words})


def _syscon(name: str, value: int, finisher: int) -> Node:
    """Ends the machine through the test finisher's register."""
    return _node(
        name,
        {"compatible": f"syscon-{name}", "regmap": finisher, "offset": 0, "value": value},
    )


def _cpus(handles: _Handles, isa: str, mmu_type: str | None) -> Node:
    nodes: list[Node] = []
    extensions = isa.split("_")[1:]
    for hart, handle in enumerate(handles.cpus):
        properties: dict[str, int | str | Cells | None] = {
            "device_type": "cpu",
            "reg": hart,
            "status": "okay",
            "compatible": "riscv",
            "riscv,isa": isa,
            "phandle": handle,
        }
        if mmu_type is not None:
            properties["mmu-type"] = mmu_type
        for extension, name in (("zicbom", "cbom"), ("zicboz", "cboz")):
            if extension in extensions:
                properties[f"riscv,{name}-block-size"] = CACHE_BLOCK_BYTES
        controller = _node(
            "interrupt-controller",
            {
                "#interrupt-cells": 1,
                "interrupt-controller": None,
                "compatible": "riscv,cpu-intc",
                "phandle": handles.interrupts[hart],
            },
        )
        nodes.append(_node(f"cpu@{hart:x}", properties, controller))
    cores = [_node(f"core{i}", {"cpu": handle}) for i, handle in enumerate(handles.cpus)]
    cpu_map = _node("cpu-map", {}, _node("cluster0", {}, *cores))
    return _node(
        "cpus",
        {"#address-cells": 1, "#size-cells": 0, "timebase-frequency": TIMEBASE_HZ},
        *nodes,
        cpu_map,
    )


def _devices(handles: _Handles) -> list[Node]:
    """What hangs off the PLIC, and the finisher."""

    def device(name: str, base: int, size: int, irq: int, compatible: str, **more: int) -> Node:
        properties: dict[str, int | str | Cells | None] = {
            "interrupts": irq,
            "interrupt-parent": handles.plic,
            "reg": _reg(base, size),
            "compatible": compatible,
        }
        properties.update({key.replace("_", "-"): value for key, value in more.items()})
        return _node(f"{name}@{base:x}", properties)

    finisher = _node(
        f"test@{at.TEST_FINISHER:x}",
        {
            "phandle": handles.finisher,
            "reg": _reg(at.TEST_FINISHER, at.TEST_FINISHER_SIZE),
            "compatible": "sifive,test1\0sifive,test0\0syscon",
        },
    )
    nodes = [
        device("rtc", at.RTC, at.RTC_SIZE, at.RTC_IRQ, "google,goldfish-rtc"),
        device(
            *("serial", at.UART, at.UART_SIZE, at.UART_IRQ, "ns16550a"),
            clock_frequency=at.UART_CLOCK_HZ,
        ),
        finisher,
    ]
    for slot in reversed(range(at.VIRTIO_SLOTS)):
        base = at.VIRTIO + slot * at.VIRTIO_SIZE
        irq = at.VIRTIO_IRQ + slot
        nodes.append(device("virtio_mmio", base, at.VIRTIO_SIZE, irq, "virtio,mmio"))
    return nodes


def _platform_bus(handles: _Handles, places: Sequence[Place]) -> Node:
    """The bus of devices that have no place of their own; addresses count from its base."""
    nodes: list[Node] = []
    for place in places:
        offset = place.base - at.PLATFORM_BUS
        properties: dict[str, int | str | Cells | None] = {
            "interrupts": place.irq,
            "interrupt-parent": handles.plic,
            "reg": (offset, place.size),
            "compatible": place.compatible,
        }
        nodes.append(_node(f"{place.name}@{offset:x}", properties))
    return _node(
        f"platform-bus@{at.PLATFORM_BUS:x}",
        {
            "interrupt-parent": handles.plic,
            "ranges": (0, *_pair(at.PLATFORM_BUS), at.PLATFORM_BUS_SIZE),
            "#address-cells": 1,
            "#size-cells": 1,
            "compatible": "qemu,platform\0simple-bus",
        },
        *nodes,
    )


def _plic(handles: _Handles) -> Node:
    return _node(
        f"plic@{at.PLIC:x}",
        {
            "phandle": handles.plic,
            "riscv,ndev": at.PLIC_SOURCES,
            "reg": _reg(at.PLIC, at.PLIC_SIZE),
            "interrupts-extended": handles.wires(M_EXTERNAL, S_EXTERNAL),
            "interrupt-controller": None,
            "compatible": "sifive,plic-1.0.0\0riscv,plic0",
            "#address-cells": 0,
            "#interrupt-cells": 1,
        },
    )


def _clint(handles: _Handles) -> Node:
    return _node(
        f"clint@{at.CLINT:x}",
        {
            "interrupts-extended": handles.wires(M_SOFTWARE, M_TIMER),
            "reg": _reg(at.CLINT, at.CLINT_SIZE),
            "compatible": "sifive,clint0\0riscv,clint0",
        },
    )


def _aclint(handles: _Handles) -> list[Node]:
    def software(name: str, base: int, size: int, number: int) -> Node:
        return _node(
            f"{name}@{base:x}",
            {
                "#interrupt-cells": 0,
                "interrupt-controller": None,
                "interrupts-extended": handles.wires(number),
                "reg": _reg(base, size),
                "compatible": f"riscv,aclint-{name}",
            },
        )

    mtime = at.MTIMER + at.MTIME_OFFSET
    mtimer = _node(
        f"mtimer@{at.MTIMER:x}",
        {
            "interrupts-extended": handles.wires(M_TIMER),
            "reg": (
                *_reg(mtime, at.CLINT + at.CLINT_SIZE - mtime),
                *_reg(at.MTIMER, at.MTIME_OFFSET),
            ),
            "compatible": "riscv,aclint-mtimer",
        },
    )
    return [
        software("sswi", at.SSWI, at.SSWI_SIZE, S_SOFTWARE),
        mtimer,
        software("mswi", at.CLINT, at.MSWI_SIZE, M_SOFTWARE),
    ]


def complete(tree: FDT, bootargs: str, initrd: tuple[int, int] | None) -> bytes:
    """The blob, with the kernel's command line and initrd ([start, end)) put in /chosen."""
    chosen = tree.root.get_subnode("chosen")
    if chosen is None:
        chosen = _node("chosen", {})
        tree.root.append(chosen)
    additions = _node("chosen", {"bootargs": bootargs} if bootargs else {})
    if initrd is not None:
        for name, address in zip(("start", "end"), initrd, strict=True):
            cells = (address,) if address >> 32 == 0 else _pair(address)
            additions.append(_node("", {f"linux,initrd-{name}": cells}).props[0])
    for item in additions.props:
        if chosen.exist_property(item.name):
            chosen.remove_property(item.name)
        chosen.append(item)
    return tree.to_dtb(version=DTB_VERSION, last_comp_version=DTB_COMPATIBLE_VERSION)


def check_blob(data: bytes, path: str) -> None:
    """UserError unless the header is a device tree's and its parts are inside the file."""
    if len(data) < HEADER_SIZE:
        fail(f"-dtb {path}: too short for a device tree ({len(data)} bytes)")
    words = [int.from_bytes(data[i : i + 4], "big") for i in range(0, HEADER_SIZE, 4)]
    magic, size, structure, strings, reservations, version, compatible = words[:7]
    strings_size, structure_size = words[8:10]
    if magic != DTB_MAGIC:
        fail(f"-dtb {path}: not a device tree blob (compile a source with dtc)")
    if version < DTB_COMPATIBLE_VERSION or compatible > DTB_VERSION:
        fail(f"-dtb {path}: device tree version {version} is not supported (16 and 17 are)")
    if version < DTB_VERSION:
        structure_size = 0
    if size > len(data):
        fail(f"-dtb {path}: truncated: {len(data)} of {size} bytes")
    if max(structure + structure_size, strings + strings_size, reservations + 16) > size:
        fail(f"-dtb {path}: corrupt device tree: its header points outside the file")


def parse_blob(data: bytes, path: str) -> FDT:
    """The tree that a file holds; UserError if it is corrupt."""
    import fdt

    check_blob(data, path)
    try:
        tree = fdt.parse_dtb(data)
        blob = tree.to_dtb(version=DTB_VERSION, last_comp_version=DTB_COMPATIBLE_VERSION)
    except Exception as error:  # the library has no error class of its own
        fail(f"-dtb {path}: corrupt device tree: {error}")
    if not blob:
        fail(f"-dtb {path}: corrupt device tree: it has no root node")
    return tree
