"""The four operations that change tasks (source: Ditio's work-order page), and how a planned call is carried out by them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker.api.asking import Asking, decoded, given, objects
from worker.api.http import Starting
from worker.api.segment import path
from worker.core.errors import ApiError, Missing
from worker.core.plan import Call, Create, Delete, Replace, Update
from worker.ports import OperationName, Project, Reply

READ_ONLY = frozenset({"id"})
"""What an answer shows and no request sets: Ditio ignores the id in the body of an update."""


class Writing(Asking):
    """Every method raises NotSent, UnknownOutcome, Refused (Ditio's 4xx) or Outage, and Missing where it says so."""

    async def send(self, call: Call, project: Project, *, starting: Starting | None = None) -> Reply:
        """Carries out a planned call.

        `starting` is awaited immediately before each time that a creation goes out, when all waiting (for a token, for the end of
        a pause that Ditio asked for, between attempts) is over: the place for what must be durable by then.
        """
        match call:
            case Create(external_id=external_id, values=values):
                return await self.create_task(project, external_id, values, starting=starting)
            case Update(task_id=task_id, values=values):
                return await self.update_task(task_id, values)
            case Replace():
                return await self._lay_over(call, project)
            case Delete(task_id=task_id):
                return await self.delete_task(task_id)

    async def create_task(
        self, project: Project, external_id: str, values: Mapping[str, object], *, starting: Starting | None = None
    ) -> Reply:
        """POST tasks ("Create a work order"). The project's template fills what `values` leave out; `starting` as in `send`.

        Made again only when the request certainly did not reach Ditio. Raises Missing when project or parent are not there.
        """
        body = {**self._home(project), "externalId": external_id, **values}
        return await self._write("task_create", "POST", "tasks", body, repeatable=False, starting=starting)

    async def replace_task(self, task_id: str, task: Mapping[str, object]) -> Reply:
        """PUT tasks/{id} ("Update a work order (full)"): what the complete `task` leaves out is reset to its default, and the
        template is not consulted. Raises Missing when task, project or parent are not there."""
        return await self._write("task_replace", "PUT", path("tasks", task_id), task)

    async def update_task(self, task_id: str, values: Mapping[str, object]) -> Reply:
        """PATCH tasks/{id} ("Update a work order (partial)"): what `values` leave out, or hold as null, stays as it is.

        Raises Missing when task or parent are not there.
        """
        return await self._write("task_update", "PATCH", path("tasks", task_id), values)

    async def delete_task(self, task_id: str) -> Reply:
        """DELETE tasks/{id} ("Delete a work order"). That it is gone already is success, while the control read succeeds.

        Raises Refused when children or registered hours block it.
        """
        try:
            return await self._write("task_delete", "DELETE", path("tasks", task_id))
        except Missing as gone:
            await self.control()  # nothing will ever look again: no success of a moment ago will do
            return Reply(None, gone.attempts, gone.lingering)

    async def _lay_over(self, call: Replace, project: Project) -> Reply:
        """GET, lay the values over it, PUT: what the events do not own stays as it is (but for a change in between)."""
        answer = await self._answer("task_get", "GET", path("tasks", call.task_id))
        task = next((each for each in objects(given("task_get", answer)) if each["id"] == call.task_id), None)
        if task is None:
            raise Missing(f"task_get: Ditio shows no task {call.task_id}", status=404, attempts=answer.attempts)
        laid = {**self._home(project), **{name: value for name, value in task.items() if value is not None}, **call.values}
        complete = {name: value for name, value in laid.items() if value is not None and name not in READ_ONLY}
        try:
            reply = await self.replace_task(call.task_id, complete)
        except ApiError as error:
            error.attempts += answer.attempts
            raise
        return msgspec.structs.replace(reply, attempts=reply.attempts + answer.attempts)

    def _home(self, project: Project) -> Mapping[str, object]:
        return {"companyId": self._company_id, "projectId": project.id}

    async def _write(
        self,
        operation: OperationName,
        method: str,
        where: str,
        body: Mapping[str, object] | None = None,
        *,
        repeatable: bool = True,
        starting: Starting | None = None,
    ) -> Reply:
        answer = await self._answer(operation, method, where, body, repeatable=repeatable, starting=starting)
        # A gateway's page is no success, whatever its status. A creation's success is looked up anyhow.
        tasks = objects(given(operation, answer) if repeatable else decoded(answer.body))
        return Reply(tasks[0] if tasks else None, answer.attempts, answer.lingering)
