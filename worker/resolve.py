"""From what events name to Ditio's ids.

Numbers get reused and renamed, so an answer is believed for minutes only, and only if it is exactly what was asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol, TypeAlias, TypeVar

from worker.cache import Cache
from worker.core.errors import Absent, Ambiguous, Elsewhere, Missing, Refused
from worker.core.event import ProjectKind, ProjectRef
from worker.listings import Listings
from worker.ports import Ditio, Key, Project, Task

LookupKind: TypeAlias = Literal["project", "task", "parent", "person"]
LookupResult: TypeAlias = Literal["hit", "miss", "absent"]

FOUND_S = 300.0
LISTED_S = 60.0
SHORTEST_ABSENT_S = 0.2

_Name = TypeVar("_Name")
_Found = TypeVar("_Found")

RISKY = frozenset("/\\%?#;+&=:@ ")
"""Characters that servers and proxies are known to treat in a path of their own accord, also percent-encoded."""


NAMES: Mapping[ProjectKind, Callable[[Project], str | None]] = MappingProxyType(
    {"number": lambda each: each.number, "externalNumber": lambda each: each.external_number, "id": lambda each: each.id}
)
"""What a project must be called to be the one that an event names."""


class Observe(Protocol):
    """Is told of each look-up: answered from a cache, by the API, or nothing there."""

    def __call__(self, kind: LookupKind, result: LookupResult) -> None: ...


class Lookups:
    """Look-ups with caches; see worker.ports.Resolver for what the methods promise.

    `known` gives the task id that the ledger has of a work order. `person_id` is the person's field that a foreman takes.
    `absent_s` is for how long something is believed to be missing: it must be less than the first wait step.
    """

    def __init__(
        self,
        ditio: Ditio,
        known: Callable[[Key], Awaitable[str | None]],
        *,
        company_id: str,
        person_id: str,
        absent_s: float,
        now: Callable[[], float],
        observe: Observe,
    ) -> None:
        self._ditio = ditio
        self._known = known
        self._company_id = company_id
        self._person_id = person_id
        self._observe = observe
        absent_s = max(absent_s, SHORTEST_ABSENT_S)
        self._projects: Cache[ProjectRef, Project] = Cache(now, found_s=FOUND_S, absent_s=absent_s)
        self._index: Cache[None, Sequence[Project]] = Cache(now, found_s=min(LISTED_S, absent_s), absent_s=absent_s)
        self._people: Cache[str, str] = Cache(now, found_s=FOUND_S, absent_s=absent_s)
        self._by_id: Cache[str, Task] = Cache(now, found_s=FOUND_S, absent_s=absent_s)
        self._listings = Listings(ditio.tasks_of_project, now)
        self._parents: Cache[Key, str] = Cache(now, found_s=FOUND_S, absent_s=absent_s)

    async def project(self, ref: ProjectRef, *, fresh: bool = False) -> Project:
        """The project that an event names. Raises Absent or Ambiguous, ApiError, Outage."""
        if fresh:
            self._projects.forget(ref)
            self._index.forget(None)
        project = await self._observed("project", self._projects, ref, lambda: self._find_project(ref))
        if project is None:
            raise Absent("project", f'Ditio has no project with the {_worded(ref)} "{ref.value}"')
        if ref.kind != "id" and self._projects.peek(by_id := ProjectRef("id", project.id)) is None:
            self._projects.put(by_id, project)  # for what is due in it
        return project

    async def person(self, employee_number: str, *, fresh: bool = False) -> str:
        """The id of an employee, of the kind that foremen and leaders take. Raises Absent, ApiError, Outage."""
        if fresh:
            self._people.forget(employee_number)
        person = await self._observed("person", self._people, employee_number, lambda: self._find_person(employee_number))
        if person is None:
            raise Absent("person", f'Ditio has no employee with the number "{employee_number}"')
        return person

    async def parent(self, project: Project, external_id: str, *, fresh: bool = False) -> str:
        """The task id of another work order of the project. Raises Absent, Ambiguous, ApiError, Outage."""
        key = Key(project.id, external_id)
        if not fresh and (known := await self._known(key)) is not None:
            self._observe("parent", "hit")
            return known
        if fresh:
            self._parents.forget(key)
        parent = await self._observed(
            "parent", self._parents, key, lambda: self._find_parent(project, external_id, recent=not fresh)
        )
        if parent is None:
            raise Absent("parent", f'project {_named(project)} has no work order "{external_id}" (yet)')
        return parent

    async def parent_name(self, project: Project, task_id: str, *, fresh: bool = False) -> str | None:
        """The externalId of a task of the project (None: it has none). Raises Absent, Elsewhere, ApiError, Outage."""
        if fresh:
            self._by_id.forget(task_id)
        task = await self._observed("parent", self._by_id, task_id, lambda: self._ditio.task_by_id(task_id))
        if task is None:
            raise Absent("parent", f'Ditio has no work order with the id "{task_id}"')
        external_id = task.get("externalId")
        if task.get("projectId") != project.id:
            raise Elsewhere(
                "parent",
                f'the work order "{external_id}" ({task_id}) is in another project than {_named(project)}: '
                "a parent must be in the project of its children",
            )
        return external_id if isinstance(external_id, str) and external_id else None

    async def tasks(self, project: Project, external_id: str, *, listed: bool = False, recent: bool = False) -> Sequence[Task]:
        """The tasks of exactly this project and externalId, past every cache. Raises ApiError, Outage.

        `listed` asks by a listing of the project too where the look-up by key shows nothing; `recent`: one of the last minute will do.
        """
        if recent and (known := await self._listings.find(Key(project.id, external_id))) is not None:
            self._observe("task", "hit")
            return known
        found = await self._by_key(project, external_id)
        if not found and (listed or await self._may_miss(project, external_id)):
            found = _exactly(await self._ditio.tasks_of_project(project.id), project, external_id)
        self._observe("task", "miss" if found else "absent")
        return found

    def created(self, key: Key, task_id: str) -> None:
        """Tells of a task that the worker has made or found."""
        self._parents.put(key, task_id)

    def gone(self, key: Key) -> None:
        """Tells of a task that the worker has deleted."""
        self._parents.forget(key)
        self._listings.gone(key)

    async def _by_key(self, project: Project, external_id: str) -> Sequence[Task]:
        if project.number is None or _dots(project.number) or _dots(external_id):
            return ()
        found = await _unless_refused(project.number + external_id, self._ditio.tasks_by_number(project.number, external_id))
        return _exactly(found or (), project, external_id)

    async def _may_miss(self, project: Project, external_id: str) -> bool:
        """Whether a look-up by key may show nothing of what is there: by the keys, or because the project has another number now."""
        if project.number is None or _risky(project.number) or _risky(external_id):
            return True
        now = await self._ditio.project_by_id(project.id)
        return now is None or now.number != project.number

    async def _find_project(self, ref: ProjectRef) -> Project | None:
        found = await self._projects_named(ref)
        if len(found) > 1:  # the index may be older than what the others have shown
            self._index.forget(None)
            found = await self._projects_named(ref)
        if len(found) > 1:
            raise Ambiguous(
                "project", f'Ditio has {len(found)} projects with the {_worded(ref)} "{ref.value}": {", ".join(found)}'
            )
        return next((each for each in found.values() if each.company_id in (None, self._company_id)), None)

    async def _projects_named(self, ref: ProjectRef) -> Mapping[str, Project]:
        """The projects of exactly this name, of all companies that Ditio shows, by their ids."""
        shown = [*await self._looked_up(ref)]
        if ref.kind != "id" or _risky(ref.value):
            shown += await self._listed()
        return {each.id: each for each in sorted(shown, key=lambda each: each.id) if NAMES[ref.kind](each) == ref.value}

    async def _looked_up(self, ref: ProjectRef) -> Sequence[Project]:
        """What Ditio's look-up by this name shows: of several projects it may show but one, of external numbers it knows nothing."""
        match ref.kind:
            case "id":
                project = await _unless_refused(ref.value, self._ditio.project_by_id(ref.value))
                return [project] if project else ()
            case "number":
                return await _unless_refused(ref.value, self._ditio.projects_by_number(ref.value)) or ()
            case "externalNumber":
                return ()

    async def _listed(self) -> Sequence[Project]:
        return await self._index.get(None, self._ditio.projects) or ()

    async def _find_person(self, employee_number: str) -> str | None:
        person = await _unless_refused(employee_number, self._ditio.person_by_number(employee_number))
        if person is None or str(person.get("employeeNumber", employee_number)) != employee_number:
            return None
        person_id = person.get(self._person_id)
        return person_id if isinstance(person_id, str) and person_id else None

    async def _find_parent(self, project: Project, external_id: str, *, recent: bool) -> str | None:
        tasks = await self.tasks(project, external_id, recent=recent)
        if len(tasks) > 1:
            raise twins("parent", project, external_id, tasks)
        return str(tasks[0]["id"]) if tasks else None

    async def _observed(
        self, kind: LookupKind, cache: Cache[_Name, _Found], name: _Name, look_up: Callable[[], Awaitable[_Found | None]]
    ) -> _Found | None:
        cached = cache.peek(name)
        answer = cached[0] if cached else await cache.get(name, look_up)
        self._observe(kind, "absent" if answer is None else "hit" if cached else "miss")
        return answer


