"""The worker as a process: puts the parts together, keeps them going, and takes them apart in order.

settings ─► metrics, health ─► ledger ─► API ─► process ─► broker ─► flow … stop ─► drain ─► close, last opened first
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

from worker import __version__, api, chores, ledger, rabbit
from worker import health as health_pages
from worker import log as logs
from worker.clock import WallClock
from worker.config import Settings
from worker.core.client_id import client_id
from worker.core.doubt import Window
from worker.core.errors import BrokerError, Outage, PauseCause, WorkerError
from worker.core.plan import Policy
from worker.flow import Flow
from worker.health import Health
from worker.ledger import LedgerRefused, Store
from worker.metrics import CONTENT_TYPE, Metrics
from worker.ports import Key
from worker.process import Process
from worker.rabbit import Intake, LockHeld, Publisher, TopologyError
from worker.reconcile import Reconciler
from worker.resolve import Lookups
from worker.watch import Watch
from worker.wiring import api_access, broker_access, handling_of, topology_of

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
    _listen_for_signals(stop)
    async with AsyncExitStack() as stack:
        service = await Service.assemble(settings, stack, stop)
        await service.run()
    log.info("stopped")
    return DONE


def _listen_for_signals(stop: asyncio.Event) -> None:
    """The first signal stops in order, the second at once: nothing is lost, the broker delivers again."""

    def heard(name: str) -> None:
        if stop.is_set():
            log.warning("%s again: stopping at once", name)
            logging.shutdown()
            os._exit(130)
        log.info("%s: finishing what was begun", name)
        stop.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, heard, each.name)


class ApiObserver:
    """What the API client tells: metrics, and trouble when this machine's clock is not Ditio's."""

    def __init__(self, metrics: Metrics, max_skew_s: float) -> None:
        self.request = metrics.request
        self.retry = metrics.retry
        self._max_skew_s = max_skew_s
        self._ahead = 0.0
        self.on_skew: Callable[[Exception], None] = lambda error: None

    def clock_ahead(self, seconds: float) -> None:
        """Ditio's clock is so far ahead of this machine's."""
        self._ahead = seconds
        if (skew := self.skew()) is not None:
            self.on_skew(skew)

    def skew(self) -> Outage | None:
        """The outage that a clock so far off is: events would be taken for those of the future, or let pass though they are."""
        if abs(self._ahead) <= self._max_skew_s:
            return None
        return Outage(
            "clock",
            f"this machine's clock is {-self._ahead:+.0f} s from Ditio's (WORKER_MAX_SKEW_S={self._max_skew_s:g}): set it",
        )


class Service:
    """All parts of a running worker."""

    def __init__(self, settings: Settings, metrics: Metrics, health: Health, store: Store, stop: asyncio.Event) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._store = store
        self._stop = stop
        self._clock = WallClock()
        self._topology = topology_of(settings)
        self._connected_before = False
        self._watch = Watch(metrics)
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
        health.ok("ledger")
        observer = ApiObserver(metrics, settings.worker_max_skew_s)
        client = await stack.enter_async_context(api.open_api(api_access(settings), clock, observer))
        service = cls(settings, metrics, health, store, stop)
        service._connect_parts(client, observer, stack)
        return service

    def _connect_parts(self, client: api.Client, observer: ApiObserver, stack: AsyncExitStack) -> None:
        settings, clock = self._settings, self._clock
        access = broker_access(settings)
        publisher = Publisher(access)
        stack.push_async_callback(publisher.close)
        lookups = self._lookups(client)
        reconciler = Reconciler(
            self._store,
            client,
            lookups,
            clock,
            policy=Policy(
                settings.worker_on_delete,
                settings.worker_create_active,
                settings.worker_create_only_fields,
                settings.worker_mark_parents,
            ),
            window=Window(settings.ditio_timeout_s, settings.ditio_settle_s),
            resend=settings.worker_resend,
            derive=self._derived if settings.ditio_client_ids else None,
        )
        intake = Intake(
            access,
            self._topology.events,
            prefetch=settings.worker_prefetch,
            clock=clock,
            prepare=self._prepare,
            on_delivery=lambda delivery: self.flow.take(self.process, delivery),
            on_lost=self._lost,
            on_late_ack=self._metrics.late_ack,
        )
        stack.push_async_callback(intake.close)
        self._intake = intake
        self.flow = Flow(
            intake,
            probes=self._probes(client, observer),
            health=self._health,
            metrics=self._metrics,
            clock=clock,
            drain_s=settings.worker_drain_s,
        )
        self.process = Process(
            handling_of(settings, self._topology),
            ledger=self._store,
            ditio=client,
            resolver=lookups,
            reconciler=reconciler,
            publisher=publisher,
            clock=clock,
            observer=self._watch,
            trouble=self.flow.trouble,
        )
        self._control = client.control
        self._observer = observer
        observer.on_skew = self.flow.trouble

    def _derived(self, key: Key) -> str:
        return client_id(self._settings.ditio_company_id, key.project_id, key.external_id)

    def _lost(self, error: BrokerError) -> None:
        self.flow.trouble(error)

    def _lookups(self, client: api.Client) -> Lookups:
        async def known(key: Key) -> str | None:
            return (await self._store.load(key)).task_id

        settings = self._settings
        return Lookups(
            client,
            known,
            company_id=settings.ditio_company_id,
            person_id=settings.ditio_person_id,
            absent_s=min(settings.worker_wait_steps_s) / 2,
            now=self._clock.monotonic,
            observe=self._metrics.lookup,
        )

    def _probes(self, client: api.Client, observer: ApiObserver) -> Mapping[PauseCause, Callable[[], Awaitable[object]]]:
        async def control() -> None:
            await client.control()
            self._health.ok("credentials")

        async def clock() -> None:
            await client.control()
            if (skew := observer.skew()) is not None:
                raise skew

        return {"circuit": control, "credentials": control, "clock": clock, "ledger": self._store.next_due}

    async def _prepare(self, connection: rabbit.Connection) -> None:
        """What a new connection to the broker needs before events are taken from it."""
        await (rabbit.declare if self._settings.worker_declare else rabbit.verify)(connection, self._topology)
        if not ledger.is_shared(self._settings.ledger_url().place):
            await self._hold_solo(connection)
        self._metrics.broker_connected(on=True)
        if self._connected_before:
            self._metrics.broker_reconnected()
        self._connected_before = True
        log.info("connected to RabbitMQ %s at %s", connection.version, connection.where)

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
        trouble = await self._first_look()
        beside = [
            asyncio.ensure_future(chore)
            for chore in (
                health_pages.beat(self._health, self._metrics.loop_lag),
                chores.due_work(self.flow, self.process, self._store, self._clock),
                chores.gauges(
                    self._metrics, self.process, self._intake, self._store, self._clock, self._settings.worker_max_in_flight
                ),
                chores.letters(self._metrics, self._watch.letters, self._intake, self._topology.dead, self._clock),
                chores.prune(self._store, self._clock, self._settings),
            )
        ]
        try:
            await self.flow.run(self.process, self._stop, trouble)
        finally:
            for chore in beside:
                chore.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _first_look(self) -> Exception | None:
        """Raises WorkerError for what a person must mend: the topology, another worker. What may pass is returned, or tried again."""
        try:
            await self._intake.connect()
        except (TopologyError, LockHeld):
            raise
        except WorkerError as error:
            log.warning("%s; trying again", error)
        try:
            await self._control()
            self._health.ok("credentials")
        except Outage as error:
            return error
        return self._observer.skew()
