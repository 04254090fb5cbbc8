"""Which project and which task is meant: exactly that one, whatever the keys hold and however Ditio looks them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.site import NUMBER, Site, site

KEYS = (
    "WO-100", "a/b", "a?b", "a#b", "a%b", "100%", "%2F", "a b", "ÆØÅ æøå", "🏗", ".", "..", "...", "a/../b", "../x", "a\\b", "a;b@c:d",
    "a+b&c=d", "list", "x/list", "<'\">", "e\u0301",
)  # fmt: skip
"""What ERPs call their work orders and projects."""

SLASH_RULES = ("accept", "400", "404", "split")
CACHE_S = 300.0
"""For how long a project's number is believed."""

each_slash_rule = pytest.mark.parametrize("encoded_slash", SLASH_RULES)


def task(here: Site, external_id: str, project_id: str = "", **values: object) -> dict[str, Any]:
    """A task that somebody else has made."""
    return here.put("tasks", externalId=external_id, projectId=project_id or here.project_id(), **values)


def names(here: Site, project_id: str = "") -> Mapping[str, object]:
    """The tasks of a project, with their names."""
    tasks = here.sandbox.state.of_project(project_id or here.project_id())
    found = {each["externalId"]: each["name"] for each in tasks}
    assert len(found) == len(tasks), "twins"
    return found


# --- projects


async def test_a_project_is_found_by_its_number_its_external_number_and_its_id() -> None:
    async with site() as here:
        for number, project in enumerate(({"number": NUMBER}, {"externalNumber": "4711"}, {"id": here.project_id()})):
            assert (await here.send("created", f"WO-{number}", project=project, name="x")).outcomes == ["applied"]
        assert names(here) == dict.fromkeys(("WO-0", "WO-1", "WO-2"), "x")
        # And only the event that named the external number says it of the task
        numbers = [here.task(f"WO-{number}")["externalProjectNumber"] for number in range(3)]
        assert numbers == [None, "4711", None]


@pytest.mark.parametrize(
    "project",
    [{"number": "P-9"}, {"number": NUMBER.lower()}, {"externalNumber": "471"}, {"externalNumber": NUMBER}, {"id": NUMBER},
     {"id": f"by-project-number/{NUMBER}"}, {"id": "."}, {"id": ".."}, {"number": ".."}, {"number": f"../{NUMBER}"}],
)  # fmt: skip
@pytest.mark.parametrize("options", [{"key_case": "ignore", "encoded_slash": "split"}, {"encoded_slash": "400"}])
async def test_what_no_project_is_called_is_waited_for_and_is_never_taken_for_another(
    project: object, options: dict[str, Any]
) -> None:
    async with site(**options) as here:
        end = await here.send("created", project=project, name="x")
        assert (end.outcomes[0], end.reason) == ("waiting", "unresolved-project")
        assert not here.sandbox.state.tasks


async def test_a_number_that_another_project_has_now_is_known_after_minutes_and_until_then_touches_only_the_old_one() -> None:
    async with site(duplicate="allow") as here:
        # Given a project that the worker knows, with a task that it does not know
        old = here.project_id()
        await here.send("created", "WO-1", name="alt")
        task(here, "WO-2", name="fra Ditio", price=3.0)
        # When it gets another number, and a new project its number
        here.sandbox.state.projects[old]["projectNumber"] = "P-2025-001"
        new = here.put("projects", projectNumber=NUMBER)["id"]
        for number in (1, 2, 3):
            task(here, f"WO-{number}", new, name="ny")
        # Then events still go to the old one while its number is believed: no twin is made there, and nothing touched in the new one
        for number in (1, 2, 3):
            await here.send("updated", f"WO-{number}", name=f"{number}")
        assert names(here, old) == {"WO-1": "1", "WO-2": "2", "WO-3": "3"}
        assert here.task("WO-2", old)["price"] == 3.0
        assert names(here, new) == dict.fromkeys(("WO-1", "WO-2", "WO-3"), "ny")
        # And when it is believed no more, they go to the new one, and nothing is touched in the old one
        await here.pass_time(CACHE_S)
        await here.send("updated", "WO-1", name="andre")
        assert names(here, old) == {"WO-1": "1", "WO-2": "2", "WO-3": "3"}
        assert names(here, new) == {"WO-1": "andre", "WO-2": "ny", "WO-3": "ny"}