def twins(kind: str, project: Project, external_id: str, tasks: Sequence[Task]) -> Ambiguous:
    """More than one task has the key: which, in words."""
    ids = ", ".join(sorted(str(task["id"]) for task in tasks))
    return Ambiguous(kind, f'project {_named(project)} has {len(tasks)} work orders "{external_id}": {ids}; keep one of them')


async def _unless_refused(key: str, look_up: Awaitable[_Found]) -> _Found | None:
    """What a look-up shows; None also where it is refused for what its key holds. Raises ApiError, Outage."""
    try:
        return await look_up
    except (Missing, Refused):
        if _risky(key):
            return None
        raise


def _exactly(tasks: Sequence[Task], project: Project, external_id: str) -> Sequence[Task]:
    wanted = (project.id, external_id)
    return [task for task in tasks if (task.get("projectId"), task.get("externalId")) == wanted and task.get("id")]


def _named(project: Project) -> str:
    return project.number or project.id


def _worded(ref: ProjectRef) -> str:
    return {"number": "number", "externalNumber": "external number", "id": "id"}[ref.kind]


def _risky(key: str) -> bool:
    return _dots(key) or not RISKY.isdisjoint(key)


def _dots(key: str) -> bool:
    """`.` and `..` mean something in a path that no encoding can take away."""
    return key in (".", "..")
