"""The 9p server over a folder: what it does, and that nothing leads out of the folder."""

from __future__ import annotations

import errno
import os
import random
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jitemu.devices.p9 import messages
from jitemu.devices.p9.folder import Folder, MappedFolder
from jitemu.devices.p9.server import MAX_OPEN, Server
from jitemu.devices.virtio.p9 import Virtio9p
from tests.devices.virtio.driver import NEEDS_RESET, MockDriver, MockHost

NUMBERS = {row.method: row for row in messages.MESSAGES.values()}
ROOT = 0
OUTSIDE = b"secret of the host"


class Client:
    """Calls the server as a guest's messages would; ``share`` is beside a file that must not
    be reached."""

    def __init__(self, folder: Path, mapped: bool = False, read_only: bool = False) -> None:
        self.share = folder / "share"
        self.share.mkdir()
        (folder / "outside").write_bytes(OUTSIDE)
        (self.share / "file").write_bytes(b"content")
        (self.share / "sub").mkdir()
        (self.share / "link").symlink_to("../outside")
        (self.share / "up").symlink_to("..")
        make = MappedFolder if mapped else Folder
        self.server = Server(make(str(self.share), False), read_only)
        self.call("version", 65536, b"9P2000.L")
        self.call("attach", ROOT, 0xFFFF_FFFF, b"root", b"", os.getuid())
        self.last = ROOT

    def call(self, method: str, *values: Any) -> bytes:
        row = NUMBERS[method]
        return self.server.call(row.number, _body(row.request, values))

    def fid(self, *names: bytes) -> int:
        """A new fid, walked to names below the root."""
        self.last += 1
        count = int.from_bytes(self.call("walk", ROOT, self.last, list(names))[:2], "little")
        if count != len(names):
            raise OSError(errno.ENOENT, "the walk ended before")
        return self.last

    def read(self, *names: bytes) -> bytes:
        fid = self.fid(*names)
        self.call("lopen", fid, os.O_RDONLY)
        buffer = bytearray(1000)
        return bytes(buffer[: self.server.read_into(fid, 0, [memoryview(buffer)])])

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        return self.server.write_from(fid, offset, [memoryview(bytearray(data))])

    def attributes(self, *names: bytes) -> os.stat_result:
        """Mode, inode, owner, size as the guest sees them."""
        reply = self.call("getattr", self.fid(*names), 0x7FF)
        _, _, _, inode, mode, uid, gid, links, _, size = struct.unpack_from("<QBIQIIIQQQ", reply)
        return os.stat_result((mode, inode, 0, links, uid, gid, size, 0, 0, 0))


def _body(fields: str, values: tuple[Any, ...]) -> bytes:
    parts: list[bytes] = []
    for letter, value in zip(fields, values, strict=True):
        if letter == "N":
            parts.append(struct.pack("<H", len(value)))
            parts += [messages.encode("s", [name]) for name in value]
        else:
            parts.append(messages.encode(letter, [value]))
    return b"".join(parts)


def fails(number: int, function: Any, *values: Any) -> None:
    with pytest.raises(OSError) as error:
        function(*values)
    assert error.value.errno == number, error.value


