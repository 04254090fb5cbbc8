"""The broker's promise as tests ask for it: what they do to a worker's connections, and what must come of it.

Consuming again by itself, or not ready with the cause in words, within 60 s; no event lost, and none dead-lettered for it.
"""

from __future__ import annotations

import asyncio
import time

from tests.support.broker import Vhost
from tests.support.cluster import Node
from tests.support.process import WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server

PROMISE_S = 60.0
QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")


def created(first: int, last: int) -> list[Message]:
    """Events of as many work orders."""
    return [event("created", f"WO-{number}", name="x") for number in range(first, last)]


def named(server: Server) -> list[str]:
    """The external ids of the tasks, sorted: one that is there twice is seen."""
    return sorted(str(task["externalId"]) for task in server.sandbox.state.tasks.values())


async def done(ditio: Server, vhost: Vhost, count: int, within_s: float = PROMISE_S) -> None:
    """Every event became one task, nothing is left and nothing was dead-lettered."""
    expected = sorted(f"WO-{number}" for number in range(count))
    await eventually(lambda: len(ditio.sandbox.state.tasks) >= count, within_s, what="all are applied")
    await eventually(lambda: vhost.depth(*QUEUES) == 0, within_s, what="nothing waits")
    assert named(ditio) == expected
    assert vhost.depth("workorders.dead") == 0


async def not_ready(worker: WorkerProcess, because: str, within_s: float = PROMISE_S) -> str:
    """The page that says so."""

    def page() -> str:
        said = worker.get("/readyz")
        return said if said.startswith("503") and because in said else ""

    try:
        return await eventually(page, within_s)
    except AssertionError as error:
        raise AssertionError(f"not unready because {because!r}: {worker.get('/readyz')!r}") from error


async def stays_unready(worker: WorkerProcess, because: str, seconds: float) -> None:
    """The page says so the whole time, and the worker never goes on in between."""
    taken = len(worker.lines("events are taken"))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        page = worker.get("/readyz")
        assert page.startswith("503")
        assert because in page
        await asyncio.sleep(0.05)
    assert len(worker.lines("events are taken")) == taken


async def an_alarm(worker: WorkerProcess, vhost: Vhost, node: Node, ditio: Server, *, lasts_s: float) -> None:
    """A broker runs out of memory for so long: letters wait in hand, the worker says why it is not ready, each is published once."""
    # Given events that must become letters, and a broker that takes nothing more
    worker.start()
    await worker.ready()
    assert await asyncio.to_thread(worker.stop) == 0
    bad = [Message(b"{%d" % number) for number in range(5)]
    await publish_all(vhost.url, [*bad, *created(0, 5)])
    limit = node.control("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
    node.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        # When
        worker.start()
        # Then
        await not_ready(worker, "broker: it takes no messages now: low on memory")
        await stays_unready(worker, "low on memory", lasts_s)
    finally:
        node.control("set_vm_memory_high_watermark", limit)
    await worker.ready(PROMISE_S)
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 5, PROMISE_S, what="all are applied")
    await eventually(lambda: vhost.depth("workorders.dead") == 5, PROMISE_S, what="each has its letter")
    await eventually(lambda: vhost.depth(*QUEUES) == 0)
    assert sorted(letter.body for letter in vhost.messages("workorders.dead")) == sorted(message.body for message in bad)
