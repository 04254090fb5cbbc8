"""Several workers on one queue and one PostgreSQL: hot work orders, a death, a sleep, a restart of the server; all is right in the end."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.broker import Vhost
from tests.support.postgres import database
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.message import Message
from worker.demo.postgres import PostgresServer
from worker.sandbox import Server

EVENTS = 1_200
WORK_ORDERS = 40
QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")


def story(chance: random.Random) -> tuple[list[Message], dict[str, dict[str, Any]]]:
    """Events of few work orders, a little out of order, and what the ERP holds at their end."""
    erp: dict[str, dict[str, Any]] = {}
    messages = []
    began = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(EVENTS):
        work_order = f"WO-{chance.randrange(WORK_ORDERS)}"
        changed: dict[str, Any] = chance.choice([{"name": f"fase {number}"}, {"estimatedHourQty": float(number + 1)}])
        erp.setdefault(work_order, {}).update(changed)
        time = (began + timedelta(seconds=number)).isoformat()
        messages.append(event("updated", work_order, project="P-2026-001", time=time, id=f"e-{number}", **changed))
    places = sorted(range(EVENTS), key=lambda place: place + chance.random() * 50)
    return [messages[place] for place in places], erp


async def test_three_workers_share_hot_work_orders_while_one_dies_one_sleeps_and_the_server_restarts(
    vhost: Vhost, ditio: Server, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    # Given
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    messages, erp = story(random.Random(seed))
    ditio.sandbox.faults.add({"operation": "task_update", "skip": 20, "count": 10, "late_s": 1.2})
    async with database(own_postgres) as own:
        workers = []
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
            more = {"LEDGER_URL": own.url, "WORKER_PREFETCH": "64", "DITIO_TIMEOUT_S": "1"}
            workers.append(WorkerProcess(settings(vhost.url, ditio, tmp_path, **more), tmp_path / name))
        try:
            for worker in workers:  # all at once: one of them makes the schema
                worker.start()
            await asyncio.gather(*(worker.ready() for worker in workers))
            # When
            half = EVENTS // 2
            await publish_all(vhost.url, messages[:half])
            os.kill(workers[0].pid, signal.SIGSTOP)
            workers[1].kill()
            await publish_all(vhost.url, messages[half:])
            await asyncio.to_thread(own_postgres.stop, crash=True)
            await asyncio.to_thread(own_postgres.start)
            os.kill(workers[0].pid, signal.SIGCONT)
            workers[1].start()
            # Then
            await eventually(lambda: vhost.depth(*QUEUES) == 0 and idle(workers), 90)
            reader = await ledger.open_read_only(own.url, clock=WallClock())
            async with asyncio.timeout(60):
                while ditio.sandbox.late or await reader.next_due() is not None:
                    await asyncio.sleep(0.1)
            assert await reader.work_orders() == len(erp)
            await reader.close()
            assert [await asyncio.to_thread(worker.stop) for worker in workers] == [0, 0, 0]
        finally:
            for worker in workers:
                worker.kill()
                assert leaks(worker.log()) == []
    # And every task is right, and none doubled
    assert vhost.depth("workorders.dead", *QUEUES) == 0
    tasks = list(ditio.sandbox.state.tasks.values())
    assert sorted(task["externalId"] for task in tasks) == sorted(erp)
    wrong = {
        (task["externalId"], name): (task[name], value)
        for task in tasks
        for name, value in erp[task["externalId"]].items()
        if task[name] != value
    }
    assert wrong == {}


def idle(workers: list[WorkerProcess]) -> bool:
    """Whether none of them has anything in hand."""
    return all(worker.get("/metrics") and worker.metric("lanes") == worker.metric("in_flight") == 0 for worker in workers)
