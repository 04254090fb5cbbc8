"""The local Ditio: a request in, a reply out. What takes effect late is carried out when its time has come."""

from __future__ import annotations

import json
import secrets
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

from worker.sandbox import projects
from worker.sandbox.capacity import Capacity
from worker.sandbox.faults import Faults
from worker.sandbox.message import Refusal, Reply, Request, answer, segments
from worker.sandbox.options import Options
from worker.sandbox.state import State
from worker.sandbox.tasks import Tasks

API = ("core", "api", "v4", "integration")
WRITES = frozenset({"project_create", "project_delete", "task_create", "task_update", "task_replace", "task_delete"})
LONGEST_LOG = 50_000
HELD_S = 300.0
"""How long a request that takes effect late is held without a reply, unless the fault says otherwise: until the client gives up."""


@dataclass(frozen=True)
class Route:
    """What a request asks for."""

    operation: str
    perform: Callable[[], Reply]


@dataclass(frozen=True)
class Late:
    """A request that takes effect at `due` (seconds since 1970)."""

    due: float
    request: Request


class Sandbox:
    """`clock` gives seconds since 1970, `tokens` until when each is good. Every request is handled in one go."""

    def __init__(self, options: Options, clock: Callable[[], float], state: State | None = None) -> None:
        self.options = options
        self.clock = clock
        self.faults = Faults()
        self.capacity = Capacity(lambda: self.options, clock)
        self.log: deque[dict[str, Any]] = deque(maxlen=LONGEST_LOG)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.late: list[Late] = []
        self.changes = 0
        self.tokens: dict[str, float] = {}
        self.use(state or State())

    def use(self, state: State) -> None:
        """Puts another state in place of the present one."""
        self.state = state
        self.tasks = Tasks(state, lambda: self.options, self.clock)
        self.changes += 1

    def handle(self, request: Request) -> Reply:
        """One request to the identity server or the API."""
        self.settle_late()
        try:
            route = self._route(request)
        except Refusal as refusal:
            route = Route("unknown", lambda refusal=refusal: _raise(refusal))  # type: ignore[misc]  # a lambda's default has no type
        try:
            latency_s = self.capacity.taken() if route.operation != "token" else self.options.latency_s
            fault = self.faults.take(route.operation, _external_id(request))
            reply = self._perform(route) if fault is None else self._with_fault(route, request, fault)
        except Refusal as refusal:
            latency_s, reply = 0.0, answer(refusal.body, refusal.status)
            reply = replace(reply, headers={**reply.headers, **self.capacity.retry_after()})
        self._note(route.operation, request, reply, late=False)
        ahead = datetime.fromtimestamp(self.clock() + self.options.clock_ahead_s, UTC)
        return replace(
            reply,
            headers={**reply.headers, "Date": format_datetime(ahead, usegmt=True)},
            delay_s=reply.delay_s + latency_s,
        )

    def settle_late(self) -> None:
        """Carries out what has become due."""
        now = self.clock()
        due = sorted((each for each in self.late if each.due <= now), key=lambda each: each.due)
        self.late = [each for each in self.late if each.due > now]
        for each in due:
            route = self._route(each.request)
            self._note(route.operation, each.request, self._perform(route), late=True)

    def _with_fault(self, route: Route, request: Request, fault: Any) -> Reply:
        if fault.late_s:
            self.late.append(Late(self.clock() + fault.late_s, request))
            return Reply(0, delay_s=fault.delay_s or HELD_S, drop=True)
        if fault.status:
            body = fault.body if fault.body is not None else {"error": {"message": f"scripted fault {fault.status}"}}
            page = Reply(fault.status, body.encode(), {"Content-Type": "text/html"}) if isinstance(body, str) else None
            scripted = page or answer(body, fault.status)
            return replace(scripted, headers={**scripted.headers, **fault.headers}, delay_s=fault.delay_s)
        if fault.drop == "before":
            return Reply(0, delay_s=fault.delay_s, drop=True)
        known = set(self.state.tasks) if fault.lag_s else set()
        reply = self._perform(route)
        for task_id in (self.state.tasks.keys() - known) if fault.lag_s else ():
            self.state.seen_at[task_id] = self.clock() + fault.lag_s
        return replace(reply, delay_s=fault.delay_s, drop=fault.drop == "after")

    def _perform(self, route: Route) -> Reply:
        try:
            reply = route.perform()
        except Refusal as refusal:
            return answer(refusal.body, refusal.status)
        if route.operation in WRITES:
            self.changes += 1
        return reply

    def _note(self, operation: str, request: Request, reply: Reply, *, late: bool) -> None:
        status = "dropped" if reply.drop else str(reply.status)
        self.counts[operation, status] += 1
        line = {
            "at": self.clock(),
            "operation": operation,
            "method": request.method,
            "path": request.path,
            "status": status,
            "late": late,
        }
        # The token endpoint's body holds the client's secret.
        self.log.append(line | {"body": _shown(request.body)} if operation in WRITES else line)

    # --- routing

    def _route(self, request: Request) -> Route:
        """What a request asks for. Raises Refusal."""
        if request.path.partition("?")[0] == "/connect/token":
            return Route("token", lambda: self._token(request))
        path = segments(request.path, self.options.encoded_slash)
        if path[: len(API)] != API:
            raise Refusal(404, "There is nothing here")
        operation, perform = self._operation(request, path[len(API) :])

        def authorised() -> Reply:
            self._authorise(request)
            return perform()

        return Route(operation, authorised)

    def _operation(self, request: Request, path: tuple[str, ...]) -> tuple[str, Callable[[], Reply]]:
        tasks = self.tasks
        match request.method, path:
            case "GET", ("projects",):
                return "project_list", lambda: answer(tasks.projects())
            case "POST", ("projects",):
                return "project_create", lambda: projects.create(self.state, self.options.company_id, request.json())
            case "DELETE", ("projects", project_id):
                return "project_delete", lambda: projects.delete(self.state, project_id)
            case "GET", ("projects", "by-project-number", number):
                return "project_get", lambda: self._project("projectNumber", number)
            case "GET", ("projects", project_id):
                return "project_get", lambda: self._project("id", project_id)
            case "GET", ("users",):
                return "person_list", lambda: answer(list(self.state.users.values()))
            case "GET", ("users", "by-employee-number", number):
                return "person_find", lambda: self._person(number)
            case "POST", ("tasks",):
                return "task_create", lambda: tasks.create(request.json())
            case "GET", ("tasks", "project", project_id):
                return "task_list", lambda: tasks.of_project(project_id)
            case "GET", ("tasks", "by-project-number", number):
                return "task_list", lambda: tasks.of_project_number(number)
            case "GET", ("tasks", "by-external-project-number", number):
                return "task_list", lambda: tasks.of_external_number(number)
            case "GET", ("tasks", "by-production-code", code):
                return "task_list", lambda: tasks.by_production_code(code)
            case "GET", ("tasks", "by-project-number", number, "by-task-number", external_id):
                return "task_find", lambda: tasks.by_number(number, external_id, every=False)
            case "GET", ("tasks", "by-project-number", number, "by-task-number", external_id, "list"):
                return "task_find", lambda: tasks.by_number(number, external_id, every=True)
            case "GET", ("tasks", "by-external-project-number", number, "by-external-id", external_id):
                return "task_find", lambda: tasks.by_external_number(number, external_id)
            case "GET", ("tasks", task_id):
                return "task_get", lambda: tasks.get(task_id)
            case "PUT", ("tasks", task_id):
                return "task_replace", lambda: tasks.replace(task_id, request.json())
            case "PATCH", ("tasks", task_id):
                return "task_update", lambda: tasks.update(task_id, request.json())
            case "DELETE", ("tasks", task_id):
                return "task_delete", lambda: tasks.delete(task_id)
        raise Refusal(404, "There is nothing here")

    # --- identity

    def _token(self, request: Request) -> Reply:
        given = {name: values[-1] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
        options = self.options
        if request.method != "POST" or given.get("grant_type") != "client_credentials":
            return answer({"error": "unsupported_grant_type"}, 400)
        if (given.get("client_id"), given.get("client_secret")) != (options.client_id, options.client_secret):
            return answer({"error": "invalid_client"}, 400)
        if given.get("scope") != options.scope:
            return answer({"error": "invalid_scope"}, 400)
        now = self.clock()
        self.tokens = {token: until for token, until in self.tokens.items() if until > now}
        self.tokens[token := secrets.token_hex(24)] = now + options.token_s
        return answer({"access_token": token, "expires_in": options.token_s, "token_type": "Bearer"})

    def _authorise(self, request: Request) -> None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer" or self.tokens.get(token, 0.0) <= self.clock():
            raise Refusal(401, "Unauthorized")

    def revoke(self) -> None:
        """Every token that was given out is worthless from now on."""
        self.tokens.clear()

    # --- projects and people

    def _project(self, name: str, value: str) -> Reply:
        found = [each for each in self.tasks.projects() if self.tasks.same(str(each.get(name) or ""), value)]
        if not found:
            raise Refusal(404, "Prosjektet finnes ikke")
        return answer(found if self.options.single == "array" else found[0])

    def _person(self, number: str) -> Reply:
        if number not in self.state.users:
            raise Refusal(404, "Brukeren finnes ikke")
        return answer(self.state.users[number])


def _external_id(request: Request) -> str:
    """The work order that a request names: a creation in its body, a look-up in its path."""
    if request.method == "POST" and request.body[:1] == b"{":
        try:
            given = json.loads(request.body)
        except (ValueError, RecursionError):
            return ""
        return str(given.get("externalId", "")) if isinstance(given, dict) else ""
    try:
        path = segments(request.path, "accept")
    except Refusal:
        return ""
    return path[-2] if path[-1:] == ("list",) else path[-1] if path[-2:-1] in (("by-task-number",), ("by-external-id",)) else ""


def _shown(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body[:200].decode("utf-8", "replace")


def _raise(refusal: Refusal) -> Reply:
    raise refusal


def requests_of(counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Counts by operation and status."""
    by_operation: dict[str, dict[str, int]] = {}
    for (operation, status), count in sorted(counts.items()):
        by_operation.setdefault(operation, {})[status] = count
    return by_operation
