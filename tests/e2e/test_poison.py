"""What breaks the worker alone is a dead letter; whatever was beside it, and whatever the worker waited at when it ended, is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import Vhost, json_body
from tests.support.postgres import Database
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.message import Message
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
KILLS = 20
SLOW = ("project_get", "task_find", "task_create")


@pytest.fixture
def breaking(vhost: Vhost, ditio: Server, tmp_path: Path) -> WorkerProcess:
    """A worker that what it handles may break; it is killed at the end of each test."""
    return WorkerProcess(
        settings(vhost.url, ditio, tmp_path, DITIO_TIMEOUT_S="1", DITIO_SETTLE_S="1"), tmp_path, ("-m", "tests.support.breaking")
    )


async def supervised(worker: WorkerProcess, done: Callable[[], bool], within_s: float, **more: str) -> int:
    """Starts the worker, and again whenever it has ended, until something is done; returns how often it ended."""
    ends = 0
    worker.start(**more)
    async with asyncio.timeout(within_s):
        while not done():
            if not worker.running:
                ends += 1
                worker.start(**more)
            await asyncio.sleep(0.05)
    return ends


def orders(ditio: Server) -> set[str]:
    """The work orders that are in Ditio."""
    return {str(task["externalId"]) for task in ditio.sandbox.state.tasks.values()}


@pytest.mark.parametrize(
    ("prefetch", "where", "death"),
    [(1, "decode", "leave"), (5, "handle", "abort"), (512, "handle", "leave"), (512, "decode", "kill")],
)
async def test_a_message_that_breaks_the_worker_ends_alone_among_the_dead_letters(
    breaking: WorkerProcess, vhost: Vhost, ditio: Server, prefetch: int, where: str, death: str
) -> None:
    # Given
    names = [f"WO-{number}" for number in range(500)]
    poison = event("created", "WO-250", name="gift")
    messages = [poison if name == "WO-250" else event("created", name, name="x") for name in names]
    await publish_all(vhost.url, messages)
    given = {"WORKER_PREFETCH": str(prefetch), "BREAKS_ON": f"{where}:WO-250", "BREAKS_BY": death}
    try:
        # When
        ends = await supervised(
            breaking, lambda: len(ditio.sandbox.state.tasks) == 499 and vhost.depth(*QUEUES) == 0, 90, **given
        )
        # Then
        (letter,) = vhost.messages("workorders.dead")
        assert letter.body == poison.body
        assert letter.headers["failure-reason"] == "poisonous"
        assert "3 times" in str(letter.headers["failure-detail"])
        assert letter.headers["original-exchange"] == "workorders"
        assert letter.headers["letter-id"]
        assert orders(ditio) == set(names) - {"WO-250"}
        assert ends == 4, "once unawares, three times with a note"
        # And the same body again is one too, without breaking anything; a replay is a new chance, and breaks
        await publish_all(vhost.url, [poison])
        await eventually(lambda: vhost.depth("workorders.dead") == 2)
        assert breaking.running
        assert breaking.metric("dead_letters_total", reason="poisonous") >= 1
        replayed = Message(poison.body, {"replay-id": "r-1"}, poison.properties)
        await publish_all(vhost.url, [replayed])
        await eventually(lambda: not breaking.running)
    finally:
        breaking.kill()


@pytest.mark.parametrize("prefetch", [1, 5, 512])
async def test_two_workers_on_one_ledger_condemn_the_one_message_that_breaks_them_and_no_other(
    vhost: Vhost, ditio: Server, postgres: Database, tmp_path: Path, prefetch: int
) -> None:
    # Given
    names = [f"WO-{number}" for number in range(500)]
    poison = event("created", "WO-250", name="gift")
    messages = [poison if name == "WO-250" else event("created", name, name="x") for name in names]
    workers = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        more = {"LEDGER_URL": postgres.url, "WORKER_PREFETCH": str(prefetch), "BREAKS_ON": "handle:WO-250", "BREAKS_BY": "kill"}
        given = settings(vhost.url, ditio, tmp_path, **more)
        workers.append(WorkerProcess(given, tmp_path / name, ("-m", "tests.support.breaking")))
    # When
    await publish_all(vhost.url, messages)

    def done() -> bool:
        return len(ditio.sandbox.state.tasks) == 499 and vhost.depth(*QUEUES) == 0

    try:
        ends = await asyncio.gather(*(supervised(worker, done, 120) for worker in workers))
        # Then
        (letter,) = vhost.messages("workorders.dead")
        assert letter.body == poison.body
        assert letter.headers["failure-reason"] == "poisonous"
        assert orders(ditio) == set(names) - {"WO-250"}
        assert 4 <= sum(ends) <= 5, "each once unawares at most, three times with a note"
    finally:
        for worker in workers:
            worker.kill()
            assert leaks(worker.log()) == []


async def test_kills_while_it_waits_for_ditio_condemn_nobody(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given a Ditio that is slow, and a worker that is killed again and again soon after it has asked something for an event
    chance = random.Random(20)
    for operation in SLOW:
        ditio.sandbox.faults.add({"operation": operation, "delay_s": 0.25, "count": -1})
    await publish_all(vhost.url, [event("created", f"WO-{number}", name="x") for number in range(10)])

    def asked() -> int:
        return sum(count for (operation, _), count in ditio.sandbox.counts.items() if operation in SLOW)

    for _ in range(KILLS):
        before = asked()
        worker.start()
        await eventually(lambda before=before: asked() > before, what="it asks")  # type: ignore[misc]  # a default has no type
        await asyncio.sleep(chance.uniform(0, 0.6))  # the moment of a random kill, not a wait for anything
        worker.kill()
    # When it is left alone
    ditio.sandbox.faults.clear()
    worker.start()
    # Then
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 10 and vhost.depth(*QUEUES) == 0, 60)
    assert vhost.messages("workorders.dead") == []


async def test_an_environment_that_breaks_the_worker_at_every_message_pauses_it_until_an_operator_resumes(
    breaking: WorkerProcess, vhost: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given
    broken = tmp_path / "broken"
    broken.touch()
    names = {f"WO-{number}" for number in range(20)}
    await publish_all(vhost.url, [event("created", name, name="x") for name in sorted(names)])
    given = {"BREAKS_ON": "decode:*", "BREAKS_BY": "kill", "BREAKS_WHILE": str(broken)}

    def paused() -> bool:
        return "environment" in breaking.get("/readyz")

    try:
        # When
        ends = await supervised(breaking, paused, 60, **given)
        # Then it does not go on dying, and one message at most was taken for the culprit
        assert ends <= 8
        assert "ditio-worker resume" in breaking.get("/readyz")
        assert breaking.metric("paused", cause="environment") == 1
        letters = [json_body(letter)["data"]["externalId"] for letter in vhost.messages("workorders.dead")]
        assert len(letters) <= 1
        # And a restart is one more try, which condemns nobody
        assert await asyncio.to_thread(breaking.stop) == 0
        assert await supervised(breaking, paused, 60, **given) == 1
        assert vhost.depth("workorders.dead") == len(letters)
        # And when the environment is mended and an operator says so, all goes on
        broken.unlink()
        store = await ledger.open_beside(tmp_path / "ledger.db", clock=WallClock())
        await store.resume()
        await store.close()
        await eventually(
            lambda: orders(ditio) == names - set(letters) and vhost.depth(*QUEUES) == 0, 60, what="the rest is applied"
        )
        await breaking.ready()
        assert vhost.depth("workorders.dead") == len(letters)
    finally:
        breaking.kill()
