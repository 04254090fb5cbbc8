"""A work-order event after decoding, and what it says as a record."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Literal, TypeAlias

import msgspec

from worker.core.field import PARENT, Value
from worker.core.outcome import Reason
from worker.core.record import Cell, Record
from worker.core.stamp import ABSENT, Instant, OrderBy, Sequence, Stamp

OnDelete: TypeAlias = Literal["deactivate", "delete"]
ProjectKind: TypeAlias = Literal["number", "externalNumber", "id"]


class EventType(Enum):
    """The CloudEvents types that the worker handles."""

    CREATED = "workorder.created.v1"
    UPDATED = "workorder.updated.v1"
    REPLACED = "workorder.replaced.v1"
    DELETED = "workorder.deleted.v1"


class ProjectRef(msgspec.Struct, frozen=True):
    """How an event names its project: one of `{"number": …}`, `{"externalNumber": …}`, `{"id": …}`."""

    kind: ProjectKind
    value: str


class Reference(msgspec.Struct, frozen=True):
    """Something that must be looked up before its Ditio field can be sent.

    `kind` is `parent`, `person` or `task`; `key` the parent's externalId, the employee number, or the parent's id; `path` where the
    event said it.
    """

    kind: Literal["parent", "person", "task"]
    key: str
    path: str


class Withheld(msgspec.Struct, frozen=True):
    """A part of an event that cannot be applied (yet), by itself: the rest of the event is.

    `kind` is `project`, `parent`, `person`, `unit` or `status`; `wait` says whether waiting may help, `sets` the Ditio field that it is about, if it is one;
    `reason` a failure reason of the closed set, `field` the path in the event, `detail` a sentence.
    """

    kind: str
    reason: Reason
    field: str
    detail: str
    wait: bool
    sets: str = ""


class Event(msgspec.Struct, frozen=True):
    """A decoded and valid event.

    `values` holds Ditio's field names with their wire values (units, statuses and dates already turned into these; None clears),
    `references` the Ditio fields whose ids must be looked up, `withheld` the units and statuses that the tables do not know.
    `unknown_fields` are those that `WORKER_UNKNOWN_FIELDS=ignore` let pass.
    """

    type: EventType
    source: str
    id: str
    time: Instant
    sequence: str | None
    project: ProjectRef
    external_id: str
    values: Mapping[str, Value] = {}
    references: Mapping[str, Reference] = {}
    withheld: tuple[Withheld, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    traceparent: str | None = None

    def stamp(self, first_seen: int, *, repair: int = 0, order_by: OrderBy = "time") -> Stamp:
        """The event's place in the order; `first_seen` in microseconds since 1970."""
        sequence = Sequence.of(self.sequence)
        return Stamp(sequence if order_by == "sequence" else ABSENT, self.time, sequence, first_seen, self.id, repair)

    @property
    def fields(self) -> frozenset[str]:
        """Every Ditio field that the event sets or would set."""
        return frozenset(self.values) | frozenset(self.references)


def said(
    event: Event, stamp: Stamp, resolved: Mapping[str, Value], on_delete: OnDelete, *, without: AbstractSet[str] = frozenset()
) -> Record:
    """What an event says, as a record. `resolved` holds the references that were found (a parent by its externalId); the others
    are withheld, as are the values of the fields in `without`.

    An event that names its project by external number says that number of the task too: Ditio's look-up by external project
    number may go by the task's own field. Deleting under `deactivate` says `active: false`, so that only a newer event
    that sets `active` brings the task back.
    """
    values = {name: value for name, value in {**event.values, **resolved}.items() if name not in without}
    if event.type is EventType.DELETED:
        values = {"active": False} if on_delete == "deactivate" else {}
    elif event.project.kind == "externalNumber":
        values.setdefault("externalProjectNumber", event.project.value)
    cells = {name: Cell(value, stamp, ref=name == PARENT and name in resolved) for name, value in values.items()}
    floor = stamp if event.type in (EventType.REPLACED, EventType.DELETED) else None
    exists = Cell(event.type is not EventType.DELETED, stamp)
    return Record(cells, exists, floor, event.fields.union(cells))
