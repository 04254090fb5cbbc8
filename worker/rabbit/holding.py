"""Everything that is in a queue, held for some time: some is taken out one after the other, and what comes meanwhile is shown."""

from __future__ import annotations

from collections.abc import Callable

import pika
from pika.channel import Channel as RawChannel
from pika.spec import Basic

from worker.core.message import Message
from worker.rabbit.browse import BLOCK, Browse
from worker.rabbit.connection import Connection
from worker.rabbit.convert import message_of


class Holding(Browse):
    """A Browse that stays open. What arrives after it has taken everything is shown to `later` as it comes, and given back with the rest.

    It must be closed within a minute or so: the broker ends a consumer that holds something for half an hour.
    """

    def __init__(
        self, connection: Connection, queue: str, visit: Callable[[int, Message], None], later: Callable[[Message], None]
    ) -> None:
        super().__init__(connection, queue, visit, prefetch=BLOCK, apart=True)
        self._later = later

    def _take(self, channel: RawChannel, method: Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> None:
        if self._received >= self._wanted:
            self._later(message_of(method, properties, body))
        else:
            super()._take(channel, method, properties, body)
