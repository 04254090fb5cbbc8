"""`dead replay` as a process beside a worker: what it brings to Ditio, when it stops, what it leaves, and that killing it harms nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from typing import Any

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.dead import bury, dead
from tests.support.killed import Killed, killed
from tests.support.killing import GAPS
from tests.support.process import ROOT, WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server

LATER = "2026-03-16T08:00:00Z"
DEAD = "workorders.dead"


async def replay(worker: WorkerProcess, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, what it says as JSON, and what it complains about."""
    status, out, err = await run(worker, "dead", "replay", "--yes", "--format", "json", *words)
    return status, json.loads(out or "{}"), err


def bad(number: int, **data: object) -> Message:
    """An event of a work order of its own, whose price is none."""
    return event("updated", f"WO-{number}", id=f"bad-{number}", price="abc", **data)  # type: ignore[arg-type]  # any fields


async def test_a_letter_replayed_after_newer_events_changes_nothing_that_they_set_and_brings_what_they_did_not(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given an event that was not understood, and a newer one that was applied since
    worker.start()
    await worker.ready()
    old = event("updated", "WO-1", id="old", name="Gammel", workDescription="langs veien", price="abc")
    await publish_all(vhost.url, [old])
    await eventually(lambda: vhost.depth(DEAD) == 1)
    await publish_all(vhost.url, [event("updated", "WO-1", id="new", name="Ny", estimatedHourQty=5, time=LATER)])
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 1)
    # When
    status, told, err = await replay(worker, "--set", "data.price=12.5")
    # Then
    assert (status, told["outcomes"], told["back"], told["stopped"]) == (0, {"applied": 1}, [], None), err
    (task,) = ditio.sandbox.state.tasks.values()
    assert {name: task[name] for name in ("name", "workDescription", "estimatedHourQty", "price")} == {
        "name": "Ny", "workDescription": "langs veien", "estimatedHourQty": 5.0, "price": 12.5,
    }  # fmt: skip
    assert vhost.depth(DEAD) == 0
    # And an event that has nothing left to bring says so
    await bury(vhost.url, [dead(event("updated", "WO-1", id="older", name="Eldst", time="2026-03-01T08:00:00Z"))])
    status, told, _ = await replay(worker)
    assert (status, told["outcomes"]) == (0, {"superseded": 1})
    assert (await replay(worker))[0] == 3


async def test_a_canary_that_comes_back_stops_it_and_so_do_too_many_failures(worker: WorkerProcess, vhost: Vhost) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [bad(number) for number in range(30)])
    await eventually(lambda: vhost.depth(DEAD) == 30)
    # When, Then
    status, told, _ = await replay(worker)
    assert (status, told["replayed"], told["outcomes"]) == (1, 1, {"dead": 1})
    assert told["stopped"].startswith("the canary came back: invalid-event: expected a number")
    assert [each["reason"] for each in told["back"]] == ["invalid-event"]
    # And without a canary, at a rate at which they are seen to come back
    status, told, err = await replay(worker, "--canary", "0", "--max-failures", "2", "--rate", "8")
    assert (status, "(--max-failures)" in told["stopped"]) == (1, True)
    assert 3 <= told["replayed"] < 30, err
    # And each letter is there, the ones that came back with a trace of it
    await eventually(lambda: vhost.depth(DEAD) == 30)
    letters = vhost.messages(DEAD)
    assert {str(each.headers["event-id"]) for each in letters} == {f"bad-{number}" for number in range(30)}
    back = [each.headers for each in letters if each.headers.get("replay-id") == told["replay_id"]]
    assert all(each["replayed-by"] and each["original-exchange"] == "workorders" for each in back)
    # And what was replayed as often as is allowed is left and named
    status, told, err = await replay(worker, "--max-replays", "1", "--dry-run")
    assert status == 0
    assert err.count("is left: was replayed ") == len([each for each in letters if each.headers.get("replay-count", 0)])


async def test_what_a_repair_leaves_invalid_stays_and_the_rest_goes(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [bad(1), bad(2, unit=5), bad(3)])
    await eventually(lambda: vhost.depth(DEAD) == 3)
    # When it is only looked at, nothing happens
    before = vhost.messages(DEAD)
    status, _, _ = await run(worker, "dead", "replay", "--set", "data.price=5", "--dry-run")
    assert (status, [each.body for each in vhost.messages(DEAD)]) == (0, [each.body for each in before])
    # When
    status, told, _ = await replay(worker, "--set", "data.price=5")
    # Then
    assert (status, told["outcomes"], [each["field"] for each in told["left"]]) == (1, {"applied": 2}, ["data.unit"])
    assert [each.headers["event-id"] for each in vhost.messages(DEAD)] == ["bad-2"]
    assert {task["price"] for task in ditio.sandbox.state.tasks.values()} == {5.0}
    # And whoever does not agree gets nothing
    status, _, err = await run(worker, "dead", "replay", stdin=b"n\n")
    assert (status, "Replay 1 of 1 dead letters? [y/N] " in err, vhost.depth(DEAD)) == (1, True, 1)


async def test_an_interrupt_finishes_what_is_in_hand_and_leaves_the_rest(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    await bury(vhost.url, [dead(event("updated", f"WO-{number}", id=f"e-{number}", name="x"), number) for number in range(200)])
    environment = {"PATH": os.environ["PATH"], "HOME": str(worker.folder), "PYTHONPATH": str(ROOT), **worker._settings}
    command = [sys.executable, "-m", "worker", "dead", "replay", "--yes", "--rate", "30", "--format", "json"]
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    # When
    await eventually(lambda: len(ditio.sandbox.state.tasks) > 5)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.to_thread(process.communicate, timeout=30)
    # Then
    told = json.loads(out)
    assert (process.returncode, told["stopped"]) == (130, "interrupted"), err
    assert 5 < told["replayed"] < 200
    await eventually(lambda: vhost.depth(DEAD) == 200 - told["replayed"])
    await eventually(lambda: len(ditio.sandbox.state.tasks) == told["replayed"])


async def test_without_a_ledger_nothing_is_replayed_unless_nobody_wants_to_follow(worker: WorkerProcess, vhost: Vhost) -> None:
    await bury(vhost.url, [dead(event("updated", f"WO-{number}", name="x"), number) for number in range(3)])
    status, _, err = await replay(worker)
    assert (status, "--no-follow replays without" in err, vhost.depth(DEAD)) == (2, True, 3)
    status, told, _ = await replay(worker, "--no-follow")
    assert (status, told["replayed"], vhost.depth(DEAD), vhost.depth("workorders.events")) == (0, 3, 0, 3)


async def test_a_hundred_letters_survive_kills_of_their_replay(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    cuts = [*GAPS, *GAPS, "random", "random"]
    chance.shuffle(cuts)
    story = Killed(vhost, ditio, worker, 100, chance)
    await killed(story, cuts)
    assert sum(story.cuts.values()) >= 6, story.cuts
