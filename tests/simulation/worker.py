"""One worker of the simulated world: its real parts, with a broker, a wire and a ledger in memory around them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.adapters import SimulatedDelivery, SimulatedLedger, SimulatedPublisher, SimulatedWire, Steps
from tests.simulation.broker import Broker, Channel, Stored
from tests.simulation.process import SimulatedProcess
from worker import chores
from worker.api import Access, Patience, open_api
from worker.assembly import Assembly, Surroundings
from worker.caution import Caution
from worker.config import Settings, read
from worker.core.errors import Abandoned, BrokerError, LedgerError, Outage
from worker.core.message import Message
from worker.health import Health
from worker.pauses import Pauses
from worker.ports import Delivery
from worker.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.world import World

PREFETCH = 16
DUE_S = 7.0
TIMEOUT_S = 5.0
SETTLE_S = 31.0
"""Longer than anything that is given up can still take effect: that is what the setting promises."""

DRAIN_S = 8.0


class Nothing:
    """Metrics that nobody reads."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *given, **named: None


@cache
def settings(on_delete: str, client_ids: bool, company_id: str) -> Settings:
    """A worker's settings, with short times."""
    return read(
        {
            "DITIO_API_BASE": "http://127.0.0.1/core", "DITIO_IDENTITY_BASE": "http://127.0.0.1", "DITIO_CLIENT_ID": "sandbox",
            "DITIO_CLIENT_SECRET": "sandbox-secret", "DITIO_COMPANY_ID": company_id, "LEDGER_URL": "sqlite:////nowhere/ledger.db",
            "WORKER_WAIT_STEPS_S": "10,60", "WORKER_WAIT_MAX_S": "190", "DITIO_TIMEOUT_S": str(TIMEOUT_S),
            "DITIO_SETTLE_S": str(SETTLE_S), "WORKER_DRAIN_S": str(DRAIN_S), "WORKER_ON_DELETE": on_delete,
            "DITIO_CLIENT_IDS": str(client_ids).lower(), "WORKER_MAX_SKEW_S": "999999",
        }
    )  # fmt: skip


