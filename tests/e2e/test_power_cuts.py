"""The worker is killed again and again, on a Ditio that also applies requests late: nothing is lost, nothing is doubled, all is right."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.broker import Vhost
from tests.support.chaos import QUEUES, drained, settled
from tests.support.crashing import GAPS
from tests.support.erp import Erp, wrong
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker.sandbox import Server

EVENTS = 2_000
WORK_ORDERS = 250
KILLS_IN_EACH_GAP = 3
RANDOM_KILLS = 20


def late_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Requests that are given up and take effect afterwards, and connections that drop; spread over the run."""
    kinds = ({"late_s": 1.2}, {"late_s": 1.8}, {"drop": "before"}, {"drop": "after"})
    return [
        {"operation": operation, "skip": chance.randrange(5, 25), "count": 1, **chance.choice(kinds)}
        for operation in ("task_create", "task_update", "task_replace")
        for _ in range(15)
    ]


async def test_two_thousand_events_survive_power_cuts_in_every_gap_and_at_random_moments(
    vhost: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    erp = Erp(chance, WORK_ORDERS)
    erp.changes(EVENTS - EVENTS // 21)
    messages = erp.published()
    for fault in late_faults(chance):
        ditio.sandbox.faults.add(fault)
    given = settings(
        vhost.url,
        ditio,
        tmp_path,
        DITIO_TIMEOUT_S="1",
        DITIO_SETTLE_S="2",
        WORKER_PREFETCH="64",
        WORKER_MAX_DEACTIVATIONS_PER_H="0",
    )
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
        await settled(tmp_path / "ledger.db", erp.ids, ditio, 120)
        await eventually(lambda: drained(worker, vhost), 60, what="drained")
        await asyncio.to_thread(worker.stop)
    finally:
        worker.kill()
        assert leaks(worker.log()) == []
    # Then every cut was made
    assert killed == Counter(cuts)
    # And every event is accounted for, every task right, and none doubled
    assert vhost.depth(*QUEUES) == 0
    assert vhost.messages("workorders.dead") == []
    assert wrong(erp.holds(), ditio.sandbox.state) == {}
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
