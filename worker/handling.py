"""A message on its way through the worker, and the settings that its way depends on."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from worker.core.backoff import next_wait
from worker.core.decode import Rules
from worker.core.event import Event
from worker.core.identity import Identity
from worker.core.letter import Travel
from worker.ports import Delivery, Key, Project


class Queues(msgspec.Struct, frozen=True):
    """Where events go that cannot be settled now: a wait queue for each step (seconds), and the dead letters."""

    waits: dict[int, str]
    dead: str


class Handling(msgspec.Struct, frozen=True):
    """The settings that handling depends on.

    `source` gives the label of a source, or None: not one of ours; `handles` tells whether a project number is ours.
    """

    rules: Rules
    queues: Queues
    version: str
    source: Callable[[str], str | None]
    handles: Callable[[str], bool]
    wait_max_s: int
    max_in_flight: int = 64

    def next_wait(self, waited_s: int) -> int | None:
        """The step (seconds) of the next wait after so long in wait queues; None when waiting has come to its end."""
        return next_wait(sorted(self.queues.waits), waited_s, self.wait_max_s)


class Taken(msgspec.Struct):
    """A message on its way through the worker. `event`, `source`, `key`, `project` and `letter_id` fill in as they become known."""

    delivery: Delivery
    travel: Travel
    identity: Identity
    first_seen: int
    event: Event | None = None
    source: str | None = None
    project: Project | None = None
    key: Key | None = None
    letter_id: str = ""
