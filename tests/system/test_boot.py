"""The boot loader: places as QEMU's, and a clear line for each kind of bad input."""

from __future__ import annotations

import gzip
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from jitemu.memory.physical import PhysicalSpace
from jitemu.messages import UserError
from jitemu.system.boot import BootFiles, BootState, load
from jitemu.system.devicetree import virt_tree
from jitemu.system.images import check_gzip
from jitemu.system.machine import Machine, MachineConfig, make_space
from tests.system.fake_hart import FakeHart

MIB = 1 << 20
FW_DYNAMIC = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic")


def image(size: int = 0x3000, memory: int = 0x5000, offset: int = 2 * MIB) -> bytes:
    """A raw Linux Image: header and recognisable content."""
    fields = (0x6F, 0, offset, memory, 0, 2, 0, 0, b"RISCV", b"RSC\5", 0)
    header = struct.pack("<IIQQQIIQ8s4sI", *fields)
    return header + b"k" * (size - len(header))


def elf(
    *segments: tuple[int, bytes, int], machine: int = 243, bits: int = 64, kind: int = 2
) -> bytes:
    """An ELF file of (physical address, content, size in memory) segments."""
    ident = b"\x7fELF" + bytes((2 if bits == 64 else 1, 1, 1)) + bytes(9)
    at = 64 + 56 * len(segments)
    headers, contents = b"", b""
    for address, content, size in segments:
        headers += struct.pack("<IIQQQQQQ", 1, 7, at, 0, address, len(content), size, 4)
        contents += content
        at += len(content)
    head = struct.pack(
        "<HHIQQQIHHHHHH",
        *(kind, machine, 1),
        *(0x8020_0000, 64, 0),
        *(0, 64, 56, len(segments), 0, 0, 0),
    )
    return ident + head + headers + contents


class Loader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.space = make_space(128 * MIB)
        self.late: list[tuple[str, bytes]] = []

    def file(self, name: str, data: bytes) -> str:
        path = self.folder / name
        path.write_bytes(data)
        return str(path)

    def load(self, memory: int = 128, bios: str = "", **files: bytes | str) -> BootState:
        self.space = make_space(memory * MIB)
        paths = {"kernel": "", "initrd": "", "dtb": ""}
        for name, data in files.items():
            paths[name] = data if isinstance(data, str) else self.file(name, data)
        return load(
            BootFiles(bios=bios, append="", **paths),
            self.space,
            lambda: virt_tree(memory * MIB, 1, "rv64imac", None, False),
            lambda path, data: self.late.append((path, data)),
        )

    def error(self, memory: int = 128, bios: str = "", **files: bytes | str) -> str:
        with pytest.raises(UserError) as error:
            self.load(memory, bios, **files)
        text = str(error.value)
        assert "\n" not in text
        assert error.value.status != 0
        return text


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def rom_words(space: PhysicalSpace) -> tuple[int, ...]:
    assert space.rom is not None
    return struct.unpack("<8Q", space.rom.view[24:88])


def test_places_of_an_image_with_128_mib(loader: Loader) -> None:
    state = loader.load(kernel=image(), initrd=b"070701data")
    assert (state.kernel, state.dtb) == (0x8020_0000, 0x87E0_0000)
    assert state.initrd == (0x8420_0000, 0x8420_000A)
    assert loader.space.dma_read(0x8020_0000 + 64, 4) == b"kkkk"
    assert loader.space.dma_read(0x8420_0000, 10) == b"070701data"
    assert loader.space.dma_read(0x87E0_0000, 4) == b"\xd0\x0d\xfe\xed"
    assert loader.late == [(str(loader.folder / "initrd"), b"070701data")]


@pytest.mark.parametrize(
    ("memory", "initrd", "dtb"),
    [
        (64, 0x8220_0000, 0x83E0_0000),
        (512, 0x8820_0000, 0x9FE0_0000),
        (1024, 0x8820_0000, 0xBFE0_0000),
        (4096, 0x8820_0000, 0xBFE0_0000),
    ],
)
def test_places_with_other_memory(loader: Loader, memory: int, initrd: int, dtb: int) -> None:
    state = loader.load(memory, kernel=image(), initrd=b"070701")
    assert state.initrd == (initrd, initrd + 6)
    assert state.dtb == dtb


