"""Confirmed, mandatory publishing: what returns without an error is in a durable queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pika
from pika.channel import Channel as RawChannel
from pika.spec import Basic

from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.rabbit.connection import Access, Channel, Connection, Silent, connect
from worker.rabbit.convert import properties_of

CONFIRM_S = 20.0
BLOCKED_S = 200.0
"""How long an alarm of the broker's is waited for, with the messages in hand: giving up earlier would publish some of them twice."""
NOWHERE = "ditio-worker.nowhere"
"""A queue that nobody has: what is published to it proves that the broker takes messages, and comes back."""


class Unroutable(BrokerError):
    """No queue takes the message."""


class Publication:
    """A message that waits for its confirm. `returned`: no queue takes it, which the broker says before it confirms."""

    def __init__(self, exchange: str, routing_key: str, body: bytes) -> None:
        self.place = (exchange, routing_key, body)
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.returned = ""

    @property
    def where(self) -> str:
        """Where it was to go, for a person."""
        exchange, routing_key, _ = self.place
        return f"exchange {exchange} with routing key {routing_key}" if exchange else f"queue {routing_key}"


class Publisher:
    """Publishes on a connection of its own, which is made when it is needed."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._last_tag = 0
        self._unconfirmed: dict[int, Publication] = {}

    async def publish(self, queue: str, message: Message) -> None:
        """Puts a message into a queue. Raises BrokerError unless the broker has confirmed it."""
        await self.publish_to("", queue, message)

    async def publish_to(self, exchange: str, routing_key: str, message: Message, *, within_s: float = BLOCKED_S) -> None:
        """Publishes to an exchange. Raises BrokerError unless the broker has confirmed that a queue has it.

        While the broker blocks publishing nothing is written, for `within_s` at most.
        """
        channel = await self.open()
        await self._free(within_s)
        publication = Publication(exchange, routing_key, message.body)
        properties = properties_of(message)
        channel.start(lambda: channel.raw.basic_publish(exchange, routing_key, message.body, properties, mandatory=True))
        self._last_tag += 1
        self._unconfirmed[tag := self._last_tag] = publication
        try:
            await channel.wait(publication.confirmed, CONFIRM_S, blocked_s=BLOCKED_S)
        except Silent as error:
            raise BrokerError(f"a message for {publication.where} was not confirmed: {error}") from error
        finally:
            if channel is self._channel:
                self._unconfirmed.pop(tag, None)

    async def probe(self) -> None:
        """Shows that messages can be published, without leaving one behind. Raises BrokerError when they cannot."""
        with suppress(Unroutable):
            await self.publish_to("", NOWHERE, Message(b""), within_s=0.0)

    @property
    def blocked(self) -> str:
        """Why the broker takes no messages now; empty when it does, as far as is known."""
        return self._connection.blocked if self._connection is not None else ""

    async def close(self) -> None:
        """Closes the connection; what is not confirmed yet fails."""
        if self._connection is not None:
            await self._connection.close()
        self._connection = self._channel = None

    async def open(self) -> Channel:
        """Connects, unless it is connected. Raises BrokerError."""
        async with self._opening:
            if self._channel is not None and self._channel.is_open:
                return self._channel
            if self._connection is None or not self._connection.is_open:
                self._connection = await connect(self._access, "publisher")
            channel = await self._connection.channel()
            self._last_tag, self._unconfirmed = 0, {}
            channel.raw.add_on_return_callback(self._on_return)
            await channel.call(channel.raw.confirm_delivery, ack_nack_callback=self._on_confirm)
            self._channel = channel
            return channel

    async def _free(self, within_s: float) -> None:
        """Waits while the broker blocks the connection: what is written to it meanwhile would be published some day."""
        if self._connection is not None:
            await self._connection.free(within_s)

    def _on_return(self, _: RawChannel, method: Basic.Return, __: pika.BasicProperties, body: bytes) -> None:
        place = (method.exchange, method.routing_key, body)
        for publication in self._unconfirmed.values():
            if publication.place == place and not publication.returned:
                publication.returned = f"{method.reply_text} ({method.reply_code})"
                return

    def _on_confirm(self, frame: Any) -> None:
        tag, accepted = frame.method.delivery_tag, isinstance(frame.method, Basic.Ack)
        tags = [each for each in self._unconfirmed if each <= tag] if frame.method.multiple else [tag]
        for each in tags:
            publication = self._unconfirmed.pop(each, None)
            if publication is None or publication.confirmed.done():
                continue
            if publication.returned:
                said = f"no queue takes a message for {publication.where}: {publication.returned}"
                publication.confirmed.set_exception(Unroutable(said))
            elif not accepted:
                said = f"the broker refused a message for {publication.where}: it may be full"
                publication.confirmed.set_exception(BrokerError(said))
            else:
                publication.confirmed.set_result(None)
