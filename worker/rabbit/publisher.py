"""Confirmed, mandatory publishing: what returns without an error is in a durable queue."""

from __future__ import annotations

import asyncio
from typing import Any

import pika
from pika.channel import Channel as RawChannel
from pika.spec import Basic

from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.rabbit.connection import Access, Channel, Connection, connect
from worker.rabbit.convert import properties_of

CONFIRM_S = 30.0


class Publication:
    """A message that waits for its confirm. `returned`: no queue takes it, which the broker says before it confirms."""

    def __init__(self, exchange: str, routing_key: str, body: bytes) -> None:
        self.place = (exchange, routing_key, body)
        self.confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.returned = ""


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

    async def publish_to(self, exchange: str, routing_key: str, message: Message) -> None:
        """Publishes to an exchange. Raises BrokerError unless the broker has confirmed that a queue has it."""
        channel = await self.open()
        publication = Publication(exchange, routing_key, message.body)
        properties = properties_of(message)
        channel.start(lambda: channel.raw.basic_publish(exchange, routing_key, message.body, properties, mandatory=True))
        self._last_tag += 1
        self._unconfirmed[tag := self._last_tag] = publication
        try:
            await channel.wait(publication.confirmed, CONFIRM_S)
        finally:
            if channel is self._channel:
                self._unconfirmed.pop(tag, None)

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
            exchange, routing_key, _ = publication.place
            where = f"exchange {exchange} with routing key {routing_key}" if exchange else f"queue {routing_key}"
            if publication.returned:
                publication.confirmed.set_exception(BrokerError(f"no queue takes a message for {where}: {publication.returned}"))
            elif not accepted:
                publication.confirmed.set_exception(BrokerError(f"the broker refused a message for {where}: it may be full"))
            else:
                publication.confirmed.set_result(None)
