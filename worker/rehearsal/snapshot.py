"""A Ditio that is read and never written: what would be sent is noted, and laid over what was read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from worker.core.errors import ApiError, Missing
from worker.core.field import DEFAULTS, FIELDS, Kind, Value
from worker.core.plan import Call, Create, Delete, Replace, Shown, Update, differences, shown_by_task
from worker.core.rehearsed import Change, Sent
from worker.ports import Ditio, Key, Project, Reply, Task

NEW = "new:"
"""Begins what stands for the id of a task that is not there yet and of which Ditio chooses the id."""

LIST_AFTER = 8
"""After so many single look-ups in a project its tasks are listed instead, once."""


class Snapshot:
    """See worker.ports.Ditio for what the methods promise.

    Each task is read at most once, and then stands as it was read and as calls have left it since. `sent` notes the calls.
    """

    def __init__(self, ditio: Ditio) -> None:
        self._ditio = ditio
        self.sent: list[Sent] = []
        self.control = ditio.control
        self.person_by_number = ditio.person_by_number
        self._tasks: dict[str, Task | None] = {}  # None: there is none
        self._by_key: dict[Key, dict[str, None]] = {}
        self._asked: set[Key] = set()
        self._numbers: dict[str, dict[str, None]] = {}  # the ids of the projects with a number
        self._single: dict[str, int] = {}
        self._listed: set[str] = set()
        self._tried: set[str] = set()

    # --- sending

    async def send(self, call: Call, project: Project, *, starting: Callable[[], Awaitable[None]] | None = None) -> Reply:
        """Notes the call, and lays it over. Raises Missing where the task is not there, as Ditio would."""
        if starting is not None:
            await starting()
        match call:
            case Create(external_id=external_id, values=values):
                return self._create(project, external_id, values)
            case Delete(task_id=task_id):
                self.sent.append(Sent(call))
                self._tasks[task_id] = None
                return Reply()
            case Update(task_id=task_id, values=values) | Replace(task_id=task_id, values=values):
                task = await self._task(project, task_id)
                if task is None:
                    raise Missing(f"Ditio has no task {task_id}", status=404)
                then = {name: _held(name, value) for name, value in values.items()}
                self.sent.append(Sent(call, _changes(shown_by_task(task), then)))
                return Reply(self._put({**task, **then}))

    def _create(self, project: Project, external_id: str, values: Mapping[str, Value]) -> Reply:
        task_id = values.get("id") or f"{NEW}{project.number or project.id}/{external_id}"
        fields = {name: value for name, value in values.items() if name in FIELDS}
        changes = tuple(Change(name, None, value) for name, value in fields.items())
        self.sent.append(Sent(Create(external_id, fields), changes))
        return Reply(self._put({**fields, "id": task_id, "projectId": project.id, "externalId": external_id}))

    # --- reading

    async def projects_by_number(self, number: str) -> Sequence[Project]:
        """The projects with a number."""
        projects = await self._ditio.projects_by_number(number)
        for project in projects:
            self._noted(project)
        return projects

    async def project_by_id(self, project_id: str) -> Project | None:
        """The project with an id."""
        return self._noted(await self._ditio.project_by_id(project_id))

    async def projects(self) -> Sequence[Project]:
        """All projects."""
        projects = await self._ditio.projects()
        for project in projects:
            self._noted(project)
        return projects

    async def task_by_id(self, task_id: str) -> Task | None:
        """The task with an id, as it stands by now."""
        if task_id not in self._tasks:
            task = await self._ditio.task_by_id(task_id)
            if task is None:
                self._tasks[task_id] = None
            else:
                self._put(task)
        return self._tasks[task_id]

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """All matches for project number + task number, as they stand by now."""
        keys = [Key(project_id, external_id) for project_id in self._numbers.get(project_number, ())]
        unread = [key for key in keys if key not in self._asked and not await self._within_a_listing(key.project_id)]
        if unread:
            self._take(await self._ditio.tasks_by_number(project_number, external_id))
            self._asked.update(keys)
        return [task for key in keys for task in self._with(key)]

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        """All tasks of a project, as they stand by now."""
        if project_id not in self._listed:
            self._tried.add(project_id)
            self._take(await self._ditio.tasks_of_project(project_id))
            self._listed.add(project_id)
        return [task for key in list(self._by_key) if key.project_id == project_id for task in self._with(key)]

    async def _task(self, project: Project, task_id: str) -> Task | None:
        if task_id not in self._tasks:
            await self._within_a_listing(project.id)
        return await self.task_by_id(task_id)

    async def _within_a_listing(self, project_id: str) -> bool:
        """Whether all tasks of the project are known, which comes with the number of look-ups in it."""
        self._single[project_id] = looked_up = self._single.get(project_id, 0) + 1
        if project_id not in self._tried and looked_up > LIST_AFTER:
            try:
                await self.tasks_of_project(project_id)
            except ApiError:
                return False  # too much for one answer: the look-ups remain single
        return project_id in self._listed

    # --- what stands

    def _noted(self, project: Project | None) -> Project | None:
        if project is not None and project.number is not None:
            self._numbers.setdefault(project.number, {})[project.id] = None
        return project

    def _take(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if str(task["id"]) not in self._tasks:
                self._put(task)

    def _put(self, task: Task) -> Task:
        task_id = str(task["id"])
        self._tasks[task_id] = task
        self._by_key.setdefault(Key(str(task.get("projectId")), str(task.get("externalId"))), {})[task_id] = None
        return task

    def _with(self, key: Key) -> list[Task]:
        standing = (self._tasks[task_id] for task_id in self._by_key.get(key, ()))
        return [task for task in standing if task is not None]


def _changes(shown: Shown, then: Mapping[str, Value]) -> tuple[Change, ...]:
    return tuple(Change(name, shown.values.get(name), value) for name, value in differences(then, shown).items())


def _held(name: str, value: Value) -> Value:
    """What Ditio holds after it was sent a value: "" clears an id, and what a PUT leaves out has its default."""
    if value is None:
        return DEFAULTS.get(FIELDS[name])
    return None if value == "" and FIELDS[name] is Kind.ID else value
