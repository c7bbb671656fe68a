"""What is in memory when the machine is switched on, and where execution starts.

Places are QEMU's: firmware at the start of RAM, the kernel 2 MiB further (or after the
firmware), the initrd halfway up but at most 128 MiB on, the device tree below the end of
RAM or of the first 3 GiB of addresses.
"""

from __future__ import annotations

from jitemu.messages import fail
from jitemu.system import devicetree
from jitemu.system.images import (
    KernelImage,
    check_file,
    check_initrd,
    parse_kernel,
    read_file,
)
from jitemu.system.resetrom import reset_rom

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fdt import FDT

    from jitemu.memory.physical import PhysicalSpace

MIB = 1 << 20
KERNEL_ALIGNMENT = 2 * MIB
DTB_ALIGNMENT = 2 * MIB
DTB_LIMIT = 3072 * MIB
INITRD_FURTHEST = 128 * MIB
PAGE = 4096
NO_FIRMWARE = "none"
BUILT_IN = ("", "default")


class BootFiles:
    """The file names of the command line; ``bios`` is a file, "none", or "" for the built-in
    firmware."""

    def __init__(self, bios: str, kernel: str, initrd: str, append: str, dtb: str) -> None:
        self.bios = bios
        self.kernel = kernel
        self.initrd = initrd
        self.append = append
        self.dtb = dtb

    @property
    def built_in_firmware(self) -> bool:
        return self.bios in BUILT_IN


class BootState:
    """Where things were put: addresses, and the initrd's range (or None)."""

    def __init__(
        self,
        kernel: int,
        dtb: int,
        blob: bytes,
        initrd: tuple[int, int] | None,
        loaded: list[tuple[int, int, str]],
    ) -> None:
        self.loaded = loaded
        """(address, size, name) of everything that was put into memory."""
        self.kernel = kernel
        self.dtb = dtb
        self.blob = blob
        self.initrd = initrd


def align_up(number: int, to: int) -> int:
    return (number + to - 1) // to * to


def align_down(number: int, to: int) -> int:
    return number // to * to


def load(
    files: BootFiles,
    space: PhysicalSpace,
    make_tree: Callable[[], FDT],
    on_initrd: Callable[[str, bytes], None] | None = None,
) -> BootState:
    """Put everything into memory, reset ROM included.

    ``make_tree`` makes the machine's own device tree, used unless -dtb names another.
    ``on_initrd`` gets the initrd's name and content, for checks that take longer.
    """
    firmware_end = _load_firmware(files, space)
    kernel = _load_kernel(files, space, firmware_end)
    initrd = None
    if files.initrd:
        if kernel is None:
            fail("-initrd needs a kernel: give one with -kernel")
        initrd = _load_initrd(files.initrd, space, kernel, on_initrd)
    tree = _user_tree(files.dtb) if files.dtb else make_tree()
    blob = devicetree.complete(tree, files.append, initrd)
    used = max(firmware_end, kernel.end if kernel else 0, initrd[1] if initrd else 0)
    dtb = _load_dtb(blob, space, used)
    entry = 0 if kernel is None else kernel.start
    loaded: list[tuple[int, int, str]] = []
    if space.rom is not None:
        rom = reset_rom(space.ram.base, dtb, entry)
        space.load(space.rom.base, rom)
        loaded.append((space.rom.base, len(rom), "mrom.reset"))
    loaded.append((dtb, len(blob), "fdt"))
    if firmware_end > space.ram.base:
        loaded.append((space.ram.base, firmware_end - space.ram.base, files.bios))
    if kernel is not None:
        loaded.append((kernel.start, kernel.end - kernel.start, files.kernel))
    if initrd is not None:
        loaded.append((initrd[0], initrd[1] - initrd[0], files.initrd))
    return BootState(entry, dtb, blob, initrd, sorted(loaded))


