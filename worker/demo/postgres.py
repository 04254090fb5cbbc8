"""A PostgreSQL of our own: on a free loopback port, with its own data folder, gone when it is closed.

Taken from the system where it is installed, else from the distribution's packages, unpacked and not installed. Nothing is started as a
system service. PostgreSQL refuses to run as root: then it runs as `nobody`, and so do the programs that make its data folder.

Sources: PostgreSQL's documentation, "Server Setup and Operation", initdb(1), postgres(1).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from worker.core.errors import WorkerError
from worker.demo.apt import AptError, Locked, Say, cache_folder, call, download

OLDEST = 14
VERSIONS = "usr/lib/postgresql"
COMMON_CACHE = Path("/var/cache/ditio-worker")
"""Where root keeps what another user must be able to run: root's own home is closed to others."""

REMEDY = f"install PostgreSQL {OLDEST} or newer (apt-get install postgresql; the service need not run)"
START_S = 30.0
STOP_S = 20.0
POLL_S = 0.02
LIBRARIES = re.compile(r"lib(?!c6_|c-bin|llvm|perl)")

CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 100
shared_buffers = 64MB
"""
ACCESS = "host all,replication all 127.0.0.1/32 scram-sha-256\n"
"""`all` does not stand for replication."""


class NoPostgres(WorkerError):
    """There is no PostgreSQL, none can be fetched, or it does not start. The message says why."""


def postgres(say: Say) -> Path:
    """The folder of PostgreSQL's programs: the system's, or that of the distribution's packages, fetched at first use. Raises NoPostgres."""
    if (found := _programs(Path("/") / VERSIONS)) is not None:
        return found
    home = (COMMON_CACHE if os.geteuid() == 0 else cache_folder()) / "postgresql"
    if (found := _programs(home / VERSIONS)) is None:
        say(f"fetching PostgreSQL into {home}; this happens once")
        found = _fetched(home)
        say("PostgreSQL is unpacked")
    return found


def _fetched(home: Path) -> Path:
    unfinished = home.with_suffix(".unfinished")
    try:
        with Locked(home):
            if (found := _programs(home / VERSIONS)) is not None:
                return found
            for folder in (home, unfinished):
                shutil.rmtree(folder, ignore_errors=True)
            for package in sorted(download(unfinished, "postgresql")):
                if package.name.startswith("postgresql-") or LIBRARIES.match(package.name):
                    call(["dpkg-deb", "-x", str(package), str(unfinished)])
            shutil.rmtree(unfinished / ".apt")
            unfinished.rename(home)
    except (AptError, OSError) as error:
        raise NoPostgres(f"PostgreSQL is not installed, and cannot be fetched: {error}; {REMEDY}") from error
    if (found := _programs(home / VERSIONS)) is None:
        raise NoPostgres(f"the distribution's PostgreSQL is older than {OLDEST}; {REMEDY}")
    return found


def _programs(versions: Path) -> Path | None:
    numbered = [(int(folder.name), folder / "bin") for folder in versions.glob("*") if folder.name.isdigit()]
    return max((each for each in numbered if each[0] >= OLDEST and (each[1] / "initdb").exists()), default=(0, None))[1]


class PostgresServer:
    """A running server. `superuser` has all rights, by `password`, from this machine only. `more` holds further lines of its configuration."""

    superuser = "postgres"

    def __init__(self, programs: Path, more: str = "") -> None:
        self._programs = programs
        self._more = more
        self._folder = Path(tempfile.mkdtemp(prefix="ditio-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._user = "nobody" if os.geteuid() == 0 else None
        self.password = secrets.token_hex(16)
        self.port = _free_port()

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """The address of a database, as LEDGER_URL takes it."""
        return f"postgresql://{user or self.superuser}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> PostgresServer:
        try:
            self._create()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stops the server, and removes its folder."""
        with suppress(subprocess.TimeoutExpired):
            self.stop()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Starts it, on the same port and data as before, and returns when it answers. Raises NoPostgres."""
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._folder / "data"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd="/", env=self._environment(),
            user=self._user, start_new_session=True,
        )  # fmt: skip
        log.close()
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "log").read_text("utf-8", "replace").strip().splitlines()
                raise NoPostgres(f"PostgreSQL did not start: {said[-1] if said else 'it said nothing'}")
            time.sleep(POLL_S)

    def stop(self, *, crash: bool = False) -> None:
        """Ends it: by cutting all connections, or as a crash, after which it recovers at the next start."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(STOP_S)
            self._process = None

    def _create(self) -> None:
        data = self._folder / "data"
        data.mkdir()
        password = self._folder / "password"
        password.write_text(self.password)
        if self._user is not None:
            for path in (self._folder, data, password):
                shutil.chown(path, self._user)
        self.run(
            "initdb", "--pgdata", data, "--username", self.superuser, "--pwfile", password, "--encoding", "UTF8", "--locale", "C",
            "--auth", "scram-sha-256", "--no-sync",
        )  # fmt: skip
        password.unlink()
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(port=self.port) + self._more)
        (data / "pg_hba.conf").write_text(ACCESS, encoding="utf-8")

    def run(self, program: str, *arguments: str | Path, given: str = "") -> str:
        """What one of PostgreSQL's programs says to these arguments and this input. Raises NoPostgres when it fails."""
        done = subprocess.run(
            [self._programs / program, *arguments], input=given, capture_output=True, text=True, check=False, cwd="/",
            env=self._environment(), user=self._user,
        )  # fmt: skip
        if done.returncode:
            raise NoPostgres(f"{program} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        """Without the caller's PG* variables, and with the libraries that were unpacked beside the programs."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        root = self._programs.parents[4]
        if root == Path("/"):
            return kept
        return kept | {"LD_LIBRARY_PATH": ":".join(str(folder) for folder in sorted(root.glob("usr/lib/*-linux-gnu*")))}

    def _answers(self) -> bool:
        """Whether clients are let in: before that the server is listening already, and still recovering."""
        done = subprocess.run(
            [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False, env=self._environment(), capture_output=True,
        )  # fmt: skip
        return done.returncode == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
