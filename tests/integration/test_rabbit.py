"""The broker's adapter on real RabbitMQ, 3.10 and 4.0."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from tests.support.broker import Vhost
from tests.support.waiting import eventually
from worker.clock import WallClock
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.rabbit import Access, Connection, Intake, LockHeld, Publisher, TopologyError, connect, declare, depth, hold, verify
from worker.rabbit.intake import Delivery
from worker.topology import Topology

TOPOLOGY = Topology(wait_steps=(1, 2))


class Rig:
    """A declared topology, a publisher, and intakes with what they got."""

    def __init__(self, vhost: Vhost, stack: AsyncExitStack) -> None:
        self.vhost = vhost
        self.stack = stack
        self.access = Access(lambda: (vhost.url,))
        self.connection: Connection
        self.publisher = Publisher(self.access)
        self.got: list[Delivery] = []
        self.settled: list[bytes] = []
        self.lost: list[BrokerError] = []
        self.late = 0

    async def open(self) -> None:
        """Connects and declares."""
        self.connection = await self.connect()
        await declare(self.connection, TOPOLOGY)
        self.stack.push_async_callback(self.publisher.close)

    async def connect(self) -> Connection:
        """Another connection."""
        connection = await connect(self.access, "test")
        self.stack.push_async_callback(connection.close)
        return connection

    async def fill(self, count: int) -> list[bytes]:
        """Puts events into the queue, in order."""
        bodies = [b"%d" % number for number in range(count)]
        for body in bodies:
            await self.publisher.publish(TOPOLOGY.events, Message(body))
        return bodies

    async def intake(
        self, prefetch: int = 100, suspects: Callable[[Message], bool] = lambda message: False, settles: int = 0
    ) -> Intake:
        """An intake that is taking; the first so many of its messages are settled at once."""
        left = settles

        async def nothing(_: Connection) -> None: ...

        def late() -> None:
            self.late += 1

        def take(delivery: Delivery) -> None:
            nonlocal left
            self.got.append(delivery)
            if left:
                left -= 1
                self.settled.append(delivery.message.body)
                delivery.ack()

        intake = Intake(
            self.access, TOPOLOGY.events, prefetch=prefetch, clock=WallClock(), prepare=nothing,
            on_delivery=take, on_lost=self.lost.append, on_late_ack=late,
            suspects=suspects,
        )  # fmt: skip
        self.stack.push_async_callback(intake.close)
        await intake.start()
        return intake

    def bodies(self) -> list[bytes]:
        """What was delivered, in order."""
        return [each.message.body for each in self.got]


@pytest.fixture
async def rig(any_vhost: Vhost) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        opened = Rig(any_vhost, stack)
        await opened.open()
        yield opened


async def test_declaring_again_changes_nothing_and_checking_agrees(rig: Rig) -> None:
    await declare(rig.connection, TOPOLOGY)
    await verify(rig.connection, TOPOLOGY)
    queues = {each["name"]: each["arguments"] for each in rig.vhost.ask("GET", f"queues/{rig.vhost.name}?columns=name,arguments")}
    assert queues == {queue.name: queue.arguments for queue in TOPOLOGY.queues}


async def test_a_queue_in_another_form_is_told_in_a_sentence(rig: Rig) -> None:
    rig.vhost.ask("DELETE", f"queues/{rig.vhost.name}/workorders.dead")
    rig.vhost.ask("PUT", f"queues/{rig.vhost.name}/workorders.dead", {"durable": True})
    with pytest.raises(
        TopologyError, match=r"queue workorders\.dead at the broker is not as.*delete the old one once it is empty"
    ):
        await declare(rig.connection, TOPOLOGY)


async def test_a_queue_that_is_missing_is_told_in_a_sentence_where_the_worker_may_not_declare(rig: Rig) -> None:
    rig.vhost.ask("DELETE", f"queues/{rig.vhost.name}/workorders.wait.2s")
    with pytest.raises(TopologyError, match=r"queue workorders\.wait\.2s .*ditio-worker topology prints the definitions"):
        await verify(rig.connection, TOPOLOGY)


async def test_a_missing_permission_is_told_in_a_sentence(rig: Rig) -> None:
    rig.vhost.ask(
        "PUT", f"permissions/{rig.vhost.name}/{rig.vhost.user}", {"configure": "^nothing$", "write": ".*", "read": ".*"}
    )
    connection = await rig.connect()
    with pytest.raises(TopologyError, match=r"exchange workorders .*grant the worker's user this permission"):
        await declare(connection, TOPOLOGY)


async def test_a_lock_is_held_by_one_connection_and_free_when_it_ends(rig: Rig) -> None:
    # Given
    first, second = await rig.connect(), await rig.connect()
    await hold(first, TOPOLOGY.solo)
    # When, Then
    with pytest.raises(LockHeld, match="held by another process"):
        await hold(second, TOPOLOGY.solo)
    await first.close()
    await hold(second, TOPOLOGY.solo)


async def test_closing_the_channel_brings_everything_back_in_its_order(rig: Rig) -> None:
    # Given
    bodies = await rig.fill(50)
    intake = await rig.intake(prefetch=50)
    await eventually(lambda: len(rig.got) == 50)
    first, stamps = list(rig.got), [each.received_at for each in rig.got]
    assert stamps == sorted(set(stamps)), "received_at grows strictly"
    # When
    await intake.give_back()
    rig.got.clear()
    await intake.start()
    await eventually(lambda: len(rig.got) == 50)
    # Then
    assert rig.bodies() == bodies
    assert all(each.message.redelivered for each in rig.got)
    # And an acknowledgement on the old channel is dropped and counted
    first[0].ack()
    assert rig.late == 1
    rig.got[0].ack()
    await intake.give_back()
    await eventually(lambda: rig.vhost.depth(TOPOLOGY.events) == 49)


async def test_stopping_to_take_rejects_nothing_that_is_on_its_way(rig: Rig) -> None:
    # Given more than the prefetch, so that each acknowledgement brings another delivery
    bodies = await rig.fill(60)
    intake = await rig.intake(prefetch=10)
    await eventually(lambda: len(rig.got) == 10)
    # When
    await intake.cancel()
    for each in rig.got:
        each.ack()
    await asyncio.wait_for(depth(rig.connection, TOPOLOGY.events), 10)
    await intake.give_back()
    # Then the rest is there, in its order
    rig.got.clear()
    await intake.start()
    await eventually(lambda: len(rig.got) == 10)
    assert rig.bodies() == bodies[10:20]


async def test_a_cut_connection_is_told_and_the_next_start_goes_on(rig: Rig) -> None:
    # Given
    await rig.fill(5)
    intake = await rig.intake()
    await eventually(lambda: len(rig.got) == 5)
    # When: the management knows of a connection only after a while
    await eventually(lambda: rig.vhost.close_connections() > 0 or bool(rig.lost), what="connections are cut")
    await eventually(lambda: len(rig.lost) == 1)
    assert not intake.taking
    rig.got[0].ack()
    assert rig.late == 1
    # Then
    rig.got.clear()
    await intake.start()
    await eventually(lambda: len(rig.got) == 5)
    assert intake.taking


async def test_a_deleted_queue_is_told(rig: Rig) -> None:
    await rig.intake()
    rig.vhost.ask("DELETE", f"queues/{rig.vhost.name}/{TOPOLOGY.events}")
    await eventually(lambda: len(rig.lost) == 1)
    assert "deleted" in str(rig.lost[0])


async def test_a_message_that_no_queue_takes_is_an_error(rig: Rig) -> None:
    with pytest.raises(BrokerError, match=r"no queue takes a message for queue nowhere: NO_ROUTE"):
        await rig.publisher.publish("nowhere", Message(b"x"))
    await rig.publisher.publish(TOPOLOGY.dead, Message(b"y"))


async def test_a_message_that_the_queue_refuses_is_an_error(rig: Rig) -> None:
    # Given a policy that fills the wait queue (overflow reject-publish) with one message
    definition = {"pattern": r"wait\.2s", "definition": {"max-length": 1}, "apply-to": "queues"}
    rig.vhost.ask("PUT", f"policies/{rig.vhost.name}/small", definition)
    # When, Then
    refused: list[BrokerError] = []

    async def fill() -> None:
        try:
            await rig.publisher.publish("workorders.wait.2s", Message(b"x"))
        except BrokerError as error:
            refused.append(error)

    deadline = time.monotonic() + 20
    while not refused and time.monotonic() < deadline:
        await fill()
    assert "refused a message for queue workorders.wait.2s" in str(refused[0])


async def test_of_many_publications_at_once_only_those_without_a_queue_fail(rig: Rig) -> None:
    # When
    to = [TOPOLOGY.dead if number % 10 else "nowhere" for number in range(1_000)]
    results = await asyncio.gather(
        *(rig.publisher.publish(queue, Message(b"%d" % number)) for number, queue in enumerate(to)), return_exceptions=True
    )
    # Then
    assert [isinstance(each, BrokerError) for each in results] == [queue == "nowhere" for queue in to]
    assert await depth(rig.connection, TOPOLOGY.dead) == (900, 0)


async def test_a_waiting_message_comes_back_by_itself_as_it_was(rig: Rig) -> None:
    # Given
    await rig.intake()
    message = Message(b"body", {"a": 1, "n": None, "t": [True, {"x": "æ"}]}, {"content_type": "text/x", "priority": 3})
    # When
    began = time.monotonic()
    await rig.publisher.publish("workorders.wait.1s", message)
    await eventually(lambda: len(rig.got) == 1)
    # Then
    assert time.monotonic() - began >= 0.9
    came = rig.got[0].message
    assert came.body == b"body"
    assert {name: came.headers[name] for name in message.headers} == message.headers
    assert came.properties == {"content_type": "text/x", "priority": 3, "delivery_mode": 2}
    assert not came.redelivered


async def test_a_large_body_goes_through(rig: Rig) -> None:
    await rig.intake()
    body = b"x" * (5 * 1_048_576)
    await rig.publisher.publish(TOPOLOGY.events, Message(body))
    await eventually(lambda: len(rig.got) == 1)
    assert rig.got[0].message.body == body


async def test_addresses_are_tried_in_turn_and_errors_hold_no_password(rig: Rig) -> None:
    # Given
    wrong = rig.vhost.url.replace(rig.vhost.password, "no-such-password")
    # When
    access = Access(lambda: ("amqp://u:hush-hush@127.0.0.1:1/", wrong, rig.vhost.url))
    connection = await connect(access, "test")
    await connection.close()
    with pytest.raises(BrokerError) as failed:
        await connect(Access(lambda: ("amqp://u:hush-hush@127.0.0.1:1/", wrong)), "test")
    # Then
    assert "does not accept the user or the password" in str(failed.value)
    assert "hush" not in str(failed.value)
    assert "no-such-password" not in str(failed.value)


async def test_it_holds_one_message_as_long_as_those_that_come_are_suspect_and_then_the_whole_prefetch(rig: Rig) -> None:
    # Given messages of which the first two are suspect
    bodies = await rig.fill(30)
    intake = await rig.intake(prefetch=10, suspects=lambda message: message.body in bodies[:2])
    for count in (1, 2):
        await eventually(lambda count=count: len(rig.got) == count)  # type: ignore[misc]  # a default has no type
        assert await depth(rig.connection, TOPOLOGY.events) == (30 - count, 1), "one is held, and one consumer takes"
        # When it is settled
        rig.got[-1].ack()
    # Then the third brings the rest, in order, and nothing was given back
    await eventually(lambda: len(rig.got) == 12)
    assert (await depth(rig.connection, TOPOLOGY.events))[0] == 18
    for place in range(2, 30):
        await eventually(lambda place=place: len(rig.got) > place)  # type: ignore[misc]
        rig.got[place].ack()
    assert rig.bodies() == bodies
    assert not any(each.message.redelivered for each in rig.got)
    await intake.give_back()
    assert await depth(rig.connection, TOPOLOGY.events) == (0, 0)


async def test_a_message_that_is_settled_at_once_does_not_let_the_next_be_rejected_or_overtaken(rig: Rig) -> None:
    # Given a worker that settles what it gets at once, so that the broker has the next on its way
    bodies = await rig.fill(300)
    for _ in range(20):
        rig.got.clear()
        began = len(rig.settled)
        intake = await rig.intake(prefetch=5, settles=3)
        await eventually(lambda began=began: len(rig.settled) == began + 3 and len(rig.got) == 7)  # type: ignore[misc]
        await intake.close()
    # Then
    assert rig.settled == bodies[:60]


async def test_a_prefetch_of_one_stays_so(rig: Rig) -> None:
    await rig.fill(5)
    await rig.intake(prefetch=1)
    await eventually(lambda: len(rig.got) == 1)
    for place in range(4):
        assert await depth(rig.connection, TOPOLOGY.events) == (4 - place, 1)
        rig.got[-1].ack()
        await eventually(lambda place=place: len(rig.got) == place + 2)  # type: ignore[misc]
