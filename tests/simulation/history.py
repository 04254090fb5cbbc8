"""What happens in one history, all of it decided by its seed: events of an ERP, when they are published, and what goes wrong meanwhile."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

Value = str | float | bool | None

BEGAN = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
PROJECTS = ("P-1", "P-2")
FOREMEN = ("1042", "1077")
LATE_PROJECT, LATE_FOREMAN = "P-2", "1077"
SPAN_S = 120.0
"""Within so many seconds all events are published and all faults begin."""

FIELDS: dict[str, tuple[Value, ...]] = {
    "name": ("Graving", "Støp", "Sprengning"),
    "active": (True, False),
    "price": (0.0, 7.5, 100.0, None),
    "workDescription": ("langs veien", "", None),
    "startDate": ("2026-03-15", "2026-10-25", None),
    "safeJobAnalysisApprovalRequired": (True, False, None),
}


@dataclass(frozen=True)
class ErpEvent:
    """An event as the ERP means it: `time` counts the ERP's own steps, `at` is when it is published (also more than once)."""

    id: str
    kind: str
    project: str
    external_id: str
    time: int
    sequence: str | None
    data: dict[str, Value]
    at: tuple[float, ...]

    def body(self) -> bytes:
        """The CloudEvent."""
        event: dict[str, Any] = {
            "specversion": "1.0",
            "type": f"workorder.{self.kind}.v1",
            "source": "/erp",
            "id": self.id,
            "time": (BEGAN + timedelta(seconds=self.time)).isoformat(),
            "data": {"project": {"number": self.project}, "externalId": self.external_id, **self.data},
        }
        if self.sequence is not None:
            event["sequence"] = self.sequence
        return json.dumps(event).encode()

    def told(self) -> str:
        """The event in words."""
        what = ", ".join(f"{name}={value!r}" for name, value in self.data.items())
        sequence = f" sequence {self.sequence}" if self.sequence else ""
        return f"{self.kind} {self.project}/{self.external_id} (time {self.time}{sequence}) {what}"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, at `at` seconds.

    `kind`: `api` (a fault of the sandbox, by its script), `crash` (at the `count`-th step from then on), `stop` (SIGTERM, then a
    start), `broker` (the connections break), `ledger` (the next `count` commits fail), `tokens` (all are worthless), `replay` (an
    operator replays all letters).
    """

    at: float
    kind: str
    count: int = 1
    script: dict[str, Any] = field(default_factory=dict)

    def told(self) -> str:
        """The fault in words."""
        script = ", ".join(f"{name}={value!r}" for name, value in self.script.items())
        return f"{self.kind} {script}" if script else f"{self.kind} ×{self.count}"


@dataclass(frozen=True)
class History:
    """Everything that a run needs to know. `existing`: work orders that Ditio has already, with a planner's own fields."""

    seed: int
    events: tuple[ErpEvent, ...]
    faults: tuple[Fault, ...]
    on_delete: str = "deactivate"
    client_ids: bool = False
    duplicate: str = "400"
    key_case: str = "exact"
    template: bool = False
    existing: tuple[tuple[str, str], ...] = ()
    latency_s: float = 0.02

    def without(self, *, event: int | None = None, fault: int | None = None) -> History:
        """The same with one thing less."""
        return replace(
            self,
            events=tuple(each for place, each in enumerate(self.events) if place != event),
            faults=tuple(each for place, each in enumerate(self.faults) if place != fault),
        )

    def publishing(self, event: int, at: tuple[float, ...]) -> History:
        """The same with one event published at other times."""
        events = list(self.events)
        events[event] = replace(events[event], at=at)
        return replace(self, events=tuple(events))


def history(seed: int) -> History:
    """The history of a seed."""
    chance = random.Random(seed)
    names = [f"WO-{number}" for number in range(chance.randint(1, 6))]
    if chance.random() < 0.2:
        names.append(names[0].lower())  # another work order, whatever a look-up that ignores the case says
    orders = [(chance.choice(PROJECTS), name) for name in names]
    count = chance.randint(5, 45)
    events = tuple(_event(chance, number, orders) for number in range(count))
    kinds = _temperament(chance)
    many = chance.choice((0, 4, 8, 20)) if kinds else 0
    faults = tuple(sorted((_fault(chance, kinds) for _ in range(many)), key=lambda each: each.at))
    return History(
        seed,
        events,
        faults,
        on_delete=chance.choice(("deactivate", "deactivate", "delete")),
        client_ids=chance.random() < 0.2,
        duplicate=chance.choice(("400", "409", "allow")),
        key_case=chance.choice(("exact", "ignore")),
        template=chance.random() < 0.4,
        existing=tuple(order for order in orders if chance.random() < 0.3),
        latency_s=chance.choice((0.001, 0.02, 0.5)),
    )


def _event(chance: random.Random, number: int, orders: list[tuple[str, str]]) -> ErpEvent:
    place = chance.randrange(len(orders))
    project, external_id = orders[place]
    kind = chance.choices(("updated", "created", "replaced", "deleted"), (60, 15, 15, 10))[0]
    data: dict[str, Value] = {}
    if kind != "deleted":
        data = {name: chance.choice(values) for name, values in FIELDS.items() if chance.random() < 0.4}
        if kind == "replaced":
            data.setdefault("active", chance.random() < 0.8)
        # A parent comes before its children in the ERP's list, so that none lies under itself.
        above = [name for where, name in orders[:place] if where == project]
        if above and chance.random() < 0.25:
            data["parent"] = chance.choice([*above, None])
        if chance.random() < 0.15:
            data["mainForeman"] = chance.choice([*FOREMEN, None])
    time = max(0, number + chance.choice((0, 0, 0, -1, -5, -15)))
    at = [chance.uniform(0, SPAN_S)] if chance.random() < 0.5 else [number * 0.05]
    while chance.random() < 0.2:
        at.append(chance.uniform(0, SPAN_S * 1.5))
    sequence = chance.choice((None, None, "1", "2", "10"))
    return ErpEvent(f"e-{number}", kind, project, external_id, time, sequence, data, tuple(sorted(at)))


def _temperament(chance: random.Random) -> tuple[str, ...]:
    """Which kinds of faults a history has: all of them at once would hide what one alone does."""
    kinds = ("api", "crash", "stop", "broker", "ledger", "tokens", "replay")
    return tuple(kind for kind in kinds if chance.random() < 0.35)


def _fault(chance: random.Random, kinds: tuple[str, ...]) -> Fault:
    kind, at = chance.choice(kinds), chance.uniform(0, SPAN_S)
    if kind != "api":
        return Fault(at, kind, chance.randint(1, 12))
    operation = chance.choice(
        ("task_create", "task_update", "task_replace", "task_delete", "task_find", "task_list", "task_get", "*")
    )
    script: dict[str, Any] = {"operation": operation, "count": chance.choice((1, 1, 2, 5)), "skip": chance.choice((0, 0, 1, 3))}
    if chance.random() < 0.3:
        script |= {"operation": "task_create", "skip": 0}  # where a mistake makes twins
    script |= chance.choice(
        (
            {"status": 500},
            {"status": 503},
            {"status": 429, "headers": {"Retry-After": "2"}},
            {"status": 429},
            {"status": 404},
            {"status": 401},
            {"drop": "before"},
            {"drop": "after"},
            {"late_s": chance.uniform(1, 30)},
            {"delay_s": chance.uniform(0, 20)},
            {"lag_s": chance.uniform(1, 30)},
        )
    )
    return Fault(at, kind, 1, script)
