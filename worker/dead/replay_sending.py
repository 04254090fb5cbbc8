"""Letters on their way from the dead letters to the events: noted, published and confirmed, taken out, crossed out, in this order.

hold all ─► note ─► publish, confirmed ─► acknowledge ─► cross out ─► … ─► give back the rest, within a minute
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

from worker.core.dead_letter import identity_of
from worker.core.message import Message
from worker.core.replay_order import Chosen
from worker.core.replay_repair import Repair, repaired
from worker.core.replayed import Run, replayed
from worker.dead.desk import Desk
from worker.dead.replay_following import Following
from worker.dead.replay_left import Notes
from worker.ledger import Replaying
from worker.ports import Publisher
from worker.rabbit.holding import Holding

MOST_HELD = 64 * 1_048_576
"""Bytes of messages that are held here at once."""

HEADERS_BYTES = 3_000
"""What a message takes besides its body, roughly."""


def together(letters: Iterable[Chosen], most: int) -> list[Chosen]:
    """The first letters of an order that can be in hand at once: at least one, up to so many, and to MOST_HELD bytes."""
    taken: list[Chosen] = []
    room = MOST_HELD
    for each in islice(letters, most):
        room -= each.size + HEADERS_BYTES
        if taken and room < 0:
            break
        taken.append(each)
    return taken


class Held:
    """Some letters in hand, while all are held: their messages, and the right to take them out."""

    def __init__(self, wanted: Sequence[Chosen], following: Following) -> None:
        self._wanted = {each.id for each in wanted}
        self._following = following
        self._places: dict[str, list[int]] = {}
        self.messages: dict[str, Message] = {}
        self.holding: Holding | None = None

    def visit(self, place: int, message: Message) -> None:
        """Sees a letter."""
        self._following.came(message)
        letter_id = identity_of(message)
        if letter_id not in self._wanted:
            return
        self.messages.setdefault(letter_id, message)
        self._places.setdefault(letter_id, []).append(place)

    async def remove(self, ids: Sequence[str]) -> None:
        """Takes letters out for good, with all their copies. Raises BrokerError."""
        if self.holding is not None:
            await self.holding.remove([place for each in ids for place in self._places[each]])
        for each in ids:
            self.messages.pop(each, None)


@asynccontextmanager
async def held(desk: Desk, wanted: Sequence[Chosen], following: Following) -> AsyncIterator[Held]:
    """All letters, held for as long as the block lasts; those that are wanted can be read and taken out. Raises BrokerError."""
    hand = Held(wanted, following)
    connection, queue, most = desk.place
    holding = Holding(connection, queue, hand.visit, following.came)
    try:
        await holding.take(most)
        hand.holding = holding
        yield hand
    finally:
        await holding.close()


class Sender:
    """Publishes letters to the queue of the events. `notes` is None where there is no ledger."""

    def __init__(self, publisher: Publisher, queue: str, notes: Notes | None, run: Run, repairs: Sequence[Repair] = ()) -> None:
        self._publisher = publisher
        self._queue = queue
        self._notes = notes
        self._run = run
        self._repairs = repairs

    async def send(self, letters: Sequence[Chosen], hand: Held, following: Following) -> None:
        """Brings letters in hand to the events, and out of the dead letters.

        Raises BrokerError and LedgerError, and what `--set` cannot do any more (Invalid): what was confirmed is out, the rest is there.
        """
        messages = {each.id: self._message(hand.messages[each.id]) for each in letters}
        if self._notes is not None:
            await self._notes.replay_begins([self._note(each, following.newest, self._notes.now()) for each in letters])
        following.sent(letters)
        publishing = (self._publisher.publish(self._queue, messages[each.id]) for each in letters)
        answers = await asyncio.gather(*publishing, return_exceptions=True)
        confirmed = [each.id for each, answer in zip(letters, answers, strict=True) if answer is None]
        await hand.remove(confirmed)
        if self._notes is not None:
            await self._notes.replay_ends(confirmed)
            await self._notes.letters_removed(confirmed)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def _message(self, message: Message) -> Message:
        return replayed(repaired(message, self._repairs, self._run) if self._repairs else message, self._run)

    def _note(self, each: Chosen, after: int, at: float) -> Replaying:
        return Replaying(each.id, self._run.id, each.identity.source, each.identity.id, after, at)
