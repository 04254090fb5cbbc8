"""Everything that a worker needs, looked at before it starts: each in one line, with the remedy.

settings    broker ─► topology, policies    token ─► scope ─► projects ─► company ─► tasks    clock    ledger
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

import httpx

from worker import ledger
from worker.account import Account, Noted, Unseen
from worker.api import open_api
from worker.clock import WallClock
from worker.config import Settings
from worker.core.errors import WorkerError
from worker.rabbit import Connection, connect, declare, depth, verify
from worker.wiring import api_access, broker_access, topology_of

MANAGEMENT_PORTS = {"amqp": 15672, "amqps": 15671}
HARMFUL = frozenset(
    {"delivery-limit", "message-ttl", "expires", "max-length", "max-length-bytes", "overflow", "dead-letter-exchange"}
)
"""Keys of a policy that make a queue drop messages, or send them elsewhere."""

Check = Callable[[], Awaitable[str]]


Result = Literal["ok", "FAILED", "skipped"]


@dataclass(frozen=True)
class Line:
    """What was checked, how it stands, and what was found or must be done. `skipped`: it could not be looked at."""

    check: str
    result: Result
    detail: str


@dataclass(frozen=True)
class Part:
    """Something to look at, once what it `needs` is right. `look` returns a sentence, or raises WorkerError."""

    check: str
    look: Check
    needs: str = ""


async def preflight(settings: Settings, management: str | None) -> list[Line]:
    """Checks everything; `management` is the address of the broker's management API, at its usual place unless given."""
    async with AsyncExitStack() as stack:
        noted = Noted()
        client = await stack.enter_async_context(open_api(api_access(settings), WallClock(), noted))
        account = Account(client, settings, noted)
        parts = (
            Part("broker", lambda: _connected(settings, stack)),
            Part("topology", lambda: _topology(settings), needs="broker"),
            Part("policies", lambda: _policies(settings, management), needs="broker"),
            Part("token", account.token),
            Part("scope", account.scope, needs="token"),
            Part("projects", account.projects, needs="scope"),
            Part("company", account.company, needs="projects"),
            Part("tasks", account.tasks, needs="company"),
            Part("clock", account.clock),
            Part("ledger", lambda: _ledger(settings)),
        )
        return [Line("settings", "ok", "all of them can be used"), *await looked_at(parts)]


async def looked_at(parts: Sequence[Part]) -> list[Line]:
    """A line for each part, in order."""
    lines: dict[str, Line] = {}
    for part in parts:
        if part.needs and lines[part.needs].result != "ok":
            lines[part.check] = Line(part.check, "skipped", f"not looked at: {part.needs} must be right first")
        else:
            lines[part.check] = await _attempt(part)
    return list(lines.values())


async def _attempt(part: Part) -> Line:
    try:
        return Line(part.check, "ok", await part.look())
    except Unseen as error:
        return Line(part.check, "skipped", str(error))
    except WorkerError as error:
        return Line(part.check, "FAILED", str(error))


async def _connected(settings: Settings, stack: AsyncExitStack) -> str:
    connection = await stack.enter_async_context(_connection(settings))
    return f"RabbitMQ {connection.version} at {connection.where}"


async def _topology(settings: Settings) -> str:
    topology = topology_of(settings)
    async with _connection(settings) as connection:
        await (declare if settings.worker_declare else verify)(connection, topology)
        depths = [f"{queue.name} {(await depth(connection, queue.name))[0]}" for queue in topology.queues]
    return f"{'declared' if settings.worker_declare else 'there'}; messages: {', '.join(depths)}"


async def _policies(settings: Settings, management: str | None) -> str:
    """What a policy does to the queues, which only the management API shows. Raises WorkerError when one does harm."""
    address = urlsplit(settings.amqp_url()[0])
    base = management or f"http{'s' if address.scheme == 'amqps' else ''}://{address.hostname}:{MANAGEMENT_PORTS[address.scheme]}"
    vhost = unquote(address.path[1:]) or "/"
    credentials = unquote(address.username or "guest"), unquote(address.password or "guest")
    harmful: list[str] = []
    async with httpx.AsyncClient(base_url=base, auth=credentials, timeout=5) as client:
        for kind in ("policies", "operator-policies"):
            try:
                answer = await client.get(f"/api/{kind}/{quote(vhost, safe='')}")
                answer.raise_for_status()
                policies = answer.json()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                raise Unseen(f"no management API for this user at {base} (--management names another)") from None
            harmful += harms([queue.name for queue in topology_of(settings).queues], policies)
    if harmful:
        raise WorkerError(f"{'; '.join(harmful)}: exclude these queues from the policy")
    return "none that would throw messages away"


def harms(queues: Sequence[str], policies: Sequence[Mapping[str, Any]]) -> list[str]:
    """What policies do to queues that could lose a message. Of those that match a queue the one of the highest priority counts."""
    found: list[str] = []
    for queue in queues:
        matching = [each for each in policies if each["apply-to"] != "exchanges" and re.search(each["pattern"], queue)]
        in_force = max(matching, key=lambda each: each.get("priority", 0), default=None)
        if in_force is not None:
            keys = [key for key in in_force["definition"] if key in HARMFUL]
            found += [f"policy {in_force['name']} sets {key}={in_force['definition'][key]} on {queue}" for key in keys]
    return found


async def _ledger(settings: Settings) -> str:
    """What a worker would find, without touching it: one may be using it. Raises WorkerError where it could not use it."""
    url = settings.ledger_url()
    try:
        reader = await ledger.open_known(
            url.place, api_base=settings.ditio_api_base, company_id=settings.ditio_company_id, clock=WallClock()
        )
    except ledger.SchemaBehind:
        return f"{url.shown}: of an older version; the worker brings it up to date when it starts"
    if isinstance(url.place, Path):
        _writable(url.place)
    else:
        await ledger.prove_shared(url.place)
    if reader is None:
        return f"{url.shown}: not there yet; the worker makes it when it starts"
    try:
        return f"{url.shown}: {await reader.work_orders()} work orders"
    finally:
        await reader.close()


def _writable(path: Path) -> None:
    """Raises WorkerError when this user could not write, or make, a file and others beside it."""
    folder = next(each for each in path.parents if each.exists())
    if not folder.is_dir():
        raise WorkerError(f"{path} cannot be made: {folder} is no folder; name another place in LEDGER_URL")
    for place in (path, folder) if path.exists() else (folder,):
        if not os.access(place, os.W_OK):
            raise WorkerError(f"{place} may not be written by this user: change its rights, or name another place in LEDGER_URL")


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Connection]:
    connection = await connect(broker_access(settings), "check")
    try:
        yield connection
    finally:
        await connection.close()
