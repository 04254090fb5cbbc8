"""Projects and people (source: Ditio's public documentation of projects and users)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.api.asking import Asking, given, objects
from worker.api.segment import safe_in_path
from worker.ports import Project, Task


class Directory(Asking):
    """Every method raises NotSent, UnknownOutcome, Refused or Outage; None is believed only while the control read succeeds."""

    async def project_by_number(self, number: str) -> Project | None:
        """GET projects/by-project-number/{number}."""
        if not safe_in_path(number):
            return next((each for each in await self.projects() if each.number == number), None)
        found = await self._find("project_get", "projects", "by-project-number", number)
        return _as_project(found[0]) if found else None

    async def project_by_id(self, project_id: str) -> Project | None:
        """GET projects/{id}."""
        found = await self._find("project_get", "projects", project_id)
        return _as_project(found[0]) if found else None

    async def projects(self) -> Sequence[Project]:
        """GET projects: all of them."""
        listed = objects(given("project_list", await self._answer("project_list", "GET", "projects")))
        return [project for project in map(_as_project, listed) if project is not None]

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        """GET users/by-employee-number/{number}."""
        found = await self._find("person_find", "users", "by-employee-number", employee_number, named="employeeNumber")
        return next(iter(found), None)


def _as_project(shown: Task) -> Project | None:
    fields = (shown.get(name) for name in ("id", "projectNumber", "externalProjectNumber", "companyId"))
    project_id, number, external_number, company_id = (each if isinstance(each, str) and each else None for each in fields)
    return Project(project_id, number, external_number, company_id) if project_id else None
