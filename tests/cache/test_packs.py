"""Packs: round trip, damage of all kinds, merging, the limit, and who may write the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jitemu import cachedir
from jitemu.backend_llvm import cache, packs, upkeep
from jitemu.backend_llvm.objects import Blob, Region
from jitemu.backend_llvm.packs import Kept, key_of
from jitemu.cli.main import main

NAME = "guest-of-tests"
KEY = key_of(NAME)
CONTEXT = packs.context_of({"tlb": 8, "mode": 1}, 300, ["d", "f"])


def made(head: int, code: bytes = b"\x90" * 50, used: int = 0) -> Kept:
    """A region at a head, of guest code that depends on it."""
    relocations = [(3, "r", "exit.0", -4)]
    blob = Blob(code, {"entry.0": 0, "entry.1": 16}, relocations)
    region = Region(head, blob, [head + 64], [head, head + 8], [(head, 12), (head + 40, 4)], 5, [])
    guest = head.to_bytes(8, "little") * 8
    kept = packs.keep_region(KEY, CONTEXT, region, [(head, guest)])
    if used:
        kept[0].used = used
    return kept


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the packs of NAME go, in a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "jitemu" / cachedir.REGIONS / NAME
    assert cachedir.make_private(str(path))
    return path


def write(folder: Path, kept: list[Kept], name: str = "a") -> Path:
    path = folder / (name + packs.ENDING)
    assert packs.write_pack(str(path), KEY, kept)
    return path


def contents(folder: Path, key: bytes = KEY) -> dict[int, bytes]:
    """Head and marshalled region of all that is whole."""
    names = packs.pack_names(str(folder))
    kept = [item for name in names for item in upkeep.read_pack(str(folder / name), key)]
    return {entry.head: content for entry, content in kept}


def test_round_trip(folder: Path) -> None:
    heads = [0x1000 * n + 8 * n for n in range(1, 200)]
    kept = [made(head, bytes([head & 255]) * 40) for head in heads]
    path = write(folder, kept)
    pack = packs.open_pack(str(path), KEY)
    assert pack is not None
    for head, (_, content) in zip(heads, kept, strict=True):
        (entry,) = pack.find(head >> 12)
        assert (entry.head, entry.context, pack.content(entry)) == (head, CONTEXT, content)
        region, sources = packs.read_region(content)
        assert region.head == head
        assert region.covered == [(head, 12), (head + 40, 4)]
        assert region.blob.code == bytes([head & 255]) * 40
        assert region.blob.symbols == {"entry.0": 0, "entry.1": 16}
        guest = head.to_bytes(8, "little") * 8
        assert sources == [(head, guest[:12]), (head + 40, guest[40:44])]
        assert entry.start == guest[:8]
    assert pack.find(0x5000) == []
    os.close(pack.fd)


def test_every_damaged_byte(folder: Path) -> None:
    """Whatever byte is wrong: an entry is whole or it is not there."""
    kept = [made(0x10000), made(0x20008, b"\xcc" * 30)]
    path = write(folder, kept)
    whole = contents(folder)
    data = path.read_bytes()
    lost = 0
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :])
        found = contents(folder)
        assert found.items() <= whole.items(), f"byte {at}"
        lost += found != whole
    assert lost > sum(len(content) for _, content in kept)


def test_every_length(folder: Path) -> None:
    """A pack that is cut off anywhere gives what is whole in it."""
    path = write(folder, [made(0x10000), made(0x20008)])
    whole = contents(folder)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        assert contents(folder).items() < whole.items(), f"{length} bytes"


def test_foreign_key(folder: Path) -> None:
    path = write(folder, [made(0x10000)])
    other = key_of("another version")
    assert contents(folder, other) == {}
    data = path.read_bytes()
    path.write_bytes(data.replace(KEY, other))  # the entry's checksum is keyed too
    assert contents(folder, other) == {}


def test_merging_keeps_each_once(folder: Path) -> None:
    for number in range(5):
        write(folder, [made(0x10000 + 0x1000 * n) for n in range(number + 1)], f"p{number}")
    before = contents(folder)
    upkeep.merge(str(folder), KEY)
    (name,) = packs.pack_names(str(folder))
    assert packs.count_entries(str(folder)) == 5
    assert contents(folder) == before
    assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_what_was_used_last_stays(folder: Path) -> None:
    kept = [made(0x1000 * n, os.urandom(5000), used=1000 + n) for n in range(1, 41)]
    write(folder, kept[:20], "a")
    write(folder, kept[20:], "b")
    upkeep.trim(100_000, NAME)
    heads = sorted(contents(folder))
    assert heads == [0x1000 * n for n in range(41 - len(heads), 41)]
    assert 10 < len(heads) < 20
    assert sum(unit.bytes for unit in upkeep.units()) < 100_000


def test_other_versions_go_first(folder: Path) -> None:
    write(folder, [made(0x1000)])
    old = folder.with_name("an older version")
    assert packs.write_pack(str(old / "x.pack"), key_of(old.name), [made(0x1000, bytes(9000))])
    for path in (old, old / "x.pack"):
        os.utime(path, (1, 1))
    upkeep.trim(5000, NAME)
    assert not old.exists()
    assert list(contents(folder)) == [0x1000]


def test_stamps(folder: Path) -> None:
    path = write(folder, [made(0x1000, used=1000), made(0x2000, used=1000)])
    pack = packs.open_pack(str(path), KEY)
    assert pack is not None
    (entry,) = pack.find(2)
    pack.mark_used(entry, 50_000.5)
    assert {e.head: e.used for e in pack.entries()} == {0x1000: 1000, 0x2000: 50_000}
    os.close(pack.fd)


def test_half_written_files(folder: Path) -> None:
    write(folder, [made(0x1000)])
    abandoned, recent = folder / "x.pack.123.new", folder / "y.pack.124.new"
    for path in (abandoned, recent):
        path.write_bytes(b"half")
    os.utime(abandoned, (1, 1))
    upkeep.Store(str(folder), NAME).tidy()
    assert not abandoned.exists() and recent.exists()
    assert list(contents(folder)) == [0x1000]


def test_one_process_tidies(folder: Path) -> None:
    for number in range(3):
        write(folder, [made(0x1000 * (number + 1))], str(number))
    with upkeep.alone(str(folder)) as allowed:
        assert allowed
        upkeep.Store(str(folder), NAME).tidy()
    assert len(packs.pack_names(str(folder))) == 3
    upkeep.Store(str(folder), NAME).tidy()
    assert len(packs.pack_names(str(folder))) == 1


def test_folder_of_others(folder: Path) -> None:
    top = Path(cachedir.folder())
    for path in (top, folder):
        assert path.stat().st_mode & 0o777 == 0o700
        path.chmod(0o770)
        assert not packs.write_pack(str(folder / "b.pack"), KEY, [made(0x1000)])
        assert cache.load(str(folder / "anything")) is None
        path.chmod(0o700)
    write(folder, [made(0x1000)])


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, [made(0x1000 * n) for n in range(1, 8)])
    assert main(["cache"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["folder", cachedir.folder()]
    size = sum(unit.bytes for unit in upkeep.units())
    assert rows[3][:2] == ["regions", "7"] and size > 1024
    assert rows[-2][-1] == "1G"
    assert main(["cache", "limit", "1.5M"]) == 0
    assert main(["cache", "limit"]) == 0
    assert capsys.readouterr().out == "1.5M\n"
    assert main(["cache", "limit", "1000"]) == 0
    assert sum(unit.bytes for unit in upkeep.units()) <= 1000
    assert main(["cache", "clear"]) == 0
    assert upkeep.units() == []
    for words in (["grow"], ["limit", "x"], ["limit", "1", "2"]):
        assert main(["cache", *words]) == 1
        assert capsys.readouterr().err.startswith("jitemu: ")