def check_runnable(files: BootFiles) -> None:
    """UserError if there would be nothing to execute."""
    if not files.kernel and files.bios in (*BUILT_IN, NO_FIRMWARE):
        fail("nothing to run: give a kernel with -kernel or firmware with -bios")


def check_files(files: BootFiles) -> None:
    """UserError if a file is missing or unreadable: to be told before a long set-up."""
    bios = "" if files.bios in (*BUILT_IN, NO_FIRMWARE) else files.bios
    for option, path in (
        ("-bios", bios),
        ("-kernel", files.kernel),
        ("-initrd", files.initrd),
        ("-dtb", files.dtb),
    ):
        if path:
            check_file(option, path)


def _user_tree(path: str) -> FDT:
    return devicetree.parse_blob(read_file("-dtb", path), path)


def _too_small(space: PhysicalSpace, what: str, end: int) -> None:
    if end > space.ram.end:
        needed = align_up(end - space.ram.base, MIB) // MIB
        have = space.ram.size // MIB
        fail(f"{what} needs more RAM than the machine's {have} MiB: give -m {needed}M or more")


def _load_firmware(files: BootFiles, space: PhysicalSpace) -> int:
    """The address after the firmware; the start of RAM without one."""
    if files.built_in_firmware or files.bios == NO_FIRMWARE:
        return space.ram.base
    image = parse_kernel("-bios", files.bios, read_file("-bios", files.bios), space.ram.size)
    image = image.placed_at(space.ram.base)
    _place(image, space, f"-bios {files.bios}")
    return image.end


def _load_kernel(files: BootFiles, space: PhysicalSpace, firmware_end: int) -> KernelImage | None:
    if not files.kernel:
        return None
    data = read_file("-kernel", files.kernel)
    image = parse_kernel("-kernel", files.kernel, data, space.ram.size)
    if image.offset is not None:
        place = align_up(firmware_end, KERNEL_ALIGNMENT)
        if files.built_in_firmware:
            # Leave the place that firmware would have, as kernels expect it.
            offset = image.offset or KERNEL_ALIGNMENT
            _too_small(space, f"-kernel {files.kernel}", space.ram.base + offset)
            place = space.ram.base + offset
        image = image.placed_at(place)
    elif image.start < firmware_end != space.ram.base:
        fail(f"-kernel {files.kernel}: overlaps the firmware; it is linked at {image.start:#x}")
    _place(image, space, f"-kernel {files.kernel}")
    return image


def _place(image: KernelImage, space: PhysicalSpace, what: str) -> None:
    """Into RAM, with what is beyond the data zeroed."""
    if image.start < space.ram.base:
        fail(f"{what}: is to be loaded at {image.start:#x}, where there is no RAM")
    _too_small(space, what, image.end)
    for segment in image.segments:
        space.load(segment.address, segment.data)
        rest = segment.address + len(segment.data)
        while image.offset is None and rest < segment.end:
            count = min(segment.end - rest, MIB)
            space.load(rest, bytes(count))
            rest += count


def _load_initrd(
    path: str,
    space: PhysicalSpace,
    kernel: KernelImage,
    on_initrd: Callable[[str, bytes], None] | None,
) -> tuple[int, int]:
    data = read_file("-initrd", path)
    check_initrd(path, data)
    if on_initrd is not None:
        on_initrd(path, data)
    start = kernel.start + min(space.ram.size // 2, INITRD_FURTHEST)
    if start < kernel.end:
        start = align_up(kernel.end, PAGE)
    end = start + len(data)
    _too_small(space, f"-initrd {path}", end)
    space.load(start, data)
    return start, end


def _load_dtb(blob: bytes, space: PhysicalSpace, used: int) -> int:
    address = align_down(min(space.ram.end, DTB_LIMIT) - len(blob), DTB_ALIGNMENT)
    if address < used:
        # RAM is full, or used beyond the usual place.
        address = align_up(used, DTB_ALIGNMENT)
    _too_small(space, "the device tree", address + len(blob))
    space.load(address, blob)
    return address
