"""What the worker needs at the broker, as data.

Sources: RabbitMQ's documentation on quorum queues, dead letter exchanges (at-least-once) and definitions. The delivery limit is one that is
never reached: left out, RabbitMQ 4.0 destroys messages that were given back 20 times; -1 destroys them on 3.10 at the first redelivery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

NO_LIMIT = 1_000_000_000
UNITS = ((3600, "h"), (60, "m"), (1, "s"))


class Queue(msgspec.Struct, frozen=True):
    """A durable queue and its arguments."""

    name: str
    arguments: Mapping[str, str | int]


class Topology(msgspec.Struct, frozen=True):
    """Everything that bears the prefix. `wait_steps` in seconds, growing."""

    prefix: str = "workorders"
    binding_keys: Sequence[str] = ("#",)
    wait_steps: Sequence[int] = (10, 60, 600, 3600)

    @property
    def exchange(self) -> str:
        """The topic exchange that the ERP publishes to."""
        return self.prefix

    @property
    def events(self) -> str:
        """The queue of what is to be done."""
        return f"{self.prefix}.events"

    @property
    def dead(self) -> str:
        """The queue of the dead letters."""
        return f"{self.prefix}.dead"

    @property
    def dead_lock(self) -> str:
        """The exclusive queue that one operator at the dead letters holds."""
        return f"{self.prefix}.dead.lock"

    @property
    def solo(self) -> str:
        """The exclusive queue that one worker on a SQLite ledger holds."""
        return f"{self.prefix}.solo"

    @property
    def waits(self) -> Mapping[int, str]:
        """The wait queue of each step (seconds)."""
        return {step: f"{self.prefix}.wait.{_short(step)}" for step in self.wait_steps}

    @property
    def queues(self) -> Sequence[Queue]:
        """All queues that stay."""
        return (
            Queue(self.events, _quorum()),
            *(Queue(name, _wait(step, self.events)) for step, name in self.waits.items()),
            Queue(self.dead, _quorum()),
        )

    def definitions(self, vhost: str = "/") -> Mapping[str, object]:
        """The same as RabbitMQ's definitions, to be imported by an administrator."""
        return {
            "exchanges": [
                {
                    "name": self.exchange,
                    "vhost": vhost,
                    "type": "topic",
                    "durable": True,
                    "auto_delete": False,
                    "internal": False,
                    "arguments": {},
                }
            ],
            "queues": [
                {"name": queue.name, "vhost": vhost, "durable": True, "auto_delete": False, "arguments": dict(queue.arguments)}
                for queue in self.queues
            ],
            "bindings": [
                {
                    "source": self.exchange,
                    "vhost": vhost,
                    "destination": self.events,
                    "destination_type": "queue",
                    "routing_key": key,
                    "arguments": {},
                }
                for key in self.binding_keys
            ],
        }


def _quorum() -> dict[str, str | int]:
    return {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}


def _wait(step: int, back_to: str) -> dict[str, str | int]:
    return _quorum() | {
        "x-message-ttl": step * 1000,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": back_to,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def _short(seconds: int) -> str:
    """A step in the largest unit that divides it evenly."""
    size, unit = next((size, unit) for size, unit in UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"
