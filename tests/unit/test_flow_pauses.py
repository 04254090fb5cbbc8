"""A pause as the flow lives through it, in simulated time: what it logs, how long requests may wait, how a stop ends it."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.simulated import SimulatedClock, simulate
from worker.core.errors import Outage
from worker.flow import Flow
from worker.health import Health
from worker.metrics import Metrics
from worker.process import Process

REFUSED = Outage("credentials", "Ditio refuses the worker's client")


class Rig:
    """A flow over an intake that does nothing; the probe fails until `well`. `steps` notes what happened to patience."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.stops_meanwhile = False
        self.well = asyncio.Event()
        self.stop = asyncio.Event()
        self.health = Health()
        self.flow = Flow(
            self,
            probes={"credentials": self.probe},
            health=self.health,
            metrics=Metrics("0"),
            clock=SimulatedClock(),
            drain_s=25,
            patience=self,
        )
        self.process = cast(Process, SimpleNamespace(lanes=SimpleNamespace(open=lambda: None, abandon=lambda: None)))

    async def start(self, most: int | None = None) -> None: ...
    async def cancel(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    async def give_back(self) -> None:
        self.steps.append("given back")
        if self.stops_meanwhile:
            self.stop.set()

    def end(self, within_s: float) -> None:
        self.steps.append(f"patience ends within {within_s:g}")

    def renew(self) -> None:
        self.steps.append("patience is renewed")

    async def probe(self) -> None:
        if not self.well.is_set():
            raise REFUSED

    def run(self) -> asyncio.Task[Any]:
        """Runs the flow, with refused credentials at its start."""
        return asyncio.ensure_future(self.flow.run(self.process, self.stop, REFUSED))


def test_a_refused_client_is_told_of_once_a_minute_and_readyz_says_it_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        # Given
        rig = Rig()
        running = rig.run()
        # When it lasts for ten minutes
        await asyncio.sleep(600)
        # Then
        lines = [record for record in caplog.records if "refuses" in record.getMessage()]
        assert 9 <= len(lines) <= 11
        assert "credentials" in rig.health.causes
        # And when it is over
        rig.well.set()
        await asyncio.sleep(31)
        assert "credentials" not in rig.health.causes
        rig.stop.set()
        await running

    caplog.set_level(logging.INFO)
    simulate(run())


def test_while_events_are_given_back_nothing_waits_and_the_probes_may_again() -> None:
    async def run() -> None:
        rig = Rig()
        running = rig.run()
        await asyncio.sleep(1)
        assert rig.steps == ["patience ends within 25", "given back", "patience is renewed"]
        rig.stop.set()
        await running

    simulate(run())


def test_a_stop_while_events_are_given_back_does_not_renew_the_patience() -> None:
    async def run() -> None:
        rig = Rig()
        rig.stops_meanwhile = True
        await rig.run()
        assert "patience is renewed" not in rig.steps

    simulate(run())
