"""Ditio's look-ups of tasks, as an operator names them: which combinations there are, and what keys that a path cannot carry get."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from worker.core.errors import Refused
from worker.ports import Project, Task
from worker.resolve import RISKY

if TYPE_CHECKING:  # the client's libraries are slow to import, and --help does without
    from worker.api import Client

Given: TypeAlias = Mapping[str, str]
"""The options of a search, by name, in the order of the command's help."""


class Finder:
    """Asks by the look-up where a path carries the keys, else by a listing that is compared exactly. `tell` takes sentences for a person.

    Every method raises ApiError or Outage: nothing is returned only if nothing is there.
    """

    def __init__(self, client: Client, company_id: str, tell: Callable[[str], None]) -> None:
        self._client = client
        self._company_id = company_id
        self._tell = tell

    async def with_id(self, task_id: str) -> Sequence[Task]:
        """The task of this id."""
        task = await self._client.task_by_id(task_id)
        return [task] if task is not None and task["id"] == task_id else []

    async def of_project(self, given: Given) -> Sequence[Task]:
        """--project-id."""
        return await self._client.tasks_of_project(given["project_id"])

    async def of_number(self, given: Given) -> Sequence[Task]:
        """--project-number."""
        number = given["project_number"]
        if plain(number):
            return await self._client.tasks_of_project_number(number)
        return await self._of(lambda project: project.number == number)

    async def of_external_number(self, given: Given) -> Sequence[Task]:
        """--external-project-number."""
        number = given["external_project_number"]
        if plain(number):
            return await self._client.tasks_of_external_number(number)
        self._tell(f"only projects whose external number is {number!r} were searched, not tasks that have one of their own")
        return await self._of(lambda project: project.external_number == number)

    async def by_number(self, given: Given) -> Sequence[Task]:
        """--project-number with --task-number, also with --all."""
        number, key = given["project_number"], given["task_number"]
        if not (plain(number) and plain(key)):
            return _named(await self.of_number(given), key)
        if "all" in given:
            return self._compared(await self._client.tasks_by_number(number, key), key)
        task = await self._client.task_by_number(number, key)
        return self._compared([task] if task is not None else [], key)

    async def by_external_number(self, given: Given) -> Sequence[Task]:
        """--external-project-number with --external-id."""
        number, key = given["external_project_number"], given["external_id"]
        if not (plain(number) and plain(key)):
            return _named(await self.of_external_number(given), key)
        task = await self._client.task_by_external_number(number, key)
        return self._compared([task] if task is not None else [], key)

    async def by_production_code(self, given: Given) -> Sequence[Task]:
        """--production-code."""
        code = given["production_code"]
        if plain(code):
            return self._compared(await self._client.tasks_by_production_code(code), code, "externalDim01")
        try:
            found = _named(await self._client.tasks_by_production_code(code), code, "externalDim01")
        except Refused:
            found = []
        if not found:
            raise Refused(
                f"no path carries {code!r} safely, so that nothing came says nothing, and Ditio has no listing over all projects to "
                "search instead; list a project (--project-number) and look for externalDim01"
            )
        return found

    async def _of(self, wanted: Callable[[Project], bool]) -> Sequence[Task]:
        ours = [each for each in await self._client.projects() if each.company_id in (None, self._company_id)]
        return [task for each in ours if wanted(each) for task in await self._client.tasks_of_project(each.id)]

    def _compared(self, found: Sequence[Task], key: str, field: str = "externalId") -> Sequence[Task]:
        """What Ditio answered, also where its comparison is looser than ours; but that is told."""
        if others := sorted({str(task.get(field)) for task in found} - {key}):
            self._tell(f"note: Ditio answered with {field} {', '.join(others)}, which is not exactly {key}")
        return found


Find: TypeAlias = Callable[[Finder, Given], Awaitable[Sequence[Task]]]

FINDS: Mapping[tuple[str, ...], Find] = {
    ("project_id",): Finder.of_project,
    ("project_number",): Finder.of_number,
    ("external_project_number",): Finder.of_external_number,
    ("project_number", "task_number"): Finder.by_number,
    ("project_number", "task_number", "all"): Finder.by_number,
    ("external_project_number", "external_id"): Finder.by_external_number,
    ("production_code",): Finder.by_production_code,
}
"""The combinations of options that are look-ups of Ditio's work-order page."""


def flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"


COMBINATIONS = "\n".join(
    "  " + " ".join(flag(each) if each == "all" else f"{flag(each)} …" for each in options) for options in FINDS
)
"""The same for a person, one a line."""


def plain(key: str) -> bool:
    """Whether a key arrives unchanged as a part of a path."""
    return key not in (".", "..") and RISKY.isdisjoint(key)


def _named(tasks: Sequence[Task], key: str, field: str = "externalId") -> Sequence[Task]:
    return [task for task in tasks if task.get(field) == key]
