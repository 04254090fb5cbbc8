"""What to do in Ditio so that it stands as the events say: one call after the other, each decided from what is known by then.

          wanted.exists is false ──► nothing, PATCH active=false, or DELETE
unknown task ──────────────────────► POST with what is given (the template fills the gaps)
nothing differs ───────────────────► nothing
a cleared field PATCH cannot express ► GET, lay the record over it, PUT
else ──────────────────────────────► one PATCH with what differs
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

import msgspec

from worker.core.date import wire_date
from worker.core.errors import Invalid
from worker.core.event import OnDelete
from worker.core.field import DEFAULTS, FIELDS, IS_PARENT, PARENT, Kind, Value, empty
from worker.core.record import Cell, Record


class Policy(msgspec.Struct, frozen=True):
    """The settings that planning depends on."""

    on_delete: OnDelete = "deactivate"
    create_active: bool = True
    create_only: frozenset[str] = frozenset()
    mark_parents: bool = True


class Family(msgspec.Struct, frozen=True):
    """A work order among its like.

    `ids`: the task ids of work orders that it may lie under, by externalId. `named`: a work order lies under it. `marked`: Ditio
    is known to show it as a parent because one did.
    """

    ids: Mapping[str, str] = MappingProxyType({})
    named: bool = False
    marked: bool = False


class Create(msgspec.Struct, frozen=True, tag="create"):
    """POST; company and project ids are added by the client."""

    external_id: str
    values: Mapping[str, Value]


class Update(msgspec.Struct, frozen=True, tag="update"):
    """PATCH with wire values ("" clears the parent)."""

    task_id: str
    values: Mapping[str, Value]


class Replace(msgspec.Struct, frozen=True, tag="replace"):
    """GET, lay these values over the answer (None: leave out, which resets), PUT."""

    task_id: str
    values: Mapping[str, Value]


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """DELETE; a task that is gone already is a success."""

    task_id: str


Call: TypeAlias = Create | Update | Replace | Delete


class Shown(msgspec.Struct, frozen=True):
    """What Ditio is known to hold for a task. In a `complete` one (an answer of Ditio's) an absent field has its default."""

    values: Mapping[str, Value] = MappingProxyType({})
    complete: bool = False

    def overlaid(self, values: Mapping[str, Value]) -> Shown:
        """The same after Ditio accepted these values."""
        return Shown({**self.values, **values}, self.complete)


class Wanted(msgspec.Struct, frozen=True):
    """What should stand in Ditio: a wire value for each owned field (None: cleared), and whether the task should exist."""

    values: Mapping[str, Value]
    exists: bool


def wanted(record: Record, policy: Policy, family: Family = Family()) -> Wanted:
    """What a record says should stand.

    A reset `active` becomes the value that a creation would give it; `isParent` is true while a child names the work order, over what
    the ERP says. A parent whose id is not known is left out: it stays as it is.
    """
    values = _values(record.standing(), policy, family)
    if policy.mark_parents and family.named:
        values[IS_PARENT] = True
    elif policy.mark_parents and family.marked:
        values.setdefault(IS_PARENT, False)
    return Wanted(values, exists=record.exists is None or record.exists.value is True)


def shown_by_record(record: Record, policy: Policy, family: Family = Family()) -> Shown:
    """What Ditio has confirmed, as the record of confirmed cells tells it. `family` holds the ids as they were confirmed."""
    values = _values(record.cells, policy, family)
    if family.marked:
        values[IS_PARENT] = True
    return Shown(values)


def shown_by_task(task: Mapping[str, object]) -> Shown:
    """What an answer of Ditio's shows, in wire values: it may write a number or a date in another way than it was sent."""
    given = ((name, task[name], kind) for name, kind in FIELDS.items() if task.get(name) is not None)
    return Shown({name: _wire_value(value, kind) for name, value, kind in given}, complete=True)


def differences(want: Mapping[str, Value], shown: Shown) -> dict[str, Value]:
    """The wanted values that Ditio is not known to hold."""
    return {name: value for name, value in want.items() if not _holds(name, value, shown)}


def next_call(external_id: str, want: Wanted, task_id: str | None, shown: Shown, policy: Policy) -> Call | None:
    """The one call that is due next, or None when Ditio stands as wanted."""
    if not want.exists:
        return _removal(task_id, shown, policy)
    if task_id is None:
        given = {name: value for name, value in want.values.items() if value is not None}
        return Create(external_id, {"active": policy.create_active, **given})
    rest = {name: value for name, value in want.values.items() if name not in policy.create_only}
    changes = differences(rest, shown)
    if not changes:
        return None
    if all(_patchable(name, value) for name, value in changes.items()):
        return Update(task_id, {name: _patched(name, value) for name, value in changes.items()})
    return Replace(task_id, rest)


def confirmed(merged: Record, want: Wanted, shown: Shown) -> Mapping[str, Cell]:
    """The standing cells whose values Ditio is known to hold."""
    standing = merged.standing().items()
    return {name: cell for name, cell in standing if name in want.values and _holds(name, want.values[name], shown)}


def _values(cells: Mapping[str, Cell], policy: Policy, family: Family = Family()) -> dict[str, Value]:
    """The wire values of cells, without the references whose ids are not known."""
    resets: Mapping[str, Value] = {"active": policy.create_active, IS_PARENT: False}
    return {
        name: resets.get(name) if cell.reset else family.ids[str(cell.value)] if cell.ref else cell.value
        for name, cell in cells.items()
        if not cell.ref or cell.value in family.ids
    }


def _wire_value(value: object, kind: Kind) -> Value:
    match kind, value:
        case Kind.NUMBER, int() | float():
            return float(value)
        case Kind.FLAG, bool():
            return value
        case Kind.DATE, str():
            return _wire_date(value)
        case _:
            return str(value)


def _wire_date(text: str) -> str:
    """What Ditio shows without an offset is UTC; what is no date at all differs from everything that could be sent."""
    for candidate in (text, f"{text}Z"):
        try:
            return wire_date(candidate, "UTC", "")
        except Invalid:
            continue
    return text


def _removal(task_id: str | None, shown: Shown, policy: Policy) -> Call | None:
    if task_id is None:
        return None
    if policy.on_delete == "delete":
        return Delete(task_id)
    return None if _holds("active", False, shown) else Update(task_id, {"active": False})


def _holds(name: str, value: Value, shown: Shown) -> bool:
    if name not in shown.values:
        return shown.complete and empty(name, value)
    held = shown.values[name]
    return held == value or (empty(name, held) and empty(name, value))


def _patchable(name: str, value: Value) -> bool:
    # Whether an empty text in a PATCH clears, or says nothing as null does, is not documented.
    return value not in (None, "") or name == PARENT or FIELDS[name] in DEFAULTS


def _patched(name: str, value: Value) -> Value:
    if value is not None:
        return value
    return "" if FIELDS[name] is Kind.ID else DEFAULTS[FIELDS[name]]
