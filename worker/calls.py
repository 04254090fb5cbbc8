"""One planned call, carried out upon Ditio: what must be durable before it, and what its end tells of the task.

create ─► in doubt? wait it out ─► doubt committed ─► POST ─► created · refused: there unseen? · unknown: doubt stays
change ─► PATCH, PUT, DELETE ─► done · refused · 404: is it gone, or something that the call names?
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import msgspec

from worker.core.doubt import Window
from worker.core.errors import Abandoned, Absent, ApiError, Missing, NotSent, Refused, UnknownOutcome
from worker.core.event import ProjectRef
from worker.core.harm import harms
from worker.core.outcome import Dead, Failure, Reason, Waiting
from worker.core.plan import Call, Create, Delete
from worker.ports import Ditio, Key, Ledger, Resolver
from worker.references import refer
from worker.resolve import twins
from worker.round import Halted, Round

Guard: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]


class Calls:
    """Carries out calls. Every method raises Outage and LedgerError.

    `derive` gives the id that a new task is to have (None: Ditio chooses); a look-up by that id then takes the place of waiting out a doubt.
    `guard` is told of harms before they are done (see worker.core.harm), and raises Outage when they must not be.
    """

    def __init__(
        self,
        ledger: Ledger,
        ditio: Ditio,
        resolver: Resolver,
        window: Window,
        derive: Callable[[Key], str] | None,
        guard: Guard | None,
    ) -> None:
        self._ledger = ledger
        self._ditio = ditio
        self._resolver = resolver
        self._window = window
        self._derive = derive
        self._guard = guard

    async def perform(self, round: Round, call: Call) -> None:
        """Carries out one call, and leaves in the round what came of it. Raises Halted, ApiError."""
        if self._guard is not None:
            key = round.order.key
            await self._guard(harms(key.project_id, key.external_id, call, round.merged, round.want, round.held))
        self._ledger.assure(round.order.key)
        try:
            if isinstance(call, Create):
                await self._create(round, call)
            else:
                await self._change(round, call)
        except Missing as error:
            round.attempts += error.attempts
            await self._not_found(round, error)
        except UnknownOutcome:
            await self._raise_doubt(round)
            raise
        except Abandoned as gone:
            if gone.lingering:
                await self._raise_doubt(round)
            raise

    async def look_up(self, round: Round, *, listed: bool = False, recent: bool = False) -> bool:
        """Whether Ditio shows a task of this key, which is then adopted; see worker.ports.Resolver. Raises Halted when it shows several."""
        round.lost()
        tasks = await self._resolver.tasks(round.project, round.external_id, listed=listed, recent=recent)
        if len(tasks) > 1:
            detail = twins("task", round.project, round.external_id, tasks).detail
            raise Halted(Dead(Failure("ambiguous", detail, "data.externalId")))
        if not tasks:
            return False
        round.adopt(tasks[0])
        self._resolver.created(round.order.key, str(tasks[0]["id"]))
        return True

    async def _create(self, round: Round, call: Create) -> None:
        if self._derive is not None:
            if (round.in_doubt or round.rejected) and await self._look_up_derived(round):
                return
            call = Create(call.external_id, {"id": self._derive(round.order.key), **call.values})
        if round.in_doubt and (self._derive is None or round.rejected):
            raise Halted(_settling("a request that was given up may still create this work order", round.rejected))
        if round.rejected is not None:
            raise Halted(Dead(round.rejected))
        before = round.doubt_until
        try:
            reply = await self._ditio.send(call, round.project, starting=lambda: self._raise_doubt(round))
        except (NotSent, Missing):
            round.settle_doubt(before)
            raise
        except Refused as error:
            await self._refused_create(round, error, before)
            return
        round.done(call, reply)
        task = reply.task
        if task is not None and task.get("id"):
            round.adopt(task)
            self._resolver.created(round.order.key, str(task["id"]))
        elif not await self.look_up(round):
            raise Halted(_settling("Ditio has accepted this work order, but does not show it yet"))
        round.settle_doubt(before)

    async def _look_up_derived(self, round: Round) -> bool:
        """Whether a task with the derived id is there, which is then adopted."""
        if self._derive is None:
            return False
        task = await self._ditio.task_by_id(self._derive(round.order.key))
        if task is None or not round.is_of(task):
            return False
        round.adopt(task)
        self._resolver.created(round.order.key, str(task["id"]))
        return True

    async def _refused_create(self, round: Round, error: Refused, before: float) -> None:
        """A task that exists already may be why; an index that lags may hide it until the doubt is over."""
        may_exist = error.status in (400, 409)
        if may_exist and (await self._look_up_derived(round) or await self.look_up(round, listed=True)):
            round.attempts += error.attempts
            round.settle_doubt(before)
            return
        if may_exist and len(round.jobs) == 1:
            round.attempts += error.attempts
            raise Halted(
                _settling("Ditio refuses to create this work order, which may be there unseen", failure_of("rejected", error))
            )
        round.settle_doubt(before)
        raise error

    async def _change(self, round: Round, call: Call) -> None:
        before = round.doubt_until
        if marking := round.marks(call):
            # What no event asked for no event will ask for again: that it was done must not be forgotten.
            round.mark(True)
            await self._raise_doubt(round)
        try:
            reply = await self._ditio.send(call, round.project)
        except (NotSent, Missing, Refused) as error:
            if marking:
                round.mark(False)
                round.settle_doubt(before)
            if not isinstance(error, Refused):
                raise
            if not isinstance(call, Delete):
                raise
            # Children, hours or mass haul block it, says Ditio; deactivating is its own advice.
            round.attempts += error.attempts
            round.calls.append("task_delete")
            round.note = f"not deleted but deactivated: {error.detail}"
            round.policy = msgspec.structs.replace(round.policy, on_delete="deactivate")
            return
        round.done(call, reply)
        if marking:
            round.settle_doubt(before)
        if isinstance(call, Delete):
            self._resolver.gone(round.order.key)
        if reply.lingering:
            round.doubt_until = self._window.raised(round.doubt_until, self._ledger.now())

    async def _not_found(self, round: Round, error: Missing) -> None:
        """A 404 to a write: believed only while the control read succeeds. Then everything is resolved afresh, once."""
        await self._ditio.control()
        if round.afresh:
            raise Refused(error.detail, status=error.status, response=error.response, attempts=0, spared=error.spared) from error
        round.afresh = True
        try:
            await self._resolver.project(ProjectRef("id", round.project.id), fresh=True)
        except Absent as gone:
            raise Halted(Waiting("project", Failure("unresolved-project", gone.detail, "data.project"))) from gone
        await refer(round, self._resolver)
        if round.task_id is not None and not await self.look_up(round, listed=True):
            await self._raise_doubt(round)

    async def _raise_doubt(self, round: Round) -> None:
        """Durably, before the next effect."""
        round.raise_doubt(self._window, self._ledger.now())
        # The record as it was stored: what this round confirmed is committed at its end, with its history.
        await self._ledger.commit(msgspec.structs.replace(round.order, task_id=round.task_id, doubt_until=round.doubt_until))


def failure_of(reason: Reason, error: ApiError) -> Failure:
    """What a letter says of an error of the API's."""
    return Failure(reason, error.detail, status=error.status, response=error.response)


def _settling(detail: str, rejected: Failure | None = None) -> Waiting:
    return Waiting("settling", rejected or Failure("failing", detail), refused=rejected is not None)
