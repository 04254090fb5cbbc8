"""A dead letter as it goes out again: the event as it was, and in headers which replay sent it, from which letter, and for the how manieth time."""

from __future__ import annotations

import msgspec

from worker.core.dead_letter import original, read
from worker.core.letter import ACTED_ON, LARGEST_INTEGER, LONGEST_HEADER
from worker.core.message import Message

REPLAYED_FROM = "replayed-from"
"""Names the letter that a message was replayed from: a letter that comes back with it says that the one it names is its copy."""


class Run(msgspec.Struct, frozen=True):
    """One replay: its id, who does it, and when it began (microseconds since 1970)."""

    id: str
    by: str
    at: int


def replayed(message: Message, run: Run) -> Message:
    """The message that a letter sends out. Properties and body are as they were; the counters of its journey start anew.

    What the broker would act on goes, `original-…` is not restored; where it was first published stays in the headers, because this
    message goes to the queue of the events itself, and the next letter must still know it.
    """
    letter, came = read(message), original(message)
    headers = {name: value for name, value in came.headers.items() if name not in ACTED_ON}
    headers |= {
        "replay-count": min(letter.replays + 1, LARGEST_INTEGER),
        "replay-id": run.id,
        "replayed-by": run.by.encode()[:LONGEST_HEADER].decode(errors="ignore"),
        REPLAYED_FROM: letter.id,
    }
    places = {"original-exchange": came.exchange, "original-routing-key": came.routing_key}
    headers |= {name: place for name, place in places.items() if name in message.headers}
    properties = {name: value for name, value in came.properties.items() if name not in ACTED_ON}
    return Message(came.body, headers, properties)


def replayed_from(message: Message) -> str:
    """The letter that a message was replayed from; empty for others."""
    given = message.headers.get(REPLAYED_FROM)
    return given if isinstance(given, str) else ""
