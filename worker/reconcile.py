"""Brings one work order in Ditio to where its events say it should be: reads, then one call after the other, then the ledger.

load ─► resolve references ─► find the task ─► call … call ─► commit
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from worker.calls import Calls, Guard, failure_of
from worker.core.doubt import Doubt, Window
from worker.core.errors import ApiError, Missing, NotSent, Refused, UnknownOutcome
from worker.core.outcome import Applied, Dead, Outcome, Unchanged, Waiting, name
from worker.core.plan import Policy
from worker.core.verdict import tied
from worker.ports import Clock, Ditio, Happened, Key, Ledger, Project, Resolver, WorkOrder
from worker.references import refer
from worker.round import Halted, Job, Round


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


class Culprit(Exception):
    """Ditio refuses what several events say together: one of them is at fault."""


class Reconciler:
    """Carries out rounds. The caller sees to it that a work order has one round at a time.

    `resend` sends what is confirmed already, too; `derive` and `guard`: see worker.calls.Calls. Every method raises Outage and LedgerError.
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
        guard: Guard | None = None,
    ) -> None:
        self._ledger = ledger
        self._ditio = ditio
        self._resolver = resolver
        self._clock = clock
        self._policy = policy
        self._window = window
        self._resend = resend
        self._calls = Calls(ledger, ditio, resolver, window, derive, guard)

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
        later = self._window.raised(0, self._ledger.now())
        await self._ledger.commit(msgspec.structs.replace(order, doubt_until=later if order.doubt_until else 0.0, owed_at=later))

    async def _together(self, project: Project, key: Key, jobs: Sequence[Job]) -> Sequence[Conclusion]:
        order = await self._ledger.load(key)
        round = Round(project, order, jobs, policy=self._policy, window=self._window, now=self._ledger.now())
        ending: Outcome | None = None
        try:
            await refer(round, self._resolver)
            await self._find(round)
            while (call := round.next_call()) is not None:
                await self._calls.perform(round, call)
        except Halted as halted:
            ending = halted.outcome
        except Refused as error:
            if len(jobs) > 1 and not error.spared:
                await self._ledger.commit(round.knowledge(complete=False))
                raise Culprit from error
            failure = failure_of("rejected", error)
            ending = Waiting("failing", failure, counted=False) if error.spared else Dead(failure)
        except (Missing, NotSent, UnknownOutcome) as error:
            ending = await self._why(round, error)
        return await self._record(round, ending)

    async def _find(self, round: Round) -> None:
        """Finds out which task it is and what it shows: by the record, or past the end of a doubt by a fresh look-up."""
        if round.task_id is not None and round.doubt is not Doubt.OVER and not round.revives:
            round.trust_record(again=round.in_doubt or self._resend)
            return
        if round.idle:
            return
        known = round.task_id
        # What the worker has sent itself to a task that it knows may be newer than a listing.
        if not await self._calls.look_up(round, recent=known is None and round.doubt is Doubt.NONE) and known is not None:
            task = await self._ditio.task_by_id(known)
            if task is not None and round.is_of(task):
                round.adopt(task)
        if round.doubt is Doubt.OVER:
            round.settle_doubt(0)

    # --- how it ended

    async def _why(self, round: Round, error: ApiError) -> Outcome:
        """Ditio did not do what was asked. Raises Outage when it does nothing at all."""
        round.attempts += error.attempts
        if isinstance(error, Missing):
            return Dead(failure_of("rejected", error))
        await self._ditio.control()
        return Waiting("failing", failure_of("failing", error), counted=not error.spared)

    async def _record(self, round: Round, ending: Outcome | None) -> Sequence[Conclusion]:
        outcomes = [round.outcome(index, ending) for index in range(len(round.jobs))]
        now = int(self._clock.now() * 1_000_000)
        lines = [_line(round, job, outcome, now) for job, outcome in zip(round.jobs, outcomes, strict=True)]
        if not round.jobs:
            lines = [_due_line(round, ending, now)]
        await self._ledger.commit(
            self._kept(round, ending), lines, paid=ending is None or (isinstance(ending, Dead) and not round.jobs)
        )
        return [
            Conclusion(
                outcome, round.task_id, tuple(round.calls), round.attempts, tied(job.stamp, round.order.record), spared=place > 0
            )
            for place, (job, outcome) in enumerate(zip(round.jobs, outcomes, strict=True))
        ]

    def _kept(self, round: Round, ending: Outcome | None) -> WorkOrder:
        """What the ledger keeps. Due work that could not be done is due again after a while; what Ditio refuses of it is not."""
        later = self._window.raised(0, self._ledger.now())
        if not round.jobs and isinstance(ending, Waiting) and round.doubt_until:
            round.doubt_until = later
        elif not round.jobs and isinstance(ending, Dead):
            round.settle_doubt(0)
        return msgspec.structs.replace(round.knowledge(complete=ending is None), owed_at=later)


def _due_line(round: Round, ending: Outcome | None, now: int) -> Happened:
    outcome = ending or (Applied() if round.sent else Unchanged())
    cause = "what others have caused" if round.order.owed else "after a request that was given up could take effect no more"
    return Happened(
        now,
        name(outcome),
        detail=_detail(outcome) or f"compared with Ditio: {cause}",
        calls=tuple(round.calls),
        before=dict(round.before),
    )


def _line(round: Round, job: Job, outcome: Outcome, now: int) -> Happened:
    event = job.event
    return Happened(
        now, name(outcome), event.source, event.id, event.type.value, event.time.rfc3339(), job.stamp.first_seen,
        _detail(outcome) or round.note, tuple(round.calls), dict(round.before),
    )  # fmt: skip


def _detail(outcome: Outcome) -> str:
    return outcome.failure.detail if isinstance(outcome, Waiting | Dead) else ""
