"""A work order reconciled against a sandbox over HTTP, without a broker: real client, real look-ups, ledger in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from worker.api import Access, Client, open_api
from worker.clock import WallClock
from worker.core.doubt import Window
from worker.core.plan import Policy
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Clock, Ditio, Key, OperationName
from worker.reconcile import Reconciler
from worker.resolve import Lookups
from worker.sandbox import Server


class Unobserved:
    """Hears of requests, and does nothing."""

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None: ...
    def retry(self, cause: str) -> None: ...
    def clock_ahead(self, seconds: float) -> None: ...


def access(server: Server, **changes: object) -> Access:
    """How a client is let into a sandbox."""
    options = server.sandbox.options
    given: dict[str, object] = {
        "api_base": server.url,
        "identity_base": server.identity_url,
        "client_id": options.client_id,
        "client_secret": lambda: options.client_secret,
        "company_id": options.company_id,
        "timeout_s": 5.0,
    }
    return Access(**{**given, **changes})  # type: ignore[arg-type]  # each value has the type of its field


@asynccontextmanager
async def client(server: Server, clock: Clock | None = None, **changes: object) -> AsyncIterator[Client]:
    """An open client of a sandbox."""
    async with open_api(access(server, **changes), clock or WallClock(), Unobserved()) as opened:
        yield opened


def reconciler(
    api: Ditio,
    server: Server,
    policy: Policy = Policy(),
    contents: Contents | None = None,
    *,
    window: Window = Window(5, 30),
    clock: Clock | None = None,
    derive: Callable[[Key], str] | None = None,
) -> tuple[Reconciler, Lookups, MemoryLedger]:
    """The parts that reconcile, with nothing known yet unless `contents` say so."""
    clock = clock or WallClock()
    company = server.sandbox.options.company_id
    ledger = MemoryLedger(contents or Contents(), api_base=server.url, company_id=company, clock=clock)

    async def known(key: Key) -> str | None:
        return (await ledger.load(key)).task_id

    lookups = Lookups(
        api,
        known,
        company_id=company,
        person_id="identityId",
        absent_s=1,
        now=clock.monotonic,
        observe=lambda kind, result: None,
    )
    return Reconciler(ledger, api, lookups, clock, policy=policy, window=window, derive=derive), lookups, ledger
