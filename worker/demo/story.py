"""The demo's story: what happened in an ERP, and how its events reach the broker: shuffled, doubled, some of them broken.

The ERP is played in the order of its times; what it holds in the end is what Ditio must show, however the events arrive.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from worker.core.message import Message

PROJECTS: Mapping[str, str] = {"P-2026-001": "E18 Bamble", "P-2026-002": "Bybanen Åsane", "P-2026-003": "Dobbeltspor Hamar"}
LATE_PROJECT = "P-2026-003"
FOREMEN: Mapping[str, str] = {"1042": "Kari Nordmann", "1077": "Øystein Ås"}
LATE_FOREMAN = "1077"

SOURCE = "/erp/demo"
BEGAN = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
WORK = ("Grunnarbeid", "Masseflytting", "Graving", "Sprengning", "Fundamentering", "Støttemur", "Kantstein", "Asfaltering")
WORK_ORDERS_EACH = 24
SEED = 2026

Value = str | float | bool | None


@dataclass(frozen=True)
class Story:
    """What is published, in that order; what each work order must be in Ditio; and how many letters of which reason there must be.

    `expected` is by project number and externalId; `parent` in it is the parent's externalId, `mainForeman` an employee number.
    """

    messages: Sequence[Message]
    expected: Mapping[tuple[str, str], Mapping[str, Value]]
    letters: Mapping[str, int]


@dataclass
class Erp:
    """Work orders as their owner knows them, and the event of each change."""

    work_orders: dict[tuple[str, str], dict[str, Value]] = field(default_factory=dict)
    changes: int = 0

    def created(self, project: str, external_id: str, **values: Value) -> Message:
        """A new work order."""
        self.work_orders[project, external_id] = {"active": True, **values}
        return self._event("created", project, external_id, values)

    def updated(self, project: str, external_id: str, **values: Value) -> Message:
        """Some fields have new values."""
        self.work_orders.setdefault((project, external_id), {"active": True}).update(values)
        return self._event("updated", project, external_id, values)

    def replaced(self, project: str, external_id: str, **values: Value) -> Message:
        """This is all there is; every other field is reset."""
        before = self.work_orders[project, external_id]
        self.work_orders[project, external_id] = {**dict.fromkeys(before), **values}
        return self._event("replaced", project, external_id, values)

    def deleted(self, project: str, external_id: str) -> Message:
        """The work order is gone: in Ditio it must end inactive. What else it has there depends on when the deletion comes to its turn."""
        self.work_orders[project, external_id] = {"active": False}
        return self._event("deleted", project, external_id, {})

    def _event(self, kind: str, project: str, external_id: str, values: Mapping[str, Value]) -> Message:
        self.changes += 1
        attributes = {
            "specversion": "1.0",
            "type": f"workorder.{kind}.v1",
            "source": SOURCE,
            "id": f"demo-{self.changes}",
            "time": (BEGAN + timedelta(minutes=self.changes)).isoformat(),
        }
        data = {"project": {"number": project}, "externalId": external_id, **values}
        return binary(attributes, data) if self.changes % 5 == 0 else structured(attributes, data)


def structured(attributes: Mapping[str, str], data: Mapping[str, object]) -> Message:
    """A CloudEvent whose attributes and data are in the body."""
    return message(json.dumps({**attributes, "data": data}, ensure_ascii=False).encode(), "application/cloudevents+json")


def binary(attributes: Mapping[str, str], data: Mapping[str, object]) -> Message:
    """A CloudEvent whose attributes are in the headers."""
    headers = {f"cloudEvents:{name}": value for name, value in attributes.items()}
    return message(json.dumps(data, ensure_ascii=False).encode(), "application/json", headers)


def message(body: bytes, content_type: str, headers: Mapping[str, object] | None = None) -> Message:
    """What is published to the exchange."""
    return Message(body, headers or {}, {"content_type": content_type}, routing_key="workorder.demo")


def tell(seed: int = SEED) -> Story:
    """The whole story: at least 200 messages, the same for the same seed."""
    chance, erp = random.Random(seed), Erp()
    published: list[Message] = []
    for project in PROJECTS:
        published += _project(erp, project, chance)
    published.append(erp.updated("P-2026-001", "WO-900", name="Rigg og drift", estimatedHourQty=40.0))
    for work_order in ("WO-901", "WO-902"):
        published.append(
            erp.created("P-2026-002", work_order, name=f"Betong {work_order}", mainForeman=LATE_FOREMAN, estimatedHourQty=16.0)
        )
    published.append(erp.replaced("P-2026-001", "WO-103", active=True, name="Graving, ny beskrivelse"))
    published.append(erp.deleted("P-2026-002", "WO-104"))
    published += [published[chance.randrange(len(published))] for _ in range(15)]
    return Story(_as_they_arrive(published, chance) + list(_broken()), erp.work_orders, {"invalid-event": 2, "rejected": 1})


def _project(erp: Erp, project: str, chance: random.Random) -> list[Message]:
    """A parent, its children and their changes; the children's events come before the parent's."""
    parent = erp.created(project, "WO-100", name=f"{PROJECTS[project]}, hovedarbeid", isParent=True, estimatedHourQty=5000.0)
    events: list[Message] = []
    for number in range(101, 100 + WORK_ORDERS_EACH):
        name = f"{chance.choice(WORK)} {number}"
        under: dict[str, Value] = {"parent": "WO-100"} if number % 3 == 0 else {}
        events.append(erp.created(project, f"WO-{number}", name=name, estimatedHourQty=float(chance.randrange(8, 800)), **under))
    for phase in ("fase 2", "fase 3"):
        for number in range(101, 100 + WORK_ORDERS_EACH):
            changed: dict[str, Value] = {"name": f"{chance.choice(WORK)} {number}, {phase}"}
            if chance.random() < 0.4:
                changed |= {"mainForeman": "1042", "finishedDatePlanned": f"2026-{chance.randrange(4, 12):02}-15"}
            events.append(erp.updated(project, f"WO-{number}", **changed))
    return [*events, parent]


def _as_they_arrive(published: list[Message], chance: random.Random) -> list[Message]:
    """Out of order by up to a few dozen places, as several publishers and retries make it."""
    places = sorted(range(len(published)), key=lambda place: place + chance.random() * 40)
    return [published[place] for place in places]


def _broken() -> Iterator[Message]:
    """What must end as a dead letter: no JSON, a wrong type, and a change that Ditio refuses."""
    erp = Erp({("P-2026-001", "WO-101"): {}}, changes=9_000)
    yield message(b'{"specversion": "1.0", "type": ', "application/cloudevents+json")
    yield erp.created("P-2026-001", "WO-990", name="Feil timetall", estimatedHourQty="abc")
    yield erp.updated("P-2026-001", "WO-101", parent="WO-101")  # under itself
