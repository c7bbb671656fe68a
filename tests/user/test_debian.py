"""Debian's own riscv64 programs: what they print and how they end.

QEMU is the oracle; where a program starts others, which QEMU leaves to the host, the host's
own programs are.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.user.conftest import ENGINE

QEMU = "qemu-riscv64"
PYTHON = """
import asyncio, bz2, collections, concurrent.futures, ctypes, decimal, fractions, hashlib, io
import itertools, json, lzma, math, os, random, re, sqlite3, ssl, struct, subprocess, sys
import tempfile, threading, unittest, zlib
random.seed(5)
data = bytes(random.randrange(256) for _ in range(20000)) * 3
for module in (zlib, bz2, lzma):
    assert module.decompress(module.compress(data)) == data
print(hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest(), zlib.crc32(data))
decimal.getcontext().prec = 60
print(decimal.Decimal(2).sqrt(), fractions.Fraction(22, 7) ** 5, math.gamma(7.3), 2**0.5)
print(json.dumps(json.loads('{"a": [1, 2.5, null, "x"]}'), sort_keys=True))
print(re.sub(r"(\\w+)@(\\w+)", r"\\2 at \\1", "me@here you@there"))
database = sqlite3.connect(":memory:")
database.execute("create table t (a, b)")
database.executemany("insert into t values (?, ?)", ((i, i * i % 97) for i in range(2000)))
print(database.execute("select b, count(*), sum(a) from t group by b order by b").fetchall()[:9])
print(ctypes.CDLL(None).strlen(b"hello"), struct.pack("<dI", 1.5, 7).hex())
with concurrent.futures.ThreadPoolExecutor(3) as pool:
    print(list(pool.map(lambda n: sum(range(n)), range(0, 5000, 500))))
async def work(n):
    await asyncio.sleep(0.01 * n)
    return n * n
async def all_work():
    return await asyncio.gather(*(work(n) for n in range(4)))
print(asyncio.run(all_work()))
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "file")
    open(path, "w").write("text")
    print(os.stat(path).st_size, os.listdir(folder))
print(ssl.OPENSSL_VERSION.split()[0], sorted(collections.Counter("mississippi").items()))
sys.exit(3)
"""
MULTIPROCESSING = """
import multiprocessing as m
def square(n):
    return n * n
if __name__ == "__main__":
    with m.get_context("fork").Pool(2) as pool:
        print(pool.map(square, range(20)))
