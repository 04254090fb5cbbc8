"""What an event would do to Ditio, as values: the calls, the fields that would change, and how the event would end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from worker.core.event import EventType
from worker.core.field import Value
from worker.core.identity import Identity
from worker.core.outcome import Applied, Dead, Failure, Ignored, Outcome, Superseded, Unchanged, Waiting
from worker.core.plan import Call, Create, Delete, Replace, Update

Action: TypeAlias = Literal[
    "create", "update", "replace", "delete", "deactivate", "unchanged", "superseded", "ignored", "wait", "fail"
]
"""What an event would do; those from `unchanged` on change nothing in Ditio."""

CALLED: Mapping[type[Call], Action] = MappingProxyType({Create: "create", Update: "update", Replace: "replace", Delete: "delete"})
ENDED: Mapping[type[Outcome], Action] = MappingProxyType(
    {Applied: "unchanged", Unchanged: "unchanged", Superseded: "superseded", Ignored: "ignored", Waiting: "wait", Dead: "fail"}
)


class Change(msgspec.Struct, frozen=True):
    """A field that would change: its wire values now (None: empty, or there is no task yet) and then."""

    field: str
    now: Value
    then: Value


class Sent(msgspec.Struct, frozen=True):
    """A call that would have been made, and what it would change."""

    call: Call
    changes: tuple[Change, ...] = ()


class Rehearsed(msgspec.Struct, frozen=True):
    """What an event would do. `identity` as far as it can be read; `task_id` is Ditio's, where it is known by now.

    `outcome` is how the event would end: an `update` that is `Waiting` or `Dead` brings all but what its failure names.
    """

    action: Action
    outcome: Outcome
    identity: Identity
    changes: tuple[Change, ...] = ()
    task_id: str | None = None

    @property
    def failure(self) -> Failure | None:
        """What would hold up the event, or a part of it."""
        return self.outcome.failure if isinstance(self.outcome, Waiting | Dead) else None


def rehearsed(
    type: EventType | None, identity: Identity, outcome: Outcome, sent: Sequence[Sent], task_id: str | None
) -> Rehearsed:
    """What comes of the calls of an event. `type` is None where it could not be decoded."""
    called = [CALLED[each.call.__class__] for each in sent if each.changes or isinstance(each.call, Create | Delete)]
    action = called[0] if called else ENDED[outcome.__class__]
    if action == "update" and type is EventType.DELETED:
        action = "deactivate"
    return Rehearsed(action, outcome, identity, _together(sent), task_id)


def _together(sent: Sequence[Sent]) -> tuple[Change, ...]:
    """The changes of all calls as one: from before the first to after the last."""
    together: dict[str, Change] = {}
    for change in (change for each in sent for change in each.changes):
        before = together.get(change.field, change)
        together[change.field] = Change(change.field, before.now, change.then)
    return tuple(together.values())
