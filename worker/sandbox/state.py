"""What this Ditio holds: projects, people, tasks, templates and hours; with the indexes that look-ups go by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Thing = dict[str, Any]


@dataclass
class State:
    """`templates` by project id, `hours` (registrations) by task id, `seen_at` when look-ups by key began to show a task."""

    projects: dict[str, Thing] = field(default_factory=dict)
    users: dict[str, Thing] = field(default_factory=dict)
    tasks: dict[str, Thing] = field(default_factory=dict)
    templates: dict[str, Thing] = field(default_factory=dict)
    hours: dict[str, int] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)
    made: int = 0

    def __post_init__(self) -> None:
        self._by_key: dict[tuple[str, str], dict[str, None]] = {}
        self._by_project: dict[str, dict[str, None]] = {}
        self._children: dict[str, dict[str, None]] = {}
        for task in self.tasks.values():
            self._index(task)

    def new_id(self) -> str:
        """The next id: 24 hex digits, the same in every run of the same requests."""
        self.made += 1
        return hashlib.sha256(f"sandbox {self.made}".encode()).hexdigest()[:24]

    def put(self, task: Thing) -> None:
        """Stores a task, new or changed."""
        if task["id"] in self.tasks:
            self._unindex(self.tasks[task["id"]])
        self.tasks[task["id"]] = task
        self._index(task)

    def remove(self, task_id: str) -> None:
        """Forgets a task."""
        self._unindex(self.tasks.pop(task_id))
        self.hours.pop(task_id, None)
        self.seen_at.pop(task_id, None)

    def with_key(self, project_id: str, external_id: str) -> list[Thing]:
        """The tasks of a project with an externalId, exactly."""
        return [self.tasks[each] for each in self._by_key.get((project_id, external_id), ())]

    def of_project(self, project_id: str) -> list[Thing]:
        """All tasks of a project."""
        return [self.tasks[each] for each in self._by_project.get(project_id, ())]

    def children(self, task_id: str) -> list[Thing]:
        """The tasks right under a task."""
        return [self.tasks[each] for each in self._children.get(task_id, ())]

    def dumped(self) -> Thing:
        """Everything, as JSON can have it."""
        names = ("projects", "users", "tasks", "templates", "hours", "seen_at", "made")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def loaded(cls, given: Mapping[str, Any]) -> State:
        """A state from what `dumped` gave; what is left out is empty."""
        return cls(**{name: given[name] for name in cls().dumped() if name in given})

    def _index(self, task: Thing) -> None:
        self._by_key.setdefault((task["projectId"], task["externalId"]), {})[task["id"]] = None
        self._by_project.setdefault(task["projectId"], {})[task["id"]] = None
        if task.get("parentActivityId"):
            self._children.setdefault(task["parentActivityId"], {})[task["id"]] = None

    def _unindex(self, task: Thing) -> None:
        self._by_key.get((task["projectId"], task["externalId"]), {}).pop(task["id"], None)
        self._by_project.get(task["projectId"], {}).pop(task["id"], None)
        self._children.get(task.get("parentActivityId") or "", {}).pop(task["id"], None)
