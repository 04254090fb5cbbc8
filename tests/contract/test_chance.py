"""Histories by chance, in a Ditio that behaves and fails by chance: each ends as its newest events say, whatever came when.

The chance is the same every time. What should stand is worked out from the events alone, in the order of their times.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.contract.test_matrix import BEHAVIOUR, TEMPLATE
from tests.support.site import Kind, Setting, Site, site
from worker.core.errors import Outage
from worker.core.message import Message
from worker.core.plan import Policy
from worker.sandbox.fields import defaults

HISTORIES = 80

VALUES: dict[str, tuple[Any, ...]] = {
    "name": ("a", "b", ""),
    "price": (0.0, 2.5, None),
    "workDescription": ("x", "y", None),
    "active": (True, False),
    "startDate": ("2026-03-15T00:00:00Z", None),
    "unitId": ("u1", "u2", None),
    "isParent": (True, False),
    "measureUnitQty": (True, False, None),
}
KINDS: tuple[Kind, ...] = ("created", "updated", "updated", "replaced", "deleted")

FAULTS: tuple[dict[str, Any], ...] = (
    {"drop": "after"},
    {"drop": "before"},
    {"drop": "after", "count": 2},
    {"status": 502},
    {"status": 429, "headers": {"Retry-After": "1"}},
    {"status": 401},
)
WRITES = ("task_create", "task_update", "task_replace")
READS = ("task_find", "task_get", "project_get", "*")


class Said(NamedTuple):
    """An event, and its place in the order of events."""

    place: tuple[float, int]
    kind: Kind
    data: dict[str, Any]
    message: Message


def history(here: Site, chance: random.Random) -> list[Said]:
    """Some events of one work order, of the last half minute."""
    said = []
    for number in range(chance.randint(1, 6)):
        kind, ago_s = chance.choice(KINDS), chance.choice((0, 10, 30))
        data = {name: chance.choice(values) for name, values in VALUES.items() if chance.random() < 0.4}
        data = {} if kind == "deleted" else {"active": True, **data} if kind == "replaced" else data
        said.append(Said((-ago_s, number), kind, data, here.event(kind, ago_s=ago_s, **data)))
    return said


def expected(said: list[Said], fresh: dict[str, Any], create_active: bool) -> dict[str, Any] | None:
    """The fields of the task in the end; None when it is gone or inactive. `fresh`: what a task has that nobody has said anything of."""
    owned = {name for each in said for name in each.data}
    values, exists = dict(fresh), True
    for each in sorted(said, key=lambda each: each.place):
        exists = each.kind != "deleted"
        if each.kind in ("replaced", "deleted"):
            values.update({name: defaults()[name] for name in owned} | ({"active": create_active} if "active" in owned else {}))
        values.update({"active": False} if not exists else each.data)
    stands = {name: defaults()[name] if value in (None, "") else value for name, value in values.items()}
    return stands if exists else None


@pytest.mark.parametrize("seed", range(HISTORIES))
async def test_a_history_ends_as_its_newest_events_say(seed: int) -> None:
    chance = random.Random(seed)
    options = {name: chance.choice(variants) for name, variants in BEHAVIOUR.items()}
    create_active, template = chance.random() < 0.7, chance.choice(({}, TEMPLATE))
    client_ids = options["client_ids"] == "keep" and chance.random() < 0.3
    async with site(Setting(Policy(create_active=create_active), client_ids=client_ids), **options) as here:
        # Given
        here.sandbox.state.templates[here.project_id()] = dict(template)
        said = history(here, chance)
        arriving = chance.sample(said, len(said)) + chance.choices(said, k=2)
        # When
        for each in arriving:
            if chance.random() < 0.5:
                fault = chance.choice((*FAULTS, {"late_s": 12.0, "delay_s": 0.001}))
                here.sandbox.faults.clear()
                here.fault(operation=chance.choice(WRITES if "late_s" in fault else WRITES + READS), **fault)
            await brought(here, msgspec.structs.replace(each.message, redelivered=chance.random() < 0.2))
            if chance.random() < 0.2:
                here.restart()
        here.sandbox.faults.clear()
        await here.settle()
        # Then
        stands = expected(said, {**defaults(), **template, "active": create_active}, create_active)
        task = here.task()
        if stands is None:
            assert not task.get("active")
        else:
            assert {name: defaults().get(name) if task[name] == "" else task[name] for name in stands} == stands


async def brought(here: Site, message: Message) -> None:
    """The event at its end; what an outage gives back comes again."""
    try:
        end = await here.bring(message)
    except Outage:
        here.sandbox.faults.clear()
        end = await here.bring(msgspec.structs.replace(message, redelivered=True))
    assert not end.letter
