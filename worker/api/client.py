"""What the worker asks of Ditio, and the shapes of the answers.

Source of the task operations: Ditio's work-order page. Projects, people: Ditio's public documentation. Answers are taken in every
form that is not excluded there: a single object or an array of one; 404, null, nothing or an empty array for no match; 200 with the
task or 204 without a body.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import quote

import httpx
import msgspec

from worker.api.gate import Gate
from worker.api.http import Access, Http, Observer, Unauthorized
from worker.api.token import TokenSource
from worker.api.transport import Transport
from worker.core.errors import ApiError, Missing, Outage, Refused, UnknownOutcome
from worker.core.plan import Call, Create, Delete, Replace, Update
from worker.ports import Clock, OperationName, Project, Reply, Task

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

    # --- writing

    async def send(self, call: Call, project: Project) -> Reply:
        """Carries out a planned call."""
        match call:
            case Create(external_id=external_id, values=values):
                identity = {"companyId": self._company_id, "projectId": project.id, "externalId": external_id}
                return await self._write("task_create", "POST", "tasks", {**identity, **values}, repeatable=False)
            case Update(task_id=task_id, values=values):
                return await self._write("task_update", "PATCH", f"tasks/{_segment(task_id)}", values)
            case Replace():
                return await self._replace(call)
            case Delete(task_id=task_id):
                try:
                    return await self._write("task_delete", "DELETE", f"tasks/{_segment(task_id)}")
                except Missing as gone:
                    await self._believe()
                    return Reply(None, gone.attempts, gone.lingering)

    async def _replace(self, call: Replace) -> Reply:
        """GET, lay the values over it, PUT: what the events do not own stays as it is (but for a change in between)."""
        path = f"tasks/{_segment(call.task_id)}"
        answer = await self._read("task_get", path)
        tasks = _objects(answer)
        if not tasks:
            raise Missing(f"task_get: Ditio shows no task {call.task_id}", status=404)
        laid = {**tasks[0], **call.values}
        body = {name: value for name, value in laid.items() if value is not None}
        reply = await self._write("task_replace", "PUT", path, body)
        return msgspec.structs.replace(reply, attempts=reply.attempts + 1)

    async def _write(
        self,
        operation: OperationName,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        repeatable: bool = True,
    ) -> Reply:
        try:
            answer = await self._http.request(operation, method, path, body, repeatable=repeatable)
        except Unauthorized as error:
            raise await self._refused(error) from error
        tasks = _objects(_decoded(answer.body))
        return Reply(tasks[0] if tasks else None, answer.attempts, answer.lingering)

    # --- reading

    async def control(self) -> None:
        """The read that must succeed. Raises Outage."""
        try:
            await self._http.request("control", "GET", "projects")
        except Unauthorized as error:
            raise Outage("credentials", f"Ditio refuses the worker's client: {error.detail}") from error
        except ApiError as error:
            raise Outage("circuit", f"Ditio does not answer the read that must succeed: {error.detail}") from error
        self._believed_until = self._clock.monotonic() + BELIEVED_S

    async def project_by_number(self, number: str) -> Project | None:
        """GET projects/by-project-number/{number}."""
        return _project(await self._find("project_get", f"projects/by-project-number/{_segment(number)}"))

    async def project_by_id(self, project_id: str) -> Project | None:
        """GET projects/{id}."""
        return _project(await self._find("project_get", f"projects/{_segment(project_id)}"))

    async def projects(self) -> Sequence[Project]:
        """GET projects: all of them."""
        listed = _objects(await self._read("project_list", "projects"))
        return [project for project in map(_as_project, listed) if project is not None]

    async def task_by_id(self, task_id: str) -> Task | None:
        """GET tasks/{id}."""
        return next(iter(await self._find("task_get", f"tasks/{_segment(task_id)}")), None)

    async def tasks_by_number(self, project_number: str, external_id: str) -> Sequence[Task]:
        """GET tasks/by-project-number/{number}/by-task-number/{externalId}/list: all matches."""
        path = f"tasks/by-project-number/{_segment(project_number)}/by-task-number/{_segment(external_id)}/list"
        return await self._find("task_find", path)

    async def tasks_of_project(self, project_id: str) -> Sequence[Task]:
        """GET tasks/project/{id}: all tasks of a project."""
        return await self._find("task_list", f"tasks/project/{_segment(project_id)}")

    async def person_by_number(self, employee_number: str) -> Mapping[str, object] | None:
        """GET users/by-employee-number/{number}."""
        found = await self._find("person_find", f"users/by-employee-number/{_segment(employee_number)}", named="employeeNumber")
        return next(iter(found), None)

    async def _find(self, operation: OperationName, path: str, *, named: str = "id") -> Sequence[Task]:
        """All matches of a look-up. That there are none is believed only while the control read succeeds."""
        try:
            found = _objects(await self._read(operation, path), named)
        except Missing:
            found = ()
        if not found:
            await self._believe()
        return found

    async def _read(self, operation: OperationName, path: str) -> object:
        try:
            answer = await self._http.request(operation, "GET", path)
        except Unauthorized as error:
            raise await self._refused(error) from error
        decoded = _decoded(answer.body)
        if decoded is None and answer.body.strip() not in (b"", b"null"):
            raise UnknownOutcome(f"{operation}: the answer is not JSON", attempts=answer.attempts)
        return decoded

    async def _believe(self) -> None:
        if self._clock.monotonic() >= self._believed_until:
            await self.control()

    async def _refused(self, error: Unauthorized) -> Refused:
        """What 401 and 403 mean when the control read is let through: this request is refused, not the client. Raises Outage."""
        await self.control()
        return Refused(
            error.detail, status=error.status, response=error.response, attempts=error.attempts, lingering=error.lingering
        )


def _segment(key: str) -> str:
    """A key as one segment of a path: everything but letters, digits and `-._~` is percent-encoded."""
    return quote(key, safe="")


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


def _project(found: Sequence[Task]) -> Project | None:
    return _as_project(found[0]) if found else None


def _as_project(given: Task) -> Project | None:
    fields = (given.get(name) for name in ("id", "projectNumber", "externalProjectNumber", "companyId"))
    project_id, number, external_number, company_id = (each if isinstance(each, str) and each else None for each in fields)
    return Project(project_id, number, external_number, company_id) if project_id else None
