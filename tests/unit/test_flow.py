"""The worker's life: taking, pausing for one cause or several, trying one by one, draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest

from tests.support.waiting import eventually
from worker.causes import CALM_S, LINE_S, Causes
from worker.core.errors import BrokerError, Outage, PauseCause
from worker.core.lifecycle import TRANSITIONS, Phase
from worker.core.message import Message
from worker.flow import Flow
from worker.health import Health
from worker.holding import Holding
from worker.metrics import Metrics


class Swift:
    """A clock on which sleeping takes no time but counts."""

    def __init__(self) -> None:
        self.at = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds
        await asyncio.sleep(0)

    def chance(self) -> float:
        return 1.0


class Endless(Holding):
    """Nothing is ever held for too long."""

    async def overdue(self) -> None:
        await asyncio.Event().wait()


class Rig:
    """A flow with an intake that notes what it is asked; `wrong` are the causes whose probes fail."""

    def __init__(self, drain_s: float = 5.0) -> None:
        self.steps: list[str] = []
        self.wrong: set[PauseCause] = set()
        self.probed: list[PauseCause] = []
        self.half_open = False
        self.deadlines: list[float] = []
        self.clock = Swift()
        self.health = Health()
        self.metrics = Metrics("0")
        self.lanes = self
        self.start_error: Exception | None = None
        self.message = Message(b"")
        me: Any = self
        probes = {cause: self._probe(cause) for cause in get_args(PauseCause)}
        self.flow = Flow(
            me, probes=probes, health=self.health, metrics=self.metrics, clock=self.clock, drain_s=drain_s,
            half_open=lambda: self.half_open, patience=me,
            holding=Endless(me, self.clock),
        )  # fmt: skip
        self.stop = asyncio.Event()
        self.gate = asyncio.Event()

    def _probe(self, cause: PauseCause) -> Any:
        async def probe() -> None:
            self.probed.append(cause)
            await asyncio.sleep(0.001)
            if cause in self.wrong:
                raise Outage(cause, f"{cause} goes on")

        return probe

    @asynccontextmanager
    async def running(self, trouble: Exception | None = None) -> AsyncIterator[None]:
        """The flow, until the block ends; then it is told to stop."""
        me: Any = self
        run = asyncio.ensure_future(self.flow.run(me, self.stop, trouble))
        try:
            yield
        finally:
            self.stop.set()
            await run

    async def is_(self, phase: Phase) -> None:
        """Returns when the flow is there."""
        await eventually(lambda: self.flow.phase == phase and (phase != "taking" or self.flow.flowing), 5, what=phase)

    def paused(self, cause: str) -> bool:
        """What the gauge shows."""
        return f'ditio_worker_paused{{cause="{cause}"}} 1.0' in self.metrics.render().decode()

    def deliver(self) -> None:
        """A message comes, and takes until the gate is open."""
        me: Any = self
        self.flow.take(me, me)

    async def take(self, delivery: object) -> None:
        """The process's part."""
        await self.gate.wait()
        self.steps.append("finished")

    def end(self, within_s: float) -> None:
        self.deadlines.append(within_s)

    def renew(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...

    async def start(self, most: int | None = None) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.steps.append("start" if most is None else f"start {most}")

    async def cancel(self) -> None:
        self.steps.append("cancel")

    async def give_back(self) -> None:
        self.steps.append("give back")

    def open(self) -> None: ...
    def abandon(self) -> None:
        self.steps.append("abandon")


def test_every_state_leads_to_the_end_and_draining_to_nothing_else() -> None:
    assert TRANSITIONS.keys() == set(get_args(Phase))
    for phase in set(TRANSITIONS) - {"draining", "ended"}:
        assert TRANSITIONS[phase]["stop"] == "draining"
    assert set(TRANSITIONS["draining"].values()) == {"ended"}


async def test_trouble_gives_back_what_is_held_and_is_shown_until_its_probe_succeeds() -> None:
    # Given
    rig = Rig()
    rig.wrong.add("circuit")
    async with rig.running():
        await rig.is_("taking")
        # When
        rig.flow.trouble(Outage("circuit", "no answer"))
        await rig.is_("paused")
        await eventually(lambda: rig.probed.count("circuit") > 3)
        # Then
        assert rig.steps == ["start", "cancel", "abandon", "give back"]
        assert rig.health.causes["paused"].startswith("circuit:")
        assert rig.paused("circuit")
        # And
        rig.wrong.clear()
        await rig.is_("taking")
        assert not rig.paused("circuit")
        assert "paused" not in rig.health.causes


async def test_with_two_causes_consumption_resumes_when_the_last_is_over_and_each_is_shown() -> None:
    # Given
    rig = Rig()
    rig.wrong |= {"circuit", "manual", "ledger"}
    async with rig.running(Outage("manual", "month end")):
        await rig.is_("paused")
        rig.flow.trouble(Outage("circuit", "no answer"))
        rig.flow.trouble(Outage("ledger", "disk full"))
        await eventually(lambda: {"circuit", "manual", "ledger"} <= set(rig.probed), what="each is probed")
        assert "manual" in rig.health.causes["paused"]
        assert "circuit" in rig.health.causes["paused"]
        assert "ledger" in rig.health.causes["ledger"]
        # When one after the other is over
        rig.wrong.remove("circuit")
        await eventually(lambda: not rig.paused("circuit"))
        assert "circuit" not in rig.health.causes["paused"]
        rig.wrong.remove("ledger")
        await eventually(lambda: not rig.paused("ledger"))
        # Then
        assert rig.flow.phase == "paused"
        assert "start" not in rig.steps
        rig.wrong.remove("manual")
        await rig.is_("taking")


async def test_a_half_open_circuit_lets_one_at_a_time_through_until_it_closes() -> None:
    # Given
    rig = Rig()
    async with rig.running():
        await rig.is_("taking")
        rig.half_open = True
        # When the control read succeeds, which proves nothing
        rig.flow.trouble(Outage("credentials", "403"))
        await rig.is_("half-open")
        await eventually(lambda: rig.steps[-1] == "start 1")
        assert rig.paused("credentials")
        assert not rig.flow.flowing
        # And the one is refused
        rig.flow.trouble(Outage("credentials", "403"))
        await eventually(lambda: rig.steps.count("start 1") == 2)
        # And the next is not
        rig.deliver()
        rig.half_open = False
        rig.flow.circuit_closed()
        await asyncio.sleep(0.01)
        assert rig.steps[-1] == "start 1", "it is acknowledged before the channel is closed"
        rig.gate.set()
        # Then
        await rig.is_("taking")
        assert rig.steps[-2:] == ["finished", "start"]
        assert not rig.paused("credentials")


async def test_what_is_under_way_may_end_before_the_channel_is_closed_for_trouble() -> None:
    rig = Rig()
    async with rig.running():
        await rig.is_("taking")
        rig.deliver()
        rig.wrong.add("circuit")
        rig.flow.trouble(Outage("circuit", "no answer"))
        await eventually(lambda: "abandon" in rig.steps)
        rig.gate.set()
        await eventually(lambda: rig.steps[-2:] == ["finished", "give back"])


async def test_an_intake_that_cannot_start_is_trouble_with_the_broker() -> None:
    rig = Rig()
    rig.start_error = BrokerError("refused")
    async with rig.running():
        await eventually(lambda: "broker" in rig.probed)
        assert "refused" in rig.health.causes["broker"]
        rig.start_error = None
        await rig.is_("taking")
        assert "broker" not in rig.health.causes


@pytest.mark.parametrize("phase", ["starting", "taking", "paused", "half-open"])
async def test_stop_drains_from_every_state_in_its_order(phase: Phase) -> None:
    # Given
    rig = Rig()
    rig.gate.set()
    if phase == "starting":
        rig.stop.set()
    async with rig.running():
        if phase in ("paused", "half-open"):
            await rig.is_("taking")
            rig.wrong |= {"circuit"} if phase == "paused" else set()
            rig.half_open = phase == "half-open"
            rig.flow.trouble(Outage("circuit", "no answer"))
        if phase != "starting":
            await rig.is_(phase)
    # Then
    assert rig.flow.phase == "ended"
    assert rig.steps[-3:] == ["cancel", "abandon", "give back"]
    assert set(rig.deadlines) == {5}
    assert "stopping" in rig.health.causes


async def test_stop_finishes_what_is_under_way_before_it_closes_the_channel() -> None:
    rig = Rig()
    async with rig.running():
        await rig.is_("taking")
        rig.deliver()
        rig.stop.set()
        await eventually(lambda: "stopping" in rig.health.causes)
        rig.gate.set()
    assert rig.steps == ["start", "cancel", "abandon", "finished", "give back"]


async def test_what_does_not_end_within_the_drain_goes_back_unfinished() -> None:
    rig = Rig(drain_s=0.05)
    async with rig.running():
        await rig.is_("taking")
        rig.deliver()
    assert rig.steps == ["start", "cancel", "abandon", "give back"]


async def test_stop_in_a_pause_that_still_finishes_does_not_wait_twice() -> None:
    rig = Rig(drain_s=0.2)
    async with rig.running():
        await rig.is_("taking")
        rig.deliver()
        rig.flow.trouble(Outage("circuit", "no answer"))
        await rig.is_("paused")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 0.35
    assert rig.steps.count("give back") == 1


async def test_trouble_while_draining_changes_nothing() -> None:
    rig = Rig()
    async with rig.running():
        await rig.is_("taking")
    rig.flow.trouble(Outage("circuit", "late"))
    assert not rig.paused("circuit")


async def test_a_lasting_pause_is_one_line_at_once_and_then_one_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    # Given
    rig = Rig()
    rig.wrong.add("circuit")
    caplog.set_level(logging.INFO, "worker.flow")
    async with rig.running():
        await rig.is_("taking")
        began = rig.clock.at
        # When
        rig.flow.trouble(Outage("circuit", "no answer"))
        await eventually(lambda: rig.clock.at > began + 10 * LINE_S)
        minutes = (rig.clock.at - began) / LINE_S
        # Then
        lines = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert lines[0].getMessage() == "consumption pauses: no answer"
        assert minutes / 2 - 1 <= len(lines) <= minutes + 1
        # And what is over is told
        rig.wrong.clear()
        await rig.is_("taking")
        assert any(record.getMessage().startswith("over:") for record in caplog.records)


async def test_a_cause_that_returns_at_once_is_probed_ever_more_seldom() -> None:
    # Given
    rig = Rig()
    causes = Causes(
        {}, half_open=lambda: False, health=rig.health, metrics=rig.metrics, clock=rig.clock, changed=lambda: None
    )  # fmt: skip
    # When
    for _ in range(4):
        causes.begin(BrokerError("flaps"))
        await eventually(lambda: not causes.standing)
    # Then
    assert rig.clock.slept == [1, 2, 4, 8]
    rig.clock.at += CALM_S
    causes.begin(BrokerError("flaps"))
    await eventually(lambda: not causes.standing)
    assert rig.clock.slept[-1] == 1
