"""The distribution's packages without installing them: downloaded by apt into a folder of one's own, and unpacked there.

Sources: apt-get(8), apt.conf(5), dpkg-deb(1).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.core.errors import WorkerError

MIRROR = re.compile(r"https?://[^\s\]]+/debian/?(?=\s|$)", re.MULTILINE)

Say = Callable[[str], None]


class AptError(WorkerError):
    """A package cannot be had. The message says why."""


def cache_folder() -> Path:
    """Where unpacked servers are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ditio-worker"


class Locked:
    """Holds the lock file of a folder for as long as the block lasts, so that of several runs one fetches."""

    def __init__(self, home: Path) -> None:
        self._path = home.with_suffix(".lock")

    def __enter__(self) -> None:
        import fcntl  # noqa: PLC0415  not there on Windows, where there is no apt either

        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._held = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._held)


def download(home: Path, package: str, suite: str | None = None) -> Iterator[Path]:
    """A package and what it needs beside what is installed (of another suite: all of it), below `home`/.apt. Raises AptError."""
    apt = home / ".apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    lines = [
        f'Dir::State::lists "{apt}/lists";',
        f'Dir::Cache "{apt}/cache";',
        'Debug::NoLocking "1";',
        f'APT::Sandbox::User "{_user()}";',
    ]
    if suite is not None:
        (apt / "status").touch()
        source = f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {_mirror()} {suite} main"
        (apt / "sources.list").write_text(f"{source}\n")
        lines += [
            f'Dir::State::status "{apt}/status";',
            f'Dir::Etc::sourcelist "{apt}/sources.list";',
            'Dir::Etc::sourceparts "-";',
        ]
        lines += ['Dir::Etc::preferencesparts "-";', 'Dir::Etc::preferences "/dev/null";']
    (apt / "apt.conf").write_text("\n".join(lines) + "\n")
    environment = os.environ | {"APT_CONFIG": str(apt / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
    call(["apt-get", "-qq", "update"], environment)
    call(["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install", package], environment)
    return (apt / "cache" / "archives").glob("*.deb")


def call(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Runs a program to its end. Raises AptError with the last line of what it said."""
    if shutil.which(command[0]) is None:
        raise AptError(f"{command[0]} is missing")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise AptError(f"{command[0]} failed: {said[-1] if said else f'status {done.returncode}'}")


def _mirror() -> str:
    """The mirror of Debian's that this machine uses itself."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if path.is_file() and (found := MIRROR.search(path.read_text("utf-8", "replace"))):
            return found.group().rstrip("/")
    raise AptError("no Debian mirror in this machine's apt configuration: other releases cannot be fetched")


def _user() -> str:
    import getpass  # noqa: PLC0415  only needed here

    return getpass.getuser()
