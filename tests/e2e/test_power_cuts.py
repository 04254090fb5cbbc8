"""The worker is killed again and again, on a Ditio that also applies requests late: nothing is lost, nothing is doubled, all is right."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.broker import Vhost
from tests.support.crashing import GAPS
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.message import Message
from worker.ports import Key
from worker.sandbox import Server

EVENTS = 2_000
WORK_ORDERS = 250
KILLS_IN_EACH_GAP = 3
RANDOM_KILLS = 20
QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")

ErpState = dict[tuple[str, str], dict[str, Any]]


def story(chance: random.Random) -> tuple[list[Message], ErpState]:
    """Events as they are published (out of order, some doubled), and what the ERP holds at their end."""
    erp: ErpState = {}
    messages: list[Message] = []
    began = datetime(2026, 3, 2, tzinfo=UTC)
    for number in range(EVENTS - EVENTS // 20):
        key = chance.choice(("P-2026-001", "P-2026-002")), f"WO-{chance.randrange(WORK_ORDERS)}"
        changed: dict[str, Any] = {
            name: chance.choice(values)
            for name, values in {
                "name": ("Graving", "Støp", "Sprengning", f"fase {number}"),
                "estimatedHourQty": (0.0, 10.0, float(number)),
                "active": (True, False),
                "workDescription": ("", "langs veien"),
            }.items()
            if chance.random() < 0.5
        }
        time = (began + timedelta(seconds=number)).isoformat()
        erp.setdefault(key, {}).update(changed)
        messages.append(event("updated", key[1], project=key[0], time=time, id=f"e-{number}", **changed))
    messages += chance.sample(messages, EVENTS // 20)
    places = sorted(range(EVENTS), key=lambda place: place + chance.random() * 100)
    return [messages[place] for place in places], erp


def late_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Requests that are given up and take effect afterwards, and connections that drop; spread over the run."""
    kinds = ({"late_s": 1.2}, {"late_s": 1.8}, {"drop": "before"}, {"drop": "after"})
    return [
        {"operation": operation, "skip": chance.randrange(5, 25), "count": 1, **chance.choice(kinds)}
        for operation in ("task_create", "task_update")
        for _ in range(15)
    ]


async def test_two_thousand_events_survive_power_cuts_in_every_gap_and_at_random_moments(
    vhost: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    messages, erp = story(chance)
    for fault in late_faults(chance):
        ditio.sandbox.faults.add(fault)
    given = settings(vhost.url, ditio, tmp_path, DITIO_TIMEOUT_S="1", DITIO_SETTLE_S="2", WORKER_PREFETCH="64")
    worker = WorkerProcess(given, tmp_path, ("-m", "tests.support.crashing"))
    cuts = [gap for gap in GAPS for _ in range(KILLS_IN_EACH_GAP)] + ["random"] * RANDOM_KILLS
    chance.shuffle(cuts)
    share = -(-len(messages) // len(cuts))
    killed: Counter[str] = Counter()
    try:
        # When
        async with publisher(vhost.url) as to:
            few = True
            for place, cut in enumerate(cuts):
                part = messages[place * share : (place + 1) * share]
                await asyncio.gather(*(to.publish_to("workorders", "a", message) for message in part))
                # Never three times at the same message, which would rightly be taken for the culprit.
                few = not few if cut != "random" else few
                killed[cut] += await _run_until_cut(worker, cut, chance.randrange(*((1, 7) if few else (4, 10))), chance)
        worker.start()
        await eventually(
            lambda: vhost.depth(*QUEUES) == 0 and worker.metric("lanes") == 0 and worker.metric("in_flight") == 0, 120
        )
        await _settled(tmp_path / "ledger.db", messages, ditio)
        await asyncio.to_thread(worker.stop)
    finally:
        worker.kill()
        assert leaks(worker.log()) == []
    # Then every cut was made
    assert killed == Counter(cuts)
    # And every event is accounted for, every task right, and none doubled
    assert vhost.depth(*QUEUES) == 0
    assert vhost.messages("workorders.dead") == []
    numbers = {project["id"]: project["projectNumber"] for project in ditio.sandbox.state.projects.values()}
    tasks = {(numbers[task["projectId"]], task["externalId"]): task for task in ditio.sandbox.state.tasks.values()}
    assert len(tasks) == len(ditio.sandbox.state.tasks), "twins"
    assert tasks.keys() == erp.keys()
    wrong = {
        (key, name): (tasks[key][name], value)
        for key, fields in erp.items()
        for name, value in {"active": True, **fields}.items()
        if (tasks[key][name] or None) != (value or None)  # empty and never set are one
    }
    assert wrong == {}
    # And Ditio did apply requests late, and drop connections
    assert sum(line["late"] for line in ditio.sandbox.log) > 0
    assert ditio.sandbox.counts["task_create", "dropped"] > 0


async def _run_until_cut(worker: WorkerProcess, cut: str, passes: int, chance: random.Random) -> int:
    """Lets the worker run until it is killed, in a gap or at a random moment; returns 1 if it was."""
    if cut == "random":
        worker.start()
        await asyncio.sleep(chance.uniform(0.3, 2.0))  # the moment of a random power cut, not a wait for anything
        worker.kill()
        return 1
    worker.start(CRASH_AT=f"{cut}:{passes}")
    await eventually(lambda: not worker.running, 60, what=f"killed in the gap {cut}")
    return 1


async def _settled(path: Path, messages: list[Message], ditio: Server) -> None:
    """Returns when every event has a settled line in the history, no request is on its way, and no doubt is left."""
    reader = await ledger.open_read_only(path, clock=WallClock())
    projects = list(ditio.sandbox.state.projects)
    ids = {json.loads(message.body)["id"] for message in messages}

    async def rest() -> set[str]:
        keys = [Key(project, f"WO-{number}") for project in projects for number in range(WORK_ORDERS)]
        lines = [line for key in keys for line in await reader.history(key)]
        return ids - {line.id for line in lines if line.outcome in ("applied", "unchanged", "superseded")}

    async with asyncio.timeout(120):
        while ditio.sandbox.late or await reader.next_due() is not None or await rest():
            await asyncio.sleep(0.2)
    await reader.close()