def test_the_text_offset_of_an_image_counts(loader: Loader) -> None:
    assert loader.load(kernel=image(offset=4 * MIB)).kernel == 0x8040_0000


def test_a_big_kernel_moves_the_initrd(loader: Loader) -> None:
    state = loader.load(32, kernel=image(memory=20 * MIB + 1), initrd=b"070701")
    assert state.initrd is not None
    assert state.initrd[0] == 0x8020_0000 + 20 * MIB + 4096


def test_gzipped_image_and_plain_code(loader: Loader) -> None:
    loader.load(kernel=gzip.compress(image()))
    assert loader.space.dma_read(0x8020_0000 + 64, 2) == b"kk"
    state = loader.load(bios="none", kernel=b"\x13\0\0\0")
    assert state.kernel == 0x8000_0000
    assert loader.space.dma_read(0x8000_0000, 4) == b"\x13\0\0\0"


def test_elf_by_physical_addresses_with_bss(loader: Loader) -> None:
    kernel = elf((0x8020_0000, b"text", 4), (0x8030_0000, b"data", 0x1000))
    state = loader.load(kernel=kernel)
    assert state.kernel == 0x8020_0000
    assert loader.space.dma_read(0x8030_0000, 6) == b"data\0\0"


def test_reset_rom(loader: Loader) -> None:
    state = loader.load(bios="none", kernel=image())
    start, dtb, magic, version, following, mode, options, boot_hart = rom_words(loader.space)
    assert (start, dtb) == (0x8000_0000, state.dtb)
    assert magic.to_bytes(8, "little") == b"OSBI\0\0\0\0"
    assert (version, following, mode, options, boot_hart) == (2, 0x8000_0000, 1, 0, 0)


