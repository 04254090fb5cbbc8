"""A Ditio over HTTP and all of a worker but its broker, on a clock that stands: events go in as bytes, and what waits comes back in time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tests.ledger.conftest import StoppedClock
from tests.support.reconciling import client
from worker.api import Client
from worker.core.client_id import client_id
from worker.core.decode import Rules
from worker.core.doubt import Window
from worker.core.message import Message
from worker.core.outcome import Outcome, name
from worker.core.plan import Policy
from worker.core.tables import Tables
from worker.handling import Handling, Queues, Taken
from worker.ledger.memory import Contents, MemoryLedger
from worker.ports import Delivery, Key
from worker.process import Process
from worker.reconcile import Conclusion, Reconciler
from worker.resolve import Lookups
from worker.sandbox import Options, Request, Server, serve
from worker.sandbox.admin import administer
from worker.sandbox.seed import seed

NUMBER = "P-2026-001"
DEAD = "dead"
WAITS = {10: "wait.10s", 60: "wait.1m"}
LONGEST_WAIT_S = 130
NOW = datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()
SETTLE_S = 60.0
"""More than a request that was given up is waited for."""

Kind = Literal["created", "updated", "replaced", "deleted"]


@dataclass
class Delivered:
    """A delivery that nobody else will get."""

    message: Message
    received_at: int

    def ack(self) -> None: ...


@dataclass
class End:
    """How an event ended: the names of its outcomes, one for each time it was taken, and the headers of its letter if it is dead."""

    outcomes: list[str] = field(default_factory=list)
    letter: Mapping[str, object] = field(default_factory=dict)
    conclusion: Conclusion | None = None

    @property
    def outcome(self) -> str:
        """The last one."""
        return self.outcomes[-1]

    @property
    def reason(self) -> str:
        """Why it is dead; empty when it is not."""
        return str(self.letter.get("failure-reason", ""))

    @property
    def detail(self) -> str:
        """The same in a sentence."""
        return str(self.letter.get("failure-detail", ""))


class Setting(msgspec.Struct, frozen=True):
    """The settings of a worker that matter here."""

    policy: Policy = Policy()
    tables: Tables = Tables()
    person_id: str = "identityId"
    client_ids: bool = False


class Site:
    """Both sides. It stands for the publisher, and hears what becomes of each event."""

    def __init__(self, server: Server, api: Client, clock: StoppedClock, setting: Setting) -> None:
        self.server, self.clock, self.api = server, clock, api
        self.sandbox = server.sandbox
        self.company_id = server.sandbox.options.company_id
        self.ledger = MemoryLedger(Contents(), api_base="a", company_id=self.company_id, clock=clock)
        self._troubles: list[Exception] = []
        self._published: list[tuple[str, Message]] = []
        self._conclusion: Conclusion | None = None
        self._events = 0
        self._setting = setting
        self.process = self._process(setting)

    def restart(self, setting: Setting | None = None) -> None:
        """Another worker with the same ledger takes over; what the one before was doing is broken off."""
        for task in list(self.process.lanes._running):
            task.cancel()
        self._setting = setting or self._setting
        self.process = self._process(self._setting)

    def _process(self, setting: Setting) -> Process:
        async def known(key: Key) -> str | None:
            return (await self.ledger.load(key)).task_id

        lookups = Lookups(
            self.api, known, company_id=self.company_id, person_id=setting.person_id, absent_s=1,
            now=self.clock.monotonic, observe=lambda kind, result: None,
        )  # fmt: skip
        reconciler = Reconciler(
            self.ledger, self.api, lookups, self.clock, policy=setting.policy, window=Window(10, 30),
            derive=self.derived if setting.client_ids else None,
        )  # fmt: skip
        handling = Handling(
            Rules(now=0, tables=setting.tables),
            Queues(WAITS, DEAD),
            "0",
            lambda source: "all",
            lambda number: True,
            LONGEST_WAIT_S,
        )
        return Process(
            handling, ledger=self.ledger, ditio=self.api, resolver=lookups, reconciler=reconciler, publisher=self,
            clock=self.clock, observer=self, trouble=self._troubles.append, sure_of_clock=self.api.control,
        )  # fmt: skip

    # --- the broker's part

    async def publish(self, queue: str, message: Message) -> None:
        self._published.append((queue, message))

    def received(self, delivery: Delivery) -> None: ...
    def released(self, delivery: Delivery) -> None: ...
    async def settling(self, taken: Taken, conclusion: Conclusion, step: int) -> None: ...
    def settled(self, taken: Taken, conclusion: Conclusion, seconds: float) -> None:
        self._conclusion = conclusion

    # --- the ERP's part

    def event(
        self, kind: Kind, external_id: str = "WO-1", *, project: object = None, ago_s: float = 0, **data: object
    ) -> Message:
        """An event of now, or of `ago_s` seconds before, newer than all of the same time."""
        self._events += 1
        body = {
            "specversion": "1.0",
            "type": f"workorder.{kind}.v1",
            "source": "/erp/test",
            "id": f"e-{self._events}",
            "time": datetime.fromtimestamp(self.clock.at - ago_s, UTC).isoformat(),
            "sequence": str(self._events),
            "data": {"project": project or {"number": NUMBER}, "externalId": external_id, **data},
        }
        return Message(json.dumps(body, ensure_ascii=False).encode(), {}, {"content_type": "application/cloudevents+json"})

    async def send(self, kind: Kind, external_id: str = "WO-1", /, **given: Any) -> End:
        """Brings an event to its end, however long it waits. Raises what is no event's fault."""
        return await self.bring(self.event(kind, external_id, **given))

    async def bring(self, message: Message, *, times: int = 100) -> End:
        """The same with an event that is there already; at most `times` it is taken."""
        end = End()
        for _ in range(times):
            queue, message = await self._take(message, end)
            if queue != DEAD and queue not in WAITS.values():
                return end
            if queue == DEAD:
                end.letter = message.headers
                return end
            await self.pass_time(next(step for step, waits in WAITS.items() if waits == queue))
        return end

    async def pass_time(self, seconds: float) -> None:
        """What falls due meanwhile is done, when it does."""
        end = self.clock.at + seconds
        while self.clock.at < end:
            self.clock.at = min([end, *(each.due for each in self.sandbox.late if each.due > self.clock.at)])
            self.sandbox.settle_late()
            for key in await self.ledger.due(self.clock.at, 100):
                await self.process.do_due(key)
        self._raise_trouble()

    async def settle(self) -> None:
        """Waits until nothing can be on its way any more, and nothing is due."""
        await self.pass_time(SETTLE_S)
        await self.pass_time(SETTLE_S)

    def forget(self) -> None:
        """Another worker takes over, with a ledger that knows nothing."""
        self.ledger._contents.orders.clear()
        self.restart()

    async def _take(self, message: Message, end: End) -> tuple[str, Message]:
        self._published.clear()
        self._conclusion = None
        await self.process.take(Delivered(message, self._events))
        self._raise_trouble()
        assert self._conclusion is not None, "the message was not settled"
        end.conclusion = self._conclusion
        outcome: Outcome = self._conclusion.outcome
        end.outcomes.append(name(outcome))
        return self._published[0] if self._published else ("", message)

    def _raise_trouble(self) -> None:
        if self._troubles:
            raise self._troubles.pop()

    # --- Ditio's part

    def option(self, **given: object) -> None:
        """From now on Ditio behaves like this."""
        self.sandbox.options = self.sandbox.options.changed(given)

    def fault(self, **given: object) -> None:
        """Something that goes wrong, once unless said otherwise."""
        self.sandbox.faults.add(given)

    def put(self, what: str, **thing: object) -> dict[str, Any]:
        """Puts a project, user or task there, as Ditio's own users would."""
        reply = administer(self.sandbox, Request("POST", f"/_sandbox/{what}", body=json.dumps(thing).encode()))
        made: dict[str, Any] = json.loads(reply.body)[0]
        return made

    def project_id(self, number: str = NUMBER) -> str:
        """The id of our project with a number."""
        return next(
            str(each["id"])
            for each in self.sandbox.state.projects.values()
            if (each["projectNumber"], each["companyId"]) == (number, self.company_id)
        )

    def task(self, external_id: str = "WO-1", project_id: str = "") -> dict[str, Any]:
        """The one task of a work order, as Ditio holds it; empty when there is none."""
        found = self.sandbox.state.with_key(project_id or self.project_id(), external_id)
        assert len(found) <= 1, f"twins of {external_id!r}"
        return dict(found[0]) if found else {}

    def bodies(self, operation: str) -> list[dict[str, Any]]:
        """What was sent with the writes of a kind that make or change WO-1, oldest first."""
        task_id = self.task().get("id", "")
        lines = [line for line in self.sandbox.log if line["operation"] == operation]
        return [line["body"] for line in lines if line["path"].endswith(task_id) or line["body"].get("externalId") == "WO-1"]

    def requests(self, operation: str) -> int:
        """How many requests of a kind there were, whatever they got."""
        return sum(line["operation"] == operation and not line["late"] for line in self.sandbox.log)

    def derived(self, key: Key) -> str:
        """The id that a new task gets under DITIO_CLIENT_IDS=true."""
        return client_id(self.company_id, key.project_id, key.external_id)


@asynccontextmanager
async def site(setting: Setting = Setting(), **options: object) -> AsyncIterator[Site]:
    """A site with the projects and people of the demo, and no template. `options` are the sandbox's."""
    async with AsyncExitStack() as stack:
        clock = StoppedClock(NOW)
        server = await serve(Options().changed(options), clock=clock.now)
        stack.push_async_callback(server.close)
        seed(server.sandbox)
        server.sandbox.state.templates.clear()
        api = await stack.enter_async_context(client(server, clock=clock))
        yield Site(server, api, clock, setting)
