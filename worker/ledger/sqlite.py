"""The ledger in a file, by SQLite. One worker at a time; operators' commands may look, and pause it, meanwhile."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from worker.core.caution import Standing
from worker.core.errors import LedgerError
from worker.ledger import sqlite_file, sqlite_letters, sqlite_notes, sqlite_replays
from worker.ledger import sqlite_guards as guards
from worker.ledger import sqlite_statements as statements
from worker.ledger.entries import (
    Aside,
    Binding,
    Counted,
    Ended,
    Indexed,
    NoLedger,
    Pause,
    Replaying,
    Run,
    SchemaBehind,
    Unsettled,
    bound,
)
from worker.ledger.schema import migrations, pending
from worker.ledger.sqlite_prune import prune_some
from worker.ledger.sqlite_thread import SqliteThread
from worker.ledger.store import Unshared
from worker.ports import Clock, Happened, Key, Suspects, WorkOrder


async def open_worker(path: Path, binding: Binding, clock: Clock, observe_commit: Callable[[float], None]) -> SqliteLedger:
    """Creates, locks, migrates and binds the file. Raises LedgerRefused."""
    path = path.resolve()
    sqlite_file.create(path)
    lock = sqlite_file.lock(path)
    thread = SqliteThread(partial(_connect_worker, path, binding, clock), _explain(path), observe_commit)
    try:
        await thread.start()
    except BaseException:
        os.close(lock)
        raise
    return SqliteLedger(thread, clock, lock, sqlite_file.mark_file(path))


async def open_beside(path: Path, clock: Clock) -> SqliteLedger:
    """Opens a file that a worker may be using. Raises LedgerRefused."""
    return await _open_existing(path.resolve(), "beside", clock)


async def open_read_only(path: Path, clock: Clock) -> SqliteLedger:
    """Opens a file that a worker may be using; writing raises LedgerError. Raises LedgerRefused."""
    return await _open_existing(path.resolve(), "read-only", clock)


class SqliteLedger(Unshared):
    """See worker.ledger.store.Store for what the methods promise."""

    def __init__(self, thread: SqliteThread, clock: Clock, lock: int | None = None, marks: Path | None = None) -> None:
        self._marks = marks
        self._changes = -1
        self._thread = thread
        self._clock = clock
        self._lock = lock

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    async def arrive(self) -> bool:
        """Whether the worker before ended in order."""
        return await self._thread.write(sqlite_notes.arrive)

    async def leave(self) -> None:
        """The worker ends in order."""
        await self._thread.write(sqlite_notes.leave)

    async def suspects(self) -> Suspects:
        """What is held against whom."""
        return await self._thread.read(sqlite_notes.suspects)

    async def standing(self, mark: str, worker: str) -> Standing:
        """What is held against one message."""
        return await self._thread.read(lambda db: sqlite_notes.standing(db, mark, worker))

    async def note(self, mark: str, worker: str) -> None:
        """This worker touches this message now."""
        now = self.now()
        await self._thread.write(lambda db: sqlite_notes.note(db, mark, worker, now))

    async def lift(self, mark: str, worker: str) -> None:
        """This worker does not, for the time being."""
        await self._thread.write(lambda db: sqlite_notes.lift(db, mark, worker))

    async def settled(self, mark: str) -> None:
        """The message was handled to its end."""
        await self._thread.write(lambda db: sqlite_notes.settled(db, mark))

    async def broke(self, mark: str, *, condemned: bool) -> None:
        """The message has used up its notes."""
        await self._thread.write(lambda db: sqlite_notes.broke(db, mark, condemned=condemned))

    async def forgive(self) -> None:
        """Removes all notes."""
        await self._thread.write(sqlite_notes.forgive)

    async def first_seen(self, source: str, event_id: str, at: int) -> int:
        """The smaller of `at` and what is stored, which it then is."""
        return await self._thread.write(lambda db: statements.first_seen(db, source, event_id, at))

    async def seen(self, source: str, event_id: str) -> int | None:
        """When this event was first received."""
        return await self._thread.read(lambda db: statements.seen(db, source, event_id))

    async def load(self, key: Key) -> WorkOrder:
        """What is known of a work order (an empty one when nothing is)."""
        return await self._thread.read(lambda db: statements.load(db, key))

    async def commit(self, order: WorkOrder, happened: Sequence[Happened] = (), *, paid: bool = False) -> None:
        """Merges the record, replaces the rest, owes to others what follows from it, appends to the history."""
        await self._thread.write(lambda db: statements.commit(db, order, happened, paid=paid))

    async def due(self, now: float, limit: int) -> Sequence[Key]:
        """The work orders whose doubt is over, or to which something is owed, at `now`; the longest overdue first."""
        return await self._thread.read(lambda db: statements.due(db, now, limit))

    async def next_due(self) -> float | None:
        """When the next of them is due."""
        return await self._thread.read(statements.next_due)

    async def with_external_id(self, external_id: str) -> Sequence[WorkOrder]:
        """The work orders with exactly this external id."""
        return await self._thread.read(lambda db: statements.orders(db, "external_id", external_id))

    async def with_task(self, task_id: str) -> Sequence[WorkOrder]:
        """The work orders that are this task."""
        return await self._thread.read(lambda db: statements.orders(db, "task_id", task_id))

    async def history(self, key: Key, limit: int = 1000) -> Sequence[Happened]:
        """The last lines of a work order, oldest first."""
        return await self._thread.read(lambda db: statements.history(db, key, limit))

    async def last_event(self, project_id: str | None = None) -> tuple[Key, Happened] | None:
        """The newest line that an event left in a project, or in any."""
        return await self._thread.read(lambda db: statements.last_event(db, project_id))

    async def work_orders(self) -> int:
        """How many work orders are known."""
        return await self._thread.read(statements.count)

    async def outcomes(self, since: int) -> Mapping[str, int]:
        """How many events ended how since then."""
        return await self._thread.read(lambda db: guards.outcomes(db, since))

    async def doubts(self) -> int:
        """How many work orders are in doubt, or due."""
        return await self._thread.read(guards.doubts)

    async def letters(self) -> Sequence[Counted]:
        """The letters in the index, by reason."""
        return await self._thread.read(sqlite_letters.counted)

    async def letters_written(self, letters: Sequence[Indexed]) -> None:
        """Adds letters to the index."""
        await self._thread.write(lambda db: sqlite_letters.wrote(db, letters))

    async def letters_removed(self, ids: Sequence[str]) -> None:
        """Takes letters out of the index."""
        await self._thread.write(lambda db: sqlite_letters.removed(db, ids))

    async def letters_are(self, letters: Sequence[Indexed]) -> None:
        """Makes the index anew."""
        await self._thread.write(lambda db: sqlite_letters.replaced(db, letters))

    async def replaying(self) -> Sequence[Replaying]:
        """The notes of replays, oldest first."""
        return await self._thread.read(sqlite_replays.noted)

    async def replay_begins(self, letters: Sequence[Replaying]) -> None:
        """Notes what is about to be published."""
        await self._thread.write(lambda db: sqlite_replays.began(db, letters))

    async def replay_ends(self, ids: Sequence[str]) -> None:
        """Crosses out notes."""
        await self._thread.write(lambda db: sqlite_replays.over(db, ids))

    async def newest(self) -> int:
        """The number of the newest line of history."""
        return await self._thread.read(sqlite_replays.newest)

    async def ended(self, after: int, limit: int = 10_000) -> Sequence[Ended]:
        """The lines of history after that number."""
        return await self._thread.read(lambda db: sqlite_replays.ended(db, after, limit))

    async def paused(self) -> Pause | None:
        """The pause in force."""
        return await self._thread.read(guards.paused)

    async def pause(self, reason: str, by: str) -> None:
        """Notes a pause."""
        pause = Pause(reason, by, self.now())
        await self._thread.write(lambda db: guards.pause(db, pause))

    async def resume(self) -> Pause | None:
        """Ends the pause, and tells which."""
        now = self.now()
        return await self._thread.write(lambda db: guards.resume(db, now))

    async def spend(self, harms: Sequence[str], most: int) -> bool:
        """Counts harms, or pauses and answers no."""
        now = self.now()
        return await self._thread.write(lambda db: guards.spend(db, harms, most, now))

    async def put_aside(self, aside: Aside) -> None:
        """Notes an event in a wait queue."""
        await self._thread.write(lambda db: guards.put_aside(db, aside))

    async def taken_up(self, source: str, event_id: str) -> None:
        """Notes that an event waits no more."""
        await self._thread.write(lambda db: guards.taken_up(db, source, event_id))

    async def forget_waiting(self, back_before: int) -> int:
        """Forgets what should have come back by then."""
        return await self._thread.write(lambda db: guards.forget_waiting(db, back_before))

    async def waiting(self) -> Sequence[Aside]:
        """The events in the wait queues, those that wait longest first."""
        return await self._thread.read(guards.waiting)

    async def unsettled(self) -> Unsettled:
        """The same, counted."""
        return await self._thread.read(guards.unsettled)

    async def mark(self) -> None:
        """Notes how far it has come, if anything has changed since the last time."""
        if self._marks is None or await self._thread.read(lambda db: db.total_changes) == self._changes:
            return
        mark, self._changes = await self._thread.write(guards.advance)
        sqlite_file.write_mark(self._marks, mark)

    async def restored(self) -> bool:
        """Whether it was put back to an older state."""
        return await self._thread.read(guards.restored)

    async def projects(self) -> Sequence[str]:
        """The ids of the projects of which work orders are known."""
        return await self._thread.read(guards.projects)

    async def of_project(self, project_id: str) -> Sequence[WorkOrder]:
        """The work orders of a project."""
        return await self._thread.read(lambda db: statements.orders(db, "project_id", project_id))

    async def rebase(self, orders: Sequence[WorkOrder]) -> None:
        """Replaces records and tasks, without merging."""
        await self._thread.write(lambda db: guards.rebase(db, orders))

    async def believe(self) -> None:
        """Notes that the records were compared."""
        await self._thread.write(guards.believe)

    async def living(self) -> int:
        """One: nobody else may use it."""
        return 1

    async def begin_run(self) -> None:
        """Notes that a worker starts."""
        now = self.now()
        await self._thread.write(lambda db: guards.begin_run(db, now))

    async def end_run(self) -> None:
        """Notes that it ends in order."""
        now = self.now()
        await self._thread.write(lambda db: guards.end_run(db, now))

    async def runs(self, since: float) -> Sequence[Run]:
        """The workers that started since then, and the one before; the newest first."""
        return await self._thread.read(lambda db: guards.runs(db, since))

    async def resumed(self) -> float:
        """When an operator last said to go on."""
        return await self._thread.read(guards.resumed)

    async def prove(self) -> None:
        """Commits something that says nothing."""
        await self._thread.write(lambda db: guards.prove(db, self.now()))

    async def binding(self) -> Binding | None:
        """What the file is bound to."""
        return await self._thread.read(statements.binding)

    async def prune(self, before: int) -> int:
        """Removes old history, and what was seen of events that can meet no equal any more; a part at a time."""
        total = 0
        while removed := await self._thread.write(lambda db: prune_some(db, before)):
            total += removed
        return total

    async def close(self) -> None:
        """Finishes what is under way, folds the log into the file, and lets go of the lock."""
        if self._lock is not None:
            with suppress(LedgerError):
                await self.mark()
        await self._thread.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


async def _open_existing(path: Path, access: sqlite_file.Access, clock: Clock) -> SqliteLedger:
    if not path.is_file():
        raise NoLedger(f"there is no ledger at {path}: no worker with this LEDGER_URL has run yet")
    thread = SqliteThread(partial(_connect_beside, path, access), _explain(path), lambda seconds: None)
    await thread.start()
    return SqliteLedger(thread, clock)


def _explain(path: Path) -> Callable[[Exception], LedgerError]:
    return lambda error: sqlite_file.explained(path, error)


def _connect_worker(path: Path, binding: Binding, clock: Clock) -> sqlite3.Connection:
    try:
        db = sqlite_file.connect(path, "worker")
        _migrate(db, path, clock)
        statements.bind(db, bound(statements.binding(db), binding, f"ledger {path}"))
        guards.compare_mark(db, sqlite_file.read_mark(path))
    except sqlite3.Error as error:
        raise sqlite_file.refused(path, error) from error
    return db


def _connect_beside(path: Path, access: sqlite_file.Access) -> sqlite3.Connection:
    try:
        db = sqlite_file.connect(path, access)
        due = pending(migrations("sqlite"), statements.applied(db), f"ledger {path}")
    except sqlite3.Error as error:
        raise sqlite_file.refused(path, error) from error
    if due:
        db.close()
        raise SchemaBehind(f"ledger {path} is not of this version's schema yet: start a worker of this version first")
    return db


def _migrate(db: sqlite3.Connection, path: Path, clock: Clock) -> None:
    """Brings the schema up to date, each step in a transaction of its own. Raises LedgerRefused for a newer schema."""
    for migration in pending(migrations("sqlite"), statements.applied(db), f"ledger {path}"):
        db.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}")
        db.execute("INSERT INTO migrations VALUES (?, ?, ?)", (migration.number, migration.name, clock.now()))
        db.execute("COMMIT")
