"""The demo's workers: processes of their own, their ledger, and what their pages say."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from worker.core.errors import WorkerError
from worker.demo.postgres import PostgresServer, postgres

POLL_S = 0.3
READY_S = 60.0
STOP_S = 40.0

ROLE = """\
CREATE ROLE ditio_worker LOGIN PASSWORD '{password}';
CREATE DATABASE ditio_worker ENCODING 'UTF8' TEMPLATE template0;
\\connect ditio_worker
CREATE SCHEMA ditio_worker AUTHORIZATION ditio_worker;
"""


class DemoError(WorkerError):
    """The demo cannot be played."""


@contextmanager
def ledger_for(replicas: int, folder: Path, say: Callable[[str], None]) -> Iterator[str]:
    """LEDGER_URL of so many workers: a file for one, a PostgreSQL of our own for more. Raises NoPostgres."""
    if replicas == 1:
        yield f"sqlite://{folder}/ledger.db"
        return
    with PostgresServer(postgres(say)) as server:
        password = secrets.token_hex(16)
        server.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", server.url(), given=ROLE.format(password=password))
        say(f"PostgreSQL runs at port {server.port}")
        yield server.url("ditio_worker", "ditio_worker", password)


class Worker:
    """One of them. It runs from the start of the block to its end, and is then stopped in order."""

    def __init__(self, settings: Mapping[str, str], log: Path) -> None:
        self._log = log
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("AMQP_", "DITIO_", "LEDGER_", "WORKER_"))
        }
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "worker", "run"], env={**kept, **settings}, stdout=file, stderr=file
            )
        self.pid = self._process.pid
        self.address = ""

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    async def ready(self) -> None:
        """Finds the address of its pages, and returns when they say that it is ready. Raises DemoError."""
        deadline = time.monotonic() + READY_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    raise DemoError(f"the worker did not start: {self._log.read_text()[-2000:]}")
                _, found, rest = self._log.read_text().partition("metrics and health at ")
                if found:
                    self.address = rest.split('"')[0]
                    try:
                        if (await client.get(f"{self.address}/readyz")).status_code == httpx.codes.OK:
                            return
                    except httpx.TransportError:
                        pass
                await asyncio.sleep(POLL_S)
        raise DemoError("the worker did not get ready within a minute")

    async def outcomes(self) -> Counter[str]:
        """How many events ended how, by its own metrics."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"{self.address}/metrics")).text
        outcomes: Counter[str] = Counter()
        for line in text.splitlines():
            if line.startswith("ditio_worker_events_total{") and not line.endswith(" 0.0"):
                outcome = line.split('outcome="')[1].split('"')[0]
                outcomes[outcome] += int(float(line.rsplit(" ", 1)[1]))
        return outcomes


async def outcomes_of(workers: Sequence[Worker]) -> Counter[str]:
    """The same of all of them."""
    return sum(await asyncio.gather(*(worker.outcomes() for worker in workers)), Counter())


def ended(outcomes: Mapping[str, int]) -> int:
    """How many events have ended."""
    return sum(count for outcome, count in outcomes.items() if outcome != "waiting")
