"""Whatever Ditio does where its documentation is silent, a work order ends the same.

Every variant of each behaviour, alone and in pairs, with every kind of event, for a task that is unknown, known or adopted. What the
task should be is computed here from the page's rules (template, defaults, who owns a field), not by the worker's own planning.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import combinations, product
from typing import Any

import pytest

from tests.support.site import Kind, Setting, Site, site
from worker.core.plan import Policy
from worker.sandbox import Options
from worker.sandbox.fields import defaults

Variant = dict[str, Any]

NO_BEHAVIOUR = frozenset({"company_id", "client_id", "client_secret", "scope", "token_s", "latency_s", "clock_ahead_s"})
"""Options that say who is let in and how fast, not how Ditio treats a work order."""

BEHAVIOUR: Mapping[str, tuple[Any, ...]] = {
    each.name: each.metadata["allowed"] or (0.0, 25.0)
    for each in fields(Options)
    if each.name not in NO_BEHAVIOUR
}  # fmt: skip
"""Each option of the sandbox with all its variants. `lag_s` is longer than a wait step, and shorter than the doubt."""

FACTORS: Mapping[str, tuple[Any, ...]] = {
    **BEHAVIOUR,
    "identified_by": ("number", "externalNumber", "id"),
    "key": ("WO", "Å 7/%2F#?&", ".", "🏗"),
    "derived_ids": (False, True),
}
"""The behaviour, and how the ERP and the worker go about it. The first variant of each is the default, but for `external_number`."""

DEFAULT: Variant = {name: getattr(Options(), name, variants[0]) for name, variants in FACTORS.items()}
TEMPLATE = {"price": 950.0, "costPrice": 720.0, "textRequired": True, "externalDim02": "mal"}
STANDS = {
    "name": "Fra Ditio",
    "chapterId": "K1",
    "workDescription": "gammel",
    "costPrice": 3.0,
    "summationType": "sum",
    "active": True,
}
"""What the task of a work order that the worker does not know holds; nobody but Ditio's users has said it."""


def alone() -> Iterator[Variant]:
    """The default, and every other variant of each factor with everything else as by default."""
    yield DEFAULT
    for name, variants in FACTORS.items():
        yield from ({**DEFAULT, name: variant} for variant in variants if variant != DEFAULT[name])


def pairs() -> Iterator[Variant]:
    """Rows that together hold every pair of variants: greedily, from chance that is the same every time."""
    chance = random.Random(3)
    names = list(FACTORS)
    missing = {
        ((a, va), (b, vb)) for a, b in combinations(names, 2) for va, vb in product(FACTORS[a], FACTORS[b])
    }  # fmt: skip
    while missing:
        seed = min(missing, key=repr)
        row: Variant = dict(seed)
        for name in chance.sample([each for each in names if each not in row], len(names) - 2):
            gains = {variant: len(_held({**row, name: variant}) & missing) for variant in FACTORS[name]}
            best = max(gains.values())
            row[name] = chance.choice([variant for variant, gain in gains.items() if gain == best])
        missing -= _held(row)
        yield {name: row[name] for name in names}


def _held(row: Variant) -> set[tuple[tuple[str, Any], tuple[str, Any]]]:
    return set(combinations([(name, row[name]) for name in FACTORS if name in row], 2))


ROWS = [*alone(), *pairs()]


def _named(row: Variant) -> str:
    return (
        "-".join(f"{name}={value}" for name, value in row.items() if value != DEFAULT[name]).encode("ascii", "replace").decode()
        or "default"
    )


def test_every_pair_of_variants_is_in_a_row() -> None:
    held = set[tuple[tuple[str, Any], tuple[str, Any]]]().union(*map(_held, ROWS))
    sizes = [len(variants) for variants in FACTORS.values()]
    assert len(held) == sum(a * b for a, b in combinations(sizes, 2))
    assert len(ROWS) < 90


@pytest.mark.parametrize("row", ROWS, ids=_named)
async def test_the_final_task_is_the_same_in_every_variant(row: Variant) -> None:
    for on_delete in ("deactivate", "delete"):
        setting = Setting(
            Policy(on_delete=on_delete),
            person_id=row["person_id"] if row["person_id"] != "any" else "identityId",
            # No setting for a Ditio that ignores ids, and lets twins be besides.
            client_ids=row["derived_ids"] and (row["client_ids"], row["duplicate"]) != ("ignore", "allow"),
        )
        async with site(setting, **{name: row[name] for name in BEHAVIOUR}) as here:
            here.sandbox.state.templates[here.project_id()] = dict(TEMPLATE)
            here.sandbox.state.put(stored(here, "OVER", id="0" * 23 + "a", isParent=True))
            for number, (known, kind, blocked) in enumerate(product(KNOWN, KINDS, (False, True))):
                if on_delete == "delete" and kind != "deleted":
                    continue
                if blocked and (on_delete, kind) != ("delete", "deleted"):
                    continue
                await Story(here, row, number, known, kind).happens(blocked=blocked, on_delete=on_delete)


