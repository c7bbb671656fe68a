"""Character devices by -chardev's and -serial's texts, without a machine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jitemu.messages import UserError
from jitemu.system import chardevs as module
from jitemu.system.chardev import NullChardev
from jitemu.system.chardevs import Chardevs
from jitemu.system.eventloop import EventLoop
from jitemu.system.terminal import SignalGuard

TIMEOUT_S = 10.0
MS = 1_000_000


class Rig:
    def __init__(self) -> None:
        self.loop = EventLoop()
        self.left: list[bool] = []
        guard = SignalGuard(lambda number: None, self.loop.wakeup_fd)
        self.chardevs = Chardevs(self.loop, guard, lambda: self.left.append(True))

    def until(self, met: Callable[[], object]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not met():
            assert time.monotonic() < deadline, "nothing more happened"
            self.loop.call_at(time.monotonic_ns() + 10 * MS, lambda: None)
            self.loop.turn()

    def open(self, spec: str, label: str = "c0") -> End:
        return End(self, self.chardevs.open(spec, label, f"-serial {spec}"))

    def add(self, text: str) -> End:
        return self.open(f"chardev:{self.chardevs.add(text)}")


class End:
    """A user's end, which keeps what comes."""

    def __init__(self, rig: Rig, chardev: NullChardev) -> None:
        self.rig, self.chardev = rig, chardev
        self.got = bytearray()
        self.writable = 0
        chardev.on_input = self._input
        chardev.on_writable = self._writable

    def _input(self) -> None:
        self.got += self.chardev.read(1 << 20)

    def _writable(self) -> None:
        self.writable += 1

    def write(self, data: bytes) -> None:
        self.chardev.write(data)

    def expect(self, data: bytes) -> None:
        self.rig.until(lambda: len(self.got) >= len(data))
        assert bytes(self.got) == data
        self.got.clear()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.chardevs.close()
    rig.loop.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("spec", ["null", "none"])
def test_null(rig: Rig, spec: str) -> None:
    end = rig.open(spec)
    assert end.chardev.put(65)
    end.write(b"gone")
    assert end.chardev.read(10) == b""


def test_file(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"before ")
    (tmp_path / "in").write_bytes(b"input")
    for text, name in (("", "out"), (",append=on", "kept")):
        end = rig.add(f"file,id={name},path={tmp_path}/{name}{text}")
        for byte in b"one ":
            assert end.chardev.put(byte)
        end.write(b"two")
    end = rig.add(f"file,id=both,path={tmp_path}/x,input-path={tmp_path}/in")
    end.expect(b"input")
    rig.chardevs.close()
    assert (tmp_path / "out").read_bytes() == b"one two"
    assert (tmp_path / "kept").read_bytes() == b"before one two"


def test_pipes(rig: Rig, tmp_path: Path) -> None:
    for name in ("two.in", "two.out", "one"):
        os.mkfifo(tmp_path / name)
    end = rig.open(f"pipe:{tmp_path}/two")
    source = os.open(tmp_path / "two.in", os.O_WRONLY | os.O_NONBLOCK)
    sink = os.open(tmp_path / "two.out", os.O_RDONLY | os.O_NONBLOCK)
    os.write(source, b"to the guest")
    end.expect(b"to the guest")
    end.write(b"from the guest")
    rig.until(lambda: not vars(end.chardev)["_output"])
    assert os.read(sink, 100) == b"from the guest"
    both = rig.open(f"pipe:{tmp_path}/one", "c1")
    source = os.open(tmp_path / "one", os.O_WRONLY | os.O_NONBLOCK)
    os.write(source, b"x")
    both.expect(b"x")


