"""Everything at once: a worker that is killed again and again, cut off from broker and Ditio, whose requests take effect late, under load.

    the ERP publishes ──► broker ──► proxy ──► worker ──► proxy ──► Ditio
                            ▲          ▲         ▲          ▲         ▲
                     its leader lost   cut     killed      cut    late, lost, refused

What must hold at the end is told by the ERP's own events (tests/support/erp.py), and by no code of the worker's.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.broker import Vhost
from tests.support.cluster import Cluster
from tests.support.erp import Erp, wrong
from tests.support.process import WorkerProcess, settings
from tests.support.proxy import CutAfter, Fault, HalfClose, Latency, Pass, Proxy, Reset, Stall, proxy_to, through
from tests.support.publishing import TIME, event, publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.ports import Key
from worker.rabbit import Publisher
from worker.sandbox import Server

QUEUES = ("workorders.events", "workorders.wait.1s", "workorders.wait.2s")
LEADER_LOST_EVERY_S = 20.0
PIECE_S = 0.2
"""In pieces of so long the ERP publishes."""

SETTINGS = {
    "DITIO_TIMEOUT_S": "1",
    "DITIO_SETTLE_S": "6",
    "WORKER_PREFETCH": "16",
    "WORKER_MAX_IN_FLIGHT": "16",
    "WORKER_MAX_DEACTIVATIONS_PER_H": "0",
}
"""A request may be stalled for 2 s and then take effect 3 s late: within the time that the worker was told of."""

STALL_S = 2.0
LATE_S = 3.0
FAULTS: Sequence[dict[str, Any]] = (
    {"late_s": 0.5, "delay_s": 0.2},
    {"late_s": 1.5},
    {"late_s": LATE_S},
    {"late_s": LATE_S, "delay_s": 0.2},
    {"drop": "before"},
    {"drop": "after"},
    {"status": 503},
    {"status": 429, "headers": {"Retry-After": "1"}},
)
WRITES = ("task_create", "task_update", "task_replace")


@dataclass(frozen=True)
class Ground:
    """Where it happens: a vhost, and the AMQP address of every node that has it."""

    vhost: Vhost
    nodes: Sequence[str] = field(repr=False)
    cluster: Cluster | None = None


@dataclass
class Toll:
    """What was done to the worker."""

    kills: int = 0
    leaders: int = 0
    ended: int = 0
    set: int = 0
    cuts: Counter[str] = field(default_factory=Counter)


class Chaos:
    """What happens to one worker for so many seconds, all at the same time."""

    def __init__(self, chance: random.Random, seconds: float, kill_every_s: tuple[float, float]) -> None:
        self._chance = chance
        self._kill_every_s = kill_every_s
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self.toll = Toll()

    @property
    def goes_on(self) -> bool:
        """Whether it is not over."""
        return time.monotonic() < self._until

    async def kill(self, worker: WorkerProcess) -> None:
        """The worker is killed at random moments, and started again at once; also when it ends by itself."""
        while self.goes_on:
            worker.start()
            until = time.monotonic() + self._chance.uniform(*self._kill_every_s)
            while worker.running and time.monotonic() < until:
                await asyncio.sleep(0.02)
            self.toll.ended += not worker.running
            self.toll.kills += worker.running
            worker.kill()

    async def cut(self, name: str, proxies: Sequence[Proxy]) -> None:
        """The connections through these proxies are cut now and then, for a while."""
        chance = self._chance
        while self.goes_on:
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            fault: Fault = chance.choice(
                (
                    Reset(),
                    Stall(),
                    HalfClose("client"),
                    HalfClose("server"),
                    CutAfter(chance.randrange(100, 20_000)),
                    Latency(chance.uniform(0.02, 0.2)),
                )
            )
            self.toll.cuts[f"{name} {type(fault).__name__}"] += 1
            await _set(proxies, fault)
            await asyncio.sleep(chance.uniform(0.1, STALL_S))
            await _set(proxies, Pass())

    async def disturb(self, ditio: Server) -> None:
        """Requests take effect late, are lost on the way there or back, or are refused for now."""
        while self.goes_on:
            given = {"operation": self._chance.choice(WRITES), "skip": self._chance.randrange(4)}
            ditio.sandbox.faults.add(given | self._chance.choice(FAULTS))
            self.toll.set += 1
            await asyncio.sleep(self._chance.uniform(0.1, 0.6))

    async def lose_leaders(self, ground: Ground) -> None:
        """The node that leads the queue is killed, and started again."""
        cluster = ground.cluster
        while cluster is not None and self.goes_on:
            began = time.monotonic()
            leader = await asyncio.to_thread(cluster.leader, ground.vhost, "workorders.events")
            await asyncio.to_thread(leader.kill)
            self.toll.leaders += 1
            await asyncio.to_thread(leader.start)
            await asyncio.sleep(max(0.0, LEADER_LOST_EVERY_S - (time.monotonic() - began)))

    async def publish(self, to: Publisher, erp: Erp) -> None:
        """The ERP publishes all the time, and again what the broker did not confirm."""
        messages = erp.published()
        share = -(-len(messages) // max(1, int(self._seconds / PIECE_S)))

        async def confirmed(message: Message) -> None:
            while True:
                with suppress(BrokerError):
                    return await to.publish_to("workorders", "a", message)
                await asyncio.sleep(0.2)

        for place in range(0, len(messages), share):
            await asyncio.gather(*(confirmed(message) for message in messages[place : place + share]), asyncio.sleep(PIECE_S))


async def survives(
    ground: Ground,
    ditio: Server,
    folder: Path,
    *,
    seconds: float,
    kill_every_s: tuple[float, float] = (2.0, 10.0),
    events_per_s: float = 20.0,
    settle_s: float = 300.0,
) -> Toll:
    """Lets all of it happen to a worker, and tells what must hold when it is over and everything has settled."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.02})
    erp = Erp(chance)
    erp.changes(int(seconds * events_per_s))
    erp.errs(int(seconds / 10))
    async with AsyncExitStack() as stack:
        amqp = [await stack.enter_async_context(proxy_to(node)) for node in ground.nodes]
        http = await stack.enter_async_context(proxy_to(ditio.url))
        to = await stack.enter_async_context(publisher(",".join(ground.nodes)))
        worker = _worker(ground, ditio, folder, amqp, http)
        stack.callback(worker.kill)
        # When
        chaos = Chaos(chance, seconds, kill_every_s)
        parts: Sequence[Callable[[], Awaitable[None]]] = (
            lambda: chaos.publish(to, erp),
            lambda: chaos.kill(worker),
            lambda: chaos.cut("AMQP", amqp),
            lambda: chaos.cut("HTTP", [http]),
            lambda: chaos.disturb(ditio),
            lambda: chaos.lose_leaders(ground),
        )
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part())  # type: ignore[arg-type]  # a coroutine
        unused = len(ditio.sandbox.faults.listed())
        print(f"{chaos.toll.set} faults set, {unused} left over; {len(ditio.sandbox.log)} requests so far")
        ditio.sandbox.faults.clear()
        over = time.monotonic()
        worker.start()
        # Then every event is accounted for
        await settled(folder / "ledger.db", erp.ids, ditio, settle_s)
        await eventually(lambda: drained(worker, ground.vhost), settle_s, what="drained")
        settled_s = time.monotonic() - over
        await asyncio.to_thread(worker.stop)
    _report(chaos.toll, erp, ditio, settled_s)
    # And nothing is left, nothing doubled, every field is right
    assert ground.vhost.depth(*QUEUES) == 0
    differences = wrong(erp.holds(), ditio.sandbox.state)
    assert not differences, "\n".join((str(differences), *_requests_for({key for key, _ in differences}, ditio)))
    # And the letters are those that the ERP deserved
    letters = ground.vhost.messages("workorders.dead")
    deserved = {message.body for message in erp.broken}
    mistaken = [(letter.body, letter.headers) for letter in letters if letter.body not in deserved]
    assert not mistaken, mistaken
    missing = deserved - {letter.body for letter in letters}
    assert not missing, (missing, len(letters), ground.vhost.depth("workorders.dead"))
    assert not worker.lines("the worker itself failed on an event")
    assert not worker.lines("a message could not be settled, and stays with the broker")
    assert leaks(worker.log()) == []
    return chaos.toll


