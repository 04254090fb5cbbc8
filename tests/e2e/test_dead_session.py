"""The session in docs/dead-letters.md is what really happens. `SESSION=write pytest tests/e2e/test_dead_session.py` writes it anew."""

from __future__ import annotations

import os

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.process import ROOT, WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.session import in_page, put_into, same, shown
from tests.support.waiting import eventually
from worker.sandbox import Server
from worker.sandbox.projects import put_in

PAGE = ROOT / "docs" / "dead-letters.md"
TIME = "2026-03-15T08:00:00Z"


async def test_the_session_in_the_documentation_is_what_happens(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given a worker that does not wait for what is missing, two work orders of a project that Ditio does not have, and a slip of the ERP's
    worker.start(WORKER_WAIT_MAX_S="0")
    await worker.ready()
    events = [
        event("created", "WO-100", id="7d0c", project="P-2026-014", name="Grunnarbeid - fase 2", estimatedHourQty=750),
        event("created", "WO-101", id="7d0d", project="P-2026-014", name="Masseflytting"),
        event("updated", "WO-7", id="7d0e", estimatedHourQty="abc"),
    ]
    for number, each in enumerate(events, 1):
        await publish_all(vhost.url, [each])
        await eventually(lambda number=number: vhost.depth("workorders.dead") == number)  # type: ignore[misc]

    async def command(*words: str) -> tuple[int, str, str]:
        return await run(worker, *words, WORKER_WAIT_MAX_S="0")

    # When
    session = await shown(command, ["dead", "list"])
    _, listed, _ = await command("dead", "list", "--each", "--external-id", "WO-7", "--format", "jsonl")
    letter_id = listed.split('"')[3]
    session += "\n" + await shown(command, ["dead", "show", letter_id[:8]])
    session += "\n# The project is made in Ditio, and then:\n\n"
    company = next(iter(ditio.sandbox.state.projects.values()))["companyId"]
    put_in(ditio.sandbox.state, company, {"projectNumber": "P-2026-014", "name": "Rv. 3 Løten"})
    session += await shown(command, ["dead", "plan", "--reason", "unresolved-project"])
    made = same(session, kept=[TIME])
    # Then
    if os.environ.get("SESSION") == "write":
        put_into(PAGE, made)
    assert in_page(PAGE) == made
