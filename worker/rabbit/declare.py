"""The topology at the broker: declared, or only checked; locks; depths. Where something does not fit, a sentence says what to change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from worker.core.errors import BrokerError
from worker.rabbit.connection import Channel, ChannelClosed, Connection
from worker.topology import Queue, Topology


class TopologyError(BrokerError):
    """The broker holds something else than the worker needs, or does not let it. Trying again does not help."""


class LockHeld(BrokerError):
    """Somebody else holds the lock."""


async def declare(connection: Connection, topology: Topology) -> None:
    """Creates what is missing. Raises TopologyError where something exists in another form or may not be created."""
    await _attempt(connection, f"exchange {topology.exchange}", partial(_declare_exchange, name=topology.exchange))
    for queue in topology.queues:
        await _attempt(connection, f"queue {queue.name}", partial(_declare_queue, queue=queue))
    for key in topology.binding_keys:
        what = f"binding {key} of queue {topology.events} to exchange {topology.exchange}"
        await _attempt(connection, what, partial(_bind, topology=topology, key=key))


async def verify(connection: Connection, topology: Topology) -> None:
    """Checks that exchange and queues are there (what their arguments are, only declaring shows). Raises TopologyError."""
    await _attempt(connection, f"exchange {topology.exchange}", partial(_find_exchange, name=topology.exchange))
    for queue in topology.queues:
        await _attempt(connection, f"queue {queue.name}", partial(_find_queue, name=queue.name))


async def depth(connection: Connection, queue: str) -> tuple[int, int]:
    """How many messages are ready in a queue, and how many consumers it has. Raises BrokerError."""
    channel = await connection.channel()
    try:
        frame = await channel.call(channel.raw.queue_declare, queue=queue, passive=True)
    finally:
        await channel.close()
    return frame.method.message_count, frame.method.consumer_count


async def hold(connection: Connection, lock: str) -> None:
    """Takes a lock, an exclusive queue, for as long as the connection lasts. Raises LockHeld."""
    channel = await connection.channel()
    try:
        await channel.call(channel.raw.queue_declare, queue=lock, exclusive=True, auto_delete=False)
    except ChannelClosed as error:
        if error.code == 405:
            raise LockHeld(f"{lock} is held by another process at this broker") from error
        raise TopologyError(_sentence(f"queue {lock}", error)) from error


async def _attempt(connection: Connection, what: str, operation: Callable[[Channel], Awaitable[object]]) -> None:
    """Carries out one step on a channel of its own, which a refusal closes."""
    channel = await connection.channel()
    try:
        await operation(channel)
    except ChannelClosed as error:
        raise TopologyError(_sentence(what, error)) from error
    finally:
        await channel.close()


async def _declare_exchange(channel: Channel, *, name: str) -> None:
    await channel.call(channel.raw.exchange_declare, exchange=name, exchange_type="topic", durable=True)


async def _declare_queue(channel: Channel, *, queue: Queue) -> None:
    await channel.call(channel.raw.queue_declare, queue=queue.name, durable=True, arguments=dict(queue.arguments))


async def _bind(channel: Channel, *, topology: Topology, key: str) -> None:
    await channel.call(channel.raw.queue_bind, queue=topology.events, exchange=topology.exchange, routing_key=key)


async def _find_exchange(channel: Channel, *, name: str) -> None:
    await channel.call(channel.raw.exchange_declare, exchange=name, passive=True)


async def _find_queue(channel: Channel, *, name: str) -> None:
    await channel.call(channel.raw.queue_declare, queue=name, passive=True)


def _sentence(what: str, error: ChannelClosed) -> str:
    remedies = {
        403: "grant the worker's user this permission, or create it (ditio-worker topology prints it) and set WORKER_DECLARE=false",
        404: "create it (ditio-worker topology prints the definitions), or let the worker do so with WORKER_DECLARE=true",
        406: "delete the old one once it is empty, or choose another WORKER_QUEUE_PREFIX",
    }
    return f"{what} at the broker is not as the worker needs it: {error.text}; {remedies.get(error.code, 'see its log')}"
