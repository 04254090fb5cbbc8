"""Look-ups: asked once, believed for a while, and only if it is exactly what was asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from worker.cache import Cache
from worker.core.errors import Absent, Ambiguous, Missing, NotSent
from worker.core.event import ProjectRef
from worker.ports import Key, Project, Task
from worker.resolve import Lookups

OURS = Project("p-1", "P-1", "X-1", "c-1")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Ditio:
    """Answers look-ups from lists, and counts them."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.all_projects: list[Project] = [OURS]
        self.tasks: list[Task] = []
        self.people: dict[str, Mapping[str, object]] = {}
        self.error: Exception | None = None

    async def _count(self, what: str) -> None:
        self.asked[what] += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error

    async def projects_by_number(self, number: str) -> Sequence[Project]:
        await self._count("project")
        return [each for each in self.all_projects if each.number and each.number.lower() == number.lower()][:1]

    async def project_by_id(self, project_id: str) -> Project | None:
        await self._count("project")
        return next((each for each in self.all_projects if each.id == project_id), None)

    async def projects(self) -> Sequence[Project]:
        await self._count("projects")
        return self.all_projects

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        await self._count("by_key")
        return self.tasks

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        await self._count("listing")
        return self.tasks

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        await self._count("person")
        return self.people.get(employee_number)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ditio() -> Ditio:
    return Ditio()


@pytest.fixture
def known() -> dict[Key, str]:
    return {}


@pytest.fixture
def lookups(ditio: Any, clock: Clock, known: dict[Key, str]) -> Lookups:
    async def task_id(key: Key) -> str | None:
        return known.get(key)

    return Lookups(
        ditio, task_id, company_id="c-1", person_id="identityId", absent_s=5, now=clock, observe=lambda kind, result: None
    )  # fmt: skip


def task(external_id: str = "WO-1", project_id: str = "p-1", id: str = "t-1") -> Task:
    return {"id": id, "externalId": external_id, "projectId": project_id}


async def test_a_hundred_events_for_one_project_cost_one_look_up(lookups: Lookups, ditio: Ditio) -> None:
    found = await asyncio.gather(*(lookups.project(ProjectRef("number", "P-1")) for _ in range(100)))
    assert found == [OURS] * 100
    assert ditio.asked["project"] == 1


