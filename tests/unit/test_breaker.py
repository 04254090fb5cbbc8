"""The breaker around Ditio: what it counts, what it spares, what it lets through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from worker.breaker import Breaker
from worker.core.errors import ApiError, Missing, NotSent, Outage, Refused, UnknownOutcome
from worker.core.plan import Create
from worker.ports import Project, Reply

PROJECT = Project("p-1", "P-1", None)


class Rig:
    """A breaker around a Ditio that answers writes with `error` (None: success) and the control read with `outage`."""

    def __init__(self) -> None:
        self.error: ApiError | Outage | None = None
        self.outage: Outage | None = None
        self.sent = 0
        self.states: list[str] = []
        self.troubles: list[Outage] = []
        self.clock = StoppedClock()
        self.writing: asyncio.Future[Reply]
        me: Any = self
        self.breaker = Breaker(me, self.clock, on_change=self.states.append, trouble=self.troubles.append)  # type: ignore[arg-type]  # outages only

    async def send(self, call: Create, project: Project, *, starting: object = None) -> Reply:
        self.sent += 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return Reply()

    async def control(self) -> None:
        if self.outage is not None:
            raise self.outage

    async def write(self, order: str, error: ApiError | Outage | None = None) -> bool:
        """Writes; returns whether the refusal was spared."""
        self.error = error
        self.clock.at += 1
        try:
            await self.breaker.send(Create(order, {}), PROJECT)
        except ApiError as refusal:
            return refusal.spared
        return False

    async def open(self, error: type[ApiError] = Refused, status: int | None = 403) -> None:
        """Lets a row of writes be refused."""
        for number in range(10):
            await self.write(f"WO-{number}", error("no", status=status))


@pytest.mark.parametrize(
    ("error", "status"),
    [(Refused, 401), (Refused, 403), (UnknownOutcome, 408), (UnknownOutcome, 500), (UnknownOutcome, None), (NotSent, None)],
)
async def test_ten_refused_work_orders_open_the_circuit_and_all_but_the_first_are_spared(
    error: type[ApiError], status: int | None
) -> None:
    rig = Rig()
    spared = [await rig.write(f"WO-{number}", error("no", status=status)) for number in range(10)]
    assert spared == [False] + [True] * 9
    assert rig.states == ["open"]
    assert [outage.cause for outage in rig.troubles] == ["credentials" if status == 403 else "circuit"]


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_what_ditio_says_of_an_event_itself_opens_nothing(status: int) -> None:
    rig = Rig()
    await rig.open(Refused, status)
    assert rig.states == []


async def test_a_404_counts_when_it_stands_after_everything_was_resolved_afresh() -> None:
    rig = Rig()
    await rig.open(Missing, 404)
    assert rig.states == []
    await rig.open(Missing, 404)
    assert rig.states == ["open"]


async def test_a_success_in_between_keeps_the_circuit_closed() -> None:
    rig = Rig()
    for number in range(30):
        await rig.write(f"WO-{number}", Refused("no", status=403))
        if number % 9 == 8:
            await rig.write("WO-GOOD")
    assert rig.states == []


async def test_nothing_is_sent_while_the_circuit_is_open() -> None:
    rig = Rig()
    await rig.open()
    with pytest.raises(Outage):
        await rig.breaker.send(Create("WO-X", {}), PROJECT)
    assert rig.sent == 10


async def test_half_open_a_success_closes_and_a_refusal_opens_again_and_is_spared() -> None:
    # Given
    rig = Rig()
    await rig.open(UnknownOutcome, 500)
    await rig.breaker.probe()
    assert rig.breaker.half_open
    # When
    assert await rig.write("WO-1", UnknownOutcome("no", status=500))
    # Then
    assert rig.states == ["open", "half-open", "open"]
    assert len(rig.troubles) == 2
    # And
    await rig.breaker.probe()
    await rig.write("WO-2")
    assert rig.states[-2:] == ["half-open", "closed"]
    assert not await rig.write("WO-3", Refused("no", status=403)), "alone again"


async def slow(rig: Rig, order: str) -> asyncio.Event:
    """Begins a write that succeeds when the event is set."""
    answered, send = asyncio.Event(), rig.send

    async def waits(call: Create, project: Project, *, starting: object = None) -> Reply:
        await answered.wait()
        return Reply()

    rig.send = waits  # type: ignore[method-assign]  # this once
    rig.writing = asyncio.ensure_future(rig.breaker.send(Create(order, {}), PROJECT))
    await asyncio.sleep(0)
    rig.send = send  # type: ignore[method-assign]  # as before
    return answered


async def test_a_success_of_a_write_that_began_before_the_trouble_does_not_close_a_half_open_circuit() -> None:
    # Given
    rig = Rig()
    answered = await slow(rig, "WO-SLOW")
    await rig.open()
    await rig.breaker.probe()
    # When
    answered.set()
    await rig.writing
    # Then
    assert rig.breaker.half_open


async def test_the_refusal_that_fills_the_row_is_spared_though_its_work_order_was_suspect_before() -> None:
    # Given a row that a success from before has ended, without excusing anyone
    rig = Rig()
    answered = await slow(rig, "WO-SLOW")
    for number in range(9):
        await rig.write(f"WO-{number}", UnknownOutcome("no", status=500))
    answered.set()
    await rig.writing
    # When the same work orders are refused again, and one more
    spared = [await rig.write(f"WO-{number}", UnknownOutcome("no", status=500)) for number in (9, *range(9))]
    # Then
    assert spared == [True, *[False] * 8, True]
    assert rig.states == ["open"]


async def test_an_outage_opens_the_circuit_and_the_probe_closes_it() -> None:
    rig = Rig()
    rig.outage = Outage("circuit", "no answer")
    with pytest.raises(Outage):
        await rig.breaker.control()
    assert rig.states == ["open"]
    with pytest.raises(Outage):
        await rig.breaker.probe()
    rig.outage = None
    await rig.breaker.control()
    assert rig.states == ["open"], "what began before the circuit opened proves nothing"
    await rig.breaker.probe()
    assert rig.states == ["open", "closed"]


async def test_sixty_four_writes_under_way_when_everything_begins_to_fail_cost_one_verdict() -> None:
    # Given half of those under way still succeed, and their answers come in between
    rig = Rig()
    answers: dict[str, asyncio.Future[Reply]] = {}

    async def send(call: Create, project: Project, *, starting: object = None) -> Reply:
        answers[call.external_id] = asyncio.get_running_loop().create_future()
        return await answers[call.external_id]

    rig.send = send  # type: ignore[method-assign]  # this time, slow
    writes = [asyncio.ensure_future(rig.breaker.send(Create(f"WO-{number}", {}), PROJECT)) for number in range(64)]
    await asyncio.sleep(0)
    # When
    for number in range(64):
        rig.clock.at += 0.01
        if number % 2 and number < 20:
            answers[f"WO-{number}"].set_result(Reply())
        else:
            answers[f"WO-{number}"].set_exception(Refused("no", status=403))
        await asyncio.sleep(0)
    ends = await asyncio.gather(*writes, return_exceptions=True)
    # Then
    assert [end.spared for end in ends if isinstance(end, ApiError)].count(False) == 1
    assert rig.states == ["open"]
