"""PgBouncer before a database: once for each transaction, once for each session, and once with a single connection."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.support.postgres import Database
from worker.demo.apt import Locked, cache_folder, call, download
from worker.demo.postgres import COMMON_CACHE

MODES: Mapping[str, str] = {
    "transaction": "pool_mode=transaction",
    "session": "pool_mode=session",
    "one": "pool_mode=transaction pool_size=1",
}


def pgbouncer() -> Path:
    """The program: the system's, or the distribution's, unpacked and not installed."""
    if (found := shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")) is not None:
        return Path(found)
    home = (COMMON_CACHE if os.geteuid() == 0 else cache_folder()) / "pgbouncer"
    with Locked(home):
        if not home.exists():
            unfinished = home.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            for package in sorted(download(unfinished, "pgbouncer")):
                if package.name.startswith(("pgbouncer_", "libc-ares", "libevent")):
                    call(["dpkg-deb", "-x", str(package), str(unfinished)])
            shutil.rmtree(unfinished / ".apt")
            unfinished.rename(home)
    return home / "usr/sbin/pgbouncer"


@contextmanager
def pooled(database: Database) -> Iterator[Mapping[str, str]]:
    """Addresses of the database through a pooler, by its mode."""
    program = pgbouncer()
    given = urlsplit(database.url)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="ditio-pgbouncer-"))
    server = f"host=127.0.0.1 port={database.server.port} dbname={database.name}"
    (folder / "users").write_text(f'"{database.role}" "{given.password}"\n')
    names = "\n".join(f"{name} = {server} {how}" for name, how in MODES.items())
    (folder / "ini").write_text(
        f"[databases]\n{names}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = plain\nauth_file = {folder}/users\nignore_startup_parameters = options,extra_float_digits\n"
    )
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        for path in (folder, folder / "users", folder / "ini"):
            shutil.chown(path, user)
    libraries = ":".join(str(each) for each in program.parents[2].glob("usr/lib/*-linux-gnu"))
    process = subprocess.Popen(
        [program, folder / "ini"], user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env=os.environ | {"LD_LIBRARY_PATH": libraries},
    )  # fmt: skip
    try:
        _await(port)
        yield {
            name: urlunsplit(given._replace(netloc=f"{given.username}:{given.password}@127.0.0.1:{port}", path=f"/{name}"))
            for name in MODES
        }
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _await(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
