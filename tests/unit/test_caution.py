"""Cautious handling: who is suspect, when a note stands, and what is decided by those that were left."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.ledger.conftest import StoppedClock
from worker.caution import Caution
from worker.core.caution import CROWD, ENDS, ENOUGH, TABLE, Standing, Step, mark, step
from worker.core.errors import LedgerError, Outage
from worker.core.message import Message
from worker.core.outcome import Dead, Waiting
from worker.ledger.memory import Contents, MemoryLedger

NEW = Message(b"new")
AGAIN = Message(b"again", redelivered=True)


class Counted(MemoryLedger):
    """A ledger that counts what is written to it about notes."""

    writes = 0

    async def note(self, mark: str, worker: str) -> None:
        self.writes += 1
        await super().note(mark, worker)

    async def lift(self, mark: str, worker: str) -> None:
        self.writes += 1
        await super().lift(mark, worker)

    async def settled(self, mark: str) -> None:
        self.writes += 1
        await super().settled(mark)


class Rig:
    """Workers that share what is in a ledger."""

    def __init__(self) -> None:
        self.contents = Contents()
        self.clock = StoppedClock()
        self.ledger = Counted(self.contents, api_base="a", company_id="c", clock=self.clock)

    async def worker(self, *, stopping: bool = True) -> Caution:
        """A worker that has just started."""
        caution = Caution(self.ledger, stopping=lambda: stopping)
        await caution.start()
        return caution

    async def handle(self, message: Message, *, worker: Caution | None = None, dies: bool = False) -> Step:
        """A delivery to a worker (a new one, unless given), which settles it, or ends at it."""
        caution = worker or await self.worker()
        with suppress(SystemExit):
            async with caution.turn(message) as alone, caution.noted(message, alone=alone) as verdict:
                if dies and verdict is Step.HANDLE:
                    raise SystemExit
        return verdict

    def notes(self, message: Message) -> int:
        """How many notes stand."""
        return len(self.contents.notes.get(mark(message), ()))


# --- the table


def test_the_table_says_what_to_do_in_every_case() -> None:
    assert set(TABLE) == {(notes, others) for notes in range(ENOUGH + 1) for others in range(CROWD + 1)}
    assert step(Standing(99, False, 0)) is Step.CONDEMN
    assert step(Standing(99, False, 99)) is Step.PAUSE
    assert step(Standing(0, True, 99)) is Step.CONDEMN, "guilty for good"


def test_only_what_used_up_its_notes_is_condemned_and_only_when_no_other_did_just_before() -> None:
    condemned = {case for case, verdict in TABLE.items() if verdict is Step.CONDEMN}
    assert condemned == {(ENOUGH, 0)}
    assert all(TABLE[0, others] is Step.HANDLE for others in range(CROWD + 1)), "who has done nothing is handled"


def test_a_message_that_is_not_handled_is_a_letter_or_waits() -> None:
    condemned, deferred = ENDS[Step.CONDEMN], ENDS[Step.DEFER]
    assert isinstance(condemned, Dead)
    assert isinstance(deferred, Waiting)
    assert {condemned.failure.reason, deferred.failure.reason} == {"poisonous"}


def test_a_message_is_known_by_its_body_and_the_replay_that_brought_it() -> None:
    assert mark(Message(b"x", {"a": 1}, {"priority": 1}, redelivered=True)) == mark(Message(b"x"))
    assert len({mark(Message(b"x", headers)) for headers in ({}, {"replay-id": "1"}, {"replay-id": "2"})}) == 3


# --- suspects and notes


async def test_what_was_never_delivered_before_costs_no_commit() -> None:
    rig = Rig()
    worker = await rig.worker()
    async with worker.turn(NEW) as alone, worker.noted(NEW, alone=alone), worker.waiting():
        pass
    assert not alone
    assert rig.ledger.writes == 0


async def test_a_note_stands_while_a_redelivered_message_is_handled_and_not_while_it_waits_or_when_it_is_settled() -> None:
    rig = Rig()
    worker = await rig.worker()
    async with worker.turn(AGAIN) as alone, worker.noted(AGAIN, alone=alone):
        assert alone
        assert rig.notes(AGAIN) == 1
        async with worker.waiting():
            assert rig.notes(AGAIN) == 0
            async with worker.waiting():
                assert rig.notes(AGAIN) == 0
            assert rig.notes(AGAIN) == 0
        assert rig.notes(AGAIN) == 1
        with pytest.raises(LedgerError):
            async with worker.waiting():
                raise LedgerError("no answer")
        assert rig.notes(AGAIN) == 1, "it goes on after an error"
    assert rig.notes(AGAIN) == 0


async def test_an_error_and_an_orderly_stop_lift_the_note_and_the_end_of_the_process_does_not() -> None:
    rig = Rig()
    for error, stopping, left in (
        (LedgerError("disk full"), True, 0),
        (asyncio.CancelledError(), True, 0),
        (asyncio.CancelledError(), False, 1),
        (SystemExit(), True, 1),
    ):
        rig.contents.notes.clear()
        worker = await rig.worker(stopping=stopping)
        with pytest.raises(type(error)):
            async with worker.turn(AGAIN) as alone, worker.noted(AGAIN, alone=alone):
                raise error
        assert rig.notes(AGAIN) == left, error


async def test_what_is_cancelled_while_it_waits_is_not_noted_again() -> None:
    rig = Rig()
    worker = await rig.worker(stopping=False)
    with pytest.raises(asyncio.CancelledError):
        async with worker.turn(AGAIN) as alone, worker.noted(AGAIN, alone=alone), worker.waiting():
            raise asyncio.CancelledError
    assert rig.notes(AGAIN) == 0


async def test_what_this_worker_gave_back_itself_is_not_suspect_once() -> None:
    # Given
    rig = Rig()
    worker = await rig.worker()
    with pytest.raises(LedgerError):
        async with worker.turn(Message(b"again")):
            raise LedgerError("disk full")
    # When, Then
    assert not worker.suspects(AGAIN)
    await rig.handle(AGAIN, worker=worker)
    assert worker.suspects(AGAIN), "another may have ended at it since"
    assert (await rig.worker()).suspects(AGAIN)


async def test_what_this_worker_has_handled_is_not_suspect_once_when_its_acknowledgement_was_lost() -> None:
    # Given
    rig = Rig()
    worker = await rig.worker()
    await rig.handle(Message(b"again"), worker=worker)
    # When, Then
    assert not worker.suspects(AGAIN)
    await rig.handle(AGAIN, worker=worker)
    assert worker.suspects(AGAIN), "another may have ended at it since"
    assert (await rig.worker()).suspects(AGAIN)


async def test_only_the_latest_of_what_it_has_handled_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("worker.caution.MOST_REMEMBERED", 2)
    rig = Rig()
    worker = await rig.worker()
    for body in (b"1", b"2", b"3"):
        await rig.handle(Message(body), worker=worker)
    # When, Then
    suspects = [worker.suspects(Message(body, redelivered=True)) for body in (b"1", b"2", b"3")]
    assert suspects == [True, False, False]


async def test_what_was_delivered_before_is_not_suspect_when_the_worker_before_ended_in_order() -> None:
    # Given a ledger that knows of no end yet, and then of one in order
    rig = Rig()
    worker = await rig.worker()
    assert worker.suspects(AGAIN)
    await worker.stop()
    # When, Then
    worker = await rig.worker()
    assert not worker.suspects(AGAIN)
    # And after an end of another kind it is again; what notes stand of is in any case
    assert (await rig.worker()).suspects(AGAIN)
    await rig.ledger.note(mark(AGAIN), "another")
    await worker.stop()
    assert (await rig.worker()).suspects(AGAIN)


# --- verdicts


async def test_the_fourth_delivery_of_what_breaks_the_worker_is_not_touched_and_neither_is_the_same_body_again() -> None:
    rig = Rig()
    assert [await rig.handle(AGAIN, dies=True) for _ in range(5)] == [Step.HANDLE] * 3 + [Step.CONDEMN] * 2
    assert await rig.handle(Message(b"again")) is Step.CONDEMN, "delivered for the first time, but the same"
    await rig.handle(AGAIN, dies=True)
    # And a replay is a new chance
    assert await rig.handle(Message(b"again", {"replay-id": "r"})) is Step.HANDLE


async def test_a_message_that_is_settled_in_the_end_begins_anew() -> None:
    rig = Rig()
    for _ in range(4):
        assert [await rig.handle(AGAIN, dies=True) for _ in range(2)] == [Step.HANDLE] * 2
        assert await rig.handle(AGAIN) is Step.HANDLE


async def test_a_second_one_in_a_row_waits_and_is_condemned_when_something_was_settled_in_between() -> None:
    # Given
    rig = Rig()
    first, second = (Message(body, redelivered=True) for body in (b"1", b"2"))
    for _ in range(3):
        await rig.handle(first, dies=True)
    assert await rig.handle(first) is Step.CONDEMN
    # When
    assert [await rig.handle(second, dies=True) for _ in range(4)] == [Step.HANDLE] * 3 + [Step.DEFER]
    assert await rig.handle(Message(b"2")) is Step.DEFER, "back from the wait queue, and still nothing was settled"
    worker = await rig.worker()
    assert worker.suspects(NEW), "as long as nothing was settled, anything may be at fault"
    await rig.handle(NEW, worker=worker)
    assert not worker.suspects(NEW)
    # Then
    assert await rig.handle(Message(b"2")) is Step.CONDEMN


async def test_a_third_one_in_a_row_is_the_environment_and_a_restart_is_one_more_try() -> None:
    # Given an environment in which every message ends the worker
    rig = Rig()
    for body in (b"1", b"2"):
        for _ in range(3):
            await rig.handle(Message(body), dies=True)
            await rig.handle(Message(body, redelivered=True), dies=True)
    # When: everything is suspect by now, so that a first delivery is noted too
    assert await rig.handle(NEW, dies=True) is Step.HANDLE
    worker = await rig.worker()
    with pytest.raises(Outage, match="ditio-worker resume") as pause:
        await rig.handle(NEW, worker=worker)
    # Then
    assert pause.value.cause == "environment"
    assert rig.contents.condemned == {mark(Message(b"1"))}
    # And a new worker tries once, and pauses again
    assert await rig.handle(NEW, dies=True) is Step.HANDLE
    with pytest.raises(Outage):
        await rig.handle(NEW)
    # And when it is mended, the one that waited is not condemned
    assert await rig.handle(NEW) is Step.HANDLE
    assert await rig.handle(Message(b"2", redelivered=True)) is Step.HANDLE
    assert rig.contents.condemned == {mark(Message(b"1"))}


async def test_the_pause_for_the_environment_ends_when_an_operator_resumes_after_it_began() -> None:
    # Given
    rig = Rig()
    worker = await rig.worker()
    await worker.environment()
    await rig.ledger.resume()
    rig.contents.row |= {"a", "b"}
    rig.contents.notes[mark(NEW)] = {"another"}
    rig.clock.at += 10
    worker = await rig.worker()
    with pytest.raises(Outage):
        await rig.handle(NEW, worker=worker)
    # When, Then
    for _ in range(2):
        with pytest.raises(Outage):
            await worker.environment()
    rig.clock.at += 10
    await rig.ledger.resume()
    await worker.environment()
