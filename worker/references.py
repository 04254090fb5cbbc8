"""Turns what the events of a round refer to into Ditio's ids. What is not found is withheld, and nothing else."""

from __future__ import annotations

from worker.core.errors import Absent, Ambiguous, Unresolved
from worker.core.event import Reference, Withheld
from worker.core.field import Value
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
                resolved[field] = await _id(round, resolver, reference, fresh=round.afresh or job.last_chance)
            except Unresolved as error:
                withheld.append(_withheld(error, field, reference))
        found.append(resolved)
    round.heard(found)


async def _id(round: Round, resolver: Resolver, reference: Reference, *, fresh: bool) -> str:
    if reference.kind == "person":
        return await resolver.person(reference.key, fresh=fresh)
    return await resolver.parent(round.project, reference.key, fresh=fresh)


def _withheld(error: Unresolved, field: str, reference: Reference) -> Withheld:
    reason: Reason = "ambiguous" if isinstance(error, Ambiguous) else UNRESOLVED[error.kind]
    return Withheld(error.kind, reason, reference.path, error.detail, isinstance(error, Absent), field)
