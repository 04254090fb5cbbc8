"""Cautious handling: a suspect message alone, with a note in the ledger as long as the worker's end would be its fault.

    delivered ─► its turn ─► note ─► handled ─► settled: note gone
                               ▲        │
                               └─ note ─┴─► waits for somebody else: no note, for its end then is nobody's fault

Suspect is what was delivered before (unless the worker before ended in order, or this one has had it in hand itself, and survived it),
what notes are standing of, and everything, as long as nothing was settled since a message broke the worker. Nothing else costs a commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

from worker.core.caution import ENVIRONMENT, Step, mark, step
from worker.core.errors import LedgerError, Outage
from worker.core.message import Message
from worker.ports import Ledger
from worker.turns import Turns

log = logging.getLogger("worker.caution")

MOST_REMEMBERED = 10_000
"""Messages that are known to be harmless because this worker gave them back, or handled them and cannot know that the broker has heard of
it; forgetting them costs time, nothing else."""


class Note:
    """The note of the message that is handled alone. `waits` counts what it waits for at the moment."""

    def __init__(self, known_by: str) -> None:
        self.mark = known_by
        self.waits = 0


class Caution:
    """One worker's caution. `stopping` tells whether the worker was told to stop: what is cancelled then is no message's fault."""

    def __init__(self, ledger: Ledger, *, stopping: Callable[[], bool] = lambda: True) -> None:
        self._ledger = ledger
        self._stopping = stopping
        self._worker = uuid4().hex
        self._turns = Turns()
        self._suspected: set[str] = set()
        self._tense = False
        self._wary = True
        self._survived: dict[str, None] = {}
        self._note: Note | None = None
        self._paused_at = 0.0

    async def start(self) -> None:
        """Learns how earlier workers ended. Raises LedgerError."""
        self._wary = not await self._ledger.arrive()
        await self._learn()

    async def stop(self) -> None:
        """The worker ends in order: what it gave back will not be suspect to the next, if the ledger can say so."""
        try:
            await self._ledger.leave()
        except LedgerError as error:
            log.warning("the next worker will be cautious: %s", error)

    def suspects(self, message: Message) -> bool:
        """Whether a message must be handled alone."""
        if self._tense:
            return True
        again = message.redelivered and self._wary
        if not again and not self._suspected:
            return False
        known_by = mark(message)
        return known_by in self._suspected or (again and known_by not in self._survived)

    @asynccontextmanager
    async def turn(self, message: Message) -> AsyncIterator[bool]:
        """The turn of a message; gives whether it is alone. What leaves the block by an error goes back to the broker."""
        try:
            async with self._turns.turn(lambda: self.suspects(message)) as alone:
                yield alone
        except (Exception, asyncio.CancelledError):
            self._remember(message)
            raise
        if message.redelivered:
            self._forget(message)
        elif self._wary:  # its acknowledgement may be lost with the connection
            self._remember(message)

    @asynccontextmanager
    async def due(self) -> AsyncIterator[None]:
        """The turn of work that no message causes."""
        async with self._turns.turn(lambda: False):
            yield

    @asynccontextmanager
    async def noted(self, message: Message, *, alone: bool) -> AsyncIterator[Step]:
        """What to do with a message whose turn it is; when it is handled, its note stands inside the block.

        Raises LedgerError, and Outage (`environment`) when no message is to blame for what happens to workers.
        """
        if not alone:
            yield Step.HANDLE
            return
        known_by = mark(message)
        match await self._judged(known_by):
            case Step.HANDLE:
                async with self._standing(Note(known_by)):
                    yield Step.HANDLE
            case verdict:
                yield verdict

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Inside the block the message that is handled alone, if one is, waits for somebody else. Raises LedgerError."""
        if (note := self._note) is None:
            yield
            return
        note.waits += 1
        if note.waits == 1:
            await self._ledger.lift(note.mark, self._worker)
        goes_on = True
        try:
            yield
        except asyncio.CancelledError:
            goes_on = False
            raise
        finally:
            note.waits -= 1
            if goes_on and not note.waits and note is self._note:
                await self._ledger.note(note.mark, self._worker)

    async def environment(self) -> None:
        """Raises Outage as long as the worker pauses because of where it runs: until an operator resumes it after the pause began."""
        if self._paused_at and await self._ledger.resumed() < self._paused_at:
            raise Outage("environment", ENVIRONMENT)
        self._paused_at = 0.0

    async def _learn(self) -> None:
        suspects = await self._ledger.suspects()
        self._suspected, self._tense = set(suspects.marks), suspects.tense

    async def _judged(self, known_by: str) -> Step:
        """The verdict, which is durable. Raises Outage."""
        verdict = step(await self._ledger.standing(known_by, self._worker))
        match verdict:
            case Step.PAUSE:
                await self._ledger.forgive()
                self._paused_at = self._ledger.now()
                await self._learn()
                raise Outage("environment", ENVIRONMENT)
            case Step.CONDEMN | Step.DEFER:
                log.error("a message has ended the worker again and again: %s", verdict.value, extra={"body_sha256": known_by})
                await self._ledger.broke(known_by, condemned=verdict is Step.CONDEMN)
                self._suspected.add(known_by)
                self._tense = True
            case Step.HANDLE:
                pass
        return verdict

    @asynccontextmanager
    async def _standing(self, note: Note) -> AsyncIterator[None]:
        await self._ledger.note(note.mark, self._worker)
        self._note = note
        try:
            yield
        except asyncio.CancelledError:
            if self._stopping():  # else the process is ending for a reason that this message may be
                await self._ledger.lift(note.mark, self._worker)
            raise
        except Exception:
            await self._ledger.lift(note.mark, self._worker)
            raise
        finally:
            self._note = None
        await self._ledger.settled(note.mark)
        self._suspected.discard(note.mark)
        self._tense = False

    def _remember(self, message: Message) -> None:
        self._survived[mark(message)] = None
        if len(self._survived) > MOST_REMEMBERED:
            del self._survived[next(iter(self._survived))]

    def _forget(self, message: Message) -> None:
        if self._survived:
            self._survived.pop(mark(message), None)
