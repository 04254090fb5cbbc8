"""RabbitMQ by pika's asyncio adapter, behind awaitables.

    wire        pika's connection, with what it lacks
    connection  channels whose operations can be awaited     declare    the topology, declared or checked
    intake      deliveries, each with its own channel        publisher  confirmed, mandatory publishing
    browse      all of a queue, given back in its order      lock       an exclusive queue that says who holds it

pika's callbacks only complete a future or hand a message on. Nothing reconnects by itself: whoever is told of a loss decides when.
"""

from worker.rabbit.browse import BLOCK, Browse, TooMany
from worker.rabbit.connection import Access, Channel, Connection, connect
from worker.rabbit.declare import LockHeld, TopologyError, declare, depth, hold, verify
from worker.rabbit.intake import Intake
from worker.rabbit.lock import hold_with_note
from worker.rabbit.publisher import Publisher

__all__ = [
    "BLOCK",
    "Access",
    "Browse",
    "Channel",
    "Connection",
    "Intake",
    "LockHeld",
    "Publisher",
    "TooMany",
    "TopologyError",
    "connect",
    "declare",
    "depth",
    "hold",
    "hold_with_note",
    "verify",
]
