"""Turns what the work order of a round refers to into Ditio's ids. What is not found is withheld, and nothing else."""

from __future__ import annotations

from worker.core.errors import Absent, Ambiguous, Unresolved
from worker.core.event import Reference, Withheld
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
        for field, reference in job.event.references.items():
            try:
                resolved[field] = await _resolved(round, resolver, reference, fresh=round.afresh or job.last_chance)
            except Unresolved as error:
                withheld.append(_withheld(error, field, reference))
        if round.afresh:
            withheld.extend(await _misplaced(round, resolver, job.event.values.get(PARENT)))
        found.append(resolved)
    round.heard(found)
    await _stand_under(round, resolver)


async def _resolved(round: Round, resolver: Resolver, reference: Reference, *, fresh: bool) -> Value:
    """What the event says of a reference that is there: a person's id, or a parent by its externalId."""
    if reference.kind == "person":
        return await resolver.person(reference.key, fresh=fresh)
    round.ids[reference.key] = await resolver.parent(round.project, reference.key, fresh=fresh)
    return reference.key


async def _misplaced(round: Round, resolver: Resolver, parent_id: Value) -> list[Withheld]:
    """What keeps a parent back that the event names by its id: it is gone, or in another project."""
    if not isinstance(parent_id, str):
        return []
    try:
        await resolver.in_project(round.project, parent_id)
    except Unresolved as error:
        return [_withheld(error, PARENT, Reference("parent", parent_id, f"data.{PARENT}"))]
    return []


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
