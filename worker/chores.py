"""What a running worker does beside handling events: due work, gauges, forgetting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from worker.config import Settings
from worker.core.errors import BrokerError, LedgerError
from worker.flow import Flow
from worker.ledger import Indexed, Store
from worker.letters import Letters
from worker.metrics import Metrics
from worker.ports import Clock
from worker.process import Process
from worker.rabbit import Intake

log = logging.getLogger("worker.chores")

DUE_S = 1.0
GAUGES_S = 2.0
LETTERS_S = 5.0
PRUNE_S = 3600.0
MOST_DUE = 64
DAY_US = 86_400 * 1_000_000


async def due_work(flow: Flow, process: Process, store: Store, clock: Clock) -> None:
    """Does what is due without an event of its own, as long as events flow."""
    while True:
        await clock.sleep(DUE_S)
        if not flow.flowing:
            continue
        try:
            keys = await store.due(store.now(), MOST_DUE)
        except LedgerError as error:
            flow.trouble(error)
            continue
        await asyncio.gather(*(process.do_due(key) for key in keys))


async def gauges(metrics: Metrics, process: Process, intake: Intake, store: Store, clock: Clock, most_in_flight: int) -> None:
    """Keeps the gauges true that nobody sets at an event."""
    metrics.concurrency_limit(most_in_flight)
    while True:
        metrics.lanes(len(process.lanes))
        metrics.in_flight(process.lanes.running)
        metrics.consumer_active(intake.taking)
        metrics.broker_connected(intake.connected)
        with suppress(LedgerError):
            metrics.ledger_work_orders(await store.work_orders())
        await clock.sleep(GAUGES_S)


async def letters(
    metrics: Metrics,
    written: Letters,
    depth: Callable[[], Awaitable[int]],
    read: Callable[[], Awaitable[Sequence[Indexed]]],
    clock: Clock,
) -> None:
    """Keeps the gauges of the dead letters true; see Letters.keep."""
    while True:
        with suppress(BrokerError, LedgerError):
            await written.keep(depth, read, clock.monotonic)
        for reason, count, age in written.shown(clock.now()):
            metrics.letters(reason, count, age)
        await clock.sleep(LETTERS_S)


async def prune(store: Store, clock: Clock, settings: Settings) -> None:
    """Forgets history that is older than WORKER_HISTORY_DAYS."""
    while True:
        before = int(clock.now() * 1_000_000) - settings.worker_history_days * DAY_US
        with suppress(LedgerError):
            if lines := await store.prune(before):
                log.info("forgot %d lines of history older than %d days", lines, settings.worker_history_days)
        await clock.sleep(PRUNE_S)
