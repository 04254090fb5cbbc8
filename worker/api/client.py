"""The client: everything that the worker and its operators ask of Ditio, over one pool of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext

from worker.api.access import Access, Observer, RetryCause
from worker.api.directory import Directory
from worker.api.exchange import Exchange
from worker.api.gate import Gate
from worker.api.http import Http, Waiting
from worker.api.httpx_wire import open_wire
from worker.api.limiter import Limiter
from worker.api.patience import Patience
from worker.api.reading import Reading
from worker.api.token import TokenSource
from worker.api.wire import Wire
from worker.api.writing import Writing
from worker.core import limit
from worker.ports import Clock, OperationName


class Client(Writing, Reading, Directory):
    """The 12 task operations, projects and people; see worker.ports.Ditio for what it promises to the flow of events."""


class Unobserved:
    """Hears of requests, and does nothing: for a command that makes a few."""

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None:
        """A request was made."""

    def retry(self, cause: RetryCause) -> None:
        """One is made again."""

    def clock_ahead(self, seconds: float) -> None:
        """How far Ditio's clock is ahead."""


@asynccontextmanager
async def open_api(
    access: Access,
    clock: Clock,
    observer: Observer,
    *,
    wire: Wire | None = None,
    patience: Patience | None = None,
    waiting: Waiting = nullcontext,
) -> AsyncIterator[Client]:
    """A client, until the block ends.

    `wire` takes the place of the network; once `patience` is at its end requests raise Abandoned; `waiting` surrounds each request with
    all its attempts.
    """
    async with AsyncExitStack() as stack:
        if wire is None:
            wire = await stack.enter_async_context(
                open_wire(access.ca_file, access.proxy, access.no_proxy, connect_s=access.timeout_s / 2)
            )
        patience = patience or Patience(clock)
        exchange = Exchange(wire, access.timeout_s, clock, observer, patience)
        tokens = TokenSource(access, exchange, clock, patience)
        limiter = Limiter(limit.first(access.max_in_flight), clock, patience)
        gate = Gate(clock, patience, access.max_requests_per_s)
        http = Http(access.api_base, exchange, tokens, gate, limiter, patience, clock, observer, waiting)
        yield Client(http, access.company_id, clock)
