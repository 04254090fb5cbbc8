"""Deliveries of the event queue. Each belongs to the channel that it came on, which alone may acknowledge it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pika
from pika.channel import Channel as RawChannel
from pika.spec import Basic

from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.ports import Clock
from worker.rabbit.connection import Access, Channel, Connection, connect
from worker.rabbit.convert import message_of
from worker.rabbit.declare import depth

FIRST, REST = "1.first", "2.rest"
"""The tags of the two consumers. When a channel closes, RabbitMQ 3.10 takes back what they hold in the order of their tags."""
UNKNOWN_CHECKS = 2
"""One answer without a consumer may be an election; so many in a row are a loss."""


class Delivery:
    """A message that must be acknowledged; see worker.ports.Delivery."""

    def __init__(
        self,
        message: Message,
        tag: int,
        channel: Channel,
        received_at: int,
        on_late: Callable[[], None],
    ) -> None:
        self._message = message
        self._tag = tag
        self._channel = channel
        self._received_at = received_at
        self._on_late = on_late

    @property
    def message(self) -> Message:
        """Body, headers and properties."""
        return self._message

    @property
    def received_at(self) -> int:
        """Microseconds since 1970, strictly growing."""
        return self._received_at

    def ack(self) -> None:
        """Acknowledges on the delivering channel; when that is gone the broker delivers again, and this is counted."""
        try:
            self._channel.start(lambda: self._channel.raw.basic_ack(self._tag))
        except BrokerError:
            self._on_late()


class Intake:
    """Takes messages from a queue, on a connection of its own; see worker.flow.Intake.

    `prepare` is called with each new connection before anything is taken from it. `on_lost` is told when messages cease to come
    for a reason of the broker's.

        start ─► a consumer of one message ── one comes that is not suspect ──► in its place another, of the rest of `prefetch`

    A message is suspect (`suspects`) if it may break the worker: then nothing else should be held. The prefetch of a consumer cannot be
    changed, so there is a second one on the same channel. The first is cancelled while it holds its one message: nothing can be on its
    way to it, which pika would reject. Nothing is given back, and the order is kept, also when all goes back (3.10 and 4.0, measured).
    """

    def __init__(
        self,
        access: Access,
        queue: str,
        *,
        prefetch: int,
        clock: Clock,
        prepare: Callable[[Connection], Awaitable[None]],
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[BrokerError], None],
        on_late_ack: Callable[[], None],
        suspects: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        self._access = access
        self._queue = queue
        self._prefetch = prefetch
        self._clock = clock
        self._prepare = prepare
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._on_late_ack = on_late_ack
        self._suspects = suspects
        self._cautious = False
        self._widening: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._consuming = False
        self._unknown = 0
        self._last = 0
        self._taking = False
        self._paused = False

    @property
    def taking(self) -> bool:
        """Whether the broker has a consumer of ours, and what it delivers is taken. What `check` finds out counts."""
        return self._taking and self._consuming and self._channel is not None and self._channel.is_open

    @property
    def connected(self) -> bool:
        """Whether the connection is there."""
        return self._connection is not None and self._connection.is_open

    async def connect(self) -> Connection:
        """The connection, made and prepared if need be. Raises BrokerError."""
        if self._connection is not None and self._connection.is_open:
            return self._connection
        connection = await connect(self._access, "intake", self._lost)
        try:
            await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection

    async def depth(self, queue: str) -> int:
        """How many messages are ready in a queue. Raises BrokerError, also when there is no connection."""
        if self._connection is None or not self._connection.is_open:
            raise BrokerError("there is no connection to the broker")
        ready, _ = await depth(self._connection, queue)
        return ready

    async def start(self, most: int | None = None) -> None:
        """Connects if need be, and begins to take, `most` at once (None: the prefetch).

        Raises BrokerError; the next start then makes and prepares a new connection.
        """
        await self.give_back()
        try:
            await self._consume(await self.connect(), most or self._prefetch)
        except BrokerError:
            await self.close()
            raise

    async def _consume(self, connection: Connection, most: int) -> None:
        self._channel = channel = await connection.channel(self._lost)
        channel.raw.add_on_cancel_callback(self._cancelled)
        self._taking, self._cautious = True, most > 1
        await self._consumer(channel, FIRST, 1)

    async def _consumer(self, channel: Channel, tag: str, prefetch: int) -> None:
        def on_message(_: RawChannel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
            self._take(channel, method, properties, body)

        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        await channel.call(channel.raw.basic_consume, queue=self._queue, on_message_callback=on_message, consumer_tag=tag)
        self._consuming, self._unknown = True, 0

    def _widen(self, channel: Channel) -> None:
        """Has the rest of the prefetch delivered. Must be called before the message that the first consumer holds is acknowledged."""

        async def consume_rest() -> None:
            try:
                await self._consumer(channel, REST, self._prefetch - 1)
            except BrokerError as error:
                self._lost(error)

        self._cautious = False
        channel.raw.basic_cancel(FIRST)
        self._widening = asyncio.ensure_future(consume_rest())

    async def check(self) -> None:
        """Asks the broker whether it still has a consumer for us; if not, or without an answer, that is told as any loss is."""
        channel = self._channel
        if not self.taking or self._paused:
            return
        try:
            _, consumers = await depth(await self.connect(), self._queue)
        except BrokerError as error:
            if channel is self._channel and not self._paused:
                self._lost(error)
            return
        self._unknown = 0 if consumers else self._unknown + 1
        if self._unknown >= UNKNOWN_CHECKS and channel is self._channel:
            self._lost(BrokerError(f"the broker knows of no consumer of {self._queue}: it has no leader, or has lost us"))

    def pause(self) -> None:
        """Reads nothing more from the broker, until `resume` or `give_back`."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Reads again."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    async def cancel(self) -> None:
        """Takes no more. The consumer stays: cancelling it would make pika reject what is already on its way."""
        self._cease()

    async def give_back(self) -> None:
        """Closes the channel: the broker delivers again what was not acknowledged, in its order."""
        self._cease()
        self.resume()  # the answer to closing must be read
        if self._channel is not None:
            await self._channel.close()
            self._channel, self._consuming = None, False

    async def close(self) -> None:
        """Closes the connection too."""
        self._cease()
        self._channel = None
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    def _take(self, channel: Channel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        if not self._taking or channel is not self._channel:
            return
        self._last = max(self._last + 1, int(self._clock.now() * 1_000_000))
        message = message_of(method, properties, body)
        if self._cautious and not self._suspects(message):
            self._widen(channel)
        self._on_delivery(Delivery(message, method.delivery_tag, channel, self._last, self._on_late_ack))

    def _cease(self) -> None:
        self._taking = False
        if self._widening is not None:
            self._widening.cancel()
            self._widening = None

    def _cancelled(self, _: Any) -> None:
        self._lost(BrokerError(f"the broker has cancelled the consumer of {self._queue}: the queue was deleted or moved"))

    def _lost(self, error: BrokerError) -> None:
        if self._taking:
            self._taking = False
            self._on_lost(error)
