"""Dead letters as a worker writes them, and some that nobody's worker wrote."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from tests.support.publishing import event, publisher
from worker.core.identity import peek
from worker.core.letter import Facts, letter
from worker.core.message import Message
from worker.core.outcome import Failure

FAILED_AT = 1_773_561_600_000_000
"""2026-03-15T08:00:00Z in microseconds."""

AT_ONCE = 2_000


def dead(message: Message, number: int = 1, failure: Failure | None = None, *, failed_at: int = 0) -> Message:
    """A message as a dead letter. `number` makes its id."""
    failure = failure or Failure("unresolved-project", 'Ditio has no project with the number "P-1"', "data.project")
    at = failed_at or FAILED_AT + number * 1_000_000
    facts = Facts(peek(message), at - 1_000_000, at, "0.1.0", attempts=number % 5, letter_id=f"{number:032x}")
    return letter(message, failure, facts)


def numbered(number: int) -> Message:
    """The dead letter of this number, of a work order of its own."""
    return dead(event("updated", f"WO-{number}", name=f"Arbeid {number} æøå"), number)


ODD: Sequence[Message] = (
    Message(b"", {}, {}),
    Message(b"\x00\xff\xfe binary", {"n": None, "t": True, "f": 1.5, "d": Decimal("1.25"), "b": b"\x00\xff"}, {"priority": 3}),
    Message(b"{", {"at": datetime(2026, 1, 1, tzinfo=UTC), "x": {"y": [1, {"z": "æ"}]}}, {"content_type": "text/x"}),
    Message(json.dumps({"id": "f-1", "type": "other", "source": "/x"}).encode(), {"letter-id": 5, "failure-reason": "none"}, {}),
)
"""What no worker wrote: empty, binary, broken, with headers of every kind."""


async def bury(url: str, letters: Sequence[Message]) -> None:
    """Puts messages into the queue of the dead letters, in order."""
    async with publisher(url) as to:
        for start in range(0, len(letters), AT_ONCE):
            await asyncio.gather(*(to.publish("workorders.dead", each) for each in letters[start : start + AT_ONCE]))
