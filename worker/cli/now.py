"""What Ditio has now for a work order that an event names, for commands that show it beside other things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from worker.cli.lookups import Finder
from worker.core.errors import ApiError, Outage
from worker.core.event import ProjectRef
from worker.ports import Task

NO_SUCH_TASK = "Ditio has no such task"


class Now:
    """Asks Ditio, and keeps going without it: what cannot be found out is a sentence."""

    def __init__(self, finder: Finder) -> None:
        self._finder = finder

    async def of(self, project: ProjectRef, external_id: str) -> tuple[Sequence[Task], str]:
        """The tasks of exactly this project and number, and a sentence where there are none or that cannot be told."""
        try:
            found = await self._asked(project, external_id)
        except (ApiError, Outage) as error:
            return (), f"Ditio could not be asked: {error}"
        exactly = [task for task in found if task.get("externalId") == external_id]
        return exactly, "" if exactly else NO_SUCH_TASK

    async def _asked(self, project: ProjectRef, external_id: str) -> Sequence[Task]:
        match project.kind:
            case "number":
                return await self._finder.by_number({"project_number": project.value, "task_number": external_id, "all": "yes"})
            case "externalNumber":
                return await self._finder.by_external_number(
                    {"external_project_number": project.value, "external_id": external_id}
                )
            case _:
                return await self._finder.of_project({"project_id": project.value})


def told(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A task as rows of field and value; what is empty is left out."""
    return [{"field": name, "value": value} for name, value in task.items() if value not in (None, "")]
