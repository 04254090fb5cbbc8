"""A Ditio that is held against its own work-order page, over plain HTTP: the sandbox as a process, or the one at `--api-base`."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.secret import keep_secret
from tests.support.waiting import POLL_S
from worker.api import Access
from worker.api.response import retry_after

ROOT = Path(__file__).parents[2]
GONE = (404,)
DONE = (200, 204)
API = "api/v4/integration"
LONGEST_QUEUE = 10
PATIENCE_S = 10.0
UNTOLD_S = 1.0
"""How long a 429 that does not say so is waited out, in seconds."""

Thing = dict[str, Any]


@dataclass
class Ditio:
    """What is asked for, made, and cleaned up again. `admin` is where the sandbox's admin pages are; a real Ditio has none."""

    env: Mapping[str, str] = field(repr=False)  # it holds the secret
    client: httpx.Client
    admin: str = ""
    project: Thing = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    names: int = 0
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON (None: nothing) of a request to the API. A 429 is waited out."""
        for _ in range(LONGEST_QUEUE):
            answer = self.client.request(method, f"{self.env['DITIO_API_BASE']}/{API}/{path}", json=body)
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
                break
            told = retry_after(answer.headers.get("Retry-After"), time.time())
            time.sleep(UNTOLD_S if told is None else told)
        return answer.status_code, answer.json() if answer.content.strip() else None

    def behind_the_scenes(self, method: str, path: str, body: object) -> Any:
        """A request to the sandbox's admin pages."""
        answer = self.client.request(method, f"{self.admin}/_sandbox/{path}", json=body)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.json() if answer.content else None

    def key(self) -> str:
        """An external id that nobody has used."""
        self.names += 1
        return f"CT-{self.run}-{self.names}"

    def identity(self, project_id: str = "") -> Thing:
        """The required fields of a new work order."""
        return {
            "companyId": self.env["DITIO_COMPANY_ID"],
            "projectId": project_id or self.project["id"],
            "externalId": self.key(),
        }

    def post(self, body: Thing) -> tuple[int, Any]:
        """POST tasks; whatever it makes is cleaned up at the end."""
        status, answer = self.ask("POST", "tasks", body)
        self.made += [task["id"] for task in objects(answer)] if status < 300 else []
        return status, answer

    def create(self, *, project_id: str = "", **values: Any) -> Thing:
        """A new work order, as Ditio shows it."""
        status, answer = self.post({**self.identity(project_id), **values})
        assert status in (200, 201), answer
        return self.get(objects(answer)[0]["id"])

    def get(self, task_id: str) -> Thing:
        """A work order by its id."""
        (task,) = self.found(f"tasks/{task_id}")
        return task

    def found(self, path: str) -> list[Thing]:
        """What a look-up shows; nothing in every undocumented form of nothing."""
        status, answer = self.ask("GET", path)
        assert status in (*DONE, *GONE), answer
        return objects(answer) if status in DONE else []

    def settled(self, path: str, task_id: str, *, there: bool = True) -> list[Thing]:
        """What a look-up shows as soon as a work order is there, or is not: look-ups may lag behind."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = self.found(path)
            if (task_id in [each["id"] for each in found]) == there or time.monotonic() > until:
                return found
            time.sleep(POLL_S)

    def change(self, method: str, task_id: str, body: Thing) -> Thing:
        """PUT or PATCH, and the work order afterwards."""
        status, answer = self.ask(method, f"tasks/{task_id}", body)
        assert status in DONE, answer
        assert not objects(answer) or objects(answer)[0]["id"] == task_id
        return self.get(task_id)

    def clean_up(self) -> list[str]:
        """Deletes what was made, the youngest first: children stand in the way of their parents. Returns what could not be."""
        left = [task_id for task_id in reversed(self.made) if self.ask("DELETE", f"tasks/{task_id}")[0] not in (*DONE, *GONE)]
        self.made.clear()
        return left

    def access(self) -> Access:
        """How the worker's own client is let in."""
        env = self.env
        secret = env["DITIO_CLIENT_SECRET"]
        return Access(
            env["DITIO_API_BASE"], env["DITIO_IDENTITY_BASE"], env["DITIO_CLIENT_ID"], lambda: secret, env["DITIO_COMPANY_ID"]
        )


def objects(answer: Any) -> list[Thing]:
    """The work orders of an answer, whether it is one or an array."""
    return [each for each in (answer if isinstance(answer, list) else [answer]) if each]


@contextmanager
def opened(env: Mapping[str, str], admin: str = "", project_number: str = "") -> Iterator[Ditio]:
    """A Ditio with a token and a project: the one of that number, or one that is made and deleted again."""
    form = {
        "grant_type": "client_credentials",
        "client_id": env["DITIO_CLIENT_ID"],
        "client_secret": env["DITIO_CLIENT_SECRET"],
        "scope": env.get("DITIO_SCOPE", "ditioapiv3"),
    }
    with httpx.Client(timeout=30, trust_env=not admin) as client:
        granted = client.post(f"{env['DITIO_IDENTITY_BASE']}/connect/token", data=form)
        assert granted.status_code == 200, granted.text
        client.headers["Authorization"] = f"Bearer {keep_secret(granted.json()['access_token'])}"
        ditio = Ditio(env, client, admin)
        if project_number:
            found = ditio.found(f"projects/by-project-number/{quote(project_number, safe='')}")
            assert found, f"there is no project {project_number}"
            ditio.project = found[0]
        else:
            ditio.project = new_project(ditio)
        try:
            yield ditio
        finally:
            left = ditio.clean_up()
            if not project_number:
                assert ditio.ask("DELETE", f"projects/{ditio.project['id']}")[0] in DONE
            assert left == []


def new_project(ditio: Ditio) -> Thing:
    """A project with both numbers."""
    number = ditio.key()
    body = {
        "companyId": ditio.env["DITIO_COMPANY_ID"],
        "projectNumber": number,
        "name": number,
        "externalProjectNumber": f"X-{number}",
        "active": True,
    }
    status, answer = ditio.ask("POST", "projects", body)
    assert status in (200, 201), answer
    return objects(answer)[0]


NEEDED = ("DITIO_IDENTITY_BASE", "DITIO_CLIENT_ID", "DITIO_CLIENT_SECRET", "DITIO_COMPANY_ID")


def of_environment(api_base: str) -> Mapping[str, str]:
    """The address that was given, and the rest of the environment."""
    if missing := [name for name in NEEDED if not os.environ.get(name)]:
        pytest.fail(f"--api-base needs {', '.join(missing)} in the environment", pytrace=False)
    keep_secret(os.environ["DITIO_CLIENT_SECRET"])
    given = {name: value.rstrip("/") for name, value in os.environ.items() if name.startswith("DITIO_")}
    return {**given, "DITIO_API_BASE": api_base.rstrip("/"), "DITIO_CLIENT_SECRET": os.environ["DITIO_CLIENT_SECRET"]}


@contextmanager
def sandbox_process(options: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The settings of a sandbox that runs as a process of its own."""
    chosen = {**options, "client_secret": keep_secret(secrets.token_hex(16))}
    switches = [word for name, value in chosen.items() for word in ("--option", f"{name}={value}")]
    command = [sys.executable, "-m", "worker", "sandbox", "--port", "0", "--print-env", *switches]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            lines = [shlex.split(process.stdout.readline()) for _ in ("DITIO_API_BASE", *NEEDED)]
            yield dict(words[1].split("=", 1) for words in lines)
        finally:
            process.terminate()
