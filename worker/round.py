"""One pass over one work order: what its events say, what is known of it, and what has been done so far.

It holds and computes; the effects are worker.reconcile's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from worker.core.doubt import Doubt, Window, doubt
from worker.core.event import Event, Withheld, said
from worker.core.field import IS_PARENT, PARENT, Value
from worker.core.outcome import Dead, Failure, Outcome, Waiting, WaitKind, name
from worker.core.plan import (
    Call,
    Create,
    Delete,
    Family,
    Policy,
    Replace,
    Shown,
    Update,
    confirmed,
    next_call,
    shown_by_record,
    shown_by_task,
    wanted,
)
from worker.core.record import Record, merge_all
from worker.core.stamp import Stamp
from worker.core.verdict import EXISTS, verdict, winners
from worker.ports import Project, Reply, Task, WorkOrder

CALLS: Mapping[type[Call], str] = {Create: "task_create", Update: "task_update", Replace: "task_replace", Delete: "task_delete"}

WAITS: Mapping[str, WaitKind] = {"parent": "parent", "person": "person"}
"""What an event waits for when a reference of this kind was not found."""


class Job(msgspec.Struct, frozen=True):
    """An event that is to be brought to Ditio.

    `last_chance`: if it does not resolve now it is a dead letter, so no cached answer will do.
    `rejected` is why Ditio refused to create its task before the doubt was waited out.
    """

    event: Event
    stamp: Stamp
    redelivered: bool = False
    last_chance: bool = False
    rejected: Failure | None = None


def family_of(order: WorkOrder) -> Family:
    """A work order among its like, as Ditio has confirmed it."""
    ids = {order.parent: order.parent_id} if order.parent is not None and order.parent_id is not None else {}
    return Family(ids, order.named, order.marked)


class Halted(Exception):
    """Everything in the round ends like this."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(name(outcome))
        self.outcome = outcome


