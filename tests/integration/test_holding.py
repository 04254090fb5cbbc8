"""What is held is bounded, on real RabbitMQ: in bytes, by not reading; in time, by giving back; and a quiet consumer is renewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

import pytest

from tests.support.broker import Vhost
from tests.support.proxy import Stall, proxy_to, through
from tests.support.waiting import eventually
from worker.api import Patience
from worker.clock import WallClock
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.flow import Flow
from worker.health import Health
from worker.holding import Holding
from worker.lanes import Lanes
from worker.metrics import Metrics
from worker.ports import Delivery
from worker.process import Process
from worker.rabbit import Access, Connection, Intake, Publisher, connect, declare, depth
from worker.rabbit.intake import FIRST
from worker.topology import Topology

TOPOLOGY = Topology(wait_steps=(1, 2))
HEARTBEAT_S = 1
MIB = 1_048_576


class Hands:
    """Stands where the process does: holds each delivery until it is told to settle it."""

    def __init__(self) -> None:
        self.lanes: Lanes[str, str, str] = Lanes(self._nothing, limit=1)
        self.deliveries: list[Delivery] = []
        self.settled = asyncio.Event()

    async def take(self, delivery: Delivery) -> None:
        """One message."""
        self.deliveries.append(delivery)
        await self.settled.wait()
        delivery.ack()

    async def _nothing(self, key: str, items: object) -> list[str]:
        return []


class Rig:
    """A flow with an intake on a queue, and hands that hold what comes."""

    def __init__(self, vhost: Vhost, stack: AsyncExitStack) -> None:
        self.vhost = vhost
        self.stack = stack
        self.access = Access(lambda: (vhost.url,), heartbeat_s=HEARTBEAT_S)
        self.publisher = Publisher(self.access)
        self.connections: list[Connection] = []
        self.hands = Hands()
        self.health = Health()
        self.late = 0
        self.stop = asyncio.Event()
        self.intake: Intake
        self.flow: Flow

    async def run(self, *, prefetch: int = 100, **limits: float) -> None:
        """Starts the flow; `limits` are those of Holding."""
        clock = WallClock()
        connection = await connect(self.access, "test")
        await declare(connection, TOPOLOGY)
        await connection.close()
        self.intake = Intake(
            self.access, TOPOLOGY.events, prefetch=prefetch, clock=clock, prepare=self._prepare,
            on_delivery=lambda delivery: self.flow.take(cast(Process, self.hands), delivery),
            on_lost=self._lost, on_late_ack=self._late,
        )  # fmt: skip
        self.flow = Flow(
            self.intake, probes={}, health=self.health, metrics=Metrics("0", ("all",)), clock=clock, drain_s=1.0,
            patience=Patience(clock), holding=Holding(self.intake, clock, **limits),  # type: ignore[arg-type]  # each has its own type
        )  # fmt: skip
        self.stack.push_async_callback(self.publisher.close)
        self.stack.push_async_callback(self.intake.close)
        running = asyncio.ensure_future(self.flow.run(cast(Process, self.hands), self.stop))

        async def end() -> None:
            self.stop.set()
            await running

        self.stack.push_async_callback(end)
        await eventually(lambda: self.flow.flowing, what="it takes messages")

    async def _prepare(self, connection: Connection) -> None:
        self.connections.append(connection)

    def _lost(self, error: BrokerError) -> None:
        self.flow.trouble(error)

    def _late(self) -> None:
        self.late += 1

    def bodies(self) -> list[bytes]:
        """What was delivered, in order."""
        return [each.message.body for each in self.hands.deliveries]


@pytest.fixture
async def rig(any_vhost: Vhost) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        yield Rig(any_vhost, stack)


@pytest.fixture
async def one_rig(vhost: Vhost) -> AsyncIterator[Rig]:
    """On the distribution's version alone, for what takes long."""
    async with AsyncExitStack() as stack:
        yield Rig(vhost, stack)


async def test_more_bytes_than_may_be_held_are_left_with_the_broker_for_longer_than_its_heartbeats(one_rig: Rig) -> None:
    rig = one_rig
    # Given 40 MiB, of which 8 may be held
    await rig.run(most=8 * MIB, again=4 * MIB)
    body = b"x" * MIB
    await asyncio.gather(*(rig.publisher.publish(TOPOLOGY.events, Message(body)) for _ in range(40)))
    await eventually(lambda: len(rig.hands.deliveries) >= 9)
    # When nothing is read for longer than silence is borne on either side
    began = time.monotonic()
    while time.monotonic() - began < 2 * (HEARTBEAT_S + 5) + 1:
        await asyncio.sleep(0.2)
        assert len(rig.hands.deliveries) <= 10, "what was on its way, and no more"
    # Then the connection is still there, and everything comes when there is room
    assert rig.health.causes.get("broker") is None
    rig.hands.settled.set()
    await eventually(lambda: len(rig.hands.deliveries) == 40, what="the rest was read")
    await eventually(lambda: rig.vhost.depth(TOPOLOGY.events) == 0)
    assert len(rig.connections) == 1
    assert rig.late == 0
    assert not any(each.message.redelivered for each in rig.hands.deliveries)