@pytest.fixture(params=[False, True], ids=["plain", "mapped"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path, request.param)
    yield made
    made.server.close()
    assert (tmp_path / "outside").read_bytes() == OUTSIDE
    assert {p.name for p in tmp_path.iterdir()} == {"share", "outside"}


def test_version_and_sizes(client: Client) -> None:
    assert client.call("version", 8192, b"9P2000.L") == b"\0\x20\0\0\x08\x009P2000.L"
    assert client.call("version", 1 << 31, b"9P2000")[4:] == b"\7\0unknown"
    assert client.server.message_size == 1 << 20
    fails(errno.EMSGSIZE, client.call, "version", 100, b"9P2000.L")
    fails(errno.EBADF, client.call, "getattr", ROOT, 0)


def test_files_are_read_made_and_changed(client: Client) -> None:
    assert client.read(b"file") == b"content"
    fid = client.fid()
    client.call("lcreate", fid, b"new", os.O_RDWR, 0o640, os.getgid())
    assert client.write(fid, b"0123456789") == 10
    assert client.write(fid, b"ab", 4) == 2
    client.call("fsync", fid, 0)
    assert (client.share / "new").read_bytes() == b"0123ab6789"
    status = client.attributes(b"new")
    assert (stat.S_IMODE(status.st_mode), status.st_size) == (0o640, 10)
    other = client.fid(b"new")
    client.call("setattr", other, 1 | 8, 0o604, 0, 0, 4, 0, 0, 0, 0)
    assert client.read(b"new") == b"0123"
    assert stat.S_IMODE(client.attributes(b"new").st_mode) == 0o604
    client.call("setattr", other, 0x10 | 0x80 | 0x20 | 0x100, 0, 0, 0, 0, 1, 2, 3, 4)
    assert (client.share / "new").stat().st_mtime_ns == 3_000_000_004
    client.call("unlinkat", ROOT, b"new", 0)
    assert not (client.share / "new").exists()
    assert client.write(fid, b"still open") == 10
    assert client.call("getattr", fid, 0x7FF)
    client.call("clunk", fid)
    fails(errno.EBADF, client.write, fid, b"x")


def test_folders_links_and_names(client: Client) -> None:
    client.call("mkdir", ROOT, b"d", 0o755, os.getgid())
    client.call("mkdir", client.fid(b"d"), b"e", 0o755, os.getgid())
    deep = client.fid(b"d", b"e")
    client.call("link", deep, client.fid(b"file"), b"hard")
    client.call("symlink", deep, b"s", b"../../file", os.getgid())
    assert client.call("readlink", client.fid(b"d", b"e", b"s")) == b"\x0a\0../../file"
    assert stat.S_ISLNK(client.attributes(b"d", b"e", b"s").st_mode)
    client.call("renameat", ROOT, b"d", client.fid(b"sub"), b"moved")
    assert client.read(b"sub", b"moved", b"e", b"hard") == b"content"
    client.call("mkdir", deep, b"follows the fid", 0o700, os.getgid())
    assert (client.share / "sub/moved/e/follows the fid").is_dir()
    fails(errno.ENOTEMPTY, client.call, "unlinkat", client.fid(b"sub"), b"moved", 0x200)
    client.call("rename", client.fid(b"file"), deep, b"f")
    client.call("remove", client.fid(b"sub", b"moved", b"e", b"f"))
    assert not (client.share / "sub/moved/e/f").exists()


def test_listings_can_be_read_in_parts(client: Client) -> None:
    for number in range(100):
        (client.share / "sub" / f"entry {number}").touch()
    fid = client.fid(b"sub")
    client.call("lopen", fid, os.O_RDONLY | os.O_DIRECTORY)
    names, offset = [], 0
    while len(reply := client.call("readdir", fid, offset, 300)) > 4:
        assert len(reply) <= 304
        at = 4
        while at < len(reply):
            _, _, _, offset, _, size = struct.unpack_from("<BIQQBH", reply, at)
            names.append(reply[at + 24 : at + 24 + size])
            at += 24 + size
    assert sorted(names) == sorted([b".", b"..", *(b"entry %d" % n for n in range(100))])


def test_walks_stop_where_there_is_nothing(client: Client) -> None:
    assert client.call("walk", ROOT, 50, [b"sub", b"none", b"x"])[:2] == b"\1\0"
    fails(errno.EBADF, client.call, "getattr", 50, 0)
    fails(errno.ENOENT, client.call, "walk", ROOT, 50, [b"none"])
    client.call("walk", ROOT, 50, [])
    fails(errno.EBADF, client.call, "walk", ROOT, 50, [])
    client.call("walk", 50, 50, [b"sub", b"..", b"file"])
    client.call("lopen", 50, 0)
    fails(errno.EBADF, client.call, "lopen", 50, 0)


def test_nothing_leads_out(client: Client) -> None:
    up = [b".."] * 5
    assert client.attributes(*up).st_ino == client.share.stat().st_ino
    fails(errno.ENOENT, client.fid, *up, b"outside")
    assert stat.S_ISLNK(client.attributes(b"link").st_mode)
    for link in (b"link", b"up"):
        with pytest.raises(OSError):
            client.read(link)
        with pytest.raises(OSError):
            client.fid(link, b"outside")
        with pytest.raises(OSError):
            client.call("setattr", client.fid(link), 8, 0, 0, 0, 0, 0, 0, 0, 0)
        with pytest.raises(OSError):
            client.call("lcreate", client.fid(link), b"made", 1, 0o600, os.getgid())
        with pytest.raises(OSError):
            client.call("mkdir", client.fid(link), b"made", 0o700, os.getgid())
    fails(errno.EEXIST, client.call, "lcreate", client.fid(), b"link", 1, 0o600, os.getgid())
    for name in (b"../outside", b"/etc/passwd", b"sub/../../outside", b"", b"a/b"):
        for call in (
            lambda name=name: client.fid(name),
            lambda name=name: client.call("lcreate", client.fid(), name, 1, 0o600, 0),
            lambda name=name: client.call("mkdir", ROOT, name, 0o700, 0),
            lambda name=name: client.call("symlink", ROOT, name, b"x", 0),
            lambda name=name: client.call("unlinkat", ROOT, name, 0),
            lambda name=name: client.call("renameat", ROOT, b"file", ROOT, name),
            lambda name=name: client.call("renameat", ROOT, name, ROOT, b"stolen"),
            lambda name=name: client.call("link", ROOT, client.fid(b"file"), name),
        ):
            with pytest.raises(OSError):
                call()
    for name in (b".", b".."):
        fails(errno.EEXIST, client.call, "mkdir", ROOT, name, 0o700, 0)
        fails(errno.ENOENT, client.call, "unlinkat", ROOT, name, 0x200)
        fails(errno.EEXIST, client.call, "renameat", ROOT, b"sub", ROOT, name)
    fails(errno.EINVAL, client.call, "walk", ROOT, 99, [b"fi\0le"])
    with pytest.raises(OSError):
        client.call("unlinkat", ROOT, b"", 0)
    fails(errno.EBUSY, client.call, "remove", client.fid())


def test_a_folder_that_becomes_a_link_is_not_followed(client: Client) -> None:
    """What a second party does between two messages."""
    fid = client.fid(b"sub")
    os.rmdir(client.share / "sub")
    (client.share / "sub").symlink_to("..")
    fails(errno.ENOTDIR, client.call, "walk", fid, 77, [b"outside"])
    with pytest.raises(OSError):
        client.call("mkdir", fid, b"made", 0o700, os.getgid())


def test_special_files_are_not_opened(client: Client) -> None:
    os.mkfifo(client.share / "pipe")
    fails(errno.EACCES, client.read, b"pipe")
    client.call("mknod", ROOT, b"made", stat.S_IFIFO | 0o600, 0, 0, os.getgid())
    assert stat.S_ISFIFO(client.attributes(b"made").st_mode)
    fails(errno.EACCES, client.read, b"made")


def test_nodes_of_devices(tmp_path: Path) -> None:
    plain = Client(tmp_path)
    fails(errno.EPERM, plain.call, "mknod", ROOT, b"sda", stat.S_IFBLK | 0o600, 8, 0, 0)
    (tmp_path / "m").mkdir()
    mapped = Client(tmp_path / "m", mapped=True)
    mapped.call("mknod", ROOT, b"sda", stat.S_IFBLK | 0o600, 8, 0, 0)
    assert stat.S_ISBLK(mapped.attributes(b"sda").st_mode)
    assert stat.S_ISREG((mapped.share / "sda").lstat().st_mode)


def test_mapped_attributes_are_qemus(tmp_path: Path) -> None:
    client = Client(tmp_path, mapped=True)
    client.call("lcreate", client.fid(), b"f", os.O_WRONLY, 0o4755, 77)
    client.call("setattr", client.fid(b"f"), 2, 0, 1234, 0, 0, 0, 0, 0, 0)
    status = client.attributes(b"f")
    assert (status.st_mode, status.st_uid, status.st_gid) == (stat.S_IFREG | 0o4755, 1234, 77)
    path = client.share / "f"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.getxattr(path, "user.virtfs.uid") == struct.pack("<I", 1234)
    assert os.getxattr(path, "user.virtfs.mode") == struct.pack("<I", stat.S_IFREG | 0o4755)
    assert client.call("xattrwalk", client.fid(b"f"), 90, b"") == bytes(8), "they are hidden"
    fails(errno.ENODATA, client.call, "xattrwalk", client.fid(b"f"), 91, b"user.virtfs.uid")


def test_extended_attributes(client: Client) -> None:
    writer = client.fid(b"file")
    client.call("xattrcreate", writer, b"user.colour", 4, 0)
    assert client.write(writer, b"bl") + client.write(writer, b"ue", 2) == 4
    fails(errno.ENOSPC, client.write, writer, b"x", 4)
    client.call("clunk", writer)
    assert os.getxattr(client.share / "file", "user.colour") == b"blue"
    size = client.call("xattrwalk", client.fid(b"file"), 80, b"user.colour")
    assert size == struct.pack("<Q", 4)
    buffer = bytearray(10)
    assert client.server.read_into(80, 1, [memoryview(buffer)]) == 3
    assert buffer[:3] == b"lue"
    writer = client.fid(b"file")
    client.call("xattrcreate", writer, b"security.capability", 1, 0)
    client.write(writer, b"x")
    fails(errno.EOPNOTSUPP, client.call, "clunk", writer)
    fails(errno.E2BIG, client.call, "xattrcreate", client.fid(b"file"), b"user.x", 1 << 40, 0)


def test_read_only(tmp_path: Path) -> None:
    client = Client(tmp_path, read_only=True)
    assert client.read(b"file") == b"content"
    fails(errno.EROFS, client.call, "lopen", client.fid(b"file"), os.O_RDWR)
    fails(errno.EROFS, client.call, "lopen", client.fid(b"file"), os.O_TRUNC)
    fails(errno.EROFS, client.call, "mkdir", ROOT, b"d", 0o700, 0)
    fails(errno.EROFS, client.call, "unlinkat", ROOT, b"file", 0)
    fails(errno.EROFS, client.call, "xattrcreate", ROOT, b"user.x", 1, 0)


def test_a_guest_holds_only_so_many_files(client: Client) -> None:
    for _ in range(MAX_OPEN):
        client.call("lopen", client.fid(b"file"), 0)
    before = len(os.listdir("/proc/self/fd"))
    fails(errno.ENFILE, client.call, "lopen", client.fid(b"file"), 0)
    assert len(os.listdir("/proc/self/fd")) == before
    client.server.reset()
    assert len(os.listdir("/proc/self/fd")) == before - MAX_OPEN


def test_random_messages_never_lead_out(client: Client) -> None:
    source = random.Random(3)
    names = [b"..", b"link", b"up", b"sub", b"file", b"outside", b".", b"", b"a/b", b"n", b"\xff"]

    def value(letter: str) -> Any:
        if letter == "s":
            return source.choice(names)
        if letter == "N":
            return [source.choice(names) for _ in range(source.randrange(5))]
        bits = {"b": 8, "w": 16, "d": 32, "q": 64}[letter]
        return source.choice([0, 1, 2, 3, 8, 0o100644, source.getrandbits(bits)]) & (1 << bits) - 1

    rows = [row for row in messages.MESSAGES.values() if row.method != "version"]
    for _ in range(4000):
        row = source.choice(rows)
        body = _body(row.request, tuple(value(letter) for letter in row.request))
        body = body[: source.randrange(len(body) + 1)] if source.random() < 0.1 else body
        try:
            reply = client.server.call(row.number, body)
            assert OUTSIDE not in reply
        except OSError as error:
            assert error.errno
        if source.random() < 0.01:
            client.server.reset()
            client.call("attach", ROOT, 0, b"", b"", os.getuid())


def test_over_virtio(tmp_path: Path) -> None:
    client = Client(tmp_path)
    host = MockHost(f=client.server)
    driver = MockDriver(Virtio9p(host, {"fsdev": "f", "mount_tag": "tag"}), host)
    assert [driver.get(0x100 + i, 1) for i in range(5)] == [3, 0, *b"tag"]
    driver.start()

    def message(kind: int, body: bytes, room: int, size: int = 0) -> tuple[int, int, bytes]:
        header = struct.pack("<IBH", size or 7 + len(body), kind, 9)
        reply = driver.request(header + body, room, pieces=13)
        assert len(reply) == int.from_bytes(reply[:4], "little")
        return reply[4], int.from_bytes(reply[5:7], "little"), reply[7:]

    assert message(100, struct.pack("<IH", 8192, 8) + b"9P2000.L", 100)[:2] == (101, 9)
    attach = _body("ddssd", (0, 0, b"", b"", os.getuid()))
    assert message(104, attach, 100)[0] == 105
    assert message(110, _body("ddN", (0, 1, [b"file"])), 100)[0] == 111
    assert message(12, struct.pack("<II", 1, os.O_RDWR), 100)[0] == 13
    assert message(116, struct.pack("<IQI", 1, 0, 5), 100) == (117, 9, b"\5\0\0\0conte")
    data = bytes(range(256))
    write = struct.pack("<IQI", 1, 3, len(data)) + data
    assert message(118, write, 11) == (119, 9, struct.pack("<I", 256))
    assert (client.share / "file").read_bytes() == b"con" + data
    assert message(116, struct.pack("<IQI", 1, 1, 90), 101)[2][4:] == b"on" + data[:88]
    assert message(118, struct.pack("<IQI", 1, 3, 5), 20)[0] == 7
    assert message(110, b"", 20) == (7, 9, struct.pack("<I", errno.EINVAL))
    assert message(77, b"", 20) == (7, 9, struct.pack("<I", errno.EOPNOTSUPP))
    for kind, body, room, size in ((120, b"\1\0\0\0", 3, 0), (120, b"", 20, 8), (120, b"", 20, 6)):
        driver.start()
        header = struct.pack("<IBH", size or 7 + len(body), kind, 9)
        with pytest.raises(AssertionError):
            driver.request(header + body, room)
        assert driver.status & NEEDS_RESET
