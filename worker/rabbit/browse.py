"""Everything that is in a queue, taken on one channel and given back in its order when the channel is closed.

Measured on 3.10 and 4.0: taking all and closing the channel keeps the order; what is returned by nack goes to the tail. A quorum queue takes
"no limit" for 2,000 messages, and a prefetch has 16 bits; so a consumer is added each time that the one before it is full, and not sooner,
or the two would share what follows and give it back in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

import pika
from pika.channel import Channel as RawChannel
from pika.spec import Basic

from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.rabbit.connection import Channel, Connection
from worker.rabbit.convert import message_of
from worker.rabbit.declare import depth

LARGEST_PREFETCH = 65_535
PATIENCE_S = 30.0
"""Without a delivery for so long, what is still missing is not believed to come."""

MOMENT_S = 0.5
"""So long after a connection has ended its messages may not be ready again, measured on 4.0."""

RETURNED_S = 10.0
RETURN_POLL_S = 0.05
WRITTEN_AT_ONCE = 500
"""Acknowledgements after which pika is let to write, and heartbeats to go."""


class TooMany(BrokerError):
    """The queue holds more than is wanted to be held: nothing was taken. `ready` is how many."""

    def __init__(self, queue: str, ready: int, most: int) -> None:
        super().__init__(f"{queue} holds {ready} messages, and at most {most} are looked at at once")
        self.ready = ready


class Browse:
    """What is in a queue at one moment, on a channel of its own. Whatever is not removed comes back in its order when it is closed, and
    when the process ends in whatever way.

    `visit` is called with the tag of each message and the message, in the order of the queue; it keeps what it wants to keep.
    """

    def __init__(self, connection: Connection, queue: str, visit: Callable[[int, Message], None]) -> None:
        self._connection = connection
        self._queue = queue
        self._visit = visit
        self._channel: Channel | None = None
        self._wanted = 0
        self._received = 0
        self._removed = 0
        self._room = 0
        self._progress = asyncio.Event()
        self._failed: Exception | None = None

    async def take(self, most: int, *, prefetch: int = LARGEST_PREFETCH) -> int:
        """Takes what is ready now, and returns how many messages that were; later ones are not visited, and not disturbed.

        Raises TooMany before anything is taken, BrokerError when the broker does not deliver what it said it has, and what `visit` raised.
        """
        self._wanted = await self._ready()
        if self._wanted > most:
            raise TooMany(self._queue, self._wanted, most)
        self._channel = channel = await self._connection.channel()
        await channel.call(channel.raw.basic_qos, prefetch_count=prefetch)
        while self._received < self._wanted:
            if self._received >= self._room:
                await self._consume(channel, prefetch)
            await self._some(channel)
        return self._received

    async def remove(self, tags: Iterable[int]) -> None:
        """Removes messages from the queue for good, by their tags. Raises BrokerError: then some of them may still be there."""
        if (channel := self._channel) is None:
            return
        for tag in sorted(tags):
            channel.start(partial(channel.raw.basic_ack, tag))
            self._removed += 1
            if self._removed % WRITTEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        # Its answer on the same channel means that all before it was read.
        await channel.call(channel.raw.basic_qos, prefetch_count=1)

    async def close(self) -> None:
        """Gives back what was not removed, and waits until it is there again. Closing again does nothing."""
        if (channel := self._channel) is None:
            return
        self._channel = None
        await channel.close()
        await self._returned()

    async def _ready(self) -> int:
        """How many messages are ready. What another's end gives back is there a moment later: nothing is believed only twice."""
        ready, _ = await depth(self._connection, self._queue)
        if ready == 0:
            await asyncio.sleep(MOMENT_S)
            ready, _ = await depth(self._connection, self._queue)
        return ready

    async def _returned(self) -> None:
        """Waits for what the broker does after it has confirmed that the channel is closed; without it nothing is lost but time."""
        kept, loop = self._received - self._removed, asyncio.get_running_loop()
        deadline = loop.time() + RETURNED_S
        while kept and loop.time() < deadline and self._connection.is_open:
            ready, _ = await depth(self._connection, self._queue)
            if ready >= kept:
                return
            await asyncio.sleep(RETURN_POLL_S)

    async def _consume(self, channel: Channel, prefetch: int) -> None:
        # The broker gives back in the order of the consumers' tags, and what each had in its order.
        tag = f"browse-{self._room // prefetch:06}"
        self._room += prefetch
        await channel.call(channel.raw.basic_consume, queue=self._queue, on_message_callback=self._take, consumer_tag=tag)

    async def _some(self, channel: Channel) -> None:
        """Returns when all has come that there is room for, or is wanted."""
        while self._failed is None and self._received < min(self._wanted, self._room):
            self._progress.clear()
            came = asyncio.ensure_future(self._progress.wait())
            try:
                await channel.wait(came, PATIENCE_S)
            finally:
                came.cancel()
        if self._failed is not None:
            raise self._failed

    def _take(self, _: RawChannel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        if self._received >= self._wanted or self._failed is not None:
            return
        try:
            self._visit(method.delivery_tag, message_of(method, properties, body))
        except Exception as error:
            self._failed = error
        self._received += 1
        self._progress.set()
