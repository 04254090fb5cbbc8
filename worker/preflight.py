"""Everything that a worker needs, looked at before it starts: each in one line, with the remedy."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from worker import ledger
from worker.api import open_api
from worker.clock import WallClock
from worker.config import Settings
from worker.core.errors import WorkerError
from worker.ports import OperationName
from worker.rabbit import Connection, connect, declare, depth, verify
from worker.wiring import api_access, broker_access, topology_of

MANAGEMENT_PORTS = {"amqp": 15672, "amqps": 15671}
HARMFUL = frozenset(
    {"delivery-limit", "message-ttl", "expires", "max-length", "max-length-bytes", "overflow", "dead-letter-exchange"}
)
"""Keys of a policy that make a queue drop messages, or send them elsewhere."""

Check = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Line:
    """What was checked, whether it is right, and what was found or must be done."""

    check: str
    ok: bool
    detail: str


async def preflight(settings: Settings, management: str | None) -> list[Line]:
    """Checks everything; `management` is the address of the broker's management API, at its usual place unless given."""
    async with AsyncExitStack() as stack:
        broker = await _attempt("broker", lambda: _connected(settings, stack))
        checks = [Line("settings", ok=True, detail="all of them can be used"), broker]
        if broker.ok:
            checks += [
                await _attempt("topology", lambda: _topology(settings)),
                await _attempt("policies", lambda: _policies(settings, management)),
            ]
        checks += [await _attempt("token and API", lambda: _api(settings)), await _attempt("ledger", lambda: _ledger(settings))]
        return checks


async def _attempt(name: str, check: Check) -> Line:
    try:
        return Line(name, ok=True, detail=await check())
    except WorkerError as error:
        return Line(name, ok=False, detail=str(error))


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
                return f"cannot be seen: no management API for this user at {base} (--management names another)"
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


async def _api(settings: Settings) -> str:
    noted = Noted()
    async with open_api(api_access(settings), WallClock(), noted) as client:
        projects = await client.projects()
    ours = [each for each in projects if each.company_id in (None, settings.ditio_company_id)]
    if abs(noted.ahead) > settings.worker_max_skew_s:
        return f"{len(ours)} projects; but Ditio's clock is {noted.ahead:+.0f} s from this machine's: set the clock"
    if not ours:
        return f"Ditio answers, but shows no project of company {settings.ditio_company_id}: check DITIO_COMPANY_ID"
    return f"{len(ours)} projects of company {settings.ditio_company_id}"


async def _ledger(settings: Settings) -> str:
    place = settings.ledger_url().place
    started = time.perf_counter()
    store = await ledger.open(place, api_base=settings.ditio_api_base, company_id=settings.ditio_company_id, clock=WallClock())
    try:
        known = await store.work_orders()
    finally:
        await store.close()
    opened = f"{known} work orders, opened in {(time.perf_counter() - started) * 1000:.0f} ms"
    return f"PostgreSQL, reached without a transaction pooler: {opened}" if ledger.is_shared(place) else f"{place}: {opened}"


class Noted:
    """Remembers how far Ditio's clock is ahead."""

    ahead = 0.0

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None:
        """Not of interest here."""

    def retry(self, cause: str) -> None:
        """Not of interest here."""

    def clock_ahead(self, seconds: float) -> None:
        """How far Ditio's clock is ahead."""
        self.ahead = seconds


@asynccontextmanager
async def _connection(settings: Settings) -> AsyncIterator[Connection]:
    connection = await connect(broker_access(settings), "check")
    try:
        yield connection
    finally:
        await connection.close()
