"""The machine's own apt with a private state: another suite and architecture, no root.

Everything apt writes goes below one folder, so the machine's package lists, configuration
and dpkg database stay as they are.  Package signatures are checked with Debian's keyring.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from jitemu.messages import UserError, fail

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
NETWORK_TIMEOUT = 15  # seconds without an answer
UPDATE_LIMIT = 120  # seconds for the package lists
DOWNLOAD_LIMIT = 3600  # seconds for the packages

_OUT_OF_STEP = re.compile(r"unexpected size|Mirror sync|Hash Sum mismatch|404 +Not Found")
"""What apt says of a mirror whose files are not those that its signed lists name."""

Progress = Callable[[float], None]
"""Called with per cent of the present step."""


class OutOfStep(UserError):
    """The mirror is being updated: its files are not those its signed lists name."""


def check_tools() -> None:
    """UserError unless the programs that this needs are here."""
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(tool) is None:
            fail(f"{tool} is not here: fetching a guest needs a Debian or Ubuntu machine")


def find_mirror() -> str:
    """The base address of the Debian archive that this machine's apt is set to."""
    command = ["apt-get", "update", "--print-uris"]
    out = subprocess.run(command, capture_output=True, text=True).stdout
    mirror = choose_mirror(out)
    if mirror is None:
        fail("no Debian mirror in this machine's apt configuration; give one with --mirror URL")
    return mirror


def choose_mirror(uris: str) -> str | None:
    """The archive among what ``apt-get update --print-uris`` lists, if there is one."""
    found: list[tuple[bool, str]] = []
    for line in uris.splitlines():
        match = re.match(r"'(\S+?)/dists/(\S+)/(?:In)?Release'", line)
        if match:
            base, suite = match.groups()
            if base.rstrip("/").endswith("/debian"):
                found.append(("-" in suite, base))  # the release itself before -updates
    return min(found)[1] if found else None


class Apt:
    """One suite and architecture of one archive, with its state below ``folder``."""

    def __init__(self, folder: Path, mirror: str, suite: str, architecture: str) -> None:
        self._folder = folder.resolve()
        self._name = f"{suite} {architecture}"
        for sub in ("lists/partial", "cache/archives/partial", "none/partial", "etc/prefs.d"):
            (self._folder / sub).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        self._write("etc/sources.list", f"deb{_trust()} {mirror} {suite} main\n")
        self._write("etc/apt.conf", "\n".join(self._configuration(architecture)) + "\n")

    def update(self, progress: Progress) -> None:
        """Fetch the package lists."""
        self._get(["update", "-q", "--error-on=any"], UPDATE_LIMIT, progress)

    def fetch(self, packages: Sequence[str], progress: Progress, *, closure: bool) -> list[Path]:
        """The packages' .deb files; with ``closure``, of all that they depend on too."""
        verb = ["install"] if closure else ["download"]
        # apt says nothing of a file that it already has: ask with an empty cache
        none = ["-o", f"Dir::Cache::archives={self._folder}/none"]
        listed = self._get([*verb, "--print-uris", "-q", *none, *packages], UPDATE_LIMIT, None)
        names = re.findall(r"^'[^']+' (\S+\.deb) \d+ ", listed, re.MULTILINE)
        if closure:
            verb.append("--download-only")
        self._get([*verb, "-q", *packages], DOWNLOAD_LIMIT, progress)
        paths = sorted(self._folder / "cache/archives" / name for name in names)
        missing = [path.name for path in paths if not path.exists()]
        if missing or not paths:
            fail(f"apt-get did not fetch {' '.join(missing or packages)} ({self._name})")
        return paths

    def _configuration(self, architecture: str) -> list[str]:
        folder = self._folder
        return [
            *_machine_acquire_settings(),
            'Dir::Etc::Parts "/dev/null";',
            'Dir::Etc::Main "/dev/null";',
            f'Dir::Etc::SourceList "{folder}/etc/sources.list";',
            'Dir::Etc::SourceParts "/dev/null";',
            'Dir::Etc::Preferences "/dev/null";',
            f'Dir::Etc::PreferencesParts "{folder}/etc/prefs.d";',
            f'Dir::State "{folder}";',
            f'Dir::State::Lists "{folder}/lists";',
            f'Dir::State::status "{folder}/status";',
            f'Dir::Cache "{folder}/cache";',
            'Dir::Cache::srcpkgcache "";',
            f'Dir::Log "{folder}";',
            f'APT::Architecture "{architecture}";',
            f'APT::Architectures {{ "{architecture}"; }};',
            'APT::Install-Recommends "false";',
            'APT::Sandbox::User "root";',
            'APT::Get::Assume-Yes "true";',
            f'Acquire::http::Timeout "{NETWORK_TIMEOUT}";',
            f'Acquire::https::Timeout "{NETWORK_TIMEOUT}";',
            'Acquire::Retries "1";',
            'Acquire::Languages "none";',
            'Acquire::GzipIndexes "true";',
            'Debug::NoLocking "true";',
        ]

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        path.touch(0o600)  # a proxy's password may be in it
        path.write_text(text)

    def _get(self, words: Sequence[str], limit: float, progress: Progress | None) -> str:
        """Run apt-get for at most ``limit`` seconds; what it printed."""
        environment = dict(
            os.environ,
            LC_ALL="C",
            DEBIAN_FRONTEND="noninteractive",
            APT_CONFIG=str(self._folder / "etc/apt.conf"),
        )
        code, out = _run(list(words), environment, self._folder / "cache/archives", limit, progress)
        if code:
            why = "it took too long" if code < 0 else _first_error(out)
            text = f"apt-get {words[0]} ({self._name}) failed: {why}"
            if code > 0 and _OUT_OF_STEP.search(why):
                raise OutOfStep(text)
            fail(text)
        return out


