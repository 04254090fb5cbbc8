"""What the worker asks of Ditio, and the shapes of the answers.

Source of the task operations: Ditio's work-order page. Projects, people: Ditio's public documentation. Answers are taken in every
form that is not excluded there: a single object or an array of one; 404, null, nothing or an empty array for no match; 200 with the
task or 204 without a body.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import httpx
import msgspec

from worker.api.flight import SingleFlight
from worker.api.gate import Gate
from worker.api.http import Access, Answer, Http, Observer, Starting, Unauthorized
from worker.api.segment import path, safe_in_path
from worker.api.token import TokenSource
from worker.api.transport import Transport
from worker.core.errors import ApiError, Missing, Outage, Refused, UnknownOutcome
from worker.core.plan import Call, Create, Delete, Replace, Update
from worker.ports import Clock, OperationName, Project, Reply, Task

READ_ONLY = frozenset({"id"})
"""What an answer shows and no request sets: Ditio ignores the id in the body of an update."""

BELIEVED_S = 5.0
"""How long the control read's success is believed."""


@asynccontextmanager
async def open_api(access: Access, clock: Clock, observer: Observer) -> AsyncIterator[Client]:
    """A client, until the block ends."""
    context = ssl.create_default_context(cafile=access.ca_file) if access.ca_file else None
    transport = Transport(context, access.proxy, access.no_proxy, connect_s=access.timeout_s / 2)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=access.timeout_s) as client:
        tokens = TokenSource(access, client, clock, observer)
        http = Http(access, client, tokens, Gate(clock, access.max_requests_per_s), clock, observer)
        yield Client(http, access.company_id, clock)


