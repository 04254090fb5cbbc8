"""The worker as a process: puts the parts together, keeps them going, and takes them apart in order.

settings ─► metrics, health ─► ledger ─► API ─► process ─► broker ─► flow … stop ─► drain ─► close, last opened first
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress

from worker import __version__, api, chores, dead, ledger, rabbit
from worker import health as health_pages
from worker import log as logs
from worker.assembly import Assembly, Surroundings
from worker.budget import Budget
from worker.caution import Caution
from worker.clock import WallClock
from worker.config import Settings
from worker.core.errors import Abandoned, LedgerError, Outage, WorkerError
from worker.flow import Flow
from worker.health import Health
from worker.ledger import Indexed, LedgerRefused, Store
from worker.metrics import CONTENT_TYPE, Metrics
from worker.pauses import Pauses
from worker.ports import Delivery
from worker.process import Process
from worker.rabbit import Intake, LockHeld, Publisher, TopologyError
from worker.skew import ApiObserver
from worker.stopping import heed_signals, unless
from worker.watch import Watch
from worker.wiring import api_access, broker_access, topology_of

log = logging.getLogger("worker.service")

DONE, FAILED, WRONG = 0, 1, 2

LOCK_PATIENCE_S = 90.0
"""How long a worker that starts waits for the one before it to let go."""


def main(settings: Settings) -> int:
    """Runs the worker until SIGTERM or SIGINT, and returns the exit status."""
    mask = logs.configure(settings.worker_log_format, settings.worker_log_level, secrets=settings.hidden())
    for warning in settings.warnings:
        log.warning("%s", warning)
    try:
        import uvloop  # noqa: PLC0415  not there on every platform

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(_run(settings))
        except LedgerRefused as error:
            log.error("%s", mask.clean(str(error)))
            return WRONG
        except WorkerError as error:
            log.error("the worker cannot start: %s", mask.clean(str(error)))
            return FAILED


async def _run(settings: Settings) -> int:
    stop = asyncio.Event()
    heed_signals(stop, settings.worker_drain_s)
    async with AsyncExitStack() as stack:
        service = await unless(stop, Service.assemble(settings, stack, stop))
        if service is not None:
            await service.run()
    log.info("stopped")
    return DONE


class Service:
    """All parts of a running worker."""

    def __init__(
        self, settings: Settings, metrics: Metrics, health: Health, store: Store, stop: asyncio.Event, caution: Caution
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._store = store
        self._stop = stop
        self._caution = caution
        self._clock = WallClock()
        self._topology = topology_of(settings)
        self._connected_before = False
        self._watch = Watch(metrics, store, self._clock)
        self._pauses = Pauses(store, self._clock, stop)
        self._patience = api.Patience(self._clock)
        self.flow: Flow
        self.process: Process

    @classmethod
    async def assemble(cls, settings: Settings, stack: AsyncExitStack, stop: asyncio.Event) -> Service:
        """Opens everything but the broker. Raises WorkerError."""
        metrics = Metrics(__version__, settings.worker_sources.labels)
        health = Health()
        address = settings.worker_http_address
        pages = await health_pages.serve(health, address.host, address.port, metrics.render, CONTENT_TYPE)
        stack.push_async_callback(pages.close)
        log.info("metrics and health at %s", pages.url)
        clock = WallClock()
        store = await ledger.open(
            settings.ledger_url().place,
            api_base=settings.ditio_api_base,
            company_id=settings.ditio_company_id,
            clock=clock,
            observe_commit=metrics.ledger_commit,
        )
        stack.push_async_callback(store.close)
        await store.begin_run()
        health.ok("ledger")
        caution = Caution(store, stopping=stop.is_set)
        await caution.start()
        observer = ApiObserver(metrics, settings.worker_max_skew_s)
        service = cls(settings, metrics, health, store, stop, caution)
        client = await stack.enter_async_context(
            api.open_api(
                api_access(settings, settings.worker_max_in_flight),
                clock,
                observer,
                patience=service._patience,
                waiting=caution.waiting,
            )
        )
        service._connect_parts(client, observer, stack)
        return service

    def _connect_parts(self, client: api.Client, observer: ApiObserver, stack: AsyncExitStack) -> None:
        access = broker_access(self._settings)
        self._client, self._observer = client, observer
        per_s = self._settings.ditio_max_requests_per_s
        self._budget = Budget(per_s, self._store, self._clock, client.pace) if per_s else None
        self._publisher = Publisher(access)
        stack.push_async_callback(self._publisher.close)

        def open_intake(on_delivery: Callable[[Delivery], None], on_lost: Callable[[Exception], None]) -> Intake:
            self._intake = Intake(
                access,
                self._topology.events,
                prefetch=self._settings.worker_prefetch,
                suspects=self._caution.suspects,
                clock=self._clock,
                prepare=self._prepare,
                on_delivery=on_delivery,
                on_lost=on_lost,
                on_late_ack=self._metrics.late_ack,
            )
            stack.push_async_callback(self._intake.close)
            return self._intake

        around = Surroundings(
            clock=self._clock,
            metrics=self._metrics,
            health=self._health,
            store=self._store,
            client=client,
            publisher=self._publisher,
            patience=self._patience,
            caution=self._caution,
            pauses=self._pauses,
            observer=self._watch,
            skew=observer.skew,
            reach_broker=self._reach_broker,
        )
        assembly = Assembly(self._settings, around, open_intake)
        self.flow, self.process = assembly.flow, assembly.process

    async def _reach_broker(self) -> None:
        await self._declare(await self._intake.connect())  # also what was deleted while the connection stayed
        await self._publisher.probe()

    async def _prepare(self, connection: rabbit.Connection) -> None:
        """What a new connection to the broker needs before events are taken from it."""
        await self._declare(connection)
        if not ledger.is_shared(self._settings.ledger_url().place):
            await self._hold_solo(connection)
        self._metrics.broker_connected(on=True)
        if self._connected_before:
            self._metrics.broker_reconnected()
        else:
            self._health.ok("broker")  # later it is well when it delivers again
        self._connected_before = True
        log.info("connected to RabbitMQ %s at %s", connection.version, connection.where)

    async def _declare(self, connection: rabbit.Connection) -> None:
        await (rabbit.declare if self._settings.worker_declare else rabbit.verify)(connection, self._topology)

    async def _hold_solo(self, connection: rabbit.Connection) -> None:
        """Takes the lock of the one worker on a SQLite ledger; one that is ending has a while to let go of it."""
        deadline = self._clock.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                await rabbit.hold(connection, self._topology.solo)
                return
            except LockHeld as error:
                if self._clock.monotonic() > deadline or self._stop.is_set():
                    raise LockHeld(f"another worker with a SQLite ledger takes these events: {error}") from error
                self._health.fail("broker", f"waiting for another worker to end: {error}")
                await self._clock.sleep(1.0)

    async def run(self) -> None:
        """Keeps going until told to stop. Raises WorkerError where starting is pointless."""
        beside = [asyncio.ensure_future(self._hurry())]
        try:
            if self._budget is not None:
                await unless(self._stop, self._budget.join())
                beside.append(asyncio.ensure_future(self._budget.keep()))
            trouble = await unless(self._stop, self._first_look())
            beside += [asyncio.ensure_future(chore) for chore in self._chores()]
            await self.flow.run(self.process, self._stop, trouble)
            with suppress(LedgerError):
                await self._store.end_run()
            await self._caution.stop()
        finally:
            for chore in beside:
                chore.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    def _chores(self) -> Sequence[Coroutine[None, None, None]]:
        return (
            health_pages.beat(self._health, self._metrics.loop_lag),
            chores.due_work(self.flow, self.process, self._store, self._clock),
            chores.gauges(self._metrics, self.process, self._intake, self._store, self._clock, self._client),
            chores.waiting(self._metrics, self.flow, self._store, self._intake, self._topology.events, self._clock),
            chores.mark(self._store, self._clock),
            self._pauses.watch(lambda: self.flow.flowing, self.flow.trouble),
            chores.letters(self._metrics, self._watch.letters, self._letters_ready, self._letters_read, self._clock),
            chores.consumer(self._intake, self._clock),
            chores.publishing(self._publisher, self.flow, self._health, self._clock),
            chores.prune(self._store, self._clock, self._settings),
        )

    async def _hurry(self) -> None:
        """Once the worker is told to stop, no request waits, and none begins that could outlast the drain."""
        await self._stop.wait()
        self._patience.end(self._settings.worker_drain_s)

    async def _letters_ready(self) -> int:
        return await self._intake.depth(self._topology.dead)

    async def _letters_read(self) -> Sequence[Indexed]:
        return await dead.indexed(broker_access(self._settings), self._topology)

    async def _first_look(self) -> Exception | None:
        """Raises WorkerError for what a person must mend: the topology, another worker. What may pass is returned, or tried again."""
        try:
            await self._intake.connect()
        except (TopologyError, LockHeld):
            raise
        except WorkerError as error:
            log.warning("%s; trying again", error)
            self._health.fail("broker", f"broker: {error}")
        try:
            await self._client.control()
            self._health.ok("credentials")
        except (Outage, Abandoned) as error:
            return error
        return self._observer.skew()
