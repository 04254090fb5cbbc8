"""Brings one work order in Ditio to where its events say it should be: reads, then one call after the other, then the ledger.

load ─► resolve references ─► find the task ─► call … call ─► commit
                                   │             │
                   in doubt: nobody creates   doubt is committed before each POST
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from worker.core.doubt import Doubt, Window
from worker.core.errors import Absent, Ambiguous, ApiError, Missing, NotSent, Refused, UnknownOutcome, Unresolved
from worker.core.event import ProjectRef, Reference, Withheld
from worker.core.field import Value
from worker.core.outcome import UNRESOLVED, Applied, Dead, Failure, Outcome, Reason, Unchanged, Waiting, name
from worker.core.plan import Call, Create, Delete, Policy
from worker.core.verdict import tied
from worker.ports import Clock, Ditio, Happened, Key, Ledger, Project, Resolver
from worker.resolve import twins
from worker.round import Job, Round


class Conclusion(msgspec.Struct, frozen=True):
    """How an event ended, with the task, the names of the calls made for its work order, and the number of requests.

    `tied`: another event of the work order has the same time and sequence. `spared`: it needed no round of its own.
    """

    outcome: Outcome
    task_id: str | None = None
    calls: tuple[str, ...] = ()
    attempts: int = 0
    tied: bool = False
    spared: bool = False


class Halted(Exception):
    """Everything in the round ends like this."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(name(outcome))
        self.outcome = outcome


class Culprit(Exception):
    """Ditio refuses what several events say together: one of them is at fault."""


