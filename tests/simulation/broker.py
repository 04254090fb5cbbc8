"""RabbitMQ's rules in memory: quorum queues, channels, prefetch, redelivery in order, wait queues with a time, confirms, losses.

Sources: RabbitMQ's documentation on quorum queues, consumer acknowledgements, TTL and dead lettering, as far as the worker relies on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

from worker.core.errors import BrokerError
from worker.core.message import Message


class Stored(msgspec.Struct, eq=False):
    """A message in a queue. `place` orders it among all of the queue; `deliveries` counts how often it was handed out."""

    message: Message
    place: int
    deliveries: int = 0


class Queue:
    """Ready messages in their order. What comes back takes its old place."""

    def __init__(self) -> None:
        self.ready: deque[Stored] = deque()
        self._next = 0

    def append(self, message: Message) -> None:
        self._next += 1
        self.ready.append(Stored(message, self._next))

    def give_back(self, stored: Iterable[Stored]) -> None:
        back = [*stored]
        if back:
            self.ready = deque(sorted((*back, *self.ready), key=lambda each: each.place))


class Channel:
    """A consumer of the event queue and what it holds; `lost` is told when the broker ends it."""

    def __init__(
        self, broker: Broker, most: int, on_message: Callable[[Channel, Stored], None], lost: Callable[[], None]
    ) -> None:
        self.broker, self.most, self.on_message, self.lost = broker, most, on_message, lost
        self.held: dict[int, Stored] = {}
        self.open = True

    def ack(self, stored: Stored) -> None:
        """Forgets a message. Raises BrokerError when the channel is gone: the broker has it again."""
        if not self.open or stored.place not in self.held:
            raise BrokerError("the channel is gone")
        del self.held[stored.place]
        self.broker.acknowledged(stored)
        self.broker.pump_soon()

    def close(self) -> None:
        """Gives back what is held, in its order, to be delivered again."""
        if self.open:
            self.open = False
            self.broker.channels.remove(self)
            self.broker.events.give_back(self.held.values())
            self.held = {}
            self.broker.pump_soon()


class Broker:
    """`waits` names the wait queue of each step (seconds); `acknowledged` is told of every message that is gone for good."""

    def __init__(self, waits: dict[int, str], events: str, dead: str, acknowledged: Callable[[Stored], None]) -> None:
        self.events, self.dead = Queue(), Queue()
        self.acknowledged = acknowledged
        self.channels: list[Channel] = []
        self._names = {events: self.events, dead: self.dead}
        self._steps = {name: step for step, name in waits.items()}
        self._events_name = events
        self._waiting: list[Message] = []
        self._turn = 0
        self._pumping = False

    @property
    def waiting(self) -> int:
        """How many messages are in the wait queues."""
        return len(self._waiting)

    def consume(self, most: int, on_message: Callable[[Channel, Stored], None], lost: Callable[[], None]) -> Channel:
        """A new consumer of the event queue, which holds at most `most`."""
        channel = Channel(self, most, on_message, lost)
        self.channels.append(channel)
        self.pump_soon()
        return channel

    def publish(self, queue: str, message: Message) -> None:
        """Puts a message into a queue by name; from a wait queue it comes back after its step."""
        if queue in self._names:
            self._names[queue].append(message)
            self.pump_soon()
            return
        self._waiting.append(message)
        asyncio.get_running_loop().call_later(self._steps[queue], self._expire, message)

    def lose(self, channel: Channel) -> None:
        """The connection under a channel breaks."""
        if channel.open:
            channel.close()
            channel.lost()

    def everywhere(self) -> Iterator[Message]:
        """Every message that the broker has, wherever it is."""
        for queue in (self.events, self.dead):
            yield from (stored.message for stored in queue.ready)
        for channel in self.channels:
            yield from (stored.message for stored in channel.held.values())
        yield from self._waiting

    def pump_soon(self) -> None:
        """Hands out what can be, after whatever is under way now."""
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _expire(self, message: Message) -> None:
        self._waiting.remove(message)
        self.events.append(msgspec.structs.replace(message, exchange="", routing_key=self._events_name, redelivered=False))
        self.pump_soon()

    def _pump(self) -> None:
        """The consumers take turns."""
        self._pumping = False
        idle = 0
        while self.events.ready and self.channels and idle < len(self.channels):
            channel = self.channels[self._turn % len(self.channels)]
            self._turn += 1
            if len(channel.held) >= channel.most:
                idle += 1
                continue
            idle = 0
            stored = self.events.ready.popleft()
            stored.deliveries += 1
            channel.held[stored.place] = stored
            channel.on_message(channel, stored)
