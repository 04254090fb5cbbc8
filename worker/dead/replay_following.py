"""What becomes of letters that were replayed: their ends in the history, and the letters that come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, cast

import msgspec

from worker.core.dead_letter import read
from worker.core.identity import Identity
from worker.core.message import Message
from worker.core.outcome import OutcomeName
from worker.core.replay_order import Chosen
from worker.core.replayed import Run, replayed_from
from worker.dead.replay_left import FINAL, Notes

End: TypeAlias = OutcomeName | Literal["under way"]
"""How far a letter has come: an outcome, or none yet."""


class Back(msgspec.Struct, frozen=True):
    """A letter that came back: from which it was replayed, its own id, and why it died this time."""

    origin: str
    id: str
    reason: str
    detail: str


class Following:
    """Keeps what became of the letters of one replay. `notes` is None where there is no ledger: then only letters that come back are seen."""

    def __init__(self, run: Run, notes: Notes | None) -> None:
        self._run = run
        self._notes = notes
        self._ends: dict[str, End] = {}
        self._counts: Counter[End] = Counter()
        self._events: dict[tuple[str, str], list[str]] = {}
        self.newest = 0
        self.back: dict[str, Back] = {}

    async def begin(self) -> None:
        """Remembers what the history holds already. Raises LedgerError."""
        if self._notes is not None:
            self.newest = await self._notes.newest()

    def sent(self, letters: Iterable[Chosen]) -> None:
        """Letters are about to be published, or were."""
        for each in letters:
            if each.id not in self._ends:
                self._move(each.id, "under way")
                self._events.setdefault(_event(each.identity), []).append(each.id)

    def came(self, message: Message) -> None:
        """A dead letter was seen, perhaps not for the first time, perhaps none of this replay."""
        origin = replayed_from(message)
        if message.headers.get("replay-id") != self._run.id or origin not in self._ends:
            return
        letter = read(message)
        self.back[origin] = Back(origin, letter.id, letter.reason or "unknown", letter.detail)
        self._move(origin, "dead")

    async def look(self) -> None:
        """Reads what the history says since the last time. Raises LedgerError."""
        while self._notes is not None and (lines := await self._notes.ended(self.newest)):
            self.newest = lines[-1].number
            for line in lines:
                self._line(line.source, line.event_id, line.outcome)

    def of(self, letter_id: str) -> End:
        """How far a letter has come."""
        return self._ends.get(letter_id, "under way")

    @property
    def counts(self) -> dict[End, int]:
        """How many letters have come how far."""
        return {end: count for end, count in self._counts.items() if count}

    @property
    def failures(self) -> int:
        """How many have come back."""
        return self._counts["dead"]

    @property
    def open(self) -> int:
        """How many have no final outcome yet."""
        return sum(count for end, count in self._counts.items() if end not in FINAL)

    def unended(self, letters: Sequence[Chosen]) -> bool:
        """Whether any of these has no final outcome yet."""
        return any(self.of(each.id) not in FINAL for each in letters)

    def _line(self, source: str, event_id: str, outcome: str) -> None:
        """Gives a line to the first letter of its event that has no end yet; an event may have died more than once."""
        open_ones = (each for each in self._events.get((source, event_id), ()) if self._ends[each] not in FINAL)
        if event_id and (letter_id := next(open_ones, None)) is not None:
            self._move(letter_id, cast("End", outcome))

    def _move(self, letter_id: str, end: End) -> None:
        if (before := self._ends.get(letter_id)) is not None:
            self._counts[before] -= 1
        self._ends[letter_id] = end
        self._counts[end] += 1


def _event(identity: Identity) -> tuple[str, str]:
    return identity.source, identity.id
