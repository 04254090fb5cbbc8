"""The broker's promise as tests ask for it: what they do to a worker's connections, and what must come of it.

Consuming again by itself, or not ready with the cause in words, within 60 s; no event lost, and none dead-lettered for it.
"""

from __future__ import annotations

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import event
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
