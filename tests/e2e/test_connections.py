"""What happens to the broker's connections: consuming again by itself, or not ready with the cause in words, within 60 s.

Each on the real worker process. No event is lost, and none is dead-lettered for it.
"""

from __future__ import annotations

import asyncio
import resource
import time
from urllib.parse import quote, urlsplit, urlunsplit

from tests.support.broker import Vhost
from tests.support.cluster import Node
from tests.support.process import WorkerProcess
from tests.support.promise import PROMISE_S, an_alarm, created, done, not_ready, stays_unready
from tests.support.proxy import Stall, proxy_to, through
from tests.support.publishing import publish_all
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.rabbit import Access, Publisher
from worker.sandbox import Server

FREE_PORT = 1
"""A port where nobody listens."""


def as_administrator(vhost: Vhost) -> str:
    """The vhost's address with the rights of the broker's owner."""
    return urlunsplit(urlsplit(vhost.broker.amqp)._replace(path=f"/{vhost.name}"))


def cut(vhost: Vhost, name: str) -> bool:
    """Cuts the worker's connection of this name; whether there was one (the management knows of it after a while)."""
    found = [
        each["name"]
        for each in vhost.ask("GET", f"vhosts/{vhost.name}/connections")
        if (each.get("client_properties") or {}).get("connection_name") == f"ditio-worker {name}"
    ]
    for each in found:
        vhost.ask("DELETE", f"connections/{quote(each, safe='')}")
    return bool(found)


async def test_a_half_open_connection_is_found_and_the_next_address_that_answers_is_taken(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given a worker at work through a proxy, the second of three addresses; the first one is dead
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.05})
    async with proxy_to(vhost.url) as proxy:
        dead = vhost.url.replace(f":{proxy._to[1]}/", f":{FREE_PORT}/")
        worker.start(AMQP_URL=f"{dead},{through(proxy, vhost.url)},{vhost.url}")
        await worker.ready()
        await publish_all(vhost.url, created(0, 600))
        await eventually(lambda: len(ditio.sandbox.state.tasks) > 20)
        # When everything goes silent, and a new connection through the proxy too
        await proxy.set(Stall())
        stalled = time.monotonic()
        # Then it is noticed, told, and consumed from the third address
        await not_ready(worker, "the broker", 25)
        await eventually(lambda: worker.metric("consumer_active") == 0, what="the gauge follows")
        await worker.ready(PROMISE_S)
        assert time.monotonic() - stalled < PROMISE_S
        await done(ditio, vhost, 600)
        await eventually(lambda: worker.metric("consumer_active") == 1, what="the gauge follows")


async def test_a_broker_that_restarts_is_consumed_again(lonely: WorkerProcess, own: Vhost, node: Node, ditio: Server) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0.05})
    lonely.start()
    await lonely.ready()
    await publish_all(own.url, created(0, 600))
    await eventually(lambda: len(ditio.sandbox.state.tasks) > 20)
    # When
    stopping = asyncio.ensure_future(asyncio.to_thread(node.stop))
    # Then it says so for as long as there is no broker
    await not_ready(lonely, "broker: ")
    await stopping
    page = await not_ready(lonely, "no connection to the broker")
    assert "127.0.0.1" in page
    assert "Connection refused" in page
    await asyncio.to_thread(node.start)
    back = time.monotonic()
    await lonely.ready(PROMISE_S)
    assert time.monotonic() - back < PROMISE_S
    await done(ditio, own, 600)


async def test_a_broker_out_of_memory_takes_no_letters_and_the_worker_says_so_until_it_does(
    lonely: WorkerProcess, own: Vhost, node: Node, ditio: Server
) -> None:
    await an_alarm(lonely, own, node, ditio, lasts_s=0)


async def test_permissions_that_are_taken_away_are_told_until_they_are_given_back(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given a worker that only checks the topology, for which it needs no permission
    await publish_all(vhost.url, [])
    worker.start(WORKER_DECLARE="false")
    await worker.ready()
    permissions = f"permissions/{vhost.name}/{vhost.user}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    # When it may publish no more, though an event needs a letter
    vhost.ask("PUT", permissions, everything | {"write": "^workorders$"})
    await publish_all(as_administrator(vhost), [*created(0, 5), Message(b"{")])
    # Then it never says that it is ready meanwhile
    await not_ready(worker, "access to ")
    await stays_unready(worker, "broker: ", 5)
    vhost.ask("PUT", permissions, everything)
    await worker.ready(PROMISE_S)
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    # And when it may not consume, though all else is well
    vhost.ask("PUT", permissions, everything | {"read": "^workorders$"})
    await eventually(lambda: cut(vhost, "intake"), what="the connection is cut")
    await not_ready(worker, "access to queue 'workorders.events'")
    await stays_unready(worker, "access to queue 'workorders.events'", 4)
    vhost.ask("PUT", permissions, everything)
    await worker.ready(PROMISE_S)
    assert len(vhost.take("workorders.dead")) == 1
    await done(ditio, vhost, 5)


async def test_queues_that_vanish_beside_the_consumed_one_are_made_again_when_they_are_needed(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    # When
    for queue in ("workorders.dead", "workorders.wait.1s"):
        vhost.ask("DELETE", f"queues/{vhost.name}/{queue}")
    erp = Publisher(Access(lambda: (vhost.url,)))  # which declares nothing
    await erp.publish("workorders.events", Message(b"{"))
    await erp.close()
    # Then
    await eventually(
        lambda: worker.metric("dead_letters_total", reason="invalid-event") == 1, PROMISE_S, what="it has its letter"
    )
    assert [letter.body for letter in vhost.messages("workorders.dead")] == [b"{"]
    await worker.ready(PROMISE_S)
    assert "workorders.wait.1s" in vhost.queues()


async def test_a_cut_publishing_connection_is_made_again_without_anybody_noticing(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [Message(b"{")])
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    # When
    await eventually(lambda: cut(vhost, "publisher"), what="the connection is cut")
    await publish_all(vhost.url, [Message(b"["), *created(0, 5)])
    # Then
    await eventually(lambda: vhost.depth("workorders.dead") == 2)
    assert len(vhost.take("workorders.dead")) == 2
    await done(ditio, vhost, 5)
    assert "consumption pauses" not in worker.log()


async def test_a_full_disk_pauses_the_worker_until_there_is_room(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, created(0, 50))
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 50)
    # When no file may grow any more
    largest = max(each.stat().st_size for each in worker.folder.glob("ledger.db*"))
    assert worker.log_file.stat().st_size < largest / 2, "the log must have room to say so"
    limits = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (largest, limits[1]))
    await publish_all(vhost.url, created(50, 100))
    # Then it pauses, and stays paused
    page = await not_ready(worker, "ledger: ledger: ")
    assert "disk" in page or "full" in page
    assert worker.metric("paused", cause="ledger") == 1
    await stays_unready(worker, "ledger: ledger: ", 5)
    # And goes on by itself
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, limits)
    await worker.ready(PROMISE_S)
    await done(ditio, vhost, 100)
