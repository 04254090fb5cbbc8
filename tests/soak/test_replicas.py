"""Four workers on three RabbitMQ nodes and one PostgreSQL, 50,000 events, and everything that may end or sleep does so under load.

SOAK_SHARE=0.1 makes it that much smaller; what happens to the workers, the broker and the ledger stays.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from tests.e2e.test_replicas import idle
from tests.support.broker import Vhost
from tests.support.chaos import PIECE_S, QUEUES, SETTINGS
from tests.support.cluster import Cluster
from tests.support.erp import Erp, wrong
from tests.support.postgres import Database, database
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker import ledger
from worker.clock import WallClock
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.demo.postgres import PostgresServer
from worker.rabbit import Publisher
from worker.sandbox import Server

EVENTS = int(50_000 * float(os.environ.get("SOAK_SHARE", "1")))
EVENTS_PER_S = 250
SECONDS = max(60.0, EVENTS / EVENTS_PER_S)
KILL_EVERY_S = 5.0
ASLEEP_S = 30.0
ENDED = ("applied", "unchanged", "superseded", "dead")


class Havoc:
    """What happens to them while events are published; `toll` counts it."""

    def __init__(self, chance: random.Random, workers: list[WorkerProcess]) -> None:
        self._chance = chance
        self._workers = workers
        self._until = time.monotonic() + SECONDS
        self._asleep: WorkerProcess | None = None
        self.toll: Counter[str] = Counter()

    async def publish(self, to: Publisher, messages: list[Message]) -> None:
        """The ERP publishes all the time."""
        share = -(-len(messages) // int(SECONDS / PIECE_S))
        for place in range(0, len(messages), share):
            some = messages[place : place + share]
            await asyncio.gather(*(self._confirmed(to, message) for message in some), asyncio.sleep(PIECE_S))

    async def _confirmed(self, to: Publisher, message: Message) -> None:
        while True:
            try:
                return await to.publish_to("workorders", "a", message)
            except BrokerError:
                await asyncio.sleep(0.2)

    async def kill(self) -> None:
        """One of those that are awake is killed every few seconds, and started again; also whoever has ended."""
        while time.monotonic() < self._until:
            await asyncio.sleep(KILL_EVERY_S)
            self._chance.choice([worker for worker in self._workers if worker is not self._asleep]).kill()
            self.toll["killed"] += 1
            for worker in self._workers:
                if not worker.running:
                    worker.start()

    async def sleep(self) -> None:
        """One is stopped, and goes on much later."""
        await asyncio.sleep(SECONDS / 8)
        self._asleep = worker = self._workers[0]
        os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(ASLEEP_S)
        os.kill(worker.pid, signal.SIGCONT)
        self._asleep = None
        self.toll["asleep"] += 1

    async def lose_leader(self, cluster: Cluster, vhost: Vhost) -> None:
        """The node that leads the queue is killed, and started again."""
        await asyncio.sleep(SECONDS / 3)
        leader = await asyncio.to_thread(cluster.leader, vhost, "workorders.events")
        await asyncio.to_thread(leader.kill)
        await asyncio.sleep(5)
        await asyncio.to_thread(leader.start)
        self.toll["leaders"] += 1

    async def restart(self, server: PostgresServer) -> None:
        """PostgreSQL crashes, and is stopped in order later."""
        for crash in (True, False):
            await asyncio.sleep(SECONDS / 3)
            await asyncio.to_thread(server.stop, crash=crash)
            await asyncio.sleep(3)
            await asyncio.to_thread(server.start)
            self.toll["PostgreSQL"] += 1


async def test_fifty_thousand_events_among_four_workers_while_all_of_them_die_again_and_again(
    cluster: Cluster, clustered: Vhost, ditio: Server, own_postgres: PostgresServer, tmp_path: Path
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.02})
    erp = Erp(chance)
    erp.changes(EVENTS)
    urls = cluster.urls(clustered)
    async with database(own_postgres) as own, publisher(urls) as to:
        workers = [_worker(urls, ditio, tmp_path / name, own) for name in ("a", "b", "c", "d")]
        try:
            for worker in workers:
                worker.start()
            await asyncio.gather(*(worker.ready() for worker in workers))
            # When
            havoc, began = Havoc(chance, workers), time.monotonic()
            async with asyncio.TaskGroup() as group:
                group.create_task(havoc.publish(to, erp.published()))
                group.create_task(havoc.kill())
                group.create_task(havoc.sleep())
                group.create_task(havoc.lose_leader(cluster, clustered))
                group.create_task(havoc.restart(own_postgres))
            published_s = time.monotonic() - began
            # Then
            await eventually(lambda: clustered.depth(*QUEUES) == 0 and idle(workers), SECONDS + 300, what="all is handled")
            reader = await ledger.open_read_only(own.url, clock=WallClock())
            async with asyncio.timeout(120):
                while ditio.sandbox.late or await reader.next_due() is not None:
                    await asyncio.sleep(0.2)
            await reader.close()
            rows = await own.ask("SELECT DISTINCT event_id FROM history WHERE outcome = ANY(%s)", list(ENDED))
            print(
                f"{EVENTS} events published in {published_s:.0f} s, all ended after {time.monotonic() - began:.0f} s; {havoc.toll}"
            )
            print(f"{len(ditio.sandbox.state.tasks)} tasks; {dict(sorted(ditio.sandbox.counts.items()))}")
            assert [await asyncio.to_thread(worker.stop) for worker in workers] == [0, 0, 0, 0]
        finally:
            for worker in workers:
                worker.kill()
                assert leaks(worker.log()) == []
    # And every event has ended, every field is right, nothing is doubled, and there is no letter
    lost = erp.ids - {event_id for (event_id,) in rows}
    differences = wrong(erp.holds(), ditio.sandbox.state)
    print(f"lost {len(lost)}, wrong or doubled {len(differences)}")
    assert (lost, differences) == (set(), {})
    assert clustered.depth("workorders.dead", *QUEUES) == 0
    for worker in workers:
        assert not worker.lines("the worker itself failed on an event")
    assert (havoc.toll["asleep"], havoc.toll["leaders"], havoc.toll["PostgreSQL"]) == (1, 1, 2)


def _worker(urls: str, ditio: Server, folder: Path, own: Database) -> WorkerProcess:
    folder.mkdir()
    more = {**SETTINGS, "LEDGER_URL": own.url, "DITIO_TIMEOUT_S": "3", "WORKER_PREFETCH": "64"}
    return WorkerProcess(settings(urls, ditio, folder, **more), folder)