class Reconciler:
    """Carries out rounds. The caller sees to it that a work order has one round at a time.

    `resend` sends what is confirmed already, too. `derive` gives the id that a new task is to have (None: Ditio chooses); a look-up
    by that id then takes the place of waiting out a doubt. Every method raises Outage and LedgerError.
    """

    def __init__(
        self,
        ledger: Ledger,
        ditio: Ditio,
        resolver: Resolver,
        clock: Clock,
        *,
        policy: Policy = Policy(),
        window: Window = Window(),
        resend: bool = False,
        derive: Callable[[Key], str] | None = None,
    ) -> None:
        self._ledger = ledger
        self._ditio = ditio
        self._resolver = resolver
        self._clock = clock
        self._policy = policy
        self._window = window
        self._resend = resend
        self._derive = derive

    async def reconcile(self, project: Project, key: Key, jobs: Sequence[Job]) -> Sequence[Conclusion]:
        """Applies events, all together if Ditio lets it be, and tells how each ended. Without any: what is due."""
        if len(jobs) < 2:
            return await self._together(project, key, jobs)
        if not any(job.rejected for job in jobs):
            try:
                return await self._together(project, key, jobs)
            except Culprit:
                pass
        in_order = sorted(range(len(jobs)), key=lambda index: jobs[index].stamp)
        ends = {index: (await self._together(project, key, [jobs[index]]))[0] for index in in_order}
        return [ends[index] for index in range(len(jobs))]

    async def postpone(self, key: Key) -> None:
        """What is due for a work order cannot be done now: it is due again after a while."""
        order = await self._ledger.load(key)
        await self._ledger.commit(msgspec.structs.replace(order, doubt_until=self._window.raised(0, self._ledger.now())))

    async def _together(self, project: Project, key: Key, jobs: Sequence[Job]) -> Sequence[Conclusion]:
        order = await self._ledger.load(key)
        round = Round(project, order, jobs, policy=self._policy, window=self._window, now=self._ledger.now())
        ending: Outcome | None = None
        try:
            await self._resolve(round)
            await self._find(round)
            while (call := round.next_call()) is not None:
                await self._perform(round, call)
        except Halted as halted:
            ending = halted.outcome
        except Refused as error:
            if len(jobs) > 1 and not error.spared:
                await self._ledger.commit(round.knowledge(complete=False))
                raise Culprit from error
            failure = _failure("rejected", error)
            ending = Waiting("failing", failure, counted=False) if error.spared else Dead(failure)
        except (Missing, NotSent, UnknownOutcome) as error:
            ending = await self._why(round, error)
        return await self._record(round, ending)

    # --- what is known

    async def _resolve(self, round: Round) -> None:
        """Looks up parents and people. What is not found is withheld, and nothing else."""
        found: list[dict[str, Value]] = []
        round.withheld = [list(job.event.withheld) for job in round.jobs]
        for job, withheld in zip(round.jobs, round.withheld, strict=True):
            resolved: dict[str, Value] = {}
            for field, reference in job.event.references.items():
                try:
                    resolved[field] = await self._id(round, reference, fresh=round.afresh or job.last_chance)
                except Unresolved as error:
                    withheld.append(_withheld(error, field, reference))
            found.append(resolved)
        round.heard(found)

    async def _id(self, round: Round, reference: Reference, *, fresh: bool) -> str:
        if reference.kind == "person":
            return await self._resolver.person(reference.key, fresh=fresh)
        return await self._resolver.parent(round.project, reference.key, fresh=fresh)

    async def _find(self, round: Round) -> None:
        """Finds out which task it is and what it shows: by the record, or past the end of a doubt by a fresh look-up."""
        if round.task_id is not None and round.doubt is not Doubt.OVER:
            round.trust_record(again=round.in_doubt or self._resend)
            return
        if round.idle:
            return
        known = round.task_id
        if not await self._look_up(round) and known is not None:
            task = await self._ditio.task_by_id(known)
            if task is not None and round.is_of(task):
                round.adopt(task)
        if round.doubt is Doubt.OVER:
            round.settle_doubt(0)

    async def _look_up(self, round: Round, *, listed: bool = False) -> bool:
        """Whether Ditio shows a task of this key, which is then adopted. Raises Halted when it shows several."""
        round.lost()
        tasks = await self._resolver.tasks(round.project, round.external_id, listed=listed)
        if len(tasks) > 1:
            detail = twins("task", round.project, round.external_id, tasks).detail
            raise Halted(Dead(Failure("ambiguous", detail, "data.externalId")))
        if not tasks:
            return False
        round.adopt(tasks[0])
        self._resolver.created(round.order.key, str(tasks[0]["id"]))
        return True

    # --- what is done

    async def _perform(self, round: Round, call: Call) -> None:
        """Carries out one call. Raises Halted, ApiError."""
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

    async def _create(self, round: Round, call: Create) -> None:
        if self._derive is not None:
            if (round.in_doubt or round.rejected) and await self._look_up_derived(round):
                return
            call = Create(call.external_id, {"id": self._derive(round.order.key), **call.values})
        elif round.in_doubt:
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
        elif not await self._look_up(round):
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
        if may_exist and (await self._look_up_derived(round) or await self._look_up(round, listed=True)):
            round.attempts += error.attempts
            round.settle_doubt(before)
            return
        if may_exist and len(round.jobs) == 1:
            round.attempts += error.attempts
            raise Halted(
                _settling("Ditio refuses to create this work order, which may be there unseen", _failure("rejected", error))
            )
        round.settle_doubt(before)
        raise error

    async def _change(self, round: Round, call: Call) -> None:
        try:
            reply = await self._ditio.send(call, round.project)
        except Refused as error:
            if not isinstance(call, Delete):
                raise
            # Children, hours or mass haul block it, says Ditio; deactivating is its own advice.
            round.attempts += error.attempts
            round.calls.append("task_delete")
            round.note = f"not deleted but deactivated: {error.detail}"
            round.policy = msgspec.structs.replace(round.policy, on_delete="deactivate")
            return
        round.done(call, reply)
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
        await self._resolve(round)
        if round.task_id is not None and not await self._look_up(round, listed=True):
            await self._raise_doubt(round)

    async def _raise_doubt(self, round: Round) -> None:
        """Durably, before the next effect."""
        now = self._ledger.now()
        round.doubt_until = self._window.raised(round.doubt_until, now)
        round.doubt = Doubt.OPEN
        # The record as it was stored: what this round confirmed is committed at its end, with its history.
        await self._ledger.commit(msgspec.structs.replace(round.order, task_id=round.task_id, doubt_until=round.doubt_until))

    # --- how it ended

    async def _why(self, round: Round, error: ApiError) -> Outcome:
        """Ditio did not do what was asked. Raises Outage when it does nothing at all."""
        round.attempts += error.attempts
        if isinstance(error, Missing):
            return Dead(_failure("rejected", error))
        await self._ditio.control()
        return Waiting("failing", _failure("failing", error), counted=not error.spared)

    async def _record(self, round: Round, ending: Outcome | None) -> Sequence[Conclusion]:
        outcomes = [round.outcome(index, ending) for index in range(len(round.jobs))]
        now = int(self._clock.now() * 1_000_000)
        lines = [_line(round, job, outcome, now) for job, outcome in zip(round.jobs, outcomes, strict=True)]
        if not round.jobs:
            lines = [self._due_line(round, ending, now)]
        await self._ledger.commit(round.knowledge(complete=ending is None), lines)
        return [
            Conclusion(
                outcome, round.task_id, tuple(round.calls), round.attempts, tied(job.stamp, round.order.record), spared=place > 0
            )
            for place, (job, outcome) in enumerate(zip(round.jobs, outcomes, strict=True))
        ]

    def _due_line(self, round: Round, ending: Outcome | None, now: int) -> Happened:
        """The line of due work; what could not be done is due again after a while, what Ditio refuses is not."""
        if isinstance(ending, Waiting):
            round.doubt_until = self._window.raised(0, self._ledger.now())
        elif isinstance(ending, Dead):
            round.settle_doubt(0)
        outcome = ending or (Applied() if round.sent else Unchanged())
        detail = _detail(outcome) or "compared with Ditio, after a request that was given up could take effect no more"
        return Happened(now, name(outcome), detail=detail, calls=tuple(round.calls), before=dict(round.before))


def _withheld(error: Unresolved, field: str, reference: Reference) -> Withheld:
    reason: Reason = "ambiguous" if isinstance(error, Ambiguous) else UNRESOLVED[error.kind]
    return Withheld(error.kind, reason, reference.path, error.detail, isinstance(error, Absent), field)


def _failure(reason: Reason, error: ApiError) -> Failure:
    return Failure(reason, error.detail, status=error.status, response=error.response)


def _settling(detail: str, rejected: Failure | None = None) -> Waiting:
    return Waiting("settling", rejected or Failure("failing", detail), refused=rejected is not None)


def _line(round: Round, job: Job, outcome: Outcome, now: int) -> Happened:
    event = job.event
    return Happened(
        now, name(outcome), event.source, event.id, event.type.value, event.time.rfc3339(), job.stamp.first_seen,
        _detail(outcome) or round.note, tuple(round.calls), dict(round.before),
    )  # fmt: skip


def _detail(outcome: Outcome) -> str:
    return outcome.failure.detail if isinstance(outcome, Waiting | Dead) else ""
