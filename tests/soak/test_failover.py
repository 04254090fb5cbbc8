"""The primary is lost, and its synchronous standby takes over: the worker goes on by itself, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import given_postgres
from tests.support.broker import Vhost
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.secret import keep_secret
from tests.support.waiting import eventually
from worker.demo.postgres import PostgresServer
from worker.demo.workers import ROLE
from worker.sandbox import Server

EVENTS = 600
ENDED = "SELECT count(DISTINCT event_id) FROM ditio_worker.history WHERE outcome IN ('applied', 'unchanged', 'superseded') AND event_id <> ''"


class Standby(PostgresServer):
    """A copy of another server that follows it."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__(primary._programs, primary._more)
        self._primary = primary
        self.password = primary.password

    def _create(self) -> None:
        data = self._folder / "data"
        data.mkdir(mode=0o700)
        if self._user is not None:
            for path in (self._folder, data):
                shutil.chown(path, self._user)
        self.run("pg_basebackup", "--pgdata", data, "--dbname", self._primary.url(), "--write-recovery-conf", "--checkpoint=fast")
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(f"port = {self.port}\n")

    def promote(self) -> None:
        """From now on it takes writes."""
        self.run("pg_ctl", "promote", "--pgdata", self._folder / "data")


@pytest.fixture
def primary(pytestconfig: pytest.Config) -> Iterator[PostgresServer]:
    with given_postgres(pytestconfig) as server:
        yield server


async def test_a_worker_outlives_its_primary_and_loses_nothing_to_the_standby(
    vhost: Vhost, ditio: Server, primary: PostgresServer, tmp_path: Path
) -> None:
    # Given a standby that confirms every commit
    password = keep_secret(secrets.token_hex(16))
    primary.run("psql", "--quiet", "--set=ON_ERROR_STOP=1", primary.url(), given=ROLE.format(password=password))
    standby = Standby(primary)
    with standby:
        primary.run("psql", "--quiet", primary.url(), given="ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.run("psql", "--quiet", primary.url(), given="SELECT pg_reload_conf()")
        confirming = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        await eventually(lambda: "1" in primary.run("psql", "--tuples-only", primary.url(), given=confirming))
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        url = f"postgresql://ditio_worker:{password}@{hosts}/ditio_worker"
        worker = WorkerProcess(settings(vhost.url, ditio, tmp_path, LEDGER_URL=url), tmp_path)
        worker.start()
        try:
            await worker.ready()
            messages = [
                event("updated", f"WO-{number % 100}", project="P-2026-001", time=f"2026-03-15T08:{number // 60:02}:{number % 60:02}Z",
                      id=f"e-{number}", name=f"n {number}") for number in range(EVENTS)
            ]  # fmt: skip
            # When the primary is lost under load
            await publish_all(vhost.url, messages[: EVENTS // 2])
            await eventually(lambda: len(ditio.sandbox.state.tasks) > 20)
            await asyncio.to_thread(primary.stop, crash=True)
            await publish_all(vhost.url, messages[EVENTS // 2 :])
            # Then the worker says so, and waits
            await eventually(lambda: "ledger" in worker.get("/readyz") and worker.metric("paused", cause="ledger") == 1, 40)
            # When
            await asyncio.to_thread(standby.promote)
            # Then
            await worker.ready(60)
            async with await psycopg.AsyncConnection.connect(standby.url("ditio_worker"), autocommit=True) as admin:
                async with asyncio.timeout(60):
                    while await (await admin.execute(ENDED)).fetchone() != (EVENTS,):
                        await asyncio.sleep(0.1)
            assert await asyncio.to_thread(worker.stop) == 0
        finally:
            worker.kill()
    # And each task is there once, with its newest name
    names = sorted((task["externalId"], task["name"]) for task in ditio.sandbox.state.tasks.values())
    assert names == sorted((f"WO-{number % 100}", f"n {number}") for number in range(EVENTS - 100, EVENTS))
    assert vhost.depth("workorders.dead", "workorders.events", "workorders.wait.1s", "workorders.wait.2s") == 0
