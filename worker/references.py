"""Turns what the work order of a round refers to into Ditio's ids. What is not found is withheld, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

from worker.core.errors import Absent, Ambiguous, Unresolved
from worker.core.event import Event, Reference, Withheld
from worker.core.field import PARENT, Value
from worker.core.outcome import UNRESOLVED, Reason
from worker.ports import Resolver
from worker.round import Round


async def refer(round: Round, resolver: Resolver) -> None:
    """Looks up parents and people, and lets the round hear what its events say. Raises ApiError, Outage, LedgerError."""
    found: list[dict[str, Value]] = []
    round.withheld = [list(job.event.withheld) for job in round.jobs]
    for job, withheld in zip(round.jobs, round.withheld, strict=True):
        resolved: dict[str, Value] = {}
        for field, reference in _references(job.event).items():
            try:
                resolved[field] = await _resolved(round, resolver, reference, fresh=round.afresh or job.last_chance)
            except Unresolved as error:
                withheld.append(_withheld(error, field, reference))
        found.append(resolved)
    round.heard(found)
    await _stand_under(round, resolver)


def _references(event: Event) -> Mapping[str, Reference]:
    """What must be looked up: also a parent that is named by its id, which must be there, in this project, and marked as one."""
    task_id = event.values.get(PARENT)
    if not isinstance(task_id, str):
        return event.references
    return {**event.references, PARENT: Reference("task", task_id, f"data.{PARENT}")}


async def _resolved(round: Round, resolver: Resolver, reference: Reference, *, fresh: bool) -> Value:
    """What the event says of a reference that is there: a person's id, or a parent by its externalId (by its id if it has none)."""
    match reference.kind:
        case "person":
            return await resolver.person(reference.key, fresh=fresh)
        case "parent":
            round.ids[reference.key] = await resolver.parent(round.project, reference.key, fresh=fresh)
            return reference.key
        case "task":
            name = await resolver.parent_name(round.project, reference.key, fresh=fresh) or reference.key
            round.ids[name] = reference.key
            return name
        case _:
            assert_never(reference.kind)


async def _stand_under(round: Round, resolver: Resolver) -> None:
    """A parent that an earlier event named may have been made again, and have another id; one that is gone changes nothing."""
    name = round.parent
    if name is None or (name in round.ids and not round.order.owed and not round.afresh):
        return
    try:
        round.stands_under(name, await resolver.parent(round.project, name, fresh=round.afresh))
    except Unresolved:
        return


def _withheld(error: Unresolved, field: str, reference: Reference) -> Withheld:
    reason: Reason = "ambiguous" if isinstance(error, Ambiguous) else UNRESOLVED[error.kind]
    return Withheld(error.kind, reason, reference.path, error.detail, isinstance(error, Absent), field)
