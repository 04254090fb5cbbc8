"""Events rehearsed, and then really handled, on one sandbox: without a broker, with the worker's own parts."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.reconciling import client
from worker import ledger
from worker.api import Client
from worker.clock import WallClock
from worker.config import Settings, read
from worker.core.doubt import Window
from worker.core.message import Message
from worker.core.outcome import Outcome
from worker.core.rehearsed import Rehearsed
from worker.handling import Taken
from worker.ledger import Store
from worker.ports import Delivery
from worker.process import Process
from worker.reconcile import Conclusion
from worker.rehearsal.rehearsal import Nowhere, Unacknowledged
from worker.sandbox import Server, environment
from worker.sandbox.fields import defaults
from worker.sandbox.sandbox import WRITES
from worker.wiring import handling_of, reconciling, rehearsal_of, topology_of


class Stage:
    """A sandbox, the settings of a worker for it, and the ledger of that worker in a file."""

    def __init__(self, server: Server, api: Client, settings: Settings, store: Store) -> None:
        self.server = server
        self.api = api
        self.settings = settings
        self.store = store
        self.state = server.sandbox.state
        self.project_id = next(each for each in self.state.projects.values() if each["projectNumber"] == "P-2026-001")["id"]

    async def rehearse(self, *messages: Message, known: bool = True) -> list[Rehearsed]:
        """What the events would do; that nothing was written is asserted. `known`: with what the worker's ledger knows."""
        before, wrote = copy.deepcopy(self.state.dumped()), self.writes()
        clock = WallClock()
        path = self.settings.ledger_url().place
        reader = await ledger.open_read_only(path, clock=clock) if known else None
        try:
            rehearsal = rehearsal_of(self.settings, self.api, reader, clock)
            rehearsed = [await rehearsal.of(message) for message in messages]
        finally:
            if reader is not None:
                await reader.close()
        assert (self.state.dumped(), self.writes()) == (before, wrote), "a rehearsal wrote to Ditio"
        return rehearsed

    async def one(self, *messages: Message, known: bool = True) -> Rehearsed:
        """What the last of the events would do."""
        return (await self.rehearse(*messages, known=known))[-1]

    async def handle(self, *messages: Message) -> list[Outcome]:
        """Handles the events as a running worker would, one after the other."""
        heard, clock = Heard(), WallClock()
        window = Window(self.settings.ditio_timeout_s, self.settings.ditio_settle_s)
        lookups, reconciler = reconciling(self.settings, self.store, self.api, clock, lambda kind, result: None, window)
        process = Process(
            handling_of(self.settings, topology_of(self.settings)),
            ledger=self.store, ditio=self.api, resolver=lookups, reconciler=reconciler, publisher=Nowhere(), clock=clock,
            observer=heard, trouble=heard.trouble, sure_of_clock=self.api.control,
        )  # fmt: skip
        for message in messages:
            await process.take(Unacknowledged(message, int(clock.now() * 1_000_000)))
        return heard.outcomes

    def task(self, external_id: str) -> dict[str, Any]:
        """The one task of a work order of the first project; empty when there is none."""
        found = self.state.with_key(self.project_id, external_id)
        assert len(found) <= 1, "twins"
        return found[0] if found else {}

    def there_is(self, external_id: str, **values: object) -> str:
        """Puts a task into Ditio, past the worker, and gives its id."""
        identity = {"companyId": self.server.sandbox.options.company_id, "projectId": self.project_id, "externalId": external_id}
        self.state.put({**defaults(), **identity, "id": (task_id := self.state.new_id()), **values})
        return task_id

    def requests(self, *operations: str) -> int:
        """How many requests of these operations there were (none named: of all)."""
        counts = self.server.sandbox.counts.items()
        return sum(count for (name, _), count in counts if not operations or name in operations)

    def writes(self) -> int:
        """How many requests of the kinds that write there were."""
        return self.requests(*WRITES)


class Heard:
    """Keeps the outcomes; trouble is a failure of the test."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def received(self, delivery: Delivery) -> None: ...
    def released(self, delivery: Delivery) -> None: ...
    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None: ...

    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None:
        self.outcomes.append(conclusion.outcome)

    def trouble(self, error: Exception) -> None:
        raise AssertionError("trouble while handling an event") from error


@asynccontextmanager
async def stage(server: Server, folder: Path, environ: Mapping[str, str] = {}) -> AsyncIterator[Stage]:
    """A stage with these settings beside those of the sandbox."""
    path = folder / "ledger.db"
    base = {**environment(server, server.sandbox.options), "LEDGER_URL": f"sqlite://{path}", "DITIO_SETTLE_S": "0"}
    settings = read({**base, **environ})
    clock = WallClock()
    store = await ledger.open(path, api_base=server.url, company_id=settings.ditio_company_id, clock=clock)
    try:
        async with client(server) as api:
            yield Stage(server, api, settings, store)
    finally:
        await store.close()


def changes(rehearsed: Rehearsed) -> dict[str, tuple[object, object]]:
    """The fields that would change: now and then."""
    return {each.field: (each.now, each.then) for each in rehearsed.changes}


def with_id(message: Message, event_id: str) -> Message:
    """The same event under another id."""
    body = msgspec.json.decode(message.body, type=dict[str, object])
    return msgspec.structs.replace(message, body=msgspec.json.encode({**body, "id": event_id}))
