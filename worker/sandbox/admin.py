"""What is behind the scenes, at `/_sandbox/`: state, log, counts, faults, options, and things to put in. No token is needed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from worker.sandbox import projects
from worker.sandbox.fields import defaults
from worker.sandbox.message import Refusal, Reply, Request, answer, segments
from worker.sandbox.sandbox import Sandbox, requests_of
from worker.sandbox.state import State

SECRETS = frozenset({"client_secret"})
PREFIX = "/_sandbox/"


def administer(sandbox: Sandbox, request: Request) -> Reply:
    """Carries out a request to the admin pages."""
    sandbox.settle_late()
    try:
        return _answered(sandbox, request, segments(request.path, "accept")[1:])
    except Refusal as refusal:
        return answer(refusal.body, refusal.status)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return answer({"message": f"not understood: {error}"}, 400)


def _answered(sandbox: Sandbox, request: Request, path: tuple[str, ...]) -> Reply:
    match request.method, path:
        case "GET", ("state",):
            return answer(sandbox.state.dumped())
        case "PUT", ("state",):
            sandbox.use(State.loaded(request.json()))
        case "GET", ("log",):
            return answer(list(sandbox.log))
        case "DELETE", ("log",):
            sandbox.log.clear()
            sandbox.counts.clear()
        case "GET", ("counts",):
            return answer(requests_of(sandbox.counts))
        case "GET", ("pending",):
            return answer([{"due": each.due, "method": each.request.method, "path": each.request.path} for each in sandbox.late])
        case "GET", ("faults",):
            return answer(sandbox.faults.listed())
        case "POST", ("faults",):
            given = request.json()
            for fault in given if isinstance(given, list) else [given]:
                sandbox.faults.add(fault)
        case "DELETE", ("faults",):
            sandbox.faults.clear()
        case "GET", ("options",):
            return answer({name: value for name, value in asdict(sandbox.options).items() if name not in SECRETS})
        case "PATCH", ("options",):
            sandbox.options = sandbox.options.changed(request.json())
        case "DELETE", ("tokens",):
            sandbox.revoke()
        case _:
            return _put_in(sandbox, request, path)
    return Reply(204)


def _put_in(sandbox: Sandbox, request: Request, path: tuple[str, ...]) -> Reply:
    """Things that Ditio's own users would make."""
    state = sandbox.state
    match request.method, path:
        case "POST", ("projects",):
            made = [projects.put_in(state, sandbox.options.company_id, given) for given in _each(request.json())]
        case "POST", ("users",):
            made = [_user(sandbox, given) for given in _each(request.json())]
        case "POST", ("tasks",):
            made = [_task(sandbox, given) for given in _each(request.json())]
        case "PUT", ("templates", project_id):
            state.templates[project_id] = request.json()
            made = []
        case "POST", ("tasks", task_id, "hours"):
            state.hours[task_id] = state.hours.get(task_id, 0) + 1
            made = []
        case "DELETE", ("projects", project_id):
            projects.delete(state, project_id)
            made = []
        case "DELETE", ("tasks", task_id):
            state.remove(task_id)
            made = []
        case _:
            raise Refusal(404, "There is nothing here")
    sandbox.changes += 1
    return answer(made, 201)


def _each(given: Any) -> list[dict[str, Any]]:
    return given if isinstance(given, list) else [given]


def _user(sandbox: Sandbox, given: dict[str, Any]) -> dict[str, Any]:
    number = given["employeeNumber"]
    ids = {"identityId": f"auth0|{sandbox.state.new_id()}", "companyProfileId": sandbox.state.new_id()}
    sandbox.state.users[number] = user = {**ids, "name": f"Ansatt {number}", **given}
    return user


def _task(sandbox: Sandbox, given: dict[str, Any]) -> dict[str, Any]:
    task = {**defaults(), "companyId": sandbox.options.company_id, "id": sandbox.state.new_id(), **given}
    sandbox.state.put(task)
    return task