class Round:
    """See the module."""

    def __init__(
        self, project: Project, order: WorkOrder, jobs: Sequence[Job], *, policy: Policy, window: Window, now: float
    ) -> None:
        self.project = project
        self.order = order
        self.jobs = jobs
        self.policy = policy
        self.task_id = order.task_id
        self.doubt_until = order.doubt_until
        if any(job.redelivered for job in jobs):
            self.doubt_until = window.raised(self.doubt_until, now)
        self.now = now
        self.doubt = doubt(self.doubt_until, now)
        self.shown = Shown()
        self.calls: list[str] = []
        self.attempts = 0
        self.sent: set[str] = set()
        self.before: dict[str, Value] = {}
        self.afresh = False
        self.note = ""
        self.ids = dict(family_of(order).ids)
        self.repairs = self.doubt is Doubt.OVER and order.record.exists is not None
        self.withheld: list[list[Withheld]] = [list(job.event.withheld) for job in jobs]
        self.heard([{} for _ in jobs])

    @property
    def external_id(self) -> str:
        """The ERP's number of the work order."""
        return self.order.key.external_id

    @property
    def in_doubt(self) -> bool:
        """Whether something that was given up may still arrive."""
        return self.doubt is Doubt.OPEN

    @property
    def rejected(self) -> Failure | None:
        """Why Ditio refused to create the task, if it did so before the doubt was waited out."""
        return next((job.rejected for job in self.jobs if job.rejected), None)

    def heard(self, resolved: Sequence[Mapping[str, Value]]) -> None:
        """Takes in what the events say, with the references that were found for each."""
        self.said = [
            said(job.event, job.stamp, found, self.policy.on_delete, without={each.sets for each in withheld})
            for job, found, withheld in zip(self.jobs, resolved, self.withheld, strict=True)
        ]
        self.merged = merge_all([self.order.record, *self.said])
        self.want = wanted(self.merged, self.policy, self._family(self.ids))

    @property
    def parent(self) -> str | None:
        """The externalId of the work order that it should lie under, where the events name one so."""
        cell = self.merged.standing().get(PARENT)
        return str(cell.value) if cell is not None and cell.ref else None

    def stands_under(self, name: str, task_id: str) -> None:
        """The work order of this name, which it should lie under, is this task now."""
        self.ids[name] = task_id
        self.want = wanted(self.merged, self.policy, self._family(self.ids))

    def trust_record(self, *, again: bool) -> None:
        """What Ditio shows is what it confirmed; `again`: what these events say is sent though it was confirmed."""
        self.shown = shown_by_record(self.order.record, self.policy, family_of(self.order))
        if again:
            won = frozenset[str]().union(*(winners(each, self.merged) for each in self.said))
            self.shown = Shown({name: value for name, value in self.shown.values.items() if name not in won})

    def is_of(self, task: Task) -> bool:
        """Whether a task is exactly this work order's."""
        return (task.get("projectId"), task.get("externalId")) == (self.project.id, self.external_id)

    def adopt(self, task: Task) -> None:
        """This is the task of the work order, as Ditio shows it now."""
        self.task_id = str(task["id"])
        self.shown = shown_by_task(task)

    def lost(self) -> None:
        """Ditio has no task of this work order."""
        self.task_id = None
        self.shown = Shown()

    def raise_doubt(self, window: Window, now: float) -> None:
        """From now on a request may be on its way."""
        self.doubt_until = window.raised(self.doubt_until, now)
        self.doubt = Doubt.OPEN

    def settle_doubt(self, until: float) -> None:
        """A definite answer, or a look-up after its end, leaves this of the doubt."""
        self.doubt_until = until
        self.doubt = Doubt.NONE

    @property
    def revives(self) -> bool:
        """Whether a work order that was gone is there again: of its fields nothing was sent meanwhile, whatever the record says."""
        exists = self.order.record.exists
        return exists is not None and exists.value is False and self.want.exists

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look up: the task is known to be gone, and that is all the events say; or nobody asks for it."""
        if self.task_id is not None or self.doubt is not Doubt.NONE:
            return False
        if not self.jobs:
            return not (self.order.named and self.policy.mark_parents)
        return not self.want.exists and self.merged.exists == self.order.record.exists

    def next_call(self) -> Call | None:
        """What is due next. Without events no task is made, except in the place of one that was there, or may have been."""
        if not self.jobs and self.task_id is None and not self.repairs:
            return None
        return next_call(self.external_id, self.want, self.task_id, self.shown, self.policy)

    def marks(self, call: Call) -> bool:
        """Whether a call shows the task as a parent for the first time, because a work order lies under it."""
        said = isinstance(call, Update | Replace) and call.values.get(IS_PARENT) is True
        return said and self.order.named and not self.order.marked

    def mark(self, marked: bool) -> None:
        """Ditio may show it as a parent from now on, or does not after all."""
        self.order = msgspec.structs.replace(self.order, marked=marked)

    def done(self, call: Call, reply: Reply) -> None:
        """Notes that a call succeeded."""
        self.attempts += reply.attempts
        self.calls.append(CALLS[type(call)])
        match call:
            case Create():
                self.sent |= {*call.values, EXISTS}
                # Until the creation is through, what its event clears is reset over the template's value, whoever it is left to afterwards.
                self.policy = msgspec.structs.replace(self.policy, create_only=frozenset())
            case Delete():
                self.sent.add(EXISTS)
                self.lost()
            case Update() | Replace():
                changed = {name for name in call.values if self.shown.values.get(name) != self.want_of(name, call)}
                self.sent |= changed
                self.before |= {name: self.shown.values[name] for name in sorted(changed & self.shown.values.keys())}
                self.shown = self.shown.overlaid({name: self.want_of(name, call) for name in call.values})

    @property
    def held(self) -> Mapping[str, Value]:
        """What Ditio is known to hold: as it was confirmed, and as it was shown since."""
        if self.shown.complete:
            return self.shown.values
        return {**shown_by_record(self.order.record, self.policy, family_of(self.order)).values, **self.shown.values}

    def want_of(self, name: str, call: Update | Replace) -> Value:
        """What stands in a field after a call: a cleared one may have been sent as a value."""
        return self.want.values.get(name, call.values[name]) if self.want.exists else call.values[name]

    def knowledge(self, *, complete: bool) -> WorkOrder:
        """What the ledger should keep. Existence and floor are kept only when all that follows from them was sent."""
        settled = complete or EXISTS in self.sent
        shown = self.shown
        if complete and self.task_id is None and not self.want.exists:
            shown = Shown(self.want.values, complete=True)  # no task is as good as one that holds all of this
        record = Record(
            confirmed(self.merged, self.want, shown),
            self.merged.exists if settled else None,
            self.merged.floor if complete else None,
            self.merged.owned,
        )
        if self.task_id not in (None, self.order.task_id) and not complete:
            # The record tells what another task held, and not all of this one was compared: a look-up is due at once.
            self.doubt_until = max(self.doubt_until, self.now)
        parent, parent_id, marked = self._place(gone=complete and self.task_id is None and not self.want.exists)
        return msgspec.structs.replace(
            self.order, record=record, task_id=self.task_id, doubt_until=self.doubt_until,
            parent=parent, parent_id=parent_id, marked=marked,
        )  # fmt: skip

    def _place(self, *, gone: bool) -> tuple[str | None, str | None, bool]:
        """Under which task Ditio is known to show it (externalId, id), and whether as a parent because of a child."""
        if gone:
            return None, None, False
        parent, parent_id, marked = self.order.parent, self.order.parent_id, self.order.marked
        if not self.want.exists and not self.shown.complete:
            return parent, parent_id, marked  # of a work order that is gone the record may say what was never sent
        if PARENT in self.shown.values or self.shown.complete:
            parent_id = str(self.shown.values.get(PARENT) or "") or None
            parent = next((name for name, task_id in self.ids.items() if task_id == parent_id and name == self.parent), None)
        if IS_PARENT in self.shown.values or self.shown.complete:
            marked = (marked or self.order.named) and self.shown.values.get(IS_PARENT) is True
        return parent, parent_id, marked

    def _family(self, ids: Mapping[str, str]) -> Family:
        return Family(ids, self.order.named, self.order.marked)

    def outcome(self, index: int, ending: Outcome | None) -> Outcome:
        """What became of one of the events; `ending` is what ended the round before everything stood as wanted."""
        if ending is not None:
            return ending
        if kept_back := self._kept_back(index):
            return kept_back
        return verdict(self.said[index], self.merged, self.sent, alone=len(self.jobs) == 1)

    def _kept_back(self, index: int) -> Outcome | None:
        """The end of an event of which something was withheld that nothing newer has made pointless."""
        withheld = [each for each in self.withheld[index] if not self._overtaken(self.jobs[index], each)]
        for each in sorted(withheld, key=lambda each: each.wait):
            failure = Failure(each.reason, each.detail, each.field)
            return Waiting(WAITS[each.kind], failure) if each.wait else Dead(failure)
        return None

    def _overtaken(self, job: Job, withheld: Withheld) -> bool:
        standing = self.merged.standing().get(withheld.sets)
        return standing is not None and standing.stamp > job.stamp
