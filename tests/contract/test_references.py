"""People, units and statuses: found, or kept back alone while the rest of the event is applied."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.site import WAITS, Setting, site
from worker.core.tables import Tables, parse

KINDS = ("identityId", "companyProfileId")
TABLES = parse('[unit]\nm3 = "u3"\n[status]\nO = {active = true}\nC = {active = false, finishedDate = "event-time"}')


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["mainForeman", "taskLeader"])
async def test_a_person_is_sent_by_the_id_that_the_setting_says(field: str, kind: str) -> None:
    async with site(Setting(person_id=kind), person_id=kind) as here:
        people = here.sandbox.state.users
        for number in ("1042", "1077"):
            assert (await here.send("updated", **{field: number})).outcomes == ["applied"]
            assert here.task()[f"{field}Id"] == people[number][kind]


async def test_the_wrong_kind_of_id_is_refused_by_ditio_and_the_letter_shows_its_answer() -> None:
    async with site(Setting(person_id="identityId"), person_id="companyProfileId") as here:
        await here.send("created", name="x")
        end = await here.send("updated", mainForeman="1042")
        assert (end.reason, end.letter["failure-status"]) == ("rejected", 400)
        assert "mainForemanId" in str(end.letter["failure-response"])


@pytest.mark.parametrize("kind", ["created", "updated", "replaced"])
@pytest.mark.parametrize("known", [False, True])
async def test_a_person_who_is_not_there_keeps_back_only_itself_until_the_person_is_there(kind: Any, known: bool) -> None:
    async with site() as here:
        if known:
            await here.send("created", name="før", taskLeader="1077")
        message = here.event(kind, name="x", active=True, mainForeman="2000", taskLeader="1042")
        # When
        end = await here.bring(message, times=1)
        # Then
        leader = here.sandbox.state.users["1042"]["identityId"]
        assert end.outcomes == ["waiting"]
        assert (here.task()["name"], here.task()["mainForemanId"], here.task()["taskLeaderId"]) == ("x", None, leader)
        # And when the person is there
        here.put("users", employeeNumber="2000", identityId="auth0|2000")
        await here.pass_time(max(WAITS))
        assert (await here.bring(message)).outcomes == ["applied"]
        assert (here.task()["name"], here.task()["mainForemanId"], here.task()["taskLeaderId"]) == ("x", "auth0|2000", leader)


async def test_a_person_who_never_comes_is_a_letter_that_names_the_field_and_a_newer_person_ends_the_waiting() -> None:
    async with site() as here:
        end = await here.send("created", name="x", mainForeman="2000")
        assert (end.reason, end.letter["failure-field"]) == ("unresolved-person", "data.mainForeman")
        assert '"2000"' in end.detail
        assert here.task()["name"] == "x"
        # And one that waits gives way to what is newer
        waiting = here.event("updated", mainForeman="2000")
        assert (await here.bring(waiting, times=1)).outcomes == ["waiting"]
        await here.send("updated", mainForeman="1042")
        assert (await here.bring(waiting)).outcome == "superseded"
        assert here.task()["mainForemanId"] == here.sandbox.state.users["1042"]["identityId"]


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [({"unit": "M3"}, "unresolved-unit", "data.unit"), ({"status": "X"}, "unresolved-status", "data.status")],
)
@pytest.mark.parametrize("kind", ["created", "updated", "replaced"])
async def test_a_code_that_is_in_no_table_is_a_letter_at_once_and_applied_when_the_table_has_it(
    kind: Any, given: dict[str, Any], reason: str, field: str
) -> None:
    async with site(Setting(tables=TABLES)) as here:
        # Given
        active: dict[str, Any] = {} if "status" in given else {"active": True}
        await here.send("created", name="før", unit="m3", price=5)
        message = here.event(kind, name="x", **active, **given)
        # When
        end = await here.bring(message)
        # Then all but the code is applied; a replaced event resets what it could not set
        assert (end.outcomes, end.reason, end.letter["failure-field"]) == (["dead"], reason, field)
        replaced = kind == "replaced"
        stands = (here.task()["name"], here.task()["unitId"], here.task()["price"], here.task()["active"])
        assert stands == ("x", None if replaced else "u3", 0.0 if replaced else 5.0, True)
        # And the same event once the table has it
        tables = Tables({**TABLES.unit, "M3": "u9"}, {**TABLES.status, "X": {"active": False, "externalDim01": "X"}})
        here.restart(Setting(tables=tables))
        assert (await here.bring(message)).outcomes == ["applied"]
        expected = ("u9", None, True) if "unit" in given else (None if replaced else "u3", "X", False)
        assert (here.task()["unitId"], here.task()["externalDim01"], here.task()["active"]) == expected


async def test_a_code_and_a_person_that_are_unknown_keep_back_themselves_only() -> None:
    async with site(Setting(tables=TABLES)) as here:
        end = await here.send("created", name="x", unit="?", mainForeman="2000", taskLeader="1042", status="C")
        assert (end.outcomes, end.reason) == (["dead"], "unresolved-unit")
        task = here.task()
        assert (task["name"], task["unitId"], task["mainForemanId"], task["active"]) == ("x", None, None, False)
        assert task["taskLeaderId"] == here.sandbox.state.users["1042"]["identityId"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-03-30", "2026-10-26"])
@pytest.mark.parametrize("dates", ["zulu", "plain", "millis", "offset"])
async def test_a_day_stays_that_day_around_both_clock_changes_however_it_is_given_and_shown(day: str, dates: str) -> None:
    """A day, its midnight by the clock in Norway, and that same instant in UTC."""
    summer = day in ("2026-10-25", "2026-03-30")
    midnight = f"{day}T00:00:00+0{2 if summer else 1}:00"
    before = f"{day[:-2]}{int(day[-2:]) - 1:02}T{22 if summer else 23}:00:00Z"
    async with site(dates=dates) as here:
        for place, given in enumerate((day, midnight, before)):
            await here.send("created", startDate=given)
            assert here.task()["startDate"] == f"{day}T00:00:00Z", given
            assert here.requests("task_create") == 1
            assert here.requests("task_update") == 0
            if place == 1:
                here.forget()  # what Ditio shows is then compared, in each of its spellings