async def test_a_number_that_no_project_has_any_more_is_waited_for_after_minutes() -> None:
    async with site() as here:
        await here.send("created", name="x")
        here.sandbox.state.projects[here.project_id()]["projectNumber"] = "P-2025-001"
        assert (await here.send("updated", name="y")).outcomes == ["applied"]
        await here.pass_time(CACHE_S)
        assert (await here.send("updated", name="z")).reason == "unresolved-project"
        assert names(here, here.project_id("P-2025-001")) == {"WO-1": "y"}


async def test_a_number_that_has_just_moved_is_not_ambiguous() -> None:
    async with site() as here:
        # Given that all projects were listed a moment ago
        await here.send("created", "WO-0", project={"externalNumber": "4712"})
        # When the number moves to a new project
        here.sandbox.state.projects[here.project_id()]["projectNumber"] = "P-2025-001"
        new = here.put("projects", projectNumber=NUMBER)["id"]
        # Then
        assert (await here.send("created", name="x")).outcomes == ["applied"]
        assert names(here, new) == {"WO-1": "x"}


@pytest.mark.parametrize("single", ["object", "array"])
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("project", [{"number": "P-7"}, {"externalNumber": "X-7"}])
async def test_a_number_that_projects_of_several_companies_have_is_ambiguous_and_they_are_named(
    project: object, ours_first: bool, single: str
) -> None:
    async with site(companies="several", single=single) as here:
        # Given
        companies = (here.company_id, "c" * 24) if ours_first else ("c" * 24, here.company_id)
        both = [
            here.put("projects", projectNumber="P-7", externalProjectNumber="X-7", companyId=each)["id"] for each in companies
        ]
        # When
        end = await here.send("created", project=project, name="x")
        # Then
        assert (end.outcomes, end.reason, end.letter["failure-field"]) == (["dead"], "ambiguous", "data.project")
        assert all(each in end.detail for each in both)
        assert not here.sandbox.state.tasks
        # And by its id our project is found, and the other's task of the same key is left alone
        ours = both[companies.index(here.company_id)]
        theirs = next(each for each in both if each != ours)
        task(here, "WO-1", theirs, name="deres", companyId="c" * 24)
        assert (await here.send("created", project={"id": ours}, name="x")).outcomes == ["applied"]
        assert (names(here, ours), names(here, theirs)) == ({"WO-1": "x"}, {"WO-1": "deres"})


@pytest.mark.parametrize("single", ["object", "array"])
async def test_where_the_client_sees_its_own_company_only_the_number_is_not_ambiguous(single: str) -> None:
    async with site(single=single) as here:
        here.put("projects", projectNumber=NUMBER, externalProjectNumber="4711", companyId="c" * 24)
        for number, project in enumerate(({"number": NUMBER}, {"externalNumber": "4711"})):
            assert (await here.send("created", f"WO-{number}", project=project)).outcomes == ["applied"]


@pytest.mark.parametrize("project", [{"number": "P-7"}, {"externalNumber": "X-7"}, {"id": "d" * 24}])
async def test_a_project_of_another_company_is_none_of_ours(project: object) -> None:
    async with site(companies="several") as here:
        here.put("projects", projectNumber="P-7", externalProjectNumber="X-7", companyId="c" * 24, id="d" * 24)
        assert (await here.send("created", project=project)).reason == "unresolved-project"
        assert not here.sandbox.state.tasks


async def test_two_projects_of_one_company_with_one_number_are_ambiguous_too() -> None:
    async with site() as here:
        other = here.put("projects", projectNumber=NUMBER, externalProjectNumber="X")["id"]
        end = await here.send("created")
        assert (end.reason, other in end.detail, here.project_id() in end.detail) == ("ambiguous", True, True)


async def test_projects_whose_numbers_differ_in_case_are_two_also_when_look_ups_take_them_for_one() -> None:
    async with site(key_case="ignore") as here:
        ids = {number: here.put("projects", projectNumber=number)["id"] for number in ("p-1", "P-1")}
        for number in ids:
            assert (await here.send("created", project={"number": number}, name=number)).outcomes == ["applied"]
        here.forget()
        for number in ids:
            await here.send("updated", project={"number": number}, price=1)
        assert {number: names(here, project_id) for number, project_id in ids.items()} == {
            "p-1": {"WO-1": "p-1"},
            "P-1": {"WO-1": "P-1"},
        }


# --- keys


