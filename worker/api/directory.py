"""Projects and people (source: Ditio's public documentation of projects and users)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.api.asking import Asking, given, objects
from worker.ports import Project, Task


class Directory(Asking):
    """Every method raises NotSent, UnknownOutcome, Refused or Outage; None is believed only while the control read succeeds."""

    async def projects_by_number(self, number: str) -> Sequence[Project]:
        """GET projects/by-project-number/{number}: all that it shows, for several companies may have the number."""
        return _projects(await self._find("project_get", "projects", "by-project-number", number))

    async def project_by_id(self, project_id: str) -> Project | None:
        """GET projects/{id}."""
        return next(iter(_projects(await self._find("project_get", "projects", project_id))), None)

    async def projects(self) -> Sequence[Project]:
        """GET projects: all of them."""
        return _projects(objects(given("project_list", await self._answer("project_list", "GET", "projects"))))

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        """GET users/by-employee-number/{number}."""
        found = await self._find("person_find", "users", "by-employee-number", employee_number, named="employeeNumber")
        return next(iter(found), None)


def _projects(shown: Sequence[Task]) -> Sequence[Project]:
    return [project for project in map(_as_project, shown) if project is not None]


def _as_project(shown: Task) -> Project | None:
    fields = (shown.get(name) for name in ("id", "projectNumber", "externalProjectNumber", "companyId"))
    project_id, number, external_number, company_id = (each if isinstance(each, str) and each else None for each in fields)
    return Project(project_id, number, external_number, company_id) if project_id else None