@pytest.mark.skipif(shutil.which("riscv64-linux-gnu-objdump") is None, reason="needs binutils")
def test_reset_code_reads_as_meant(loader: Loader) -> None:
    loader.load(bios="none", kernel=image())
    assert loader.space.rom is not None
    path = loader.file("rom", bytes(loader.space.rom.view[:24]))
    listing = subprocess.run(
        ["riscv64-linux-gnu-objdump", *"-D -b binary -m riscv:rv64 -M no-aliases".split(), path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    code = [" ".join(line.split("\t")[2:]) for line in listing.splitlines() if "\t" in line]
    assert [c.split(" #")[0].strip() for c in code] == [
        "auipc t0,0x0",
        "addi a2,t0,40",
        "csrrs a0,mhartid,zero",
        "ld a1,32(t0)",
        "ld t0,24(t0)",
        "jalr zero,0(t0)",
    ]


@pytest.mark.skipif(not FW_DYNAMIC.with_suffix(".bin").exists(), reason="needs opensbi")
@pytest.mark.parametrize("suffix", [".bin", ".elf"])
def test_firmware_goes_first_and_the_kernel_after_it(loader: Loader, suffix: str) -> None:
    firmware = FW_DYNAMIC.with_suffix(suffix)
    state = loader.load(bios=str(firmware), kernel=image())
    assert state.kernel == 0x8020_0000
    assert rom_words(loader.space)[4] == 0x8020_0000
    start = FW_DYNAMIC.with_suffix(".bin").read_bytes()[:64]
    assert loader.space.dma_read(0x8000_0000, 64) == start


def test_missing_empty_and_unreadable_files(loader: Loader) -> None:
    assert "-kernel /nowhere/Image: No such file" in loader.error(kernel="/nowhere/Image")
    assert "the file is empty" in loader.error(kernel=b"")
    assert "the file is empty" in loader.error(kernel=image(), initrd=b"")
    assert "the file is empty" in loader.error(kernel=image(), dtb=b"")
    assert "is a directory" in loader.error(kernel=str(loader.folder)).lower()
    assert "-bios /nowhere: No such file" in loader.error(bios="/nowhere")
    assert "not a file name" in loader.error(kernel="a\0b")


def test_truncated_kernels(loader: Loader) -> None:
    assert "truncated" in loader.error(kernel=image()[:60])
    assert "truncated" in loader.error(kernel=elf((0x8020_0000, b"code" * 10, 40))[:-1])
    assert "truncated" in loader.error(kernel=gzip.compress(image())[:-5])
    assert "corrupt" in loader.error(kernel=b"\x1f\x8b" + bytes(50))
    for length in (4, 16, 40, 63, 80):
        text = loader.error(kernel=elf((0x8020_0000, b"code", 4))[:length])
        assert "corrupt ELF" in text or "truncated" in text or "nothing" in text, text


def pe_image(file_size: int, needed: int) -> bytes:
    """An Image with an EFI stub whose one section ends at ``needed``."""
    data = bytearray(image(file_size))
    data[0:2] = b"MZ"
    data[0x3C:0x40] = (64).to_bytes(4, "little")
    data[64:88] = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x5064, 1, 0, 0, 0, 0, 0)
    data[88 + 16 : 88 + 24] = struct.pack("<II", needed - 0x1000, 0x1000)
    return bytes(data)


def test_an_image_shorter_than_its_efi_sections_is_truncated(loader: Loader) -> None:
    loader.load(kernel=pe_image(0x3000, 0x3000))
    assert "truncated: 12287 of 12288 bytes" in loader.error(kernel=pe_image(0x3000, 0x3000)[:-1])


def test_other_machines(loader: Loader) -> None:
    arm = loader.error(kernel=elf((0x8020_0000, b"code", 4), machine=183))
    assert "for another machine (AARCH64, 64-bit)" in arm
    assert "another machine" in loader.error(kernel=Path("/bin/true").read_bytes())
    assert "cannot be executed" in loader.error(kernel=elf((0x8020_0000, b"code", 4), kind=1))
    assert "without anything to load" in loader.error(kernel=elf())
    assert "PE file" in loader.error(kernel=b"MZ" + bytes(1000))


def test_elf_outside_ram(loader: Loader) -> None:
    assert "where there is no RAM" in loader.error(kernel=elf((0x1000, b"code", 4)))
    assert "more RAM" in loader.error(kernel=elf((0x9000_0000, b"code", 4)))
    assert "more RAM" in loader.error(kernel=elf((0x8020_0000, b"code", 1 << 62)))
    assert "more RAM" in loader.error(kernel=elf(((1 << 64) - 4, b"code", 4)))


def test_ram_too_small(loader: Loader) -> None:
    text = loader.error(8, kernel=image(memory=32 * MIB))
    assert "needs more RAM than the machine's 8 MiB: give -m 34M or more" in text
    assert "-initrd" in loader.error(8, kernel=image(), initrd=b"070701" + bytes(6 * MIB))
    assert "device tree" in loader.error(4, kernel=image(2 * MIB, 2 * MIB))
    assert "RAM" in loader.error(4, kernel=gzip.compress(bytes(5 * MIB)))


def test_what_is_not_an_initrd(loader: Loader) -> None:
    assert "not an initrd" in loader.error(kernel=image(), initrd=b"hello")
    assert "not an initrd" in loader.error(kernel=image(), initrd=bytes(100))
    assert "needs a kernel" in loader.error(bios="none", initrd=b"070701")


def test_gzip_check(loader: Loader) -> None:
    good = gzip.compress(b"070701" + bytes(3 * MIB) + random.Random(1).randbytes(1000))
    check_gzip("x", good)
    check_gzip("x", good + bytes(100))
    check_gzip("x", b"070701")
    with pytest.raises(UserError, match="truncated gzip data"):
        check_gzip("x", good[:-9])
    bad = bytearray(good)
    bad[-500] ^= 0x40
    with pytest.raises(UserError, match="corrupt gzip data"):
        check_gzip("x", bytes(bad))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MachineConfig(), "nothing to run"),
        (MachineConfig(bios="none"), "nothing to run"),
        (MachineConfig(machine="pc", kernel="x"), "no such machine"),
        (MachineConfig(memory=100, kernel="x"), "-m"),
        (MachineConfig(memory=1 << 62, kernel="x"), "cannot have"),
        (MachineConfig(kernel="x", serial=("tty",)), "no such character device"),
        (MachineConfig(kernel="x", serial=("file:/nowhere/x",)), "cannot open"),
        (MachineConfig(kernel="x", serial=("unix:/nowhere/x",)), "cannot connect"),
        (MachineConfig(kernel="x", serial=("unix:/x,what",)), "Invalid parameter 'what'"),
    ],
)
def test_a_machine_that_cannot_be_built(config: MachineConfig, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Machine(
            config, lambda space, hart_id: FakeHart(space, hart_id, lambda _: pytest.fail("ran"))
        )
