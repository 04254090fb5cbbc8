"""The client: everything that the worker and its operators ask of Ditio, over one pool of connections."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from worker.api.directory import Directory
from worker.api.gate import Gate
from worker.api.http import Access, Http, Observer, RetryCause
from worker.api.reading import Reading
from worker.api.token import TokenSource
from worker.api.transport import Transport
from worker.api.writing import Writing
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
async def open_api(access: Access, clock: Clock, observer: Observer) -> AsyncIterator[Client]:
    """A client, until the block ends."""
    context = ssl.create_default_context(cafile=access.ca_file) if access.ca_file else None
    transport = Transport(context, access.proxy, access.no_proxy, connect_s=access.timeout_s / 2)
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=access.timeout_s) as client:
        tokens = TokenSource(access, client, clock, observer)
        http = Http(access, client, tokens, Gate(clock, access.max_requests_per_s), clock, observer)
        yield Client(http, access.company_id, clock)