class SimulatedIntake:
    """See worker.flow.Intake, and worker.rabbit.Intake for how the prefetch widens."""

    def __init__(
        self,
        broker: Broker,
        steps: Steps,
        delay: Callable[[], float],
        clock: Callable[[], float],
        suspects: Callable[[Message], bool],
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        self._broker = broker
        self._steps = steps
        self._delay = delay
        self._clock = clock
        self._suspects = suspects
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._most = 1
        self._last = 0
        self._taking = False
        self.channel: Channel | None = None

    async def start(self, most: int | None = None) -> None:
        await self.give_back()
        await asyncio.sleep(self._delay())
        await self._steps.pass_by()
        self._most, self._taking = most or PREFETCH, True
        self.channel = self._broker.consume(1, self._take, self._lost)

    async def cancel(self) -> None:
        self._taking = False

    async def give_back(self) -> None:
        await self._steps.pass_by()
        self._taking = False
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def pause(self) -> None:
        """Nothing here is large."""

    def resume(self) -> None:
        """Nothing here is large."""

    def break_off(self) -> None:
        """The connection breaks."""
        if self.channel is not None:
            self._broker.lose(self.channel)

    def _take(self, channel: Channel, stored: Stored) -> None:
        if not self._taking or channel is not self.channel:
            return
        message = msgspec.structs.replace(stored.message, redelivered=stored.deliveries > 1)
        self._last = max(self._last + 1, int(self._clock() * 1_000_000))
        if channel.most < self._most and not self._suspects(message):
            channel.most = self._most
            self._broker.pump_soon()
        if self._steps.count():
            self._on_delivery(SimulatedDelivery(stored, message, self._last, channel, self._steps))

    def _lost(self) -> None:
        if self._taking:
            self._taking = False
            self._on_lost(BrokerError("the connection broke"))


class SimulatedWorker:
    """A process with all its parts, from its start to its end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = random.Random(world.chance.random())
        self.process = SimulatedProcess("worker")
        self.steps = Steps(self.process, self.kill)
        self.ledger = SimulatedLedger(world.contents, self.steps, api_base="", company_id="", clock=world.clock)
        self.wire = SimulatedWire(world.sandbox, self.steps, self._delay)
        self._publisher = SimulatedPublisher(world.broker, self.steps, self._chance, self._delay)
        self._stop = asyncio.Event()
        self._intake: SimulatedIntake | None = None
        self.assembly: Assembly | None = None
        self._main = self.process.start(self._run())

    @property
    def flowing(self) -> bool:
        """Whether it takes events."""
        return self.process.alive and self.assembly is not None and self.assembly.flow.flowing

    def kill(self) -> None:
        """The end, at once."""
        if self.process.alive:
            self.process.kill()
            self._let_go()

    def lose_broker(self) -> None:
        """Both connections break."""
        self._publisher.break_off()
        if self._intake is not None:
            self._intake.break_off()

    async def stop(self) -> None:
        """SIGTERM: returns when it has ended."""
        self._stop.set()
        began = self._world.loop.time()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({self._main})
        took = self._world.loop.time() - began
        if took > DRAIN_S + 1:
            self._world.wrong.append(f"it took {took:.1f} s to stop")

    def _let_go(self) -> None:
        if self._intake is not None and self._intake.channel is not None:
            self._intake.channel.close()
        self._world.died()

    def _delay(self) -> float:
        return self._chance.random() * self._world.history.latency_s

    async def _run(self) -> None:
        with suppress(LedgerError):  # it cannot start: the supervisor tries again
            await self._live()
        if self.process.alive:
            ended = self._world.loop.time()
            self.process.alive = False
            if self.wire.last_request > ended:
                self._world.wrong.append("a request after the end")
            self._let_go()

    async def _live(self) -> None:
        world, clock = self._world, self._world.clock
        given = settings(world.history.on_delete, world.history.client_ids, world.company_id)
        metrics: Any = Nothing()
        caution, patience = Caution(self.ledger, stopping=self._stop.is_set), Patience(clock)
        await caution.start()
        access = Access(
            given.ditio_api_base, given.ditio_identity_base, "sandbox", lambda: "sandbox-secret", world.company_id,
            timeout_s=TIMEOUT_S, max_in_flight=64,
        )  # fmt: skip
        async with open_api(access, clock, metrics, wire=self.wire, patience=patience, waiting=caution.waiting) as client:

            def open_intake(on_delivery: Callable[[Delivery], None], on_lost: Callable[[Exception], None]) -> SimulatedIntake:
                self._intake = SimulatedIntake(
                    world.broker, self.steps, self._delay, clock.now, caution.suspects, on_delivery, on_lost
                )
                return self._intake

            around = Surroundings(
                clock=clock, metrics=metrics, health=Health(clock.monotonic), store=self.ledger, client=client,
                publisher=self._publisher, patience=patience, caution=caution, pauses=Pauses(self.ledger, clock, self._stop),
                observer=Watch(metrics, self.ledger, clock), skew=lambda: None, reach_broker=self._reach_broker,
            )  # fmt: skip
            self.assembly = Assembly(given, around, open_intake)
            flow, process = self.assembly.flow, self.assembly.process
            beside = [
                asyncio.ensure_future(chores.due_work(flow, process, self.ledger, clock, every_s=DUE_S)),
                asyncio.ensure_future(self._hurry(patience)),
            ]
            try:
                await flow.run(process, self._stop, await self._first_look(client.control))
                await caution.stop()
            finally:
                for chore in beside:
                    chore.cancel()

    async def _first_look(self, control: Callable[[], Any]) -> Exception | None:
        try:
            await control()
        except (Outage, Abandoned) as error:
            return error
        return None

    async def _hurry(self, patience: Patience) -> None:
        await self._stop.wait()
        patience.end(DRAIN_S)

    async def _reach_broker(self) -> None:
        await self.steps.pass_by()
