"""A clock that jumps under a running worker: it pauses, condemns nobody, makes no twin, and goes on when the clock is right."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publish_all
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
TWO_HOURS = 7200


class Clocked(WorkerProcess):
    """A worker whose clock can be set."""

    def set_clock(self, ahead_s: float) -> None:
        """Puts its clock so far ahead of the true time, at once."""
        new = self.folder / "clock.new"
        new.write_text(str(ahead_s))
        os.replace(new, self.folder / "clock")


@pytest.fixture
def clocked(vhost: Vhost, ditio: Server, tmp_path: Path) -> Iterator[Clocked]:
    """A worker that is not started yet; its clock is right."""
    given = settings(vhost.url, ditio, tmp_path, CLOCK_FILE=str(tmp_path / "clock"))
    process = Clocked(given, tmp_path, ("-m", "tests.support.clocked"))
    process.set_clock(0)
    yield process
    process.kill()
    assert leaks(process.log()) == []


def true_time() -> str:
    """Now, as a right clock has it."""
    return datetime.now(UTC).isoformat()


def names(ditio: Server) -> list[str]:
    """The names of the tasks in Ditio, in order."""
    return sorted(str(task["name"]) for task in ditio.sandbox.state.tasks.values())


def creations(ditio: Server) -> int:
    """How often a task was asked for."""
    return sum(line["operation"] == "task_create" and not line["late"] for line in ditio.sandbox.log)


@pytest.mark.parametrize("ahead_s", [-TWO_HOURS, TWO_HOURS], ids=["back", "forward"])
async def test_events_stay_with_the_broker_while_the_clock_is_wrong_and_none_is_condemned_for_its_time(
    clocked: Clocked, vhost: Vhost, ditio: Server, ahead_s: float
) -> None:
    # Given a worker that has been right, and then its clock jumps
    clocked.start()
    await clocked.ready()
    await publish_all(vhost.url, [event("created", f"WO-{number}", time=true_time(), name="før") for number in range(20)])
    await eventually(lambda: names(ditio) == ["før"] * 20 and vhost.depth(*QUEUES) == 0)
    clocked.set_clock(ahead_s)
    # When events come whose times are right
    await publish_all(vhost.url, [event("updated", f"WO-{number}", time=true_time(), name="etter") for number in range(20)])
    # Then
    await eventually(lambda: clocked.metric("paused", cause="clock") == 1)
    told = re.search(r"this machine's clock is ([+-]\d+) s from Ditio's", clocked.get("/readyz"))
    assert told is not None
    assert abs(int(told[1]) - ahead_s) < 5
    assert vhost.depth("workorders.events") == 20, "nothing was acknowledged"
    assert clocked.metric("events_total", outcome="dead") == 0
    # And when the clock is right again
    clocked.set_clock(0)
    await eventually(lambda: names(ditio) == ["etter"] * 20, 60, what="all are applied")
    await eventually(lambda: vhost.depth(*QUEUES) == 0)
    assert vhost.depth("workorders.dead") == 0


async def test_an_event_that_really_is_of_the_future_is_a_letter(clocked: Clocked, vhost: Vhost, ditio: Server) -> None:
    clocked.start()
    await clocked.ready()
    future = datetime.fromtimestamp(time.time() + TWO_HOURS, UTC).isoformat()
    await publish_all(vhost.url, [event("created", "WO-1", time=future, name="x")])
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    assert clocked.metric("paused") == 0


async def test_a_doubt_does_not_end_because_the_clock_jumps(clocked: Clocked, vhost: Vhost, ditio: Server) -> None:
    # Given a creation that is given up, and takes effect seconds later
    clocked.start(DITIO_TIMEOUT_S="1", DITIO_SETTLE_S="8")
    await clocked.ready()
    late = b'{"operation": "task_create", "late_s": 6}'
    assert administer(ditio.sandbox, Request("POST", "/_sandbox/faults", body=late)).status == 204
    await publish_all(vhost.url, [event("created", "WO-1", time=true_time(), name="x")])
    await eventually(lambda: clocked.metric("events_total", outcome="waiting") >= 1, what="it is in doubt")
    # When the clock jumps past the end of the doubt
    clocked.set_clock(TWO_HOURS)
    # Then
    await eventually(lambda: clocked.metric("paused", cause="clock") == 1)
    assert creations(ditio) == 1
    # And when it is right again
    clocked.set_clock(0)
    await eventually(lambda: names(ditio) == ["x"] and vhost.depth(*QUEUES) == 0, 60)
    assert creations(ditio) == 1
