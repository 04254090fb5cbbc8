"""Everything that is in a queue, taken on one channel and given back in its order when the channel is closed.

Measured on 3.10 and 4.0: taking all and closing the channel keeps the order; what is returned by nack goes to the tail. A quorum queue takes
"no limit" for 2,000 messages, and a prefetch has 16 bits; so a consumer is added each time that the one before it is full, and not sooner,
or the two would share what follows and give it back in another order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
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
BLOCK = 5_000
"""Messages on one channel when some are to be removed: to settle one, the broker passes by all older ones of the channel."""

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
    """What is in a queue at one moment. Whatever is not removed comes back in its order when it is closed; whenever the process ends
    otherwise, it comes back too.

    `visit` is called with the place of each message (from 1 on) and the message, in the order of the queue; it keeps what it wants to keep.
    `apart`: each consumer has a channel of its own, which is for removing many.
    """

    def __init__(
        self,
        connection: Connection,
        queue: str,
        visit: Callable[[int, Message], None],
        *,
        prefetch: int = LARGEST_PREFETCH,
        apart: bool = False,
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._visit = visit
        self._prefetch = prefetch
        self._apart = apart
        self._channels: list[Channel] = []
        self._consumers: list[Channel] = []
        self._wanted = 0
        self._received = 0
        self._removed = 0
        self._progress = asyncio.Event()
        self._failed: Exception | None = None

    async def take(self, most: int) -> int:
        """Takes what is ready now, and returns how many messages that were; later ones are not visited, and not disturbed.

        Raises TooMany before anything is taken, BrokerError when the broker does not deliver what it said it has, and what `visit` raised.
        """
        self._wanted = await self._ready()
        if self._wanted > most:
            raise TooMany(self._queue, self._wanted, most)
        while self._received < self._wanted:
            if self._received >= self._room:
                await self._consume()
            await self._some()
        return self._received

    async def remove(self, places: Collection[int]) -> None:
        """Removes messages from the queue for good. Raises BrokerError: then some of them may still be there."""
        for place in sorted(places):
            consumer, index = divmod(place - 1, self._prefetch)
            channel = self._consumers[consumer]
            channel.start(partial(channel.raw.basic_ack, index + 1 if self._apart else place))
            self._removed += 1
            if self._removed % WRITTEN_AT_ONCE == 0:
                await asyncio.sleep(0)
        # An answer on the same channel means that all before it was read.
        for channel in self._channels:
            await channel.call(channel.raw.basic_qos, prefetch_count=1)

    async def close(self) -> None:
        """Gives back what was not removed, and waits until it is there again. Closing again does nothing."""
        channels, self._channels = self._channels, []
        if len(channels) > 1:
            # What one channel gives back must not come to the next one.
            for number, channel in enumerate(channels):
                with suppress(BrokerError):
                    await channel.call(channel.raw.basic_cancel, consumer_tag=_tag(number))
        for channel in channels:
            await channel.close()
        if channels:
            await self._returned()

    @property
    def _room(self) -> int:
        return len(self._consumers) * self._prefetch

    async def _ready(self) -> int:
        """How many messages are ready. What another's end gives back is there a moment later: nothing is believed only twice.

        Raises BrokerError when there is nothing because another consumer has it.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETURNED_S
        ready, consumers = await depth(self._connection, self._queue)
        believed = False
        while ready == 0 and (consumers or not believed) and loop.time() < deadline:
            believed = not consumers
            await asyncio.sleep(MOMENT_S)
            ready, consumers = await depth(self._connection, self._queue)
        if ready == 0 and consumers:
            raise BrokerError(f"another program consumes {self._queue}, and holds what may be in it: end it first")
        return ready

    async def _returned(self) -> None:
        """Waits for what the broker does after it has confirmed that the channels are closed; without it nothing is lost but time."""
        kept, loop = self._received - self._removed, asyncio.get_running_loop()
        deadline = loop.time() + RETURNED_S
        while kept and loop.time() < deadline and self._connection.is_open:
            ready, _ = await depth(self._connection, self._queue)
            if ready >= kept:
                return
            await asyncio.sleep(RETURN_POLL_S)

    async def _consume(self) -> None:
        """Adds a consumer, on a channel of its own where that is wanted."""
        if self._apart or not self._channels:
            channel = await self._connection.channel()
            self._channels.append(channel)
            await channel.call(channel.raw.basic_qos, prefetch_count=self._prefetch)
        channel, tag = self._channels[-1], _tag(len(self._consumers))
        self._consumers.append(channel)
        await channel.call(channel.raw.basic_consume, queue=self._queue, on_message_callback=self._take, consumer_tag=tag)

    async def _some(self) -> None:
        """Returns when all has come that there is room for, or is wanted."""
        while self._failed is None and self._received < min(self._wanted, self._room):
            self._progress.clear()
            came = asyncio.ensure_future(self._progress.wait())
            try:
                await self._channels[-1].wait(came, PATIENCE_S)
            finally:
                came.cancel()
        if self._failed is not None:
            raise self._failed

    def _take(self, _: RawChannel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        if self._received >= self._wanted or self._failed is not None:
            return
        self._received += 1
        try:
            self._visit(self._received, message_of(method, properties, body))
        except Exception as error:
            self._failed = error
        self._progress.set()


def _tag(consumer: int) -> str:
    """The broker gives back in the order of these, and what each consumer had in its order."""
    return f"browse-{consumer:06}"
