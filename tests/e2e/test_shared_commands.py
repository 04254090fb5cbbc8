"""The operators' commands beside a worker whose ledger is in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.postgres import Database
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

PROJECT = "P-2026-001"


@pytest.fixture
async def shell(vhost: Vhost, ditio: Server, postgres: Database, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """A worker that has applied WO-1, and has a letter of WO-2 whose unit Ditio does not have."""
    worker = WorkerProcess(settings(vhost.url, ditio, tmp_path, LEDGER_URL=postgres.url), tmp_path)
    worker.start()
    try:
        await worker.ready()
        await publish_all(
            vhost.url, [event("updated", "WO-1", project=PROJECT), event("updated", "WO-2", project=PROJECT, price="abc")]
        )
        await eventually(lambda: vhost.depth("workorders.dead") == 1 and len(worker.lines()) == 2)
        yield worker
    finally:
        worker.stop()


async def test_a_letter_is_looked_at_repaired_and_followed_to_its_outcome(
    shell: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    status, out, err = await run(shell, "dead", "list", "--each", "--format", "json")
    assert (status, err) == (0, "1 dead letters\n")
    assert [letter["standing"] for letter in json.loads(out)] == ["fix"]
    status, out, err = await run(shell, "dead", "replay", "--set", "data.price=12", "--yes")
    assert status == 0, err
    assert vhost.depth("workorders.dead") == 0
    (task,) = [task for task in ditio.sandbox.state.tasks.values() if task["externalId"] == "WO-2"]
    assert task["price"] == 12
    status, out, err = await run(shell, "trace", "--external-id", "WO-2")
    assert status == 0, err
    assert "was applied; Ditio has the task" in out


async def test_a_pause_is_made_told_and_ended(shell: WorkerProcess) -> None:
    status, _, err = await run(shell, "pause", "--reason", "month end")
    assert status == 0, err
    await eventually(lambda: shell.get("/readyz").startswith("503"))
    _, out, _ = await run(shell, "status")
    assert "month end" in out
    status, _, err = await run(shell, "resume")
    assert status == 0, err
    await eventually(lambda: shell.get("/readyz").startswith("200"))
    status, _, err = await run(shell, "waiting", "list")
    assert status in (0, 3), err


async def test_the_rehearsal_and_the_check_read_it(shell: WorkerProcess, tmp_path: Path) -> None:
    file = tmp_path / "events.json"
    file.write_bytes(event("updated", "WO-1", project=PROJECT, name="Ny", time="2026-03-20T08:00:00Z").body)
    status, out, err = await run(shell, "plan", str(file))
    assert status == 0, err
    assert "Ny" in out
    status, out, err = await run(shell, "check")
    assert status == 0, out + err
