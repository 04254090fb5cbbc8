"""`plan` as a process: what it prints, and how it ends. It needs no broker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_commands import run
from tests.support.process import ROOT, WorkerProcess, settings
from tests.support.publishing import event
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.sandbox import Server
from worker.sandbox.fields import defaults
from worker.sandbox.sandbox import WRITES

EVENTS = (
    event("created", "WO-200", id="1", name="Masseflytting", isParent=True),
    event("updated", "WO-100", id="2", name="Grunnarbeid - fase 2", estimatedHourQty=750, parent="WO-200", mainForeman="99"),
    event("updated", "WO-100", id="3", name="Gammel", time="2026-03-14T08:00:00Z"),
    event("updated", "WO-200", id="4", price="abc"),
    event("deleted", "WO-200", id="5", time="2026-03-16T08:00:00Z"),
    event("created", "WO-300", id="6", name="Annet prosjekt", project="X-1"),
)

TABLE = """\
file  line  project     external_id  action      field             now          then                   detail
-     1     P-2026-001  WO-200       create      active                         true
-     1     P-2026-001  WO-200       create      name                           Masseflytting
-     1     P-2026-001  WO-200       create      isParent                       true
-     2     P-2026-001  WO-100       update      name              Grunnarbeid  Grunnarbeid - fase 2
-     2     P-2026-001  WO-100       update      estimatedHourQty  500          750
-     2     P-2026-001  WO-100       update      parentActivityId               new:P-2026-001/WO-200
-     2     P-2026-001  WO-100       wait        data.mainForeman                                      Ditio has no employee with the number "99"
-     3     P-2026-001  WO-100       superseded
-     4     P-2026-001  WO-200       fail        data.price                                            expected a number, got "abc"
-     5     P-2026-001  WO-200       deactivate  active            true         false
-     6     X-1         WO-300       ignored
"""

CSV = '''\
file,line,id,type,project,external_id,task_id,action,field,now,then,reason,detail
-,1,1,workorder.created.v1,P-2026-001,WO-200,,create,active,,true,,
-,1,1,workorder.created.v1,P-2026-001,WO-200,,create,name,,Masseflytting,,
-,1,1,workorder.created.v1,P-2026-001,WO-200,,create,isParent,,true,,
-,2,2,workorder.updated.v1,P-2026-001,WO-100,66a1b2c3d4e5f6a7b8c9d0e2,update,name,Grunnarbeid,Grunnarbeid - fase 2,,
-,2,2,workorder.updated.v1,P-2026-001,WO-100,66a1b2c3d4e5f6a7b8c9d0e2,update,estimatedHourQty,500,750,,
-,2,2,workorder.updated.v1,P-2026-001,WO-100,66a1b2c3d4e5f6a7b8c9d0e2,update,parentActivityId,,new:P-2026-001/WO-200,,
-,2,2,workorder.updated.v1,P-2026-001,WO-100,66a1b2c3d4e5f6a7b8c9d0e2,wait,data.mainForeman,,,unresolved-person,"Ditio has no employee with the number ""99"""
-,3,3,workorder.updated.v1,P-2026-001,WO-100,66a1b2c3d4e5f6a7b8c9d0e2,superseded,,,,,
-,4,4,workorder.updated.v1,P-2026-001,WO-200,,fail,data.price,,,invalid-event,"expected a number, got ""abc"""
-,5,5,workorder.deleted.v1,P-2026-001,WO-200,,deactivate,active,true,false,,
-,6,6,workorder.created.v1,X-1,WO-300,,ignored,,,,,
'''


@pytest.fixture
def shell(ditio: Server, tmp_path: Path) -> WorkerProcess:
    """The settings of a worker that handles the projects of 2026; the sandbox has the task WO-100."""
    state = ditio.sandbox.state
    project = next(each for each in state.projects.values() if each["projectNumber"] == "P-2026-001")
    state.put(
        {
            **defaults(),
            "id": "66a1b2c3d4e5f6a7b8c9d0e2",
            "companyId": project["companyId"],
            "projectId": project["id"],
            "externalId": "WO-100",
            "name": "Grunnarbeid",
            "active": True,
            "estimatedHourQty": 500.0,
        }
    )
    return WorkerProcess(settings("amqp://127.0.0.1:1/", ditio, tmp_path, WORKER_PROJECTS="P-2026-*"), tmp_path)


def lines() -> bytes:
    """The events as JSON Lines."""
    return b"\n".join(each.body for each in EVENTS)


async def test_a_plan_is_a_table_or_csv_of_what_each_event_would_do_and_nothing_is_written(
    shell: WorkerProcess, ditio: Server
) -> None:
    status, table, err = await run(shell, "plan", "-", stdin=lines())
    assert (status, table) == (1, TABLE)
    assert err.splitlines() == [
        f"there is no ledger at {shell.folder}/ledger.db yet: every work order is looked up in Ditio",
        "6 events: 1 would wait, 1 would fail, in whole or in part",
    ]
    status, csv, _ = await run(shell, "plan", "-", "--format", "csv", stdin=lines())
    assert (status, csv) == (1, CSV)
    assert [name for name, _ in ditio.sandbox.counts if name in WRITES] == []
    assert not (shell.folder / "ledger.db").exists()


async def test_the_json_of_a_plan_has_an_object_for_each_event_and_the_summary_a_row_for_each_action(
    shell: WorkerProcess,
) -> None:
    _, array, _ = await run(shell, "plan", "-", "--format", "json", stdin=lines())
    _, each_line, _ = await run(shell, "plan", "-", "--format", "jsonl", stdin=lines())
    _, summary, _ = await run(shell, "plan", "-", "--format", "json", "--summary", stdin=lines())
    told = json.loads(array)
    assert told == [json.loads(line) for line in each_line.splitlines()]
    assert (told[1]["action"], told[1]["waits_for"], told[1]["reason"]) == ("update", "person", "unresolved-person")
    assert told[1]["changes"][1] == {"field": "estimatedHourQty", "now": 500.0, "then": 750.0}
    counts = {row["action"]: row["events"] for row in json.loads(summary)}
    actions = ["create", "update", "replace", "delete", "deactivate", "unchanged", "superseded", "ignored", "wait", "fail"]
    assert list(counts.items()) == list(zip(actions, [1, 1, 0, 0, 1, 0, 1, 1, 0, 1], strict=True))


async def test_the_exit_status_says_how_a_plan_ended(shell: WorkerProcess, ditio: Server) -> None:
    fine = EVENTS[0].body
    # A clock that is off is told: the worker would pause, but reading does no harm
    ditio.sandbox.options = ditio.sandbox.options.changed({"clock_ahead_s": 3630})
    status, _, err = await run(shell, "plan", "-", stdin=fine)
    assert (status, "(WORKER_MAX_SKEW_S); the worker would pause" in err) == (0, True)
    status, out, err = await run(shell, "plan", "-", stdin=fine, DITIO_CLIENT_SECRET="wrong")
    assert (status, out) == (1, "")
    assert "invalid_client" in err
    # A ledger that belongs to another company is a wrong setting
    path = shell.folder / "ledger.db"
    await (await ledger.open(path, api_base=ditio.url, company_id="another", clock=WallClock())).close()
    status, _, err = await run(shell, "plan", "-", stdin=fine)
    assert (status, "records of company another" in err) == (2, True)


async def test_an_interrupted_plan_ends_with_130(shell: WorkerProcess, ditio: Server) -> None:
    # Given a Ditio that takes its time
    ditio.sandbox.faults.add({"operation": "project_get", "count": -1, "delay_s": 30.0})
    environment = {"PATH": os.environ["PATH"], "HOME": str(shell.folder), "PYTHONPATH": str(ROOT), **shell._settings}
    environment["DITIO_TIMEOUT_S"] = "60"  # it must not end by itself first
    command = [sys.executable, "-m", "worker", "plan", "-"]
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as plan:
        try:
            assert plan.stdin is not None
            plan.stdin.write(EVENTS[0].body)
            plan.stdin.close()
            plan.stdin = None
            await eventually(lambda: any(name == "project_get" for name, _ in ditio.sandbox.counts))
            # When
            plan.send_signal(signal.SIGINT)
            out, err = await asyncio.to_thread(plan.communicate, timeout=20)
        finally:
            plan.kill()
    # Then
    assert (plan.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "interrupted"
