"""A company to begin with: three projects, two foremen, a template."""

from __future__ import annotations

import json

from worker.sandbox.admin import administer
from worker.sandbox.message import Request
from worker.sandbox.sandbox import Sandbox

PROJECTS = (
    {"projectNumber": "P-2026-001", "name": "E18 Bamble", "externalProjectNumber": "4711"},
    {"projectNumber": "P-2026-002", "name": "Bybanen Åsane", "externalProjectNumber": "4712"},
    {"projectNumber": "P-2026-003", "name": "Dobbeltspor Hamar", "externalProjectNumber": "4713"},
)
USERS = ({"employeeNumber": "1042", "name": "Kari Nordmann"}, {"employeeNumber": "1077", "name": "Øystein Ås"})
TEMPLATE = {"price": 950.0, "costPrice": 720.0, "textRequired": True}


def seed(sandbox: Sandbox) -> None:
    """Puts the company into a sandbox that does not have it yet."""
    known = {project.get("projectNumber") for project in sandbox.state.projects.values()}
    if known & {project["projectNumber"] for project in PROJECTS}:
        return
    projects = json.loads(_post(sandbox, "projects", list(PROJECTS)))
    _post(sandbox, "users", list(USERS))
    sandbox.state.templates[projects[0]["id"]] = dict(TEMPLATE)


def _post(sandbox: Sandbox, what: str, things: object) -> bytes:
    return administer(sandbox, Request("POST", f"/_sandbox/{what}", body=json.dumps(things).encode())).body