def _run(
    words: list[str],
    environment: dict[str, str],
    folder: Path,
    limit: float,
    progress: Progress | None,
) -> tuple[int, str]:
    """apt-get's exit status (negative when it was stopped) and output."""
    import threading

    reading, writing = os.pipe()
    child = subprocess.Popen(
        ["apt-get", "-o", f"APT::Status-Fd={writing}", *words],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=(writing,),
        start_new_session=True,  # so that apt's helpers can be stopped with it
    )
    os.close(writing)
    follower = threading.Thread(target=_follow, args=(reading, progress), daemon=True)
    follower.start()
    try:
        out, _ = child.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)
        out, _ = child.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
    follower.join()
    return child.returncode, out


def _follow(reading: int, progress: Progress | None) -> None:
    """Pass apt's ``dlstatus:NUMBER:PERCENT:TEXT`` lines on."""
    with open(reading, encoding="utf-8", errors="replace") as status:
        for line in status:
            parts = line.split(":", 3)
            if progress is not None and parts[0] == "dlstatus" and len(parts) == 4:
                progress(float(parts[2]))


def _first_error(out: str) -> str:
    """The line of apt's output that says best what went wrong."""
    for line in out.splitlines():
        if line.startswith("E: "):
            return line[3:]
    return out.strip().splitlines()[-1] if out.strip() else "it said nothing"


def _machine_acquire_settings() -> list[str]:
    """The machine's own Acquire:: settings (proxies and the like)."""
    out = subprocess.run(["apt-config", "dump"], capture_output=True, text=True).stdout
    wanted = re.compile(r"Acquire::(http|https|ftp|Check|Force|Queue)")
    return [line for line in out.splitlines() if wanted.match(line)]


def _trust() -> str:
    """The option that names the key of the archive's signatures."""
    keyring = next((path for path in KEYRINGS if path.exists()), None)
    if keyring is None:
        fail("Debian's keyring is not here; install the package debian-archive-keyring")
    return f" [signed-by={keyring}]"
