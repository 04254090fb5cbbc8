"""More of what happens to the broker's connections; see tests/e2e/test_connections.py."""

from __future__ import annotations

from tests.support.broker import Vhost
from tests.support.cluster import Node
from tests.support.process import WorkerProcess
from tests.support.promise import PROMISE_S, an_alarm, created, done, not_ready
from tests.support.proxy import Pass, Stall, proxy_to, through
from tests.support.publishing import publish_all
from tests.support.waiting import eventually
from worker.sandbox import Server

IMPATIENT = "application:set_env(rabbit, consumer_timeout, 2000), application:set_env(rabbit, channel_tick_interval, 500)."
PATIENT = "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000)."


async def test_an_expired_consumer_timeout_closes_the_channel_and_it_goes_on(
    lonely: WorkerProcess, own: Vhost, node: Node, ditio: Server
) -> None:
    # Given a broker of little patience, and an API of much
    node.control("eval", IMPATIENT)
    ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 4})
    try:
        lonely.start(DITIO_TIMEOUT_S="5")
        await lonely.ready()
        await publish_all(own.url, created(0, 1))
        # When
        await eventually(lambda: "delivery acknowledgement on channel" in lonely.log(), PROMISE_S, what="the broker closed it")
        ditio.sandbox.options = ditio.sandbox.options.changed({"latency_s": 0})
        # Then
        await lonely.ready(PROMISE_S)
        await done(ditio, own, 1)
    finally:
        node.control("eval", PATIENT)


async def test_a_worker_that_finds_no_broker_says_so_and_begins_when_there_is_one(
    worker: WorkerProcess, vhost: Vhost, ditio: Server
) -> None:
    async with proxy_to(vhost.url) as proxy:
        # Given an address that takes connections and says nothing
        await proxy.set(Stall())
        worker.start(AMQP_URL=through(proxy, vhost.url))
        # Then
        await not_ready(worker, "no answer in time")
        # And
        await proxy.set(Pass())
        await worker.ready(PROMISE_S)
        await publish_all(vhost.url, created(0, 1))
        await done(ditio, vhost, 1)


async def test_an_alarm_longer_than_a_confirm_may_take_publishes_each_letter_once(
    lonely: WorkerProcess, own: Vhost, node: Node, ditio: Server
) -> None:
    await an_alarm(lonely, own, node, ditio, lasts_s=30)
