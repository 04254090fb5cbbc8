"""One event from bytes to its settlement: durable first, acknowledged last, and nothing acknowledged when something failed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from worker.core.caution import mark
from worker.core.decode import Rules
from worker.core.errors import Absent, BrokerError, LedgerError, Outage, UnknownOutcome
from worker.core.event import ProjectRef
from worker.core.identity import Identity
from worker.core.letter import Facts, travel, waiting
from worker.core.message import Message
from worker.core.outcome import Applied, Failure, Outcome, Waiting
from worker.handling import Handling, Queues, Taken
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Key, Project, Suspects
from worker.process import Process
from worker.reconcile import Conclusion
from worker.round import Job
from worker.settle import FAILING_ROUNDS

PROJECT = Project("p-1", "P-1", None)
QUEUES = Queues({10: "wait.10s", 60: "wait.1m"}, "dead")


class Delivered:
    """A delivery that notes when it is acknowledged."""

    def __init__(self, message: Message, steps: list[str]) -> None:
        self.message, self.received_at, self._steps = message, 5_000_000, steps

    def ack(self) -> None:
        self._steps.append("ack")


class Locked(MemoryLedger):
    """A ledger whose locks note when they are taken, once `steps` are to hold that."""

    def __init__(self, steps: list[str], *, clock: StoppedClock) -> None:
        super().__init__(Contents(), api_base="a", company_id="c", clock=clock)
        self.steps = steps
        self.told = False
        self.refusal: LedgerError | None = None
        self.contended = False
        self.noted_at_wait: list[bool] = []

    @asynccontextmanager
    async def hold(self, key: Key, aside: Any = None) -> AsyncIterator[None]:
        if self.refusal is not None:
            raise self.refusal
        if self.told:
            self.steps.append(f"lock {key.external_id}")
        if self.contended:
            async with aside():
                self.noted_at_wait.append(bool((await self.suspects()).marks))
        yield
        if self.told:
            self.steps.append("unlock")


class Rig:
    """A process with everything around it scripted; `steps` notes effects in their order."""

    def __init__(self, **settings: Any) -> None:
        self.steps: list[str] = []
        self.published: list[tuple[str, Message]] = []
        self.troubles: list[Exception] = []
        self.settled_as: list[str] = []
        self.letter_ids: list[str] = []
        self.jobs: list[Job] = []
        self.end: Outcome | Exception = Applied()
        self.project_error: Exception | None = None
        self.publish_error: Exception | None = None
        self.index_error: Exception | None = None
        self.clock_error: Exception | None = None
        self.settling_steps: list[int] = []
        self.fresh: list[bool] = []
        self.gate: asyncio.Event | None = None
        self.noted_at_work: list[bool] = []
        self.noted_at_publish: list[bool] = []
        self.clock = StoppedClock(1_800_000_000.0)
        handling = Handling(
            Rules(now=0), QUEUES, "0.1.0", settings.get("source", lambda source: "all"),
            settings.get("handles", lambda number: True), settings.get("wait_max_s", 1000),
        )  # fmt: skip
        self.ledger = Locked(self.steps, clock=self.clock)
        me: Any = self
        self.process = Process(
            handling, ledger=self.ledger, ditio=me, resolver=me, reconciler=me, publisher=me, clock=self.clock,
            observer=me, trouble=self.troubles.append, sure_of_clock=self.look_at_the_clock,
        )  # fmt: skip

    async def take(self, body: object = None, **headers: object) -> None:
        """Takes one message."""
        content = body if isinstance(body, bytes) else json.dumps(body or EVENT).encode()
        await self.process.take(Delivered(Message(content, headers), self.steps))

    async def project(self, ref: ProjectRef, *, fresh: bool = False) -> Project:
        self.fresh.append(fresh)
        if self.project_error is not None:
            raise self.project_error
        return PROJECT

    async def reconcile(self, project: Project, key: object, jobs: list[Job]) -> list[Conclusion]:
        self.steps.append("reconcile")
        self.jobs += jobs
        self.noted_at_work.append(await self.noted())
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.end, Exception):
            raise self.end
        return [Conclusion(self.end, "t-1", ("task_create",), 2) for _ in jobs]

    async def publish(self, queue: str, message: Message) -> None:
        if self.publish_error is not None:
            raise self.publish_error
        self.steps.append(f"publish {queue}")
        self.noted_at_publish.append(await self.noted())
        self.published.append((queue, message))

    async def noted(self) -> bool:
        """Whether a note stands now."""
        return bool((await self.ledger.suspects()).marks)

    async def control(self) -> None:
        self.steps.append("control")

    def received(self, delivery: object) -> None: ...
    def released(self, delivery: object) -> None:
        self.steps.append("released")

    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None:
        if self.index_error is not None:
            raise self.index_error
        self.settling_steps.append(step)

    async def look_at_the_clock(self) -> None:
        self.steps.append("clock")
        if self.clock_error is not None:
            raise self.clock_error

    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None:
        self.settled_as.append(type(conclusion.outcome).__name__.lower())
        self.letter_ids.append(taken.letter_id)


EVENT = {
    "specversion": "1.0", "type": "workorder.updated.v1", "source": "/erp", "id": "e-1", "time": "2026-03-15T08:00:00Z",
    "data": {"project": {"number": "P-1"}, "externalId": "WO-1", "name": "x"},
}  # fmt: skip
NOT_THERE = Waiting("parent", Failure("unresolved-parent", "not there", "data.parent"))


def waited(seconds: int, rounds: int = 0) -> dict[str, object]:
    """The headers of a message that has waited so long."""
    facts = Facts(Identity(), 1_000_000, 2_000_000, "0", 4, seconds, rounds)
    return dict(waiting(Message(b""), Failure("failing", "x"), facts).headers)


async def test_an_applied_event_is_acknowledged_after_it_was_reconciled() -> None:
    rig = Rig()
    await rig.take()
    assert rig.steps == ["reconcile", "ack", "released"]
    assert rig.settled_as == ["applied"]


async def test_a_work_order_is_locked_while_it_is_reconciled_for_an_event_or_for_what_is_due() -> None:
    rig = Rig()
    rig.ledger.told = True
    await rig.take()
    await rig.process.do_due(Key("p-1", "WO-2"))
    assert rig.steps == ["lock WO-1", "reconcile", "unlock", "ack", "released", "lock WO-2", "reconcile", "unlock"]


async def test_a_lock_that_cannot_be_had_is_trouble_and_nothing_is_acknowledged() -> None:
    rig = Rig()
    rig.ledger.refusal = LedgerError("gone")
    await rig.take()
    assert (rig.steps, rig.troubles) == (["released"], [rig.ledger.refusal])


async def test_a_broken_event_is_a_letter_at_once_and_published_before_it_is_acknowledged() -> None:
    rig = Rig()
    await rig.take(b"{")
    assert rig.steps == ["publish dead", "ack", "released"]
    assert rig.published[0][1].headers["failure-reason"] == "invalid-event"
    assert rig.letter_ids == [rig.published[0][1].headers["letter-id"]], "the index of letters is told which it is"


async def test_a_waiting_event_goes_to_the_queue_of_its_step_and_says_how_long_it_has_waited() -> None:
    rig = Rig()
    rig.end = NOT_THERE
    await rig.take()
    assert rig.steps == ["reconcile", "publish wait.10s", "ack", "released"]
    came = travel(rig.published[0][1])
    assert (came.waited_s, came.attempts, came.first_seen) == (10, 2, 5_000_000)
    # And the next time
    await rig.take(None, **rig.published[0][1].headers)
    assert [queue for queue, _ in rig.published] == ["wait.10s", "wait.1m"]
    assert travel(rig.published[1][1]).waited_s == 70


async def test_the_first_seen_of_the_first_time_counts_not_that_of_the_return() -> None:
    rig = Rig()
    await rig.take(None, **waited(10))
    assert rig.jobs[0].stamp.first_seen == 1_000_000


async def test_an_event_that_has_waited_long_enough_is_a_letter_and_was_looked_up_afresh() -> None:
    rig = Rig(wait_max_s=70)
    rig.end = NOT_THERE
    await rig.take(None, **waited(70))
    assert rig.steps == ["reconcile", "publish dead", "ack", "released"]
    assert rig.fresh == [True]
    assert rig.jobs[0].last_chance
    assert rig.published[0][1].headers["failure-reason"] == "unresolved-parent"
    assert rig.settled_as == ["dead"]


async def test_waiting_out_a_doubt_takes_the_first_step_each_time_and_is_not_counted() -> None:
    rig = Rig()
    rig.end = Waiting("settling", Failure("rejected", "no", status=400), refused=True)
    await rig.take(None, **waited(70))
    queue, message = rig.published[0]
    assert (queue, travel(message).waited_s) == ("wait.10s", 70)
    rejected = travel(message).rejected
    assert rejected is not None
    assert (rejected.reason, rejected.status) == ("rejected", 400)


async def test_after_eight_rounds_of_failing_an_event_is_a_letter() -> None:
    rig = Rig()
    rig.end = Waiting("failing", Failure("failing", "503"))
    await rig.take(None, **waited(10, FAILING_ROUNDS - 2))
    await rig.take(None, **rig.published[0][1].headers)
    assert [queue for queue, _ in rig.published] == ["wait.1m", "dead"]
    assert rig.published[1][1].headers["failure-reason"] == "failing"


async def test_what_is_not_held_against_an_event_takes_the_first_step_each_time_and_is_not_counted() -> None:
    rig = Rig(wait_max_s=70)
    rig.end = Waiting("failing", Failure("rejected", "403", status=403), counted=False)
    await rig.take(None, **waited(70, FAILING_ROUNDS - 1))
    queue, message = rig.published[0]
    assert (queue, travel(message).waited_s, travel(message).failing_rounds) == ("wait.10s", 70, FAILING_ROUNDS - 1)


async def test_a_missing_project_waits_and_a_failing_one_asks_the_control_read() -> None:
    rig = Rig()
    rig.project_error = Absent("project", "no project P-1")
    await rig.take()
    rig.project_error = UnknownOutcome("timeout")
    await rig.take()
    assert [message.headers["failure-reason"] for _, message in rig.published] == ["unresolved-project", "failing"]
    assert "control" in rig.steps


async def test_a_source_that_is_not_ours_is_a_letter_and_a_project_that_is_not_ours_is_ignored() -> None:
    rig = Rig(source=lambda source: None)
    await rig.take()
    assert rig.published[0][1].headers["failure-reason"] == "wrong-source"
    rig = Rig(handles=lambda number: False)
    await rig.take()
    assert (rig.steps, rig.settled_as) == (["ack", "released"], ["ignored"])


@pytest.mark.parametrize("error", [Outage("circuit", "down"), LedgerError("disk full")])
async def test_what_is_no_events_fault_leaves_the_message_with_the_broker(error: Exception) -> None:
    rig = Rig()
    rig.end = error
    await rig.take()
    assert rig.steps == ["reconcile", "released"]
    assert rig.troubles == [error]


@pytest.mark.parametrize("body", [None, b"{"])
async def test_a_publish_that_fails_is_never_acknowledged(body: bytes | None) -> None:
    rig = Rig()
    rig.end, rig.publish_error = NOT_THERE, BrokerError("refused")
    await rig.take(body)
    assert "ack" not in rig.steps
    assert rig.troubles == [rig.publish_error]


async def test_an_event_on_which_the_worker_itself_breaks_waits_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.end = ZeroDivisionError("a mistake")
    await rig.take()
    assert rig.steps == ["reconcile", "publish wait.10s", "ack", "released"]
    assert "ZeroDivisionError" in str(rig.published[0][1].headers["failure-detail"])
    assert "a mistake" in caplog.text


async def test_what_was_abandoned_in_its_lane_stays_with_the_broker_without_trouble() -> None:
    rig = Rig()
    rig.process.lanes.abandon()
    await rig.take()
    assert (rig.steps, rig.troubles) == (["released"], [])


async def test_what_waits_is_indexed_before_it_is_acknowledged_and_nothing_is_acknowledged_without() -> None:
    # Given
    rig = Rig()
    rig.end = NOT_THERE
    # When
    await rig.take()
    # Then
    assert rig.settling_steps == [10]
    # And when the ledger cannot note it
    rig.index_error, rig.steps = LedgerError("full"), []
    await rig.take()
    assert "ack" not in rig.steps
    assert rig.troubles == [rig.index_error]


async def test_an_event_of_the_future_is_condemned_only_once_the_clock_is_known_to_be_right() -> None:
    # Given an event two hours ahead of this machine's clock
    rig = Rig()
    event = {**EVENT, "time": "2027-01-15T10:00:00Z"}
    # When it is the clock that is wrong
    rig.clock_error = Outage("clock", "two hours behind")
    await rig.take(event)
    # Then
    assert rig.steps == ["clock", "released"]
    assert rig.troubles == [rig.clock_error]
    # And when the clock is right
    rig.clock_error, rig.steps = None, []
    await rig.take(event)
    assert rig.steps == ["clock", "publish dead", "ack", "released"]


# --- caution


def redelivered(body: bytes) -> Message:
    return Message(body, {"event-id": "e-7", "external-id": "WO-7"}, redelivered=True)


async def ended_at(rig: Rig, message: Message) -> None:
    """Three workers have ended at this message."""
    for worker in ("w-1", "w-2", "w-3"):
        await rig.ledger.note(mark(message), worker)


async def test_what_ended_the_worker_three_times_is_a_letter_that_says_so_and_is_not_looked_at() -> None:
    rig = Rig()
    message = redelivered(b"\xff not even a body")
    await ended_at(rig, message)
    await rig.process.take(Delivered(message, rig.steps))
    assert rig.steps == ["publish dead", "ack", "released"]
    letter = rig.published[0][1]
    assert (letter.body, letter.headers["failure-reason"]) == (message.body, "poisonous")
    assert (letter.headers["event-id"], letter.headers["external-id"]) == ("e-7", "WO-7"), "as an earlier round wrote them"
    assert "3 times" in str(letter.headers["failure-detail"])
    assert rig.settled_as == ["dead"]


async def test_a_second_one_in_a_row_goes_to_a_wait_queue() -> None:
    rig = Rig()
    await rig.ledger.broke("another", condemned=True)
    message = redelivered(b"{}")
    await ended_at(rig, message)
    await rig.process.take(Delivered(message, rig.steps))
    assert rig.steps == ["publish wait.10s", "ack", "released"]
    assert rig.published[0][1].headers["failure-reason"] == "poisonous"


async def test_what_is_no_messages_fault_pauses_the_worker_and_leaves_the_message_with_the_broker() -> None:
    rig = Rig()
    for other in ("one", "another"):
        await rig.ledger.broke(other, condemned=False)
    message = redelivered(b"{}")
    await rig.ledger.note(mark(message), "w-1")
    await rig.process.take(Delivered(message, rig.steps))
    assert rig.steps == ["released"]
    (trouble,) = rig.troubles
    assert isinstance(trouble, Outage)
    assert trouble.cause == "environment"


async def test_no_note_stands_while_a_confirm_is_waited_for_or_when_all_is_done() -> None:
    rig = Rig()
    rig.end = NOT_THERE
    message = redelivered(json.dumps(EVENT).encode())
    await rig.process.take(Delivered(message, rig.steps))
    assert rig.noted_at_publish == [False]
    assert rig.noted_at_work == [True]
    assert await rig.ledger.suspects() == Suspects()


async def test_no_note_stands_while_another_worker_has_the_work_order() -> None:
    rig = Rig()
    rig.ledger.contended = True
    await rig.process.take(Delivered(redelivered(json.dumps(EVENT).encode()), rig.steps))
    assert rig.ledger.noted_at_wait == [False]
    assert rig.noted_at_work == [True]


async def test_what_was_given_back_while_it_waited_for_its_turn_is_not_touched() -> None:
    # Given one message at work, and a redelivered one behind it
    rig = Rig()
    rig.gate = asyncio.Event()
    first = asyncio.ensure_future(rig.take())
    await asyncio.sleep(0)
    message = redelivered(json.dumps(EVENT).encode())
    second = asyncio.ensure_future(rig.process.take(Delivered(message, rig.steps)))
    await asyncio.sleep(0)
    # When
    rig.process.lanes.abandon()
    rig.process.lanes.open()
    rig.gate.set()
    await asyncio.gather(first, second)
    # Then
    assert rig.steps == ["reconcile", "ack", "released", "released"]
    assert rig.troubles == []