class Client:
    """See worker.ports.Ditio for what the methods promise."""

    def __init__(self, http: Http, company_id: str, clock: Clock) -> None:
        self._http = http
        self._company_id = company_id
        self._clock = clock
        self._believed_until = float("-inf")
        self._controlled = SingleFlight(self._control)

    def finish_by(self, deadline: float) -> None:
        """Requests are over by then (seconds of the monotonic clock): those that might not be are not made, which raises Stopping."""
        self._http.finish_by(deadline)

    # --- writing

    async def send(self, call: Call, project: Project, *, starting: Starting | None = None) -> Reply:
        """Carries out a planned call.

        `starting` is awaited immediately before each time that a creation goes out, when all waiting (for a token, for the end of
        a pause that Ditio asked for, between attempts) is over: the place for what must be durable by then.
        """
        match call:
            case Create(external_id=external_id, values=values):
                body = {**self._home(project), "externalId": external_id, **values}
                return await self._write("task_create", "POST", "tasks", body, repeatable=False, starting=starting)
            case Update(task_id=task_id, values=values):
                return await self._write("task_update", "PATCH", path("tasks", task_id), values)
            case Replace():
                return await self._replace(call, project)
            case Delete(task_id=task_id):
                try:
                    return await self._write("task_delete", "DELETE", path("tasks", task_id))
                except Missing as gone:
                    await self.control()  # nothing will ever look again: no success of a moment ago will do
                    return Reply(None, gone.attempts, gone.lingering)

    async def _replace(self, call: Replace, project: Project) -> Reply:
        """GET, lay the values over it, PUT: what the events do not own stays as it is (but for a change in between)."""
        where = path("tasks", call.task_id)
        answer = await self._answer("task_get", "GET", where)
        task = next((each for each in _objects(_json("task_get", answer)) if each["id"] == call.task_id), None)
        if task is None:
            raise Missing(f"task_get: Ditio shows no task {call.task_id}", status=404, attempts=answer.attempts)
        laid = {**self._home(project), **{name: value for name, value in task.items() if value is not None}, **call.values}
        body = {name: value for name, value in laid.items() if value is not None and name not in READ_ONLY}
        try:
            reply = await self._write("task_replace", "PUT", where, body)
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
        tasks = _objects(_json(operation, answer) if repeatable else _decoded(answer.body))
        return Reply(tasks[0] if tasks else None, answer.attempts, answer.lingering)

    # --- reading

    async def control(self) -> None:
        """The read that must succeed: all projects, as an array. Those who ask at once share one request. Raises Outage."""
        await self._controlled()

    async def _control(self) -> None:
        try:
            answer = await self._http.request("control", "GET", "projects")
        except Unauthorized as error:
            raise Outage("credentials", f"Ditio refuses the worker's client: {error.detail}") from error
        except ApiError as error:
            raise Outage("circuit", f"Ditio does not answer the read that must succeed: {error.detail}") from error
        if not isinstance(_decoded(answer.body), list):
            raise Outage("circuit", "Ditio does not answer the read that must succeed: what came is no list of projects")
        self._believed_until = self._clock.monotonic() + BELIEVED_S

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
        listed = _objects(_json("project_list", await self._answer("project_list", "GET", "projects")))
        return [project for project in map(_as_project, listed) if project is not None]

    async def task_by_id(self, task_id: str) -> Task | None:
        """GET tasks/{id}."""
        return next(iter(await self._find("task_get", "tasks", task_id)), None)

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """GET tasks/by-project-number/{number}/by-task-number/{externalId}/list: all matches.

        Raises Refused for keys that are not `safe_in_path`, where nothing found would say nothing: list the project instead.
        """
        if not (safe_in_path(project_number) and safe_in_path(external_id)):
            raise Refused(f"task_find: no path can hold {project_number!r} and {external_id!r}", attempts=0)
        return await self._find("task_find", "tasks", "by-project-number", project_number, "by-task-number", external_id, "list")

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        """GET tasks/project/{id}: all tasks of a project."""
        return await self._find("task_list", "tasks", "project", project_id)

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        """GET users/by-employee-number/{number}."""
        found = await self._find("person_find", "users", "by-employee-number", employee_number, named="employeeNumber")
        return next(iter(found), None)

    async def _find(self, operation: OperationName, *segments: str, named: str = "id") -> Sequence[Task]:
        """All matches of a look-up. That there are none is believed only while the control read succeeds.

        Of what no path can hold there are none, without asking: without its last segment the path would ask for something else.
        """
        if not all(map(safe_in_path, segments)):
            return ()
        try:
            found = _objects(_json(operation, await self._answer(operation, "GET", path(*segments))), named)
        except Missing:
            found = ()
        if not found:
            await self._believe()
        return found

    # --- both

    async def _answer(
        self,
        operation: OperationName,
        method: str,
        where: str,
        body: Mapping[str, object] | None = None,
        *,
        repeatable: bool = True,
        starting: Starting | None = None,
    ) -> Answer:
        """A request's answer. 401 and 403 are its own fault if the control read is let through. Raises ApiError, Outage."""
        try:
            return await self._http.request(operation, method, where, body, repeatable=repeatable, starting=starting)
        except Unauthorized as error:
            await self.control()
            raise Refused(
                error.detail, status=error.status, response=error.response, attempts=error.attempts, lingering=error.lingering
            ) from error

    async def _believe(self) -> None:
        if self._clock.monotonic() >= self._believed_until:
            await self.control()


def _json(operation: OperationName, answer: Answer) -> object:
    """What was answered; nothing, null and an empty body are None. Raises UnknownOutcome for what Ditio never says."""
    decoded = _decoded(answer.body)
    if not isinstance(decoded, dict | list) and answer.body.strip() not in (b"", b"null"):
        raise UnknownOutcome(f"{operation}: the answer is not JSON of an object or array", attempts=answer.attempts)
    return decoded


def _decoded(body: bytes) -> object:
    """JSON, or None for what is none."""
    try:
        return msgspec.json.decode(body) if body.strip() else None
    except (msgspec.MsgspecError, RecursionError):
        return None


def _objects(answer: object, named: str = "id") -> Sequence[Task]:
    """The objects of an answer that have what names them, whatever its shape."""
    listed = answer if isinstance(answer, list) else [answer]
    return [each for each in listed if isinstance(each, dict) and each.get(named)]


def _as_project(given: Task) -> Project | None:
    fields = (given.get(name) for name in ("id", "projectNumber", "externalProjectNumber", "companyId"))
    project_id, number, external_number, company_id = (each if isinstance(each, str) and each else None for each in fields)
    return Project(project_id, number, external_number, company_id) if project_id else None
