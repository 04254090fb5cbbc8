"""Where one operator at a time looks at the dead letters and takes some out. Nothing is held longer than it takes to read all of them."""

from __future__ import annotations

import getpass
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec

from worker.core.dead_letter import DeadLetter, identity_of, read
from worker.core.message import Message
from worker.core.selection import Selection, selected
from worker.rabbit import BLOCK, Access, Browse, Connection, connect, hold_with_note
from worker.topology import Topology

LARGEST_LOOK = 200_000
"""Letters that are looked at at once, unless the operator says more: about 1.5 kB each here, and as much at the broker."""

MOST_BODIES = 64 * 1_048_576
"""Bytes of bodies that a look keeps, unless it is told another bound."""

LOCK_PATIENCE_S = 5.0
"""How long another's look, which is short, is waited for."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """A letter that was meant. `message` is None where it was not asked for, or the bound on bodies was reached."""

    letter: DeadLetter
    message: Message | None = None


class Look(msgspec.Struct, frozen=True):
    """What was seen at one moment: the letters that were meant, in the order of the queue, and what counts over all of them.

    `total` is the number of all letters; `siblings` says how many of all letters name a work order (project as given, external id), where
    that is more than one; `bodiless` how many were meant but kept without their message.
    """

    seen: Sequence[Seen]
    total: int
    siblings: Mapping[tuple[str, str], int]
    bodiless: int = 0


class Desk:
    """The dead letters, while the lock is held."""

    def __init__(self, connection: Connection, queue: str, most: int) -> None:
        self._connection = connection
        self._queue = queue
        self._most = most

    async def look(
        self,
        selection: Selection = Selection(),
        *,
        most_bodies: int = MOST_BODIES,
        kept: Callable[[Message], Message] = lambda message: message,
    ) -> Look:
        """Looks at all letters, and keeps those that are meant, with what is `kept` of their messages up to `most_bodies` bytes (0: none).

        Raises TooMany (nothing was touched) or BrokerError. Either way, and whenever the process ends, every letter is where it was.
        """
        gathered = Gathered(selection, most_bodies, kept)
        await self.visit(gathered.visit)
        return gathered.look()

    async def visit(self, visitor: Callable[[DeadLetter, Message], None]) -> int:
        """Shows every letter to a visitor, in the order of the queue, and returns how many there were; nothing is kept here.

        Raises what `look` does, and what the visitor raised.
        """
        browse = Browse(self._connection, self._queue, lambda _, message: visitor(read(message), message))
        try:
            return await browse.take(self._most)
        finally:
            await browse.close()

    async def remove(self, ids: Collection[str]) -> Sequence[str]:
        """Takes the letters with these ids out for good, and returns the ids of those that were there; all others are where they were.

        Copies that share an id go together. Raises TooMany (nothing was touched) or BrokerError: then each of them is there or gone, and
        removing again completes it.
        """
        chosen: dict[int, str] = {}

        def visit(place: int, message: Message) -> None:
            if (letter_id := identity_of(message)) in ids:
                chosen[place] = letter_id

        browse = Browse(self._connection, self._queue, visit, prefetch=BLOCK, apart=True)
        try:
            await browse.take(self._most)
            await browse.remove(chosen)
        finally:
            await browse.close()
        return list(dict.fromkeys(chosen.values()))

    @property
    def place(self) -> tuple[Connection, str, int]:
        """Where the letters are: the connection that holds the lock, their queue, and how many are taken at most."""
        return self._connection, self._queue, self._most


class Gathered:
    """What a look keeps while the letters come by."""

    def __init__(self, selection: Selection, most_bodies: int, kept: Callable[[Message], Message]) -> None:
        self._selection = selection
        self._keep = kept
        self._room = most_bodies
        self._seen: list[Seen] = []
        self._work_orders: Counter[tuple[str, str]] = Counter()
        self._total = 0
        self._bodiless = 0

    def visit(self, letter: DeadLetter, message: Message) -> None:
        """Sees a letter."""
        self._total += 1
        if letter.work_order is not None:
            self._work_orders[letter.work_order] += 1
        if selected(self._selection, letter, message):
            self._seen.append(Seen(letter, self._kept(message)))

    def _kept(self, message: Message) -> Message | None:
        if len(message.body) < self._room:
            message = self._keep(message)
            size = len(message.body) + MESSAGE_BYTES + HEADER_BYTES * len(message.headers)
            if size <= self._room:
                self._room -= size
                return message
        self._bodiless += 1
        return None

    def look(self) -> Look:
        """All that was seen."""
        siblings = {work_order: count for work_order, count in self._work_orders.items() if count > 1}
        return Look(self._seen, self._total, siblings, self._bodiless)


MESSAGE_BYTES, HEADER_BYTES = 400, 160
"""What a message takes besides its body, and each of its headers, roughly."""


@asynccontextmanager
async def opened(
    access: Access, topology: Topology, doing: str, *, most: int = LARGEST_LOOK, patience_s: float = LOCK_PATIENCE_S
) -> AsyncIterator[Desk]:
    """The dead letters, for as long as the block lasts. `doing` is told to whoever comes meanwhile, such as `dead list`.

    Raises LockHeld, with who holds them and since when, or BrokerError.
    """
    connection = await connect(access, f"{doing} {operator()}")
    try:
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        await hold_with_note(connection, topology.dead_lock, f"{operator()} since {since} ({doing})", patience_s=patience_s)
        yield Desk(connection, topology.dead, most)
    finally:
        await connection.close()


def operator() -> str:
    """Who this is, as far as the machine knows: `ole@laptop`."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