KNOWN = ("unknown", "known", "adopted")
KINDS: tuple[Kind, ...] = ("created", "updated", "replaced", "deleted")


def stored(here: Site, external_id: str, **values: object) -> dict[str, Any]:
    """A task as it stands in Ditio."""
    home = {"companyId": here.company_id, "projectId": here.project_id(), "externalId": external_id}
    return {**defaults(), **home, "id": here.sandbox.state.new_id(), **values}


class Story:
    """One work order of a site: what was before, an event, and what should be then."""

    def __init__(self, here: Site, row: Variant, number: int, known: str, kind: Kind) -> None:
        self.here, self.known, self.kind = here, known, kind
        self.key = row["key"] if row["key"] == "." and number == 0 else f"{row['key']}{number}"
        project = here.sandbox.state.projects[here.project_id()]
        numbers = {"number": project["projectNumber"], "externalNumber": project["externalProjectNumber"], "id": project["id"]}
        self.by_external_number = row["identified_by"] == "externalNumber"
        self.project = {row["identified_by"]: numbers[row["identified_by"]]}
        person = here.sandbox.state.users["1042"]
        self.person_id = person["companyProfileId" if row["person_id"] == "companyProfileId" else "identityId"]
        self.expected: dict[str, Any] = {}

    async def happens(self, *, blocked: bool, on_delete: str) -> None:
        """Given … When … Then …"""
        await self.given()
        if blocked and self.expected:
            self.here.sandbox.state.hours[self.here.task(self.key)["id"]] = 1
        await self.when()
        await self.here.settle()
        then = self.here.task(self.key)
        gone = self.kind == "deleted" and on_delete == "delete" and not blocked
        assert seen(then) == ({} if gone else self.expected), (self.known, self.kind, on_delete, "blocked" if blocked else "")

    async def given(self) -> None:
        """What stands before: nothing, what the worker made of an earlier event, or what somebody else made."""
        if self.known == "known":
            await self.send("created", name="Først", workDescription="lang", estimatedHourQty=5, active=True)
            self.expected = self.made(name="Først", workDescription="lang", estimatedHourQty=5.0)
        elif self.known == "adopted":
            task = stored(self.here, self.key, **STANDS)
            self.here.sandbox.state.put(task)
            self.expected = seen(task)

    async def when(self) -> None:
        """The event, and what it makes of the task."""
        if self.kind == "deleted":
            await self.send("deleted")
            self.expected = {**self.expected, "active": False} if self.expected else {}
            return
        given = {
            "name": "Ny æøå", "active": True, "startDate": "2026-10-25T00:00:00+02:00", "finishedDate": "2026-10-25T02:30:00+01:00",
            "price": 0, "workDescription": "", "externalDim01": None, "parent": "OVER", "mainForeman": "1042",
            "measureUnitQty": True,
        }  # fmt: skip
        await self.send(self.kind, **given)
        said = {
            "name": "Ny æøå", "active": True, "startDate": "2026-10-25T00:00:00Z", "finishedDate": "2026-10-25T01:30:00Z",
            "price": 0.0, "workDescription": None, "externalDim01": None, "parentActivityId": "0" * 23 + "a",
            "mainForemanId": self.person_id, "measureUnitQty": True,
        }  # fmt: skip
        before = self.expected or self.made()
        reset = {"estimatedHourQty": 0.0} if (self.kind, self.known) == ("replaced", "known") else {}
        self.expected = {**before, **reset, **said, **self.number_said()}

    async def send(self, kind: Kind, **data: object) -> None:
        end = await self.here.send(kind, self.key, project=self.project, **data)
        assert end.outcome in ("applied", "unchanged"), end

    def made(self, **values: object) -> dict[str, Any]:
        """A task that was made of an event: what the event leaves out comes from the template, else it is Ditio's default."""
        home = {"companyId": self.here.company_id, "projectId": self.here.project_id(), "externalId": self.key}
        return {**defaults(), **TEMPLATE, "active": True, **home, **values, **self.number_said()}

    def number_said(self) -> dict[str, Any]:
        """An event that names its project by external number says that number of the task too."""
        return {"externalProjectNumber": "4711"} if self.by_external_number else {}


def seen(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task without its id, which is Ditio's to choose; an empty text is no text."""
    return {name: None if value == "" else value for name, value in task.items() if name != "id"}