async def test_what_is_missing_is_believed_for_less_than_the_first_wait_step(
    lookups: Lookups, ditio: Ditio, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(Absent, match="no project with the number"):
            await lookups.project(ProjectRef("number", "P-2"))
    assert ditio.asked["project"] == 1
    clock.now += 6
    ditio.all_projects.append(Project("p-2", "P-2", None, "c-1"))
    assert (await lookups.project(ProjectRef("number", "P-2"))).id == "p-2"


async def test_a_fresh_look_up_passes_by_what_is_remembered(lookups: Lookups, ditio: Ditio) -> None:
    with pytest.raises(Absent):
        await lookups.person("7")
    ditio.people["7"] = {"employeeNumber": "7", "identityId": "auth0|7", "companyProfileId": "c7"}
    with pytest.raises(Absent):
        await lookups.person("7")
    assert await lookups.person("7", fresh=True) == "auth0|7"


async def test_an_error_is_not_remembered(lookups: Lookups, ditio: Ditio) -> None:
    ditio.error = NotSent("no")
    with pytest.raises(NotSent):
        await lookups.project(ProjectRef("number", "P-1"))
    ditio.error = None
    assert await lookups.project(ProjectRef("number", "P-1")) == OURS


async def test_a_project_in_another_letter_case_or_of_another_company_is_not_believed(lookups: Lookups, ditio: Ditio) -> None:
    with pytest.raises(Absent):
        await lookups.project(ProjectRef("number", "p-1"))
    ditio.all_projects = [Project("p-9", "P-9", None, "c-2")]
    with pytest.raises(Absent):
        await lookups.project(ProjectRef("number", "P-9"))
    with pytest.raises(Absent):
        await lookups.project(ProjectRef("id", "p-9"))


async def test_an_external_number_is_found_by_the_index_and_two_of_them_are_ambiguous(lookups: Lookups, ditio: Ditio) -> None:
    assert await lookups.project(ProjectRef("externalNumber", "X-1")) == OURS
    ditio.all_projects = [OURS, Project("p-2", "P-2", "X-1", "c-1")]
    with pytest.raises(Ambiguous, match="p-1, p-2"):
        await lookups.project(ProjectRef("externalNumber", "X-1"), fresh=True)


async def test_a_number_is_ambiguous_whether_the_look_up_or_the_index_shows_the_second_project(
    lookups: Lookups, ditio: Ditio
) -> None:
    theirs = Project("p-2", "P-1", None, "c-2")
    for index, looked_up in (([OURS, theirs], [OURS]), ([OURS, theirs], [theirs]), ([OURS], [theirs, OURS])):
        ditio.all_projects = index
        setattr(ditio, "projects_by_number", _answers(looked_up))
        with pytest.raises(Ambiguous, match=r"2 projects with the number .*: p-1, p-2"):
            await lookups.project(ProjectRef("number", "P-1"), fresh=True)


def _answers(projects: Sequence[Project]) -> Any:
    async def projects_by_number(number: str) -> Sequence[Project]:
        return projects

    return projects_by_number


async def test_a_key_is_looked_for_in_a_listing_when_its_project_has_another_number_now(lookups: Lookups, ditio: Ditio) -> None:
    ditio.tasks = [task("WO-2")]
    assert list(await lookups.tasks(OURS, "WO-1")) == []
    assert ditio.asked["listing"] == 0
    ditio.all_projects = [Project("p-1", "P-0", None, "c-1"), Project("p-2", "P-1", None, "c-1")]
    assert list(await lookups.tasks(OURS, "WO-1")) == []
    assert ditio.asked["listing"] == 1


async def test_only_tasks_of_exactly_this_project_and_external_id_count(lookups: Lookups, ditio: Ditio) -> None:
    ditio.tasks = [task(), task("wo-1"), task(project_id="p-2"), task("WO-11"), {"externalId": "WO-1", "projectId": "p-1"}]
    assert await lookups.tasks(OURS, "WO-1") == [task()]


@pytest.mark.parametrize(("key", "by_key", "listing"), [("WO-9", 1, 0), ("a/b", 1, 1), (".", 0, 1), ("..", 0, 1), ("100%", 1, 1)])
async def test_a_key_that_a_path_may_not_carry_is_looked_for_in_a_listing(
    lookups: Lookups, ditio: Ditio, key: str, by_key: int, listing: int
) -> None:
    assert list(await lookups.tasks(OURS, key)) == []
    assert (ditio.asked["by_key"], ditio.asked["listing"]) == (by_key, listing)


async def test_a_refusal_of_a_risky_key_falls_back_to_the_listing(lookups: Lookups, ditio: Ditio) -> None:
    async def refuse(number: str, external_id: str) -> Sequence[Task]:
        raise Missing("404")

    setattr(ditio, "tasks_by_number", refuse)
    ditio.tasks = [task("a/b")]
    assert await lookups.tasks(OURS, "a/b") == [task("a/b")]


async def test_a_parent_is_taken_from_the_ledger_first_and_twins_are_named(
    lookups: Lookups, ditio: Ditio, known: dict[Key, str]
) -> None:
    known[Key("p-1", "WO-2")] = "t-2"
    assert await lookups.parent(OURS, "WO-2") == "t-2"
    assert ditio.asked["by_key"] == 0
    ditio.tasks = [task(id="t-1"), task(id="t-9")]
    with pytest.raises(Ambiguous, match="t-1, t-9"):
        await lookups.parent(OURS, "WO-1")


async def test_a_parent_that_was_made_meanwhile_is_no_longer_missing(lookups: Lookups) -> None:
    with pytest.raises(Absent, match=r'no work order "WO-1" \(yet\)'):
        await lookups.parent(OURS, "WO-1")
    lookups.created(Key("p-1", "WO-1"), "t-1")
    assert await lookups.parent(OURS, "WO-1") == "t-1"


async def test_one_caller_who_gives_up_takes_the_answer_from_nobody(clock: Clock) -> None:
    # Given
    cache: Cache[str, int] = Cache(clock, found_s=10, absent_s=1)
    release = asyncio.Event()

    async def look_up() -> int:
        await release.wait()
        return 5

    first, second = (asyncio.ensure_future(cache.get("a", look_up)) for _ in range(2))
    await asyncio.sleep(0)
    # When
    first.cancel()
    release.set()
    # Then
    assert await second == 5


async def test_a_forgotten_look_up_that_is_under_way_leaves_no_stale_answer(clock: Clock) -> None:
    cache: Cache[str, int] = Cache(clock, found_s=10, absent_s=1)
    release = asyncio.Event()

    async def old() -> int:
        await release.wait()
        return 1

    async def new() -> int:
        return 2

    asked = asyncio.ensure_future(cache.get("a", old))
    await asyncio.sleep(0)
    cache.forget("a")
    assert await cache.get("a", new) == 2
    release.set()
    assert await asked == 1
    assert cache.peek("a") == (2,)


def test_the_cache_is_bounded(clock: Clock) -> None:
    cache: Cache[int, int] = Cache(clock, found_s=10, absent_s=1, limit=100)
    for number in range(1_000):
        cache.put(number, number)
    assert len(cache._answers) == 100
    assert cache.peek(999) == (999,)
    assert cache.peek(0) is None
