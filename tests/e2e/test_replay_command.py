"""`dead replay` as a process beside a worker."""

from __future__ import annotations

import json

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

LATER = "2026-03-16T08:00:00Z"


async def test_x(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("updated", "WO-1", id="old", name="Gammel", unit="m3", price=5)])
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    await publish_all(vhost.url, [event("updated", "WO-1", id="new", name="Ny", time=LATER)])
    await publish_all(vhost.url, [event("updated", f"WO-{n}", id=f"bad-{n}", price="abc") for n in range(2, 6)])
    await eventually(lambda: vhost.depth("workorders.dead") == 5)
    for words in (
        ["--dry-run"],
        ["--dry-run", "--set", "data.unit=null"],
        ["--set", "data.unit=null", "--id", "zz"],
        ["--set", "data.unit=null", "--reason", "unresolved-unit", "--yes"],
        ["--yes", "--patience", "5"],
        ["--set", "data.price=12.5", "--yes", "--format", "json"],
    ):
        s, o, e = await run(worker, "dead", "replay", *words)
        print("$", words, s); print(o); print(e)
    print(json.dumps(list(ditio.sandbox.state.tasks.values()), indent=1)[:2500])
    print([m.headers for m in vhost.messages("workorders.dead")])
    assert 0