async def makes_no_twins(worker: WorkerProcess, vhost: Vhost, ditio: Server, faults: int) -> None:
    """So many creations take effect, but the answer is dropped; or they take effect 3 s late. One task comes of each.

    As many others, between them, are answered: where every creation fails, the circuit opens.
    """
    # Given
    orders = [f"WO-{number}" for number in range(2 * faults)]
    for place, order in enumerate(orders[::2]):
        fault = ({"drop": "after"}, {"late_s": LATE_S}, {"late_s": LATE_S, "delay_s": 0.2})[place % 3]
        ditio.sandbox.faults.add({"operation": "task_create", "external_id": order, **fault})
    worker.start(**SETTINGS)
    await worker.ready()
    # When
    async with publisher(vhost.url) as to:
        for place in range(0, len(orders), 12):
            some = [event("created", order, name="x") for order in orders[place : place + 12]]
            await asyncio.gather(*(to.publish_to("workorders", "a", message) for message in some), asyncio.sleep(PIECE_S))
    ids = {f"created-{order}-{TIME}" for order in orders}
    await settled(worker.folder / "ledger.db", ids, ditio, 60 + 2 * faults)
    await eventually(lambda: drained(worker, vhost), 60, what="drained")
    # Then each fault has struck
    assert ditio.sandbox.faults.listed() == []
    # And each work order has one task
    assert sorted(str(task["externalId"]) for task in ditio.sandbox.state.tasks.values()) == sorted(orders)
    assert vhost.messages("workorders.dead") == []


