"""`ditio-worker trace`: everything that happened to a work order."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from worker.cli.dead_show import HISTORY, history_row, line
from worker.cli.letters import desk, in_seconds, moment
from worker.cli.lookups import Finder
from worker.cli.now import NO_SUCH_TASK, Now
from worker.cli.selecting import LARGEST_LOOK
from worker.cli.terminal import Command, Terminal
from worker.config import Settings
from worker.core.dead_letter import DeadLetter
from worker.core.errors import ApiError, BrokerError, LedgerError, Outage
from worker.core.event import ProjectRef
from worker.core.message import Message
from worker.core.traced import Traced, answer

if TYPE_CHECKING:  # slow to import, and --help does without
    from worker.api import Client
    from worker.ledger import Reader
    from worker.ports import Happened, Key, Project, Task, WorkOrder

DONE, FAILED, NOTHING_MATCHED = 0, 1, 3

LETTERS = ("id", "died", "reason", "field", "event_id", "detail")


def execute(arguments: argparse.Namespace, terminal: Terminal) -> int:
    """Shows what is known of the work orders that match."""
    settings = terminal.settings("trace")
    documents = asyncio.run(_traced(arguments, settings, terminal))
    if arguments.format == "json":
        terminal.document(documents)
    else:
        for number, document in enumerate(documents):
            terminal.say(*([""] if number else []))
            _show(document, terminal)
    known = any(document["history"] or document["letters"] or document["tasks"] for document in documents)
    return DONE if known else NOTHING_MATCHED


async def _traced(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> list[dict[str, Any]]:
    from worker import ledger  # noqa: PLC0415
    from worker.api import Unobserved, open_api  # noqa: PLC0415
    from worker.clock import WallClock  # noqa: PLC0415
    from worker.wiring import api_access  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        known: Reader | None = None
        try:
            known = await ledger.open_read_only(settings.ledger_url().place, clock=WallClock())
            stack.push_async_callback(known.close)
        except LedgerError as error:
            terminal.complain(f"what was received is not known: {error}")
        client = await stack.enter_async_context(open_api(api_access(settings), WallClock(), Unobserved()))
        search = Search(arguments, known, client, await _letters(arguments, settings, terminal), terminal)
        return await search.documents()


async def _letters(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> list[DeadLetter] | None:
    """All letters that name a work order; None, which is told, where nobody can look now."""
    found: list[DeadLetter] = []

    def visit(letter: DeadLetter, _: Message) -> None:
        if letter.identity.external_id == arguments.external_id or arguments.task:
            found.append(letter)

    try:
        async with desk(settings, "trace", arguments.most) as at:
            await at.visit(visit)
    except BrokerError as error:
        terminal.complain(f"the dead letters could not be looked at: {error}")
        return None
    return found


class Search:
    """Puts together what ledger, Ditio and the dead letters know. Each may be missing; then the answer says so."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        known: Reader | None,
        client: Client,
        letters: list[DeadLetter] | None,
        terminal: Terminal,
    ) -> None:
        self._arguments = arguments
        self._known = known
        self._client = client
        self._letters = letters
        self._terminal = terminal
        self._projects: dict[str, Project] | None = None

    async def documents(self) -> list[dict[str, Any]]:
        """One for each work order that is known; or one that says that none is."""
        await self._list_projects()
        if self._arguments.task:
            return await self._of_task(self._arguments.task)
        external_id, wanted = self._arguments.external_id, self._arguments.project
        orders = await self._known.with_external_id(external_id) if self._known else ()
        orders = [order for order in orders if wanted is None or wanted in self._names(order.key.project_id)]
        named = {order.key.project_id for order in orders}
        missing = [project for project in self._wanted(wanted) if project.id not in named]
        documents = [await self._document(order.key.project_id, external_id, order) for order in orders]
        documents += [await self._document(project.id, external_id, None) for project in missing]
        return documents or [await self._document(wanted, external_id, None)]

    async def _of_task(self, task_id: str) -> list[dict[str, Any]]:
        orders = await self._known.with_task(task_id) if self._known else ()
        if orders:
            return [await self._document(order.key.project_id, order.key.external_id, order) for order in orders]
        try:
            task = await self._client.task_by_id(task_id)
        except (ApiError, Outage) as error:
            self._terminal.complain(f"Ditio could not be asked: {error}")
            task = None
        if task is None:
            return [await self._document(None, "", None)]
        return [await self._document(str(task.get("projectId")), str(task.get("externalId") or ""), None)]

    async def _list_projects(self) -> None:
        try:
            self._projects = {project.id: project for project in await self._client.projects()}
        except (ApiError, Outage) as error:
            self._terminal.complain(f"Ditio could not be asked: {error}")

    def _names(self, project_id: str) -> tuple[str | None, ...]:
        """What an event may call a project."""
        project = (self._projects or {}).get(project_id)
        return (project_id, project.number, project.external_number) if project else (project_id,)

    def _wanted(self, named: str | None) -> list[Project]:
        """The projects that are meant; where none is named, those of the letters."""
        about = [each for each in self._letters or () if each.identity.external_id == self._arguments.external_id]
        names = {named} if named is not None else {each.identity.project for each in about} - {""}
        return [project for project in (self._projects or {}).values() if names.intersection(self._names(project.id))]

    async def _document(self, project: str | None, external_id: str, order: WorkOrder | None) -> dict[str, Any]:
        history = await self._known.history(order.key) if self._known and order else ()
        letters = self._about(project, external_id)
        tasks, unasked = await self._tasks(project, external_id)
        last = await self._known.last_event(project) if self._known and project else None
        return {
            "project": next((name for name in self._names(project)[1:] if name), project) if project else None,
            "project_id": project if project in (self._projects or {}) or order else None,
            "external_id": external_id,
            "task_id": order.task_id if order else None,
            "answer": answer(_told(history, last, letters, len(tasks), unasked)),
            "history": [line(each) for each in history],
            "letters": None if letters is None else [_letter(each) for each in letters],
            "tasks": list(tasks),
            "tasks_unknown": unasked,
        }

    def _about(self, project: str | None, external_id: str) -> list[DeadLetter] | None:
        if self._letters is None:
            return None
        names = self._names(project) if project else ()
        about = (each for each in self._letters if each.identity.external_id == external_id and external_id)
        return [each for each in about if not names or not each.identity.project or each.identity.project in names]

    async def _tasks(self, project: str | None, external_id: str) -> tuple[Sequence[Task], str]:
        if self._projects is None:
            return (), "Ditio could not be asked"
        found = self._projects.get(project or "")
        if not external_id or found is None:
            return (), "Ditio was not asked, for the project is not known" if external_id else "Ditio has no such task"
        ref = ProjectRef("number", found.number) if found.number is not None else ProjectRef("id", found.id)
        finder = Finder(self._client, found.company_id or "", self._terminal.complain)
        tasks, unknown = await Now(finder).of(ref, external_id)
        unasked = "" if tasks or unknown == NO_SUCH_TASK else self._terminal.mask.clean(unknown)
        return [task for task in tasks if task.get("projectId") == found.id], unasked


