"""What a Ditio account lets the worker do, found out by reading: token ─► scope ─► projects ─► company ─► tasks, and the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from worker.api import Client, NoToken
from worker.config import Settings
from worker.core.errors import WorkerError
from worker.ports import OperationName, Project, Task

INVALID_SCOPE = "invalid_scope"
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "invalid_client": "DITIO_CLIENT_ID or DITIO_CLIENT_SECRET is wrong, or the client is of the other environment"
        " (test and production have clients of their own): set them to what Ditio gave for {identity}",
        "unauthorized_client": "have Ditio allow the client {client} to use client credentials",
        INVALID_SCOPE: 'the client {client} is not granted the scope "{scope}": set DITIO_SCOPE, or have Ditio grant it',
    }
)
"""What to do about the identity server's answers (source: RFC 6749, section 5.2, and Ditio's public documentation)."""

PROJECTS_TRIED = 5
"""Projects in which a task is looked for."""


class AccountError(WorkerError):
    """What is wrong with the account, and what to do."""


class Unseen(WorkerError):
    """It cannot be told from here whether it is right."""


class Noted:
    """Remembers how far Ditio's clock is ahead (seconds); None: it has not answered yet."""

    ahead: float | None = None

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None:
        """Not of interest here."""

    def retry(self, cause: str) -> None:
        """Not of interest here."""

    def clock_ahead(self, seconds: float) -> None:
        """How far Ditio's clock is ahead."""
        self.ahead = seconds


class Account:
    """Each method returns what was found as a sentence, or raises WorkerError with the remedy. They build on each other in this order."""

    def __init__(self, client: Client, settings: Settings, noted: Noted) -> None:
        self._client = client
        self._settings = settings
        self._noted = noted
        self._denied: NoToken | None = None
        self._failure: WorkerError | None = None
        self._projects: Sequence[Project] = ()

    async def token(self) -> str:
        """Whether the identity server knows the client."""
        try:
            self._projects = await self._client.projects()
        except NoToken as error:
            self._denied = error
        except WorkerError as error:
            self._failure = error
        if self._denied is not None and self._denied.error != INVALID_SCOPE:
            raise AccountError(self._remedied(self._denied))
        return f"{self._settings.ditio_identity_base} knows the client {self._settings.ditio_client_id}"

    async def scope(self) -> str:
        """Whether the client is granted the scope."""
        if self._denied is not None:
            raise AccountError(self._remedied(self._denied))
        return f"{self._settings.ditio_scope} is granted"

    async def projects(self) -> str:
        """Whether the API lets the client read projects."""
        base = self._settings.ditio_api_base
        if self._failure is not None:
            raise AccountError(
                f"{self._failure}: check DITIO_API_BASE ({base}), and that Ditio lets this client and scope read projects"
            )
        if not self._projects:
            raise AccountError(f"{base} shows this client no project: make one, or have Ditio give the client access")
        return f"{len(self._projects)} can be read"

    async def company(self) -> str:
        """Whether DITIO_COMPANY_ID is the company of the projects."""
        ours, company = self._ours(), self._settings.ditio_company_id
        if not ours:
            others = ", ".join(sorted({each.company_id or "" for each in self._projects}))
            raise AccountError(f"none of the projects is of company {company}, but of {others}: set DITIO_COMPANY_ID")
        return f"{company} has {len(ours)} of them"

    async def tasks(self) -> str:
        """Whether tasks can be listed, and one of them looked up by its key."""
        tried = self._ours()[:PROJECTS_TRIED]
        try:
            for project in tried:
                tasks = await self._client.tasks_of_project(project.id)
                named = next((task for task in tasks if task.get("externalId")), None)
                if named is not None and project.number is not None:
                    return await self._look_up(project, project.number, named, len(tasks))
        except AccountError:
            raise
        except WorkerError as error:
            raise AccountError(f"{error}: have Ditio give the client access to work orders (tasks)") from error
        return f"{len(tried)} projects listed; none of them has a work order yet that could be looked up"

    async def clock(self) -> str:
        """Whether this machine's clock is Ditio's."""
        if self._noted.ahead is None:
            raise Unseen("Ditio has not told the time")
        if wrong := skew(self._noted, self._settings):
            raise AccountError(f"{wrong}: set the clock (NTP)")
        return f"{-self._noted.ahead:+.0f} s from Ditio's"

    async def _look_up(self, project: Project, number: str, task: Task, listed: int) -> str:
        external_id = str(task["externalId"])
        found = await self._client.tasks_by_number(number, external_id)
        if task["id"] not in [each["id"] for each in found]:
            raise AccountError(
                f"the look-up by project number {number} and task number {external_id} does not show task {task['id']}, which"
                f" the list of project {project.id} does: ask Ditio why; the worker would take it for missing"
            )
        return f"{listed} in project {number}; {external_id} found by its key"

    def _ours(self) -> Sequence[Project]:
        return [each for each in self._projects if each.company_id in (None, self._settings.ditio_company_id)]

    def _remedied(self, denied: NoToken) -> str:
        remedy = REMEDIES.get(denied.error)
        if remedy is None:
            return f"{denied}: check DITIO_IDENTITY_BASE ({self._settings.ditio_identity_base})"
        settings = self._settings
        names = {"identity": settings.ditio_identity_base, "client": settings.ditio_client_id, "scope": settings.ditio_scope}
        return f"{denied.error}: {remedy.format(**names)}"


def skew(noted: Noted, settings: Settings) -> str:
    """What is wrong with this machine's clock, if it is."""
    if noted.ahead is None or abs(noted.ahead) <= settings.worker_max_skew_s:
        return ""
    return f"this machine's clock is {-noted.ahead:+.0f} s from Ditio's, and {settings.worker_max_skew_s} s are allowed (WORKER_MAX_SKEW_S)"
