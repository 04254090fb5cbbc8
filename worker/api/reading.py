"""The eight look-ups of tasks (source: the table "Get work orders" of Ditio's work-order page)."""

from __future__ import annotations

from collections.abc import Sequence

from worker.api.asking import Asking
from worker.api.segment import safe_in_path
from worker.core.errors import Refused
from worker.ports import OperationName, Task


class Reading(Asking):
    """Each answers what Ditio shows: whether the keys are exactly those asked for is the caller's part.

    Nothing found is None or empty, and is believed only while the control read succeeds. Every method raises NotSent, UnknownOutcome,
    Refused or Outage. Those that ask by a number, an external id or a code raise Refused, without asking, for keys that are not
    `safe_in_path`: nothing found would say nothing. A listing and an exact comparison serve instead.
    """

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        """GET tasks/project/{projectId} ("All in a project (by Ditio project ID)")."""
        return await self._find("task_list", "tasks", "project", project_id)

    async def tasks_of_project_number(self, project_number: str) -> Sequence[Task]:
        """GET tasks/by-project-number/{projectNumber} ("All in a project (by project number)")."""
        return await self._by_key("task_list", "by-project-number", project_number)

    async def tasks_of_external_number(self, external_number: str) -> Sequence[Task]:
        """GET tasks/by-external-project-number/{externalProjectNumber} ("All in a project (by external project number)")."""
        return await self._by_key("task_list", "by-external-project-number", external_number)

    async def task_by_id(self, task_id: str) -> Task | None:
        """GET tasks/{id} ("Single by ID")."""
        return next(iter(await self._find("task_get", "tasks", task_id)), None)

    async def task_by_number(self, project_number: str, external_id: str) -> Task | None:
        """GET tasks/by-project-number/{projectNumber}/by-task-number/{taskNumber} ("By project number + task number").

        The task number is, by the page's example, the external id.
        """
        keys = ("by-project-number", project_number, "by-task-number", external_id)
        return next(iter(await self._by_key("task_find", *keys)), None)

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """GET tasks/by-project-number/{projectNumber}/by-task-number/{taskNumber}/list ("All matches for project number + task
        number")."""
        return await self._by_key("task_find", "by-project-number", project_number, "by-task-number", external_id, "list")

    async def task_by_external_number(self, external_number: str, external_id: str) -> Task | None:
        """GET tasks/by-external-project-number/{externalProjectNumber}/by-external-id/{externalId} ("By external project number +
        external ID")."""
        keys = ("by-external-project-number", external_number, "by-external-id", external_id)
        return next(iter(await self._by_key("task_find", *keys)), None)

    async def tasks_by_production_code(self, code: str) -> Sequence[Task]:
        """GET tasks/by-production-code/{externalDim01} ("All with a production code"), in whatever project."""
        return await self._by_key("task_list", "by-production-code", code)

    async def _by_key(self, operation: OperationName, *segments: str) -> Sequence[Task]:
        if unsafe := [each for each in segments if not safe_in_path(each)]:
            raise Refused(f"{operation}: no path can hold {' or '.join(map(repr, unsafe))}", attempts=0)
        return await self._find(operation, "tasks", *segments)
