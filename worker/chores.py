"""What a running worker does beside handling events: due work, gauges, forgetting."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import get_args

from worker.api import Client
from worker.config import Settings
from worker.core.errors import BrokerError, LedgerError
from worker.core.outcome import WaitKind
from worker.flow import Flow
from worker.health import Health
from worker.ledger import State, Store
from worker.letters import Letters
from worker.metrics import Metrics
from worker.ports import Clock
from worker.process import Process
from worker.rabbit import Intake, Publisher

log = logging.getLogger("worker.chores")

DUE_S = 1.0
GAUGES_S = 2.0
LETTERS_S = 5.0
MARK_S = 1.0
PRUNE_S = 3600.0
LONGEST_HELD_S = 600.0
"""A waiting event that has come back is settled, or back in the queue, within this."""

COUNTING_SHARE = 50
CHECK_S = 5.0
BLOCKED_S = 1.0
MOST_DUE = 64
DAY_US = 86_400 * 1_000_000


async def due_work(flow: Flow, process: Process, store: Store, clock: Clock, every_s: float = DUE_S) -> None:
    """Does what is due without an event of its own, as long as events flow."""
    while True:
        await clock.sleep(every_s)
        if not flow.flowing:
            continue
        try:
            keys = await store.due(store.now(), MOST_DUE)
        except LedgerError as error:
            flow.trouble(error)
            continue
        await asyncio.gather(*(process.do_due(key) for key in keys))


async def gauges(metrics: Metrics, process: Process, intake: Intake, store: Store, clock: Clock, client: Client) -> None:
    """Keeps the gauges true that nobody sets at an event."""
    while True:
        metrics.concurrency_limit(client.concurrency_limit)
        metrics.in_flight(client.in_flight)
        metrics.lanes(len(process.lanes))
        metrics.consumer_active(intake.taking)
        metrics.broker_connected(intake.connected)
        with suppress(LedgerError):
            metrics.ledger_work_orders(await store.work_orders())
        await clock.sleep(GAUGES_S)


async def mark(store: Store, clock: Clock) -> None:
    """Notes how far the ledger has come, so that an older one in its place is noticed."""
    while True:
        await clock.sleep(MARK_S)
        with suppress(LedgerError):
            await store.mark()


async def waiting(metrics: Metrics, flow: Flow, store: Store, intake: Intake, events: str, clock: Clock) -> None:
    """Keeps the gauges of what waits true, and forgets what can wait no more: it is in no queue and nobody holds it."""
    while True:
        started = clock.monotonic()
        with suppress(LedgerError, BrokerError):
            if flow.flowing and await intake.depth(events) == 0:
                await store.forget_waiting(int((clock.now() - LONGEST_HELD_S) * 1_000_000))
        with suppress(LedgerError):
            unsettled = await store.unsettled()
            for kind in get_args(WaitKind):
                metrics.waiting_now(kind, unsettled.kinds.get(kind, 0))
            for state in get_args(State):
                metrics.work_orders_unsettled(state, unsettled.states.get(state, 0))
        # Counting a million takes a while, in which the ledger does nothing else: it then happens less often.
        await clock.sleep(max(GAUGES_S, COUNTING_SHARE * (clock.monotonic() - started)))


async def letters(metrics: Metrics, written: Letters, intake: Intake, queue: str, clock: Clock) -> None:
    """Keeps the gauges of the dead letters true: the queue tells when there are none any more."""
    while True:
        with suppress(BrokerError):
            if await intake.depth(queue) == 0:
                written.emptied()
        for reason, count, age in written.shown(clock.now()):
            metrics.letters(reason, count, age)
        await clock.sleep(LETTERS_S)


async def consumer(intake: Intake, clock: Clock) -> None:
    """Asks the broker every so often whether it still delivers to this worker."""
    while True:
        await clock.sleep(CHECK_S)
        await intake.check()


async def publishing(publisher: Publisher, flow: Flow, health: Health, clock: Clock) -> None:
    """Says for as long as the broker takes no messages: events that must wait or be buried are held meanwhile, others go on."""
    told = False
    while True:
        if publisher.blocked:
            health.fail("broker", f"broker: it takes no messages now: {publisher.blocked}")
            told = True
        elif told:
            told = False
            if flow.flowing:
                health.ok("broker")
        await clock.sleep(BLOCKED_S)


async def prune(store: Store, clock: Clock, settings: Settings) -> None:
    """Forgets history that is older than WORKER_HISTORY_DAYS."""
    while True:
        before = int(clock.now() * 1_000_000) - settings.worker_history_days * DAY_US
        with suppress(LedgerError):
            if lines := await store.prune(before):
                log.info("forgot %d lines of history older than %d days", lines, settings.worker_history_days)
        await clock.sleep(PRUNE_S)
