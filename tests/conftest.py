"""What all tests share: real guests, and no skipped test in continuous integration."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI", "") not in ("", "0", "false")
ENVIRONMENT = dict(os.environ)
"""As it was at the start: single tests may change the cache's place."""


def _fetch(guest: str) -> Path:
    """The folder of a guest; it is fetched once and kept between runs."""
    lock = Path(tempfile.gettempdir()) / f"jitemu-tests-{os.getuid()}-{guest}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the other test processes wait, then find it there
        done = subprocess.run(
            [sys.executable, "-m", "jitemu", "get", guest],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        pytest.skip(f"cannot fetch the guest {guest}: {last}")
    return Path(done.stdout.strip())


def cached(name: str, sources: Sequence[str], make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills once for each state of these sources, kept between runs."""
    base = Path(ENVIRONMENT.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jitemu-tests"
    base.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources))
    folder = base / f"{name}-{key.hexdigest()[:16]}"
    with (base / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not folder.exists():
            for old in base.glob(f"{name}-*"):  # of other states, or half made
                shutil.rmtree(old)
            unfinished = base / f"{name}-unfinished"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


@pytest.fixture(scope="session")
def riscv64_linux() -> Path:
    """The folder with Debian's kernel (Image), busybox and the initramfs files."""
    return _fetch("riscv64-linux")


@pytest.fixture(scope="session")
def armhf_root() -> Path:
    """Debian's armhf programs, as ``jitemu get armhf-root`` gives them."""
    return _fetch("armhf-root") / "root"


@pytest.fixture(scope="session")
def riscv64_root() -> Path:
    """A tree of Debian's riscv64 programs, for -L."""
    return _fetch("riscv64-root") / "root"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration a test that is skipped has failed."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}\n{reason}\nNo test may be skipped where CI is set: tools/test, "
            "run as root, installs what the tests need."
        )
    return report
