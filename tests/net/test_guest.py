"""Debian's kernel on the network: DHCP, files both ways, captures, and QEMU beside it."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.transfer import Guest, content
from tests.monitor.talk import Talk
from tests.net import ethernet as eth
from tests.net.pcap import read_pcap

JITEMU = [sys.executable, "-m", "jitemu", "system-riscv64"]
QEMU = ["qemu-system-riscv64", "-M", "virt"]
LEASE = "/bin/busybox udhcpc -i eth0 -n -q -f -s /lease"
SIZE = 16
BOOT_LIMIT_S = 240


def machine(guest: Path, memory: str = "256M") -> list[str]:
    image, initramfs = str(guest / "Image"), str(guest / "initramfs.cpio.gz")
    return ["-m", memory, "-nographic", "-kernel", image, "-initrd", initramfs]


def run(emulator: list[str], guest: Path, script: str, *options: str) -> str:
    """What a script prints in a guest without an address of its own."""
    append = f'console=ttyS0 quiet guest.run="{script}"'
    done = subprocess.run(
        [*emulator, *machine(guest), "-append", append, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOOT_LIMIT_S,
        check=False,
    )
    _, _, output = done.stdout.replace("\r", "").partition("GUEST-READY")
    assert "GUEST-EXIT 0" in output, done.stdout[-2000:] + done.stderr
    return output.partition("\n")[2].partition("GUEST-EXIT")[0]


DHCP = (
    "ip link set eth0 up; printf '#!/bin/sh\\nenv\\n' > /lease; chmod +x /lease; "
    f"{LEASE} 2>/dev/null | grep -E '^(ip|subnet|router|dns|hostname|domain|serverid)=' | sort -u"
)


def test_dhcp_and_a_capture_of_it(riscv64_linux: Path, tmp_path: Path) -> None:
    options = ["net=10.7.0.0/24", "dhcpstart=10.7.0.40", "hostname=box", "domainname=lab"]
    words = ["-netdev", ",".join(["user", "id=n0", *options])]
    words += ["-device", "virtio-net-device,netdev=n0,mac=52:54:00:00:00:99"]
    words += ["-object", f"filter-dump,id=f0,netdev=n0,file={tmp_path}/net.pcap"]
    output = run(JITEMU, riscv64_linux, DHCP, *words)
    assert output.splitlines() == [
        "dns=10.7.0.3",
        "domain=lab",
        "hostname=box",
        "ip=10.7.0.40",
        "router=10.7.0.2",
        "serverid=10.7.0.2",
        "subnet=255.255.255.0",
    ]
    if shutil.which("qemu-system-riscv64"):
        assert run(QEMU, riscv64_linux, DHCP, *words[:4]) == output
    frames = [frame for _, _, frame in read_pcap(tmp_path / "net.pcap")]
    mac = bytes.fromhex("525400000099")
    asked = [f for f in frames if f[6:12] == mac and f[12:14] == b"\x08\x00" and f[36:38] == b"\0C"]
    given = [f for f in frames if f[12:14] == b"\x08\x00" and f[34:36] == b"\0C"]
    kinds = [eth.dhcp_reply(f)[1][53][0] for f in (*asked[:2], *given[:2])]
    assert kinds == [1, 3, 2, 5]
    assert eth.dhcp_reply(given[-1])[0] == "10.7.0.40"


def test_a_file_both_ways(riscv64_linux: Path, tmp_path: Path) -> None:
    """To the guest by TCP and back by HTTP, both through forwarded ports; then what the
    monitor says of it, a forward that it makes, and the machine stopped for a while."""
    data = content(SIZE)
    monitor = ["-monitor", f"unix:{tmp_path}/mon,server=on,wait=off", "-serial", "stdio"]
    guest = Guest([*JITEMU, *machine(riscv64_linux), *monitor], network="user,restrict=on")
    try:
        guest.send(data)
        assert guest.fetch()[0] == data
        talk = Talk(tmp_path / "mon")
        assert talk.ask("info network") == (
            "virtio-net-device.0: index=0,type=nic,model=virtio-net-device,"
            "macaddr=52:54:00:12:34:56\n \\ n0: index=0,type=user,net=10.0.2.0,restrict=on\n"
        )
        assert f"127.0.0.1 {guest.http:5}" in talk.ask("info usernet")
        talk.ask(f"hostfwd_remove tcp:127.0.0.1:{guest.http}")
        with pytest.raises(OSError):
            guest.fetch()
        talk.ask(f"hostfwd_add tcp:127.0.0.1:{guest.http}-:80")
        assert guest.fetch()[0] == data
        talk.ask("stop")
        fetched: list[bytes] = []
        thread = threading.Thread(target=lambda: fetched.append(guest.fetch()[0]))
        thread.start()
        thread.join(0.5)
        assert not fetched
        talk.ask("cont")
        thread.join(60)
        assert fetched == [data]
        talk.close()
    finally:
        guest.close()


def test_two_machines_on_one_wire(riscv64_linux: Path) -> None:
    """-netdev socket: QEMU's or another jitemu's guest talks to one of ours."""
    other = QEMU if shutil.which("qemu-system-riscv64") else JITEMU
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def script(ours: int, then: str) -> str:
        return f"ip addr add 10.9.0.{ours}/24 dev eth0; ip link set eth0 up; {then}"

    serve = script(1, "nc -l -p 7 -e /bin/cat")
    words = ["-nic", f"socket,listen=127.0.0.1:{port},mac=52:54:00:00:00:01"]
    append = f'console=ttyS0 quiet guest.run="{serve}"'
    command = [*JITEMU, *machine(riscv64_linux), "-append", append, *words]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while f":{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.1)
        ask = (
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do "
            "ping -c 1 -W 1 10.9.0.1 >/dev/null && break; done; "
            "(seq 20000; sleep 2) | nc 10.9.0.1 7 | md5sum"
        )
        words = ["-netdev", f"socket,id=n0,connect=127.0.0.1:{port}"]
        words += ["-device", "virtio-net-device,netdev=n0,mac=52:54:00:00:00:02"]
        output = run(other, riscv64_linux, script(2, ask), *words)
    finally:
        server.terminate()
        server.wait()

    sent = "".join(f"{n}\n" for n in range(1, 20001)).encode()
    assert output.split()[0] == hashlib.md5(sent).hexdigest()
