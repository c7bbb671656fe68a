"""``-object filter-dump``: the frames of a back end in a file that packet analysers read."""

from __future__ import annotations

import struct
import time

from jitemu.messages import fail, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jitemu.devices.net.netdev import Frame, Netdev

MAGIC = 0xA1B2C3D4  # times in microseconds
VERSION = (2, 4)
ETHERNET = 1  # LINKTYPE_ETHERNET
DEFAULT_LENGTH = 65536


class PcapDump:
    """Writes what passes ``netdev``, ``length`` bytes of a frame at most."""

    def __init__(
        self, netdev: Netdev, path: str, length: int = DEFAULT_LENGTH, name: str = ""
    ) -> None:
        self.id = name
        self._length = length
        self._path = path
        self._netdev = netdev
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            fail(f"filter-dump: cannot open {path}: {error.strerror}")
        self._write(struct.pack("=IHHiIII", MAGIC, *VERSION, 0, 0, length, ETHERNET))
        netdev.taps.append(self.frame)
        netdev.captures.append(self)

    def describe(self) -> str:
        """What ``info network`` shows."""
        return (
            f"{self.id}: type=filter-dump,file={self._path},maxlen={self._length},position=tail,"
            f"status=on,insert=behind,netdev={self._netdev.id},queue=all"
        )

    def frame(self, frame: Frame) -> None:
        """Write one."""
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        part = frame[: self._length]
        self._write(struct.pack("=IIII", seconds, microseconds, len(part), len(frame)) + part)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            warn(f"filter-dump: cannot write {self._path}: {error.strerror}; dumping ends")
            self._netdev.taps.remove(self.frame)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            warn(f"filter-dump: cannot write {self._path}: {error.strerror}")