def _worker(ground: Ground, ditio: Server, folder: Path, amqp: Sequence[Proxy], http: Proxy) -> WorkerProcess:
    """A worker behind the proxies."""
    urls = ",".join(through(proxy, node) for proxy, node in zip(amqp, ground.nodes, strict=True))
    to_ditio = {"DITIO_API_BASE": through(http, ditio.url), "DITIO_IDENTITY_BASE": through(http, ditio.identity_url)}
    return WorkerProcess(settings(urls, ditio, folder, **SETTINGS, **to_ditio), folder)


async def _set(proxies: Sequence[Proxy], fault: Fault) -> None:
    for proxy in proxies:
        await proxy.set(fault)


def drained(worker: WorkerProcess, vhost: Vhost) -> bool:
    """Whether nothing is in a queue, and nothing in the worker's hands."""
    return vhost.depth(*QUEUES) == 0 and worker.metric("held_bytes") == 0 and vhost.depth(*QUEUES) == 0


async def settled(path: Path, ids: set[str], ditio: Server, within_s: float) -> None:
    """Returns when every event has a settled line in the history, no request is on its way, and nothing is due."""
    reader = await ledger.open_read_only(path, clock=WallClock())
    rest = set(ids)
    try:
        async with asyncio.timeout(within_s):
            while ditio.sandbox.late or await reader.next_due() is not None or rest:
                for key in await asyncio.to_thread(_keys, path):
                    lines = await reader.history(key, 100_000)
                    rest -= {line.id for line in lines if line.outcome in ("applied", "unchanged", "superseded")}
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"not settled: {sorted(rest)}; due next: {await reader.next_due()}") from None
    finally:
        await reader.close()


def _keys(path: Path) -> list[Key]:
    """The work orders that the ledger knows."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [Key(*row) for row in db.execute("SELECT project_id, external_id FROM work_orders")]


def _requests_for(orders: set[tuple[str, str]], ditio: Server) -> list[str]:
    """The writes that Ditio saw for some work orders."""
    names = {external_id for _, external_id in orders}
    ids = {task["id"]: task["externalId"] for task in ditio.sandbox.state.tasks.values() if task["externalId"] in names}
    return [
        f"{line['at']:.3f} {ids.get(line['path'].rpartition('/')[2], '')} {line}"
        for line in ditio.sandbox.log
        if "body" in line and any(each in line["path"] or each in str(line["body"]) for each in (*ids, *ids.values()))
    ]


def _report(toll: Toll, erp: Erp, ditio: Server, settled_s: float) -> None:
    """What was done, for whoever reads the output of the run."""
    late = sum(line["late"] for line in ditio.sandbox.log)
    print(f"{len(erp.events)} events, {toll.kills} kills, {toll.ended} ends by itself, {toll.leaders} leaders lost")
    print(f"cuts {sum(toll.cuts.values())}: {dict(sorted(toll.cuts.items()))}")
    print(f"late requests {late}; {dict(sorted(ditio.sandbox.counts.items()))}")
    print(f"{len(ditio.sandbox.state.tasks)} tasks; settled {settled_s:.1f} s after the last fault")
