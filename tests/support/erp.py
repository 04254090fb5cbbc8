"""An ERP that changes its work orders at random and publishes what it changed; and what it then holds, told without the worker's code."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, TypeAlias

from tests.support.publishing import event
from worker.core.message import Message
from worker.sandbox import State

PROJECTS = ("P-2026-001", "P-2026-002")
FOREMEN = ("1042", "1077")
PARENTS = ("WO-P1", "WO-P2", "WO-P3")
"""They are never deleted, so that whoever names one can wait for it."""

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)
ZONES = (UTC, timezone(timedelta(hours=1)))
OUT_OF_ORDER = 100
"""By so many places an event may come too early or too late."""

Key: TypeAlias = tuple[str, str]
"""Project number and externalId."""


@dataclass
class WorkOrder:
    """What the ERP holds of a work order after its events: what was said, and whether it still exists."""

    values: dict[str, Any] = field(default_factory=dict)
    exists: bool = True


class Erp:
    """The events of as many work orders, as they were made: each is stamped later than the one before."""

    def __init__(self, chance: random.Random, work_orders: int = 250) -> None:
        self._chance = chance
        self._children = [f"WO-{number}" for number in range(work_orders)]
        self.events: list[Message] = []
        self.broken: list[Message] = []

    @property
    def ids(self) -> set[str]:
        """The ids of the valid events."""
        return {json.loads(message.body)["id"] for message in self.events}

    def changes(self, count: int) -> None:
        """So many things happen to its work orders."""
        self.events += [self._event(len(self.events) + place) for place in range(count)]

    def errs(self, count: int) -> None:
        """So many messages are made that are no valid events."""
        first = len(self.broken)
        self.broken += [event("updated", "WO-1", id=f"b-{first + place}", nam="x") for place in range(count)]

    def published(self) -> list[Message]:
        """All messages as the broker gets them: out of order, one in twenty a second time, at any later moment."""
        chance, count = self._chance, len(self.events)
        places = [(place + chance.random() * OUT_OF_ORDER, message) for place, message in enumerate(self.events)]
        again = chance.sample(places, count // 20)
        places += [(chance.uniform(place, count), message) for place, message in again]
        places += [(chance.uniform(0, count), message) for message in self.broken]
        return [message for _, message in sorted(places, key=lambda each: each[0])]

    def holds(self) -> dict[Key, WorkOrder]:
        """What it holds: its events are played in the order of their stamps."""
        held: dict[Key, WorkOrder] = {}
        bodies = [json.loads(message.body) for message in self.events]
        for body in sorted(bodies, key=lambda body: (datetime.fromisoformat(body["time"]), int(body["sequence"]))):
            data = dict(body["data"])
            order = held.setdefault((data.pop("project")["number"], data.pop("externalId")), WorkOrder())
            kind = body["type"].split(".")[1]
            order.exists = kind != "deleted"
            if kind in ("replaced", "deleted"):
                order.values = {} if order.exists else {"active": False}
            order.values |= data
        return held

    def _event(self, number: int) -> Message:
        chance = self._chance
        parent = chance.random() < 0.05
        external_id = chance.choice(PARENTS if parent else self._children)
        kinds, weights = ("created", "updated", "replaced", "deleted"), (10, 75, 10, 0 if parent else 5)
        (kind,) = chance.choices(kinds, weights)
        said = {} if kind == "deleted" else self._said(number, parent=parent)
        if kind == "replaced":
            said.setdefault("active", True)
        # Three events at each second, which their sequence tells apart, by number and not as text.
        time = BEGAN.astimezone(chance.choice(ZONES)) + timedelta(seconds=number // 3)
        message = event(kind, external_id, project=chance.choice(PROJECTS), time=time.isoformat(), id=f"e-{number}", **said)
        body = json.loads(message.body) | {"sequence": str(9 + number % 3)}
        return Message(json.dumps(body).encode(), {}, message.properties)

    def _said(self, number: int, *, parent: bool) -> dict[str, Any]:
        choices: dict[str, Sequence[Any]] = {
            "name": ("Graving", "Støp", "Sprengning", f"fase {number}"),
            "estimatedHourQty": (0.0, 10.0, float(number), None),
            "active": (True, False),
            "workDescription": ("", "langs veien", None),
            "finishedDate": ("2026-03-15", "2026-10-25T02:30:00+02:00", None),
            "mainForeman": (*FOREMEN, None),
            **({} if parent else {"parent": (*PARENTS, None)}),
        }
        return {name: self._chance.choice(values) for name, values in choices.items() if self._chance.random() < 0.4}


def wrong(held: Mapping[Key, WorkOrder], state: State) -> dict[tuple[Key, str], object]:
    """Where Ditio's tasks are not what the ERP holds: (is, should be) of each field; and tasks that are missing, doubled or too many."""
    numbers = {project["id"]: project["projectNumber"] for project in state.projects.values()}
    tasks: dict[Key, list[Mapping[str, Any]]] = {key: [] for key in held}
    for task in state.tasks.values():
        tasks.setdefault((numbers[task["projectId"]], task["externalId"]), []).append(task)
    found: dict[tuple[Key, str], object] = {}
    for key, twins in tasks.items():
        if len(twins) > 1 or key not in held or (not twins and held[key].exists):
            found[key, "tasks"] = len(twins)
        elif twins:
            expected = _expected(key, held, state, {key: each[0]["id"] for key, each in tasks.items() if each})
            differ = {name: (twins[0][name], value) for name, value in expected.items() if not _same(twins[0][name], value)}
            found |= {(key, name): pair for name, pair in differ.items()}
    return found


def _expected(key: Key, held: Mapping[Key, WorkOrder], state: State, ids: Mapping[Key, str]) -> dict[str, Any]:
    """The fields of a task, by what the ERP holds of the work order. Of one that is gone only that it is inactive."""
    order, project = held[key], key[0]
    if not order.exists:
        return {"active": False}
    said = {"name": None, "estimatedHourQty": None, "workDescription": None, "finishedDate": None, "active": True} | order.values
    if said["finishedDate"]:
        said["finishedDate"] = {"2026-03-15": "2026-03-15T00:00:00Z"}.get(said["finishedDate"], "2026-10-25T00:30:00Z")
    foremen = {user["employeeNumber"]: user["identityId"] for user in state.users.values()}
    said["mainForemanId"] = foremen.get(said.pop("mainForeman", None) or "")
    said["parentActivityId"] = ids.get((project, said.pop("parent", None) or ""))
    naming = [each for (its, _), each in held.items() if its == project and each.values.get("parent") == key[1]]
    return said | ({"isParent": True} if any(each.exists for each in naming) else {})


def _same(one: object, other: object) -> bool:
    """Empty, never set and the default are one."""
    return (one or None) == (other or None)