def _told(
    history: Sequence[Happened], last: tuple[Key, Happened] | None, letters: list[DeadLetter] | None, tasks: int, unasked: str
) -> Traced:
    """The facts of the answer."""
    now = time.time()
    events = [each for each in history if each.id]
    newest = events[-1] if events else None
    return Traced(
        newest.outcome if newest else "",
        now - newest.at / 1_000_000 if newest else 0.0,
        newest.detail if newest else "",
        now - last[1].at / 1_000_000 if last else None,
        None if letters is None else len(letters),
        tasks,
        unasked,
    )


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "died": moment(letter.failed_at),
        "reason": letter.reason or "unknown",
        "field": letter.field,
        "event_id": letter.identity.id,
        "detail": letter.detail,
    }


def _show(document: dict[str, Any], terminal: Terminal) -> None:
    where = f"{document['project'] or '(no known project)'} / {document['external_id'] or '(no work order)'}"
    task = f", task {document['task_id']}" if document["task_id"] else ""
    terminal.say(f"{where}{task}: {document['answer']}")
    if document["history"]:
        terminal.say("")
        terminal.show("table", HISTORY, [history_row(each) for each in document["history"]])
    if document["letters"]:
        terminal.say("", "dead letters")
        terminal.show("table", LETTERS, [{**each, "died": in_seconds(each["died"])} for each in document["letters"]])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The work order."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--external-id", metavar="E", help="the work order's number in the ERP")
    which.add_argument("--task", metavar="ID", help="Ditio's id of the task")
    parser.add_argument("--project", metavar="P", help="the project: its number, external number, or Ditio's id")
    parser.add_argument(
        "--most", type=int, default=LARGEST_LOOK, metavar="N", help="look at up to N letters in all; default %(default)s"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="table unless given")


COMMAND = Command(
    summary="everything that happened to a work order, and the answer in words",
    description="Shows every event that was seen for a work order, from the ledger: when, the event's time, how it ended, the calls that were\n"
    "made, the values before; its dead letters; and says in a sentence how it stands, also when it was never received.\n"
    "Ledger, Ditio and the dead letters are only read; what cannot be reached is told. Exit status 3: nothing is known of it at all.\n\n"
    'json: [{"project": …, "project_id": …, "external_id": …, "task_id": …, "answer": …, "history": [as in dead show],\n'
    '  "letters": [{"id": …, "died": …, "reason": …, "field": …, "event_id": …, "detail": …}, …] or null, "tasks": [Ditio\'s own object, …],\n'
    '  "tasks_unknown": why there is none}, …], one for each work order with that number',
    example="  ditio-worker trace --external-id WO-100 --project P-2026-001\n  ditio-worker trace --task 66a1b2c3d4e5f6a7b8c9d0e2",
    execute=execute,
    arguments=add_arguments,
)
