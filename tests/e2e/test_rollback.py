"""An older copy of the ledger is put in its place: what it says is not believed, and everything still ends right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
ORDERS = [f"WO-{number}" for number in range(10)]
SECOND, THIRD = "2026-03-16T08:00:00Z", "2026-03-17T08:00:00Z"


def names(ditio: Server) -> dict[str, str]:
    """The name of each task, by its externalId."""
    tasks = ditio.sandbox.state.tasks.values()
    assert len({task["externalId"] for task in tasks}) == len(tasks), "twins"
    return {str(task["externalId"]): str(task["name"]) for task in tasks}


def put_back(copy: bytes, ledger: Path) -> None:
    """The copy takes the place of the ledger, as somebody who restores a backup does it."""
    for file in (ledger.with_name("ledger.db-wal"), ledger.with_name("ledger.db-shm")):
        file.unlink(missing_ok=True)
    ledger.write_bytes(copy)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
async def test_a_rolled_back_ledger_acknowledges_nothing_that_is_not_done_and_ends_right(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, killed: bool
) -> None:
    # Given a copy of the ledger in which all are A, and Ditio in which all have become B
    ledger, mark = worker.folder / "ledger.db", worker.folder / "ledger.db.mark"
    first = [event("created", order, name="A") for order in ORDERS]
    second = [event("updated", order, time=SECOND, name="B") for order in ORDERS]
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, first)
    await eventually(lambda: names(ditio) == dict.fromkeys(ORDERS, "A") and vhost.depth(*QUEUES) == 0)
    await asyncio.to_thread(worker.stop)
    copy = ledger.read_bytes()
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [*second, event("created", "WO-NEW", time=SECOND, name="B")])
    await eventually(lambda: set(names(ditio).values()) == {"B"} and vhost.depth(*QUEUES) == 0)
    if killed:
        before = mark.read_text()
        await eventually(lambda: mark.read_text() > before, 3, what="it notes how far it has come")
        worker.kill()
    else:
        await asyncio.to_thread(worker.stop)
    # When the copy is put in its place, and Ditio cannot be asked at first
    put_back(copy, ledger)
    administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=b'{"operation": "task_list", "status": 503, "count": -1}'))
    third = [event("updated", order, time=THIRD, name="A") for order in ORDERS[:5]]
    await publish_all(vhost.url, [*third, *second[5:], *first, event("updated", "WO-NEW", time=THIRD, name="B")])
    worker.start()
    # Then nothing is taken before the records were compared
    await eventually(lambda: "the ledger cannot be compared with Ditio yet" in worker.get("/readyz"))
    assert worker.metric("events_total") == 0
    ditio.sandbox.faults.clear()
    # And then the newest event of each has the last word
    await worker.ready()
    await eventually(lambda: vhost.depth(*QUEUES) == 0 and worker.metric("events_total") >= 21, 60)
    assert names(ditio) == {**dict.fromkeys(ORDERS[:5], "A"), **dict.fromkeys(ORDERS[5:], "B"), "WO-NEW": "B"}
    assert vhost.depth("workorders.dead") == 0
    assert "compared 10 work orders with Ditio" in worker.log()
