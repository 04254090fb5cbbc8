"""Which letters a replay takes: chosen once, by their ids, before anything is published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from worker.core.dead_letter import DeadLetter, original
from worker.core.errors import BadEvent
from worker.core.event import Event
from worker.core.identity import peek
from worker.core.message import Message
from worker.core.replay_order import Chosen, in_order
from worker.core.replay_repair import Repair, repaired
from worker.core.replayed import Run, replayed_from
from worker.core.selection import Selection, selected
from worker.core.stamp import OrderBy
from worker.dead.desk import Desk


class Asked(msgspec.Struct, frozen=True):
    """What an operator asks for. Letters that were replayed `max_replays` times are left; `repairs` are laid over each event."""

    selection: Selection = Selection()
    max_replays: int = 5
    repairs: tuple[Repair, ...] = ()


class Left(msgspec.Struct, frozen=True):
    """A letter that was meant and is not replayed, and why; `field` where a repair left something invalid."""

    id: str
    why: str
    field: str = ""


class Choice(msgspec.Struct, frozen=True):
    """The letters in the order in which they go out, those that are left, and those that have come back as other letters already.

    `total` is the number of all letters.
    """

    chosen: Sequence[Chosen]
    left: Sequence[Left]
    copies: Sequence[str]
    total: int


class Reading(msgspec.Struct, frozen=True):
    """How events are read: `decode` raises BadEvent."""

    decode: Callable[[Message], Event]
    order_by: OrderBy = "time"


class Chooser:
    """Sees all letters, and keeps of those that are meant what the order needs."""

    def __init__(self, asked: Asked, reading: Reading, run: Run) -> None:
        self._asked = asked
        self._reading = reading
        self._run = run
        self._chosen: dict[str, Chosen] = {}
        self._left: dict[str, Left] = {}
        self._came_back: dict[tuple[str, str, str], dict[int, str]] = {}
        self._doubled: set[str] = set()
        self._total = 0

    def visit(self, letter: DeadLetter, message: Message) -> None:
        """Sees a letter."""
        self._total += 1
        if origin := replayed_from(message):
            newest = self._came_back.setdefault((origin, letter.identity.source, letter.identity.id), {})
            if other := newest.get(letter.repair):
                self._doubled.add(other)
            newest[letter.repair] = letter.id
        if not selected(self._asked.selection, letter, message):
            return
        if letter.replays >= self._asked.max_replays:
            self._left[letter.id] = Left(letter.id, f"was replayed {letter.replays} times already (--max-replays)")
            return
        try:
            self._chosen[letter.id] = self._read(letter, message)
        except BadEvent as error:
            self._left[letter.id] = Left(letter.id, f"is still invalid: {error}", error.field)

    def choice(self) -> Choice:
        """What was chosen. A letter that another one of the same event was replayed from has come back as that one, and is only a copy; so
        is the older one of two that were replayed from the same letter."""
        copies = [each.id for each in self._chosen.values() if self._is_copy(each)]
        chosen = in_order(each for each in self._chosen.values() if not self._is_copy(each))
        return Choice(chosen, list(self._left.values()), copies, self._total)

    def _is_copy(self, each: Chosen) -> bool:
        event = each.identity.source, each.identity.id
        return each.id in self._doubled or (bool(each.identity.id) and (each.id, *event) in self._came_back)

    def _read(self, letter: DeadLetter, message: Message) -> Chosen:
        """Raises BadEvent where a repaired event is none; what is not repaired goes as it is."""
        repair = letter.repair
        if self._asked.repairs:
            message = repaired(message, self._asked.repairs, self._run)
            repair += 1
        event = self._event(message)
        if event is None:
            return Chosen(letter.id, letter.identity, None, letter.failed_at or 0, letter.size)
        stamp = event.stamp(letter.first_seen or 0, repair=repair, order_by=self._reading.order_by)
        identity = peek(original(message)) if self._asked.repairs else letter.identity
        return Chosen(letter.id, identity, stamp, letter.failed_at or 0, letter.size)

    def _event(self, message: Message) -> Event | None:
        try:
            return self._reading.decode(original(message))
        except BadEvent:
            if self._asked.repairs:
                raise
            return None


async def choose(desk: Desk, asked: Asked, reading: Reading, run: Run) -> Choice:
    """Looks through all letters once. Raises BrokerError."""
    chooser = Chooser(asked, reading, run)
    await desk.visit(chooser.visit)
    return chooser.choice()


def without(choice: Choice, unsure: AbstractSet[str]) -> Choice:
    """The choice without letters of which it is not known yet whether an interrupted replay has sent them out."""
    left = [Left(each.id, UNSURE) for each in choice.chosen if each.id in unsure]
    chosen = [each for each in choice.chosen if each.id not in unsure]
    return msgspec.structs.replace(choice, chosen=chosen, left=[*choice.left, *left])


UNSURE = "an interrupted replay may have sent it out, and its event has no outcome yet: try again in a while"
