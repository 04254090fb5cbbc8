"""All dead letters for the ledger's index, read as an operator reads them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from worker.core.dead_letter import DeadLetter
from worker.core.message import Message
from worker.dead.desk import opened
from worker.ledger import Indexed
from worker.rabbit import Access
from worker.topology import Topology


async def indexed(access: Access, topology: Topology) -> Sequence[Indexed]:
    """Every letter in the queue. Raises BrokerError: LockHeld when an operator is there, TooMany when there are too many to be read."""
    found: list[Indexed] = []
    copies: Counter[str] = Counter()
    now = int(time.time() * 1_000_000)

    def visit(letter: DeadLetter, _: Message) -> None:
        copies[letter.id] += 1
        name = letter.id if copies[letter.id] == 1 else f"{letter.id}#{copies[letter.id]}"
        found.append(Indexed(name, letter.reason or "unknown", letter.failed_at or letter.first_seen or now))

    async with opened(access, topology, "worker counting", patience_s=0) as desk:
        await desk.visit(visit)
    return found
