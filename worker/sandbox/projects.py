"""Making and deleting projects, by Ditio's public documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker.sandbox.message import Refusal, Reply, answer
from worker.sandbox.state import State, Thing

REQUIRED = ("companyId", "projectNumber")


def create(state: State, company_id: str, body: Any) -> Reply:
    """POST projects: one that has the number already is answered as it is. Raises Refusal."""
    if not isinstance(body, dict):
        raise Refusal(400, "The body is not an object")
    for name in REQUIRED:
        if not isinstance(body.get(name), str) or not body[name]:
            raise Refusal(400, f"{name} mangler", name)
    if body["companyId"] != company_id:
        raise Refusal(404, "Ugyldig companyId", "companyId")
    for project in state.projects.values():
        if (project["companyId"], project.get("projectNumber")) == (company_id, body["projectNumber"]):
            return answer(project)
    return answer(put_in(state, company_id, {name: value for name, value in body.items() if name != "id"}), 201)


def put_in(state: State, company_id: str, given: Mapping[str, Any]) -> Thing:
    """A new project with these values."""
    project = {
        "id": state.new_id(),
        "companyId": company_id,
        "name": given["projectNumber"],
        "externalProjectNumber": None,
        "active": True,
        **given,
    }
    state.projects[project["id"]] = project
    return project


def delete(state: State, project_id: str) -> Reply:
    """DELETE projects/{id}: with everything in it. Raises Refusal."""
    if project_id not in state.projects:
        raise Refusal(404, "Prosjektet finnes ikke")
    for task in state.of_project(project_id):
        state.remove(task["id"])
    del state.projects[project_id]
    state.templates.pop(project_id, None)
    return Reply(204)
