"""`dead` and `trace` as processes: what they print, what they leave, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.dead import ODD, bury, dead
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server

LATER = "2026-03-16T08:00:00Z"


@pytest.fixture
async def shell(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> WorkerProcess:
    """A worker that has run: WO-1 is applied, with an older event that died over it; WO-2 has two letters; and one is nobody's."""
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("updated", "WO-1", id="old", name="Gammel", unit="m3")])
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    newer = event("updated", "WO-1", id="new", name="Ny", unitId="66f1b2c3d4e5f6a7b8c9d0e2", time=LATER)
    bad = [event("updated", "WO-2", id="bad-1", price="abc"), event("updated", "WO-2", id="bad-2", price="<tolv>", time=LATER)]
    await publish_all(vhost.url, [newer, *bad])
    await eventually(lambda: vhost.depth("workorders.dead") == 3 and len(worker.lines()) == 4)
    await bury(vhost.url, [Message(b"\x00\xff nobody's", {}, {})])
    return worker


async def listed(shell: WorkerProcess, *words: str) -> list[dict[str, Any]]:
    """What `dead list --each` has as JSON."""
    status, out, err = await run(shell, "dead", "list", "--each", "--format", "json", *words)
    assert status in (0, 3), err
    found: list[dict[str, Any]] = json.loads(out)
    return found


async def test_letters_are_listed_in_groups_and_one_by_one_with_what_is_to_be_done(shell: WorkerProcess) -> None:
    status, groups, err = await run(shell, "dead", "list")
    print(groups, err)
    each = await listed(shell)
    print(json.dumps(each, indent=1))
    for words in (
        ["dead", "list", "--each"],
        ["dead", "show", each[0]["id"][:8]],
        ["dead", "show", each[1]["id"][:8]],
        ["dead", "plan"],
        ["dead", "plan", "--summary"],
        ["trace", "--external-id", "WO-1"],
        ["trace", "--external-id", "WO-9", "--project", "P-2026-001"],
        ["trace", "--external-id", "WO-2"],
        ["dead", "export", "--redact"],
        ["dead", "export"],
        ["dead", "--help"],
        ["dead", "discard", "--help"],
        ["dead", "discard", "--superseded", "--yes", "--reason", "x", "--archive", "/tmp/dead-exp/arch.jsonl"],
        ["dead", "list"],
    ):
        s, o, e = await run(shell, *words)
        print("$", words, s)
        print(o)
        print(e)
    print(
        shell.get("/metrics").count("x"),
        [l for l in shell.get("/metrics").splitlines() if "dead_letter" in l and not l.endswith(" 0.0")],
    )
    assert 0