async def test_what_is_held_too_long_goes_back_in_its_order_and_the_rest_goes_on(rig: Rig) -> None:
    # Given
    await rig.run(longest_s=1.0)
    for number in range(3):
        await rig.publisher.publish(TOPOLOGY.events, Message(b"%d" % number))
    # When nobody settles them, they come again
    await eventually(lambda: len(rig.hands.deliveries) == 6, what="delivered again")
    # Then
    assert rig.bodies() == [b"0", b"1", b"2"] * 2
    assert [each.message.redelivered for each in rig.hands.deliveries] == [False] * 3 + [True] * 3
    assert rig.health.causes.get("broker") is None
    # And what is settled too late is dropped and counted
    rig.hands.settled.set()
    await eventually(lambda: rig.late == 3)
    await eventually(lambda: rig.vhost.depth(TOPOLOGY.events) == 0)


async def test_a_consumer_that_gets_nothing_for_a_while_is_renewed(rig: Rig) -> None:
    # Given one that was cut off, without a word and without anybody looking
    await rig.run(quiet_s=1.0)
    channel = rig.intake._channel
    assert channel is not None
    await channel.call(channel.raw.basic_cancel, consumer_tag=FIRST)
    # When
    await rig.publisher.publish(TOPOLOGY.events, Message(b"x"))
    # Then
    await eventually(lambda: rig.bodies() == [b"x"], what="it is delivered")
    assert rig.health.causes.get("broker") is None


async def test_a_consumer_that_the_broker_does_not_know_is_a_loss_after_two_looks(rig: Rig) -> None:
    # Given a consumer that ended without a word
    await rig.run()
    channel = rig.intake._channel
    assert channel is not None
    await channel.call(channel.raw.basic_cancel, consumer_tag=FIRST)
    # When
    await rig.intake.check()
    assert rig.intake.taking
    await rig.intake.check()
    # Then
    assert not rig.intake.taking
    await eventually(lambda: rig.intake.taking, what="it is consumed again")
    await rig.intake.check()
    await rig.intake.check()
    assert rig.intake.taking


async def test_a_publisher_that_gets_no_answer_gives_the_connection_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("worker.rabbit.publisher.CONFIRM_S", 0.5)
    await rig.run()
    async with proxy_to(rig.vhost.url) as proxy:
        publisher = Publisher(Access(lambda: (through(proxy, rig.vhost.url), rig.vhost.url)))
        await publisher.probe()
        # When
        await proxy.set(Stall())
        with pytest.raises(
            BrokerError, match=r"a message for queue workorders\.dead was not confirmed: the broker did not answer"
        ):
            await publisher.publish(TOPOLOGY.dead, Message(b"x"))
        # Then the next one goes by the address that answers
        connection = publisher._connection
        assert connection is not None
        await eventually(lambda: not connection.is_open, 2)
        rig.hands.settled.set()
        await publisher.close()


async def test_probing_the_publisher_leaves_nothing_behind(rig: Rig) -> None:
    await rig.run()
    await rig.publisher.probe()
    assert sum([(await depth(rig.connections[0], queue.name))[0] for queue in TOPOLOGY.queues]) == 0
    permissions = {"configure": ".*", "write": "^$", "read": ".*"}
    rig.vhost.ask("PUT", f"permissions/{rig.vhost.name}/{rig.vhost.user}", permissions)
    await rig.publisher.close()
    with pytest.raises(BrokerError, match="ACCESS_REFUSED"):
        await rig.publisher.probe()


class Refused:
    """An intake that the broker refuses a few times; it looks at the worker's health each time."""

    def __init__(self, health: Health, times: int) -> None:
        self._health = health
        self._times = times
        self.seen: list[bool] = []

    async def start(self, most: int | None = None) -> None:
        """Begins, at last."""
        self.seen.append("broker" in self._health.causes)
        if len(self.seen) <= self._times:
            raise BrokerError("not yet")

    async def cancel(self) -> None: ...

    async def give_back(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


async def test_the_broker_is_well_only_when_it_delivers_again() -> None:
    # Given
    health, clock, stop = Health(), WallClock(), asyncio.Event()
    intake = Refused(health, times=2)
    flow = Flow(
        intake, probes={}, health=health, metrics=Metrics("0", ("all",)), clock=clock, drain_s=1.0, patience=Patience(clock)
    )
    # When
    running = asyncio.ensure_future(flow.run(cast(Process, Hands()), stop))
    await eventually(lambda: flow.flowing, 30)
    # Then it was unwell at each start, though nothing but starting could show that it is not
    assert intake.seen == [True, True, True]
    assert "broker" not in health.causes
    stop.set()
    await running