"""
BASH = r"""
fib() {
    local n=$1
    if ((n < 2)); then echo $n; else echo $(($(fib $((n-1))) + $(fib $((n-2))))); fi
}
declare -A map=([x]=1 [y]=2); list=(a b "c d")
echo "$(fib 7)" "${map[y]}" "${#list[@]}" "${list[2]}"
trap 'echo usr1' USR1; kill -USR1 $$
trap 'echo leaving $?' EXIT
cat <<END | tr a-z A-Z
here ${list[0]}
END
diff <(printf '1\n2\n') <(printf '1\n3\n'); echo status $?
coproc { read -r line; echo "got $line"; }
echo word >&"${COPROC[1]}"; read -r answer <&"${COPROC[0]}"; echo "$answer"
wait
(sleep 0.05; echo later) & wait $!; echo job $?
for ((i = 0, sum = 0; i < 3000; i++)); do ((sum += i * i)); done; echo $sum
printf '%s\n' delta alpha charlie | sort | sed 's/a/_/g' | paste -sd, -
[[ "abc123" =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}"
false | true; echo "${PIPESTATUS[@]}"
exit 5
"""
MAKE = "awk 'BEGIN { for (i = 0; i < 60000; i++) print i * 7919 % 65521, \"line\" }'"
TOOLS = f"""
{MAKE} > data
for tool in gzip xz bzip2 zstd; do $tool -c -3 data | $tool -dc | sha256sum; done
sha256sum data; md5sum data; sort -n data | tail -n 3; sort -u data | wc
cut -c1-2 data | uniq -c | head -5
awk '{{ s += $1 }} END {{ printf "%.3f\\n", s / NR }}' data
mkdir -p tree/a/b; cp data tree/a/b; ln -s a tree/l; tar -cf - tree | tar -tf -
find tree -name 'd*' -o -type l | sort; grep -c 77 data; sed -n '5p;$p' data
od -An -tx1 data | head -2
openssl dgst -sha512 data | sed 's/.*= //'
openssl enc -aes-256-cbc -K 00 -iv 00 -in data | md5sum
openssl genrsa 512 2>/dev/null | openssl rsa -check -noout; echo $?
perl -e 'my %h; $h{{$_ % 7}} += $_ for 1..20000;
print join(",", map {{"$_=$h{{$_}}"}} sort keys %h), "\\n"'
ls /nonexistent; echo $?
"""
APPLETS = (
    """
cat data|tac data|rev data|head -n 3 data|tail -n 2 data|wc data|nl data|sort -rn data
cut -c1 data|uniq -c data|fold -w 7 data|od -c data|hexdump -C data|xxd data|base64 data
md5sum data|sha1sum data|sha256sum data|sha512sum data|sha3sum data|cksum data|sum data
gzip -c data|bzip2 -c data|expr 6 * 7|factor 123456789|seq 5|printf %05d 42|basename /a/b.c .c
dirname /a/b|test -f data|false|true|env -i A=1|cat nothing|grep -c 7 data|sed -n 2p data
awk {s+=$1}END{print(s)} data|diff data /dev/null|cmp data /dev/zero|strings data|find .
ls -1 .|stat -c %s data|expand data|paste -sd+ data|echo a b|sh -c echo|nosuchapplet|dd if=data bs=9
tar cf - data|date -u -d @0|cal 2 2024|stty|id -u|logname -x|readlink -f .|realpath data|tr a b
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


def outcome(command: Sequence[str | Path], folder: Path) -> tuple[bytes, int]:
    """What a command printed, and its status."""
    done = subprocess.run(
        command, capture_output=True, timeout=200, stdin=subprocess.DEVNULL, cwd=folder
    )
    return done.stdout, done.returncode


needs_qemu = pytest.mark.skipif(shutil.which("qemu-riscv64") is None, reason="needs qemu-user")
modes = pytest.mark.parametrize("mode", [(), ("-hot-threshold", "0")], ids=["regions", "blocks"])
GUEST = ("-E", "PATH=/usr/bin", "-E", "LC_ALL=C")


@needs_qemu
@modes
@pytest.mark.parametrize("script", [PYTHON, MULTIPROCESSING], ids=["libraries", "processes"])
def test_python(riscv64_root: Path, tmp_path: Path, script: str, mode: tuple[str, ...]) -> None:
    words = ("-L", riscv64_root, *GUEST, riscv64_root / "usr/bin/python3", "-c", script)
    wanted = outcome(("qemu-riscv64", *words), tmp_path)
    assert wanted[0]
    assert outcome((*ENGINE, *mode, *words), tmp_path) == wanted


@needs_qemu
def test_compileall(riscv64_root: Path, tmp_path: Path) -> None:
    library = next(riscv64_root.glob("usr/lib/python3.*/json"))
    found: list[dict[str, bytes]] = []
    for name, emulator in (("theirs", ("qemu-riscv64",)), ("ours", ENGINE)):
        folder = tmp_path / name
        shutil.copytree(library, folder / "json", ignore=shutil.ignore_patterns("__pycache__"))
        words = ("-L", riscv64_root, riscv64_root / "usr/bin/python3", "-m", "compileall")
        options = ("-q", "--invalidation-mode", "unchecked-hash", "json")
        assert outcome((*emulator, *words, *options), folder) == (b"", 0)
        found.append({path.name: path.read_bytes() for path in folder.rglob("*.pyc")})
    assert found[0] and found[0] == found[1]


@modes
@pytest.mark.parametrize("script", [BASH, TOOLS], ids=["bash", "tools"])
def test_scripts(riscv64_root: Path, tmp_path: Path, script: str, mode: tuple[str, ...]) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    host = ("env", "LC_ALL=C", "bash", "-c", script)
    wanted = outcome(host, tmp_path / "theirs")
    words = ("-L", riscv64_root, *GUEST, riscv64_root / "usr/bin/bash", "-c", script)
    assert outcome((*ENGINE, *mode, *words), tmp_path / "ours") == wanted


@needs_qemu
def test_busybox(riscv64_linux: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("".join(f"{n * 7919 % 6552}\n" for n in range(500)))
    differ: list[str] = []
    for line in APPLETS:
        words = (riscv64_linux / "busybox", *line.split())
        if outcome(("qemu-riscv64", *words), tmp_path) != outcome((*ENGINE, *words), tmp_path):
            differ.append(line)
    assert not differ
