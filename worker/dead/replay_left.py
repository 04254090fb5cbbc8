"""What an interrupted replay left behind: letters whose copies were published before they could be taken out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

import msgspec

from worker.core.dead_letter import DeadLetter
from worker.core.errors import BrokerError
from worker.core.message import Message
from worker.core.replay_left import Signs, Verdict, verdict
from worker.core.replayed import replayed_from
from worker.dead.desk import Desk
from worker.ledger import Ended, Replaying
from worker.rabbit import Browse, depth
from worker.topology import Topology

AGAIN_S = 0.5
"""Seconds between two attempts to tell what a letter is."""

FINAL = frozenset({"applied", "unchanged", "superseded", "ignored", "dead"})
"""Lines of history that are an event's end."""


class Notes(Protocol):
    """The part of a ledger in which replays note what they are about; see worker.ledger.Store."""

    def now(self) -> float: ...
    async def newest(self) -> int: ...
    async def ended(self, after: int, limit: int = ...) -> Sequence[Ended]: ...
    async def replaying(self) -> Sequence[Replaying]: ...
    async def replay_begins(self, letters: Sequence[Replaying]) -> None: ...
    async def replay_ends(self, ids: Sequence[str]) -> None: ...
    async def letters_removed(self, ids: Sequence[str]) -> None: ...


class Tidied(msgspec.Struct, frozen=True):
    """The letters that were copies and are gone, and those of which that cannot be told yet."""

    removed: Sequence[str] = ()
    unsure: Sequence[Replaying] = ()


async def settle(desk: Desk, notes: Notes, topology: Topology, patience_s: float) -> Tidied:
    """Tidies again and again, until nothing is unsure any more or patience is over. Raises what `tidy` does."""
    deadline, removed = time.monotonic() + patience_s, list[str]()
    while True:
        tidied = await tidy(desk, notes, topology)
        removed += tidied.removed
        if not tidied.unsure or time.monotonic() >= deadline:
            return Tidied(removed, tidied.unsure)
        await asyncio.sleep(AGAIN_S)


class Places(msgspec.Struct, frozen=True):
    """What was seen of replays in the queues, as (letter, replay). `hidden`: there is something that was not looked at."""

    queued: AbstractSet[tuple[str, str]]
    hidden: bool


async def tidy(desk: Desk, notes: Notes, topology: Topology) -> Tidied:
    """Takes out the letters whose events went on without them. Raises BrokerError and LedgerError: doing it again completes it.

    What is taken out was published by a replay and is in a queue, has come back as another letter, or has its end in the history.
    """
    noted = {each.letter_id: each for each in await notes.replaying()}
    if not noted:
        return Tidied()
    places = await _places(desk, topology)
    there, returned = await _letters(desk, noted)
    settled = await _settled(notes, noted.values())
    found: dict[str, Verdict] = {}
    for letter_id in there:
        pair = (letter_id, noted[letter_id].replay_id)
        age = notes.now() - noted[letter_id].at
        found[letter_id] = verdict(Signs(pair in places.queued, places.hidden, pair in returned, letter_id in settled, age))
    removed = await desk.remove({letter_id for letter_id, each in found.items() if each == "copy"})
    await notes.letters_removed(removed)
    await notes.replay_ends([letter_id for letter_id in noted if found.get(letter_id) != "unsure"])
    return Tidied(removed, [noted[letter_id] for letter_id, each in found.items() if each == "unsure"])


async def _places(desk: Desk, topology: Topology) -> Places:
    """Looks through the queues on the way to the worker, in the order in which a message passes them. A worker's own queue is left alone."""
    queued: set[tuple[str, str]] = set()

    def visit(message: Message) -> None:
        queued.add(_pair(message))

    looked = True
    for queue in topology.waits.values():
        looked &= await _looked(desk, queue, visit)
    ready, consumers = await depth(desk.place[0], topology.events)
    if ready:
        looked = consumers == 0 and await _looked(desk, topology.events, visit) and looked
    return Places(queued, not looked)


async def _looked(desk: Desk, queue: str, visit: Callable[[Message], None]) -> bool:
    connection, _, most = desk.place
    browse = Browse(connection, queue, lambda _, message: visit(message))
    try:
        await browse.take(most)
    except BrokerError:  # too many, or no such queue: then it is not known what is there
        return False
    finally:
        await browse.close()
    return True


async def _letters(desk: Desk, noted: Mapping[str, Replaying]) -> tuple[Sequence[str], AbstractSet[tuple[str, str]]]:
    """The letters with a note that are there, and what has come back, as (letter, replay)."""
    there: dict[str, None] = {}
    returned: set[tuple[str, str]] = set()

    def visit(letter: DeadLetter, message: Message) -> None:
        returned.add(_pair(message))
        if letter.id in noted:
            there[letter.id] = None

    await desk.visit(visit)
    return list(there), returned


async def _settled(notes: Notes, noted: Iterable[Replaying]) -> AbstractSet[str]:
    """The letters whose events have an end in the history after their notes."""
    events: dict[tuple[str, str], list[Replaying]] = {}
    for each in noted:
        if each.event_id:
            events.setdefault((each.source, each.event_id), []).append(each)
    settled: set[str] = set()
    after = min((each.after for some in events.values() for each in some), default=0)
    while events and (lines := await notes.ended(after)):
        after = lines[-1].number
        ends = (line for line in lines if line.outcome in FINAL)
        settled |= {
            each.letter_id for line in ends for each in events.get((line.source, line.event_id), ()) if line.number > each.after
        }
    return settled


def _pair(message: Message) -> tuple[str, str]:
    return replayed_from(message), str(message.headers.get("replay-id", ""))