def test_pty(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    end = rig.add("pty,id=p")
    path = end.chardev.filename.removeprefix("pty:")
    assert capsys.readouterr().out == f"char device redirected to {path} (label p)\n"
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.write(fd, b"typed")
    end.expect(b"typed")
    end.write(b"shown")
    rig.until(lambda: not vars(end.chardev)["_output"])
    assert os.read(fd, 100) == b"shown"
    os.close(fd)


def converse(rig: Rig, end: End, peer: socket.socket) -> None:
    peer.setblocking(False)
    peer.sendall(b"to the guest")
    end.expect(b"to the guest")
    data = os.urandom(300_000)
    end.write(data)
    got = bytearray()

    def arrived() -> bool:
        try:
            got.extend(peer.recv(1 << 16))
        except BlockingIOError:
            return False
        return len(got) >= len(data)

    rig.until(arrived)
    assert bytes(got) == data
    assert end.writable


def test_unix_server_takes_one_after_another(rig: Rig, tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    end = rig.open(f"unix:{path},server=on,wait=off")
    assert rig.chardevs.describe() == [f"c0: filename=disconnected:unix:{path},server=on"]
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(path)
            converse(rig, end, peer)
            assert rig.chardevs.describe() == [f"c0: filename=unix:{path},server=on"]
        rig.until(lambda: not end.chardev.present)
    end.write(b"nobody there")
    rig.chardevs.close()
    assert not Path(path).exists()


def test_tcp_server(rig: Rig) -> None:
    port = free_port()
    end = rig.add(f"socket,id=t,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on")
    with socket.create_connection(("127.0.0.1", port)) as peer:
        converse(rig, end, peer)


def test_tcp_client(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = rig.open(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        converse(rig, end, server.accept()[0])


def test_a_client_tries_again(rig: Rig, tmp_path: Path) -> None:
    path = f"{tmp_path}/late"
    end = rig.add(f"socket,id=r,path={path},reconnect=1")
    assert not end.chardev.present
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            server.setblocking(False)
            rig.until(lambda: end.chardev.present)
            with server.accept()[0] as peer:
                peer.sendall(b"hello")
                end.expect(b"hello")
        os.unlink(path)
        rig.until(lambda: not end.chardev.present)


def test_a_reader_that_is_behind_is_waited_for(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = rig.open(f"tcp:127.0.0.1:{server.getsockname()[1]}")
        peer = server.accept()[0]
    while room := end.chardev.room():
        end.write(bytes(room))
        end.chardev.flush()
    before = end.writable
    rig.until(lambda: end.writable > before or not peer.recv(1 << 20))
    assert end.chardev.room() > 0
    peer.close()


def test_shared_by_several(rig: Rig, tmp_path: Path) -> None:
    path = f"{tmp_path}/m"
    first = rig.add(f"socket,id=m,path={path},server=on,wait=off,mux=on")
    second = rig.open("chardev:m")
    assert rig.chardevs.describe() == [
        "m: filename=mux",
        f"m-base: filename=disconnected:unix:{path},server=on",
    ]
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.sendall(b"one\x01ctwo\x01\x01\x01b\x01cthree\x01x")
        rig.until(lambda: rig.left)
    assert bytes(first.got) == b"onethree"
    assert bytes(second.got) == b"two\x01"
    assert second.chardev.take_break()
    assert not first.chardev.take_break()


def test_logs(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"before ")
    for kind in ("null", f"file,path={tmp_path}/f"):
        end = rig.add(f"{kind},id={kind[:4]},logfile={tmp_path}/{kind[:4]}.log")
        end.chardev.put(ord("a"))
        end.write(b"bc")
    rig.add(f"null,id=k,logfile={tmp_path}/kept,logappend=on").write(b"after")
    rig.chardevs.close()
    assert (tmp_path / "null.log").read_bytes() == (tmp_path / "file.log").read_bytes() == b"abc"
    assert (tmp_path / "kept").read_bytes() == b"before after"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "no id specified"),
        ("file,id=a", "no path given"),
        ("file,id=a,path=/nowhere/x", "cannot open /nowhere/x: No such file"),
        ("pipe,id=a,path=/nowhere/x", "cannot open /nowhere/x"),
        ("modem,id=a", "'modem' is not a valid char driver; there are null, stdio"),
        ("null,id=a,speed=5", "Invalid parameter 'speed'"),
        ("socket,id=a,host=127.0.0.1,port=http", "not a number from 0 to 65535"),
        ("socket,id=a,host=127.0.0.1,port=1", "cannot connect: Connection refused"),
        ("socket,id=a,path=/nowhere/x,server=on", "cannot listen"),
        ("socket,id=a,path=x,server=perhaps", "expects 'on' or 'off'"),
        ("socket,id=a,path=x,reconnect=soon", "a number of seconds"),
        ("null,id=a,logfile=/nowhere/x", "cannot open /nowhere/x"),
    ],
)
def test_what_cannot_be_is_said(rig: Rig, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        rig.add(text)
    assert "\n" not in str(caught.value)


def test_who_may_use_what(rig: Rig) -> None:
    rig.add("null,id=a")
    with pytest.raises(UserError, match="Device 'a' is in use"):
        rig.open("chardev:a")
    with pytest.raises(UserError, match="Chardev 'b' not found"):
        rig.open("chardev:b")
    with pytest.raises(UserError, match="Duplicate ID 'a'"):
        rig.chardevs.add("null,id=a")
    rig.chardevs.add("stdio,id=s")
    with pytest.raises(UserError, match="cannot use stdio by multiple"):
        rig.open("stdio")


def test_help_comes_from_the_table() -> None:
    assert module.listing().splitlines()[1:] == [f"  {kind}" for kind in module.KINDS]
    assert "  reconnect=<seconds>" in module.listing_of("socket")
    with pytest.raises(UserError):
        module.listing_of("modem")