def neighbours(key: str) -> list[str]:
    """What a careless look-up could take for the key."""
    return [each for each in (f"{key}-", f"x{key}", key.swapcase(), key.partition("/")[0], "\u00e9") if each not in ("", key)]


@each_slash_rule
@pytest.mark.parametrize("key_case", ["exact", "ignore"])
async def test_a_work_order_of_any_key_is_made_once_found_and_changed_and_no_other(encoded_slash: str, key_case: str) -> None:
    async with site(encoded_slash=encoded_slash, key_case=key_case, duplicate="allow") as here:
        for key in KEYS:
            others = dict.fromkeys(neighbours(key), "en annen")
            for other, name in others.items():
                task(here, other, name=name)
            # When it is made, and changed by a worker that does not know it any more
            assert (await here.send("created", key, name="ny")).outcome == "applied"
            here.forget()
            assert (await here.send("updated", key, name="endret")).outcomes == ["applied"]
            # Then
            assert names(here) == {**others, key: "endret"}
            # And a child finds it as its parent
            await here.send("created", "barn", parent=key)
            assert here.task("barn")["parentActivityId"] == here.task(key)["id"]
            here.forget()
            for each in list(here.sandbox.state.tasks):
                here.sandbox.state.remove(each)


@each_slash_rule
@pytest.mark.parametrize("kind", ["number", "externalNumber"])
async def test_a_project_of_any_number_is_found_and_no_other(kind: str, encoded_slash: str) -> None:
    async with site(encoded_slash=encoded_slash, duplicate="allow") as here:
        field = {"number": "projectNumber", "externalNumber": "externalProjectNumber"}[kind]
        projects = [here.put("projects", **{"projectNumber": f"nr-{place}", field: key}) for place, key in enumerate(KEYS)]
        for key, project in zip(KEYS, projects, strict=True):
            assert (await here.send("created", project={kind: key}, name="ny")).outcomes == ["applied"]
            here.forget()
            assert (await here.send("updated", project={kind: key}, name=key)).outcomes == ["applied"]
            assert names(here, project["id"]) == {"WO-1": key}
        assert len(here.sandbox.state.tasks) == len(KEYS)


@each_slash_rule
async def test_a_person_of_any_number_is_found_or_keeps_back_only_itself(encoded_slash: str) -> None:
    async with site(encoded_slash=encoded_slash) as here:
        for place, key in enumerate(KEYS):
            here.put("users", employeeNumber=key, identityId=f"auth0|{place}")
            end = await here.send("created", f"WO-{place}", name="x", mainForeman=key)
            made = here.task(f"WO-{place}")
            assert made["name"] == "x"
            assert (made["mainForemanId"], end.reason) in ((f"auth0|{place}", ""), (None, "unresolved-person"))
            if not {"/", "."} & set(key):
                assert made["mainForemanId"] == f"auth0|{place}"


async def test_keys_that_differ_in_case_are_two_work_orders_also_when_look_ups_take_them_for_one() -> None:
    async with site(key_case="ignore", duplicate="allow") as here:
        for key in ("WO-a", "WO-A"):
            assert (await here.send("created", key, name=key)).outcomes == ["applied"]
        here.forget()
        for key in ("WO-a", "WO-A"):
            assert (await here.send("updated", key, price=1)).outcomes == ["applied"]
        assert names(here) == {"WO-a": "WO-a", "WO-A": "WO-A"}


# --- twins


@pytest.mark.parametrize("kind", ["created", "updated", "replaced", "deleted"])
async def test_twins_in_ditio_are_a_letter_that_names_them_and_neither_is_touched(kind: Any) -> None:
    async with site() as here:
        twins = [task(here, "WO-1", name=name) for name in "ab"]
        end = await here.send(kind, **({} if kind == "deleted" else {"name": "x", "active": True}))
        assert (end.outcomes, end.reason) == (["dead"], "ambiguous")
        assert all(each["id"] in end.detail for each in twins)
        assert list(here.sandbox.state.tasks.values()) == twins


async def test_a_parent_that_is_there_twice_is_a_letter_that_names_both_and_the_rest_is_applied() -> None:
    async with site() as here:
        twins = [task(here, "OVER")["id"] for _ in range(2)]
        end = await here.send("created", name="x", parent="OVER")
        assert (end.outcomes, end.reason, end.letter["failure-field"]) == (["dead"], "ambiguous", "data.parent")
        assert all(each in end.detail for each in twins)
        assert (here.task()["name"], here.task()["parentActivityId"]) == ("x", None)
