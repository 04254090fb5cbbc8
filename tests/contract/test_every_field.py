"""Each field of the page: set, changed, cleared, never sent, reset, filled by a template, left to the planners.

Asserted on the complete object that Ditio ends with: what an event does not say must not move.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest

from tests.support.site import Setting, Site, site
from worker.core.field import FIELDS, REFERENCES
from worker.core.plan import Policy
from worker.core.tables import parse
from worker.sandbox.fields import FROM_TEMPLATE, defaults

OVER, BESIDE = "a" * 24, "b" * 24
"""The ids of two tasks that are there: what `parent` and `parentActivityId` may name."""

TABLES = """
[unit]
m3 = "64f0a1b2c3d4e5f6a7b8c9d0"
t = "64f0a1b2c3d4e5f6a7b8c9d1"
[status]
O = {workDescriptionShort = "open", startDate = 2026-03-15}
C = {workDescriptionShort = "closed", startDate = "event-time"}
"""


class Field(NamedTuple):
    """What an event may give, twice, and what Ditio then holds; `cleared` is Ditio's default, `sets` the task's field."""

    sets: str
    first: tuple[object, object]
    second: tuple[object, object]
    cleared: object = None


def _text(name: str) -> Field:
    return Field(name, ("Støp æøå 🏗", "Støp æøå 🏗"), (" med  blanke ", " med  blanke "))


def _id(name: str) -> Field:
    return Field(name, ("auth0|abc", "auth0|abc"), ("5e0000000000000000000009", "5e0000000000000000000009"))


def _number(name: str) -> Field:
    return Field(name, (7, 7.0), (-0.25, -0.25), 0.0)


def _flag(name: str) -> Field:
    return Field(name, (True, True), (False, False), cleared=False)


def _date(name: str) -> Field:
    day, moment = ("2026-09-14T00:00:00+02:00", "2026-09-14T00:00:00Z"), ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00Z")
    return Field(name, day, moment)


GIVEN: Mapping[str, Field] = {
    "name": _text("name"),
    "active": Field("active", (False, False), (True, True)),
    "externalProjectNumber": _text("externalProjectNumber"),
    "externalProjectName": _text("externalProjectName"),
    "externalDim01": _text("externalDim01"),
    "workDescriptionShort": _text("workDescriptionShort"),
    "workDescription": _text("workDescription"),
    "startDate": _date("startDate"),
    "finishedDatePlanned": _date("finishedDatePlanned"),
    "finishedDate": _date("finishedDate"),
    "estimatedHourQty": _number("estimatedHourQty"),
    "fixedResourcePrice": _number("fixedResourcePrice"),
    "unitId": _id("unitId"),
    "costPrice": _number("costPrice"),
    "price": _number("price"),
    "measureUnitQty": _flag("measureUnitQty"),
    "parentActivityId": Field("parentActivityId", (OVER, OVER), (BESIDE, BESIDE)),
    "chapterId": _text("chapterId"),
    "mainForemanId": _id("mainForemanId"),
    "taskLeaderId": _id("taskLeaderId"),
    "taskLocationLatitude": _number("taskLocationLatitude"),
    "taskLocationLongitude": _number("taskLocationLongitude"),
    "safeJobAnalysisApprovalRequired": _flag("safeJobAnalysisApprovalRequired"),
    "safeJobAnalysisUserPromptText": _text("safeJobAnalysisUserPromptText"),
    "isParent": _flag("isParent"),
    "parent": Field("parentActivityId", ("OVER", OVER), ("BESIDE", BESIDE)),
    "mainForeman": Field("mainForemanId", ("7", "auth0|7"), ("8", "auth0|8")),
    "taskLeader": Field("taskLeaderId", ("8", "auth0|8"), ("7", "auth0|7")),
    "unit": Field("unitId", ("m3", "64f0a1b2c3d4e5f6a7b8c9d0"), ("t", "64f0a1b2c3d4e5f6a7b8c9d1")),
}
"""Everything that an event may give, but for `status`, which may set several fields."""

NEVER_NULL = {"active", "isParent"}
INHERITED = {name for name, field in GIVEN.items() if field.sets in FROM_TEMPLATE}

each_field = pytest.mark.parametrize("name", GIVEN)


@asynccontextmanager
async def ditio(policy: Policy = Policy(), /, **template: object) -> AsyncIterator[Site]:
    """A site with two tasks and two people to refer to."""
    async with site(Setting(policy, parse(TABLES))) as here:
        if template:
            here.sandbox.state.templates[here.project_id()] = template
        for number in "78":
            here.put("users", employeeNumber=number, identityId=f"auth0|{number}")
        for external_id, task_id in (("OVER", OVER), ("BESIDE", BESIDE)):
            here.put("tasks", externalId=external_id, projectId=here.project_id(), id=task_id)
        yield here


def made(here: Site, **values: object) -> dict[str, Any]:
    """A task of which an event has said these values, and no template anything."""
    task = here.task()
    home = {"companyId": here.company_id, "projectId": here.project_id(), "externalId": "WO-1", "id": task.get("id")}
    return {**defaults(), "active": True, **home, **values}


def filled(here: Site, name: str = "") -> dict[str, Any]:
    """A task that holds something in every field (in that of `name` its first value), put there by somebody else."""
    values = {field.sets: field.first[1] for field in (*GIVEN.values(), *([GIVEN[name]] if name else []))}
    return here.put("tasks", externalId="WO-1", projectId=here.project_id(), textRequired=True, **values)


def test_every_field_of_the_page_is_here() -> None:
    assert GIVEN.keys() == {*FIELDS, *REFERENCES}
    assert GIVEN.keys() - INHERITED >= {"name", "chapterId", "startDate", "parent", "estimatedHourQty"}


@each_field
async def test_a_field_is_set_changed_cleared_and_set_again(name: str) -> None:
    field = GIVEN[name]
    async with ditio() as here:
        # Given a work order that nobody has said the field of
        await here.send("created")
        assert here.task() == made(here)
        # Then each event moves this field, and no other
        for given, stored in (field.first, field.second):
            await here.send("updated", **{name: given})
            assert here.task() == made(here, **{field.sets: stored})
        end = await here.send("updated", **{name: None})
        cleared = field.second[1] if name in NEVER_NULL else field.cleared
        assert here.task() == made(here, **{field.sets: cleared})
        assert end.reason == ("invalid-event" if name in NEVER_NULL else "")
        await here.send("updated", **{name: field.first[0]})
        assert here.task() == made(here, **{field.sets: field.first[1]})


@each_field
async def test_a_field_that_is_given_at_creation_stands_there(name: str) -> None:
    field = GIVEN[name]
    async with ditio() as here:
        assert (await here.send("created", **{name: field.first[0]})).outcomes == ["applied"]
        assert here.task() == made(here, **{field.sets: field.first[1]})
        assert here.bodies("task_create") == [sent_home(here) | {"active": True, field.sets: field.first[1]}]


def sent_home(here: Site) -> dict[str, Any]:
    """What every creation says."""
    return {"companyId": here.company_id, "projectId": here.project_id(), "externalId": "WO-1"}


@each_field
async def test_of_an_adopted_task_only_the_field_that_is_said_is_changed_and_cleared(name: str) -> None:
    field = GIVEN[name]
    async with ditio() as here:
        # Given a task with something in every field, which no event has ever said
        before = filled(here, name)
        # Then an event that says what stands there sends nothing
        assert (await here.send("updated", **{name: field.first[0]})).outcomes == ["unchanged"]
        assert here.task() == before
        # And what is changed or cleared is that field alone
        await here.send("updated", **{name: field.second[0]})
        assert here.task() == before | {field.sets: field.second[1]}
        assert here.bodies("task_update") == [{field.sets: field.second[1]}]
        if name not in NEVER_NULL:
            await here.send("updated", **{name: None})
            assert here.task() == before | {field.sets: field.cleared}


@each_field
async def test_a_replaced_event_resets_the_field_that_it_leaves_out_and_keeps_what_nobody_said(name: str) -> None:
    field = GIVEN[name]
    async with ditio() as here:
        # Given an adopted task, and this field said by an event
        before = filled(here)
        await here.send("updated", **{name: field.second[0]})
        # When
        await here.send("replaced", active=True)
        # Then
        reset = True if name == "active" else field.cleared
        assert here.task() == before | {"active": True, field.sets: reset}
        # And an older event that comes late changes nothing, a newer one does
        await here.send("updated", ago_s=60, **{name: field.first[0]})
        assert here.task() == before | {"active": True, field.sets: reset}
        await here.send("updated", **{name: field.first[0]})
        assert here.task() == before | {"active": True, field.sets: field.first[1]}


async def test_a_replaced_event_resets_everything_that_was_ever_said_and_sets_what_it_says() -> None:
    async with ditio() as here:
        await here.send("created", **{name: field.first[0] for name, field in GIVEN.items() if name not in REFERENCES})
        assert here.task() == made(here, **{field.sets: GIVEN[field.sets].first[1] for field in GIVEN.values()})
        await here.send("replaced", active=False, name="Ny", parent="BESIDE")
        assert here.task() == made(here, active=False, name="Ny", parentActivityId=BESIDE)


async def test_a_status_sets_its_fields_and_cannot_be_cleared() -> None:
    async with ditio() as here:
        await here.send("created", status="O")
        opened = made(here, workDescriptionShort="open", startDate="2026-03-15T00:00:00Z")
        assert here.task() == opened
        await here.send("updated", status="C")
        closed = opened | {"workDescriptionShort": "closed", "startDate": "2027-01-15T08:00:00Z"}
        assert here.task() == closed
        for status, reason in ((None, "invalid-event"), ("X", "unresolved-status")):
            assert (await here.send("updated", status=status)).reason == reason
            assert here.task() == closed
        await here.send("replaced", active=True)
        assert here.task() == made(here)


# --- templates

TEMPLATE: Mapping[str, object] = {
    "safeJobAnalysisApprovalRequired": True, "safeJobAnalysisUserPromptText": "fra malen", "unitId": "mal", "measureUnitQty": True,
    "costPrice": 720.0, "price": 950.0, "fixedResourcePrice": 5.0, "textRequired": True, "externalDim02": "mal",
}  # fmt: skip
NO_SETTINGS = {
    "name": "aldri",
    "chapterId": "aldri",
    "startDate": "2020-01-01T00:00:00Z",
    "parentActivityId": OVER,
    "estimatedHourQty": 9.0,
}
"""What a template cannot give, whatever it holds: identity, dates, quantities, the parent."""


@pytest.mark.parametrize("name", sorted(INHERITED))
async def test_what_the_template_fills_is_changed_only_by_an_event_that_sets_it(name: str) -> None:
    field = GIVEN[name]
    async with ditio(**TEMPLATE, **NO_SETTINGS) as here:
        # Given a creation that leaves it out: it is left out of the POST, and comes from the template
        await here.send("created", name="Grunnarbeid")
        inherited = made(here, name="Grunnarbeid", **TEMPLATE)
        assert here.bodies("task_create") == [sent_home(here) | {"active": True, "name": "Grunnarbeid"}]
        assert here.task() == inherited
        # When others are set, cleared, or all is replaced that an event has said
        await here.send("updated", workDescription="x", startDate="2026-03-15")
        await here.send("updated", startDate=None)
        await here.send("replaced", active=True)
        # Then it stands
        assert here.task() == inherited | {"name": None}
        # And an event that sets it, and one that clears it, are obeyed
        for given, stored in (field.first, (None, field.cleared)):
            await here.send("updated", **{name: given})
            assert here.task() == inherited | {"name": None, field.sets: stored}


@pytest.mark.parametrize("name", sorted(INHERITED))
@pytest.mark.parametrize("kind", ["created", "updated", "replaced"])
async def test_what_an_event_gives_or_clears_at_creation_wins_over_the_template(kind: Any, name: str) -> None:
    field = GIVEN[name]
    for given, stored in (field.first, field.second, (None, field.cleared)):
        async with ditio(**TEMPLATE) as here:
            await here.send(kind, active=True, **{name: given})
            assert here.task() == made(here, **{**TEMPLATE, field.sets: stored})


async def test_all_that_the_template_would_fill_is_cleared_at_creation_with_one_more_call() -> None:
    async with ditio(**TEMPLATE) as here:
        end = await here.send("created", **dict.fromkeys(INHERITED - {"unit"}))
        assert here.task() == made(here, textRequired=True, externalDim02="mal")
        assert end.conclusion is not None
        assert end.conclusion.calls == ("task_create", "task_replace")


# --- settings of creation


@pytest.mark.parametrize("create_active", [True, False])
async def test_a_new_task_is_active_as_the_setting_says_unless_the_event_says_otherwise(create_active: bool) -> None:
    async with ditio(Policy(create_active=create_active)) as here:
        await here.send("created")
        assert here.task() == made(here, active=create_active)
        await here.send("created", "WO-2", active=not create_active)
        assert here.task("WO-2")["active"] is not create_active
        # And a task that is there already is left as it is
        here.put("tasks", externalId="WO-3", projectId=here.project_id(), active=not create_active)
        await here.send("created", "WO-3", name="x")
        assert here.task("WO-3")["active"] is not create_active


@pytest.mark.parametrize("name", [name for name in GIVEN if name not in REFERENCES])
async def test_a_create_only_field_is_sent_at_creation_and_never_again(name: str) -> None:
    field = GIVEN[name]
    async with ditio(Policy(create_only=frozenset({name}))) as here:
        # Given
        await here.send("created", **{name: field.first[0]})
        assert here.task() == made(here, **{name: field.first[1]})
        # When Ditio's planners change it
        here.sandbox.state.put(here.task() | {name: field.second[1]})
        planned = here.task()
        # Then no event touches it: not with a value, not with a PATCH or a PUT for another field, not by replacing all
        await here.send("updated", **{name: field.first[0]})
        assert here.task() == planned
        other = "workDescription" if name != "workDescription" else "name"
        for given in ("x", None):
            await here.send("updated", **{name: field.first[0], other: given})
            assert here.task() == planned | {other: given}
        await here.send("replaced", **{"active": True, other: "y"})
        assert here.task() == planned | {"active": field.second[1] if name == "active" else True, other: "y"}


@pytest.mark.parametrize("name", sorted(INHERITED))
async def test_a_create_only_field_that_is_cleared_at_creation_is_reset_once_over_the_template_and_then_left(name: str) -> None:
    field = GIVEN[name]
    async with ditio(Policy(create_only=frozenset({field.sets})), **TEMPLATE) as here:
        # Given a creation that clears what the template fills
        await here.send("created", **{name: None})
        assert here.task() == made(here, **{**TEMPLATE, field.sets: field.cleared})
        # When Ditio's planners set it
        here.sandbox.state.put(here.task() | {field.sets: field.second[1]})
        planned = here.task()
        # Then nothing clears it again
        await here.send("updated", **{name: None})
        assert here.task() == planned
        await here.send("replaced", **{"active": True, name: None})
        assert here.task() == planned


async def test_a_create_only_field_of_a_task_that_is_there_is_left_to_the_planners() -> None:
    async with ditio(Policy(create_only=frozenset({"name"}))) as here:
        before = filled(here)
        await here.send("created", name="fra ERP", price=1)
        assert here.task() == before | {"price": 1.0}
