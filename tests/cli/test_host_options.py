"""-netdev, -nic, -net, -chardev, -mon and -object: what they become, help, and errors."""

from __future__ import annotations

import pytest

from jitemu.cli import system_options
from jitemu.cli.device_options import DEVICE
from jitemu.cli.host_options import CHARDEV, MONITOR, OBJECT
from jitemu.cli.options import Parsed, Shown, parse
from jitemu.messages import UserError
from jitemu.system.plugged import BackendSpec, CaptureSpec


def parsed(words: str) -> Parsed:
    return parse(system_options.OPTIONS, words.split(), {})


def plugged(words: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for spec in parsed(words)[DEVICE]:
        if isinstance(spec, BackendSpec):
            found.append((spec.kind, spec.id))
        else:
            found.append((spec.model.model, *map("=".join, spec.texts.items())))
    return found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("-netdev user,id=n0,hostfwd=tcp::1-:2,hostfwd=tcp::3-:4", [("netdev", "n0")]),
        ("-nic none", []),
        ("-net none", []),
        ("-nic user", [("netdev", "nic0"), ("virtio-net-device", "netdev=nic0")]),
        (
            "-nic user,id=a,mac=52:54:00:00:00:01,model=virtio-net-device -net tap,ifname=t0",
            [
                ("netdev", "a"),
                ("virtio-net-device", "netdev=a", "mac=52:54:00:00:00:01"),
                ("netdev", "nic1"),
                ("virtio-net-device", "netdev=nic1"),
            ],
        ),
    ],
)
def test_networks(words: str, found: list[tuple[str, ...]]) -> None:
    assert plugged(words) == found


def test_texts_are_kept_in_order() -> None:
    both = parsed("-monitor none -chardev null,id=a -mon a -chardev null,id=b -mon chardev=b")
    assert both[MONITOR] == ("none", "chardev:a", "chardev:b")
    assert both[CHARDEV] == ("null,id=a", "null,id=b")
    capture = parsed("-object filter-dump,id=f,netdev=n,file=x.pcap,maxlen=96")[OBJECT][0]
    assert isinstance(capture, CaptureSpec)
    assert (capture.name, capture.netdev, capture.path, capture.length) == ("f", "n", "x.pcap", 96)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("-netdev help", "Available netdev backend types:\nuser\ntap\nsocket"),
        ("-netdev user,help", "  hostfwd=<str>          - [tcp|udp]:"),
        ("-netdev tap,help", "  ifname="),
        ("-nic help", "Available NIC models:\nvirtio-net-device"),
        ("-nic user,model=help", "Available NIC models:"),
        ("-chardev help", "Available chardev backend types:\n  null\n  stdio"),
        ("-chardev socket,help", "  reconnect="),
        ("-object help", "filter-dump"),
        ("-device virtio-net-device,help", "host_mtu=<uint16>"),
    ],
)
def test_help_is_made_of_the_declarations(words: str, text: str) -> None:
    with pytest.raises(Shown) as shown:
        parsed(words)
    assert text in str(shown.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-netdev user", "-netdev user: Parameter 'id' is missing"),
        ("-netdev user,id=a -netdev user,id=a", "Duplicate ID 'a' for netdev"),
        ("-nic user,id=a -nic user,id=a", "Duplicate ID 'a' for netdev"),
        ("-nic user,model=e1000", "'e1000' is not a valid device model name"),
        ("-net nic", "use -nic"),
        ("-mon c,mode=control", "there is no mode 'control'"),
        ("-mon c,pretty=on", "Invalid parameter 'pretty'"),
        ("-object rng-random,id=r", "invalid object type"),
        ("-object filter-dump,id=f", "needs netdev= and file="),
        ("-object filter-dump,netdev=n,file=f", "Parameter 'id' is missing"),
        ("-object filter-dump,id=f,netdev=n,file=f,maxlen=-1", "expected a number from 1"),
        ("-object filter-dump,id=f,netdev=n,file=f,status=on", "filter-dump.status' not found"),
    ],
)
def test_errors_are_one_line(words: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parsed(words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
