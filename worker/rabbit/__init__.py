"""RabbitMQ by pika's asyncio adapter, behind awaitables.

    wire        pika's connection, with what it lacks
    connection  channels whose operations can be awaited     declare    the topology, declared or checked
    intake      deliveries, each with its own channel        publisher  confirmed, mandatory publishing

pika's callbacks only complete a future or hand a message on. Nothing reconnects by itself: whoever is told of a loss decides when.
"""

from worker.rabbit.connection import Access, Channel, Connection, connect
from worker.rabbit.declare import LockHeld, TopologyError, declare, depth, hold, verify
from worker.rabbit.intake import Intake
from worker.rabbit.publisher import Publisher

__all__ = [
    "Access",
    "Channel",
    "Connection",
    "Intake",
    "LockHeld",
    "Publisher",
    "TopologyError",
    "connect",
    "declare",
    "depth",
    "hold",
    "verify",
]
