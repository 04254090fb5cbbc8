"""One history, played: a broker, a Ditio and a ledger in memory around the worker's own parts, and what is wrong in the end."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from tests.simulation.adapters import SimulatedClock
from tests.simulation.broker import Broker, Stored
from tests.simulation.checking import wrongs
from tests.simulation.history import BEGAN, FOREMEN, LATE_FOREMAN, LATE_PROJECT, PROJECTS, SPAN_S, Fault, History
from tests.simulation.process import made
from tests.simulation.worker import SimulatedWorker
from tests.support.simulated import SimulatedLoop, simulate
from worker.core.message import Message
from worker.ledger.memory import Contents
from worker.sandbox import Options, Sandbox, State
from worker.topology import Topology

COMPANY = "5e0000000000000000000001"
WAIT_STEPS = (10, 60)
LOOK_S = 11.0
LONGEST_S = 3 * 86_400.0
"""Simulated seconds within which everything has come to an end, or goes round for ever."""

TEMPLATE = {"price": 950.0, "safeJobAnalysisApprovalRequired": True}
"""What new tasks take where nothing is sent."""

MOST_REPLAYS = 5
SETTLED = ("applied", "unchanged", "superseded")
AGAIN_S = 1.0
"""How soon a worker that died is started again."""


@dataclass
class World:
    """Everything outside the worker. `wrong` collects what must not be."""

    history: History
    wrong: list[str] = field(default_factory=list)
    contents: Contents = field(default_factory=Contents)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.history.seed ^ 0x5EED)
        self.loop: SimulatedLoop = asyncio.get_running_loop()  # type: ignore[assignment]  # it runs in no other
        self.loop.set_task_factory(made)
        self.clock = SimulatedClock(self.loop, BEGAN.timestamp() + 100_000, self.chance)
        self.topology = Topology(wait_steps=WAIT_STEPS)
        self.broker = Broker(dict(self.topology.waits), self.topology.events, self.topology.dead, self.acknowledged)
        options = Options(company_id=COMPANY, duplicate=self.history.duplicate, key_case=self.history.key_case, token_s=60.0)
        self.sandbox = Sandbox(options, self.clock.now, self._state())
        self.company_id = COMPANY
        self.before = {key: dict(task) for key, task in self.tasks()}
        self.worker: SimulatedWorker | None = None
        self.published = 0
        self.ending = False

    # --- what there is

    def _state(self) -> State:
        state = State()
        for number in PROJECTS:
            state.projects[self.project_id(number)] = {
                "id": self.project_id(number),
                "companyId": COMPANY,
                "projectNumber": number,
            }
            if self.history.template:
                state.templates[self.project_id(number)] = dict(TEMPLATE)
        for number in FOREMEN:
            state.users[number] = {"employeeNumber": number, "identityId": f"auth0|{number}", "companyProfileId": f"c{number}"}
        for place, (project, external_id) in enumerate(self.history.existing):
            identity = {"companyId": COMPANY, "projectId": self.project_id(project), "externalId": external_id}
            state.put({**_planned(), **identity, "id": f"{place + 1:024x}"})
        return state

    @staticmethod
    def project_id(number: str) -> str:
        """The id of a project by its number."""
        return f"{PROJECTS.index(number) + 100:024x}"

    def tasks(self) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
        """All tasks by project number and externalId."""
        numbers = {self.project_id(number): number for number in PROJECTS}
        for task in self.sandbox.state.tasks.values():
            yield (numbers[task["projectId"]], task["externalId"]), task

    def outcomes(self, event_id: str) -> set[str]:
        """How an event has ended, by the ledger."""
        return {line.outcome for _, line in self.contents.history if line.id == event_id}

    # --- what happens

    async def play(self) -> None:
        """From the first event to the end of the last one."""
        self._schedule()
        await self._until_quiet()
        self.sandbox.faults.clear()
        for _ in range(MOST_REPLAYS):
            if all(stored.message.headers.get("failure-reason") == "unresolved-parent" for stored in self.broker.dead.ready):
                break
            self.replay()
            await self._until_quiet()
        self.ending = True
        if self.worker is not None:
            await self.worker.stop()
        self.wrong += wrongs(self)

    def _schedule(self) -> None:
        hidden_project = self.sandbox.state.projects.pop(self.project_id(LATE_PROJECT))
        hidden_foreman = self.sandbox.state.users.pop(LATE_FOREMAN)
        if self.history.existing:
            self.sandbox.state.projects[hidden_project["id"]] = hidden_project
        self.loop.call_at(SPAN_S / 2, self.sandbox.state.projects.setdefault, hidden_project["id"], hidden_project)
        self.loop.call_at(SPAN_S / 3, self.sandbox.state.users.setdefault, LATE_FOREMAN, hidden_foreman)
        for event in self.history.events:
            for at in event.at:
                self.published += 1
                self.loop.call_at(at, self._publish, event.body())
        for fault in self.history.faults:
            self.loop.call_at(fault.at, self._strike, fault)
        self._start()

    def _publish(self, body: bytes) -> None:
        self.published -= 1
        message = Message(body, {}, {"content_type": "application/cloudevents+json"}, "workorders", "erp")
        self.broker.publish(self.topology.events, message)

    def _start(self) -> None:
        if not self.ending:
            self.worker = SimulatedWorker(self)

    def died(self) -> None:
        """The worker is gone, however it ended; the supervisor starts it again."""
        if not self.ending:
            self.loop.call_later(AGAIN_S, self._start)

    def _strike(self, fault: Fault) -> None:
        worker = self.worker
        match fault.kind:
            case "api":
                self.sandbox.faults.add(fault.script)
            case "tokens":
                self.sandbox.revoke()
            case "replay":
                self.replay()
            case _ if worker is None or not worker.process.alive:
                return
            case "crash":
                worker.steps.left = fault.count
            case "stop":
                worker.process.start(worker.stop())
            case "broker":
                worker.lose_broker()
            case "ledger":
                worker.ledger.failing += fault.count

    def replay(self) -> None:
        """Every letter is published again, without the headers of its failure and of the broker."""
        letters, self.broker.dead.ready = list(self.broker.dead.ready), type(self.broker.dead.ready)()
        for stored in letters:
            headers = {name: value for name, value in stored.message.headers.items() if name == "first-seen-at"}
            self.broker.publish(self.topology.events, replace_headers(stored.message, headers))

    async def _until_quiet(self) -> None:
        while not self._quiet():
            if self.loop.time() > LONGEST_S:
                self.wrong.append(f"no end after {LONGEST_S:.0f} simulated seconds: {self._state_of_things()}")
                return
            await asyncio.sleep(LOOK_S)

    def _quiet(self) -> bool:
        worker = self.worker
        return (
            self.loop.time() > SPAN_S
            and not self.published
            and not self.broker.events.ready
            and not self.broker.waiting
            and not any(channel.held for channel in self.broker.channels)
            and not self.sandbox.late
            and worker is not None
            and worker.flowing
            and not any(order.doubt_until or order.owed for order in self.contents.orders.values())
        )

    def _state_of_things(self) -> str:
        held = sum(len(channel.held) for channel in self.broker.channels)
        return f"{len(self.broker.events.ready)} ready, {held} held, {self.broker.waiting} waiting, late {len(self.sandbox.late)}"

    # --- what must hold at every moment

    def acknowledged(self, stored: Stored) -> None:
        """A message is gone for good: it must be settled in the ledger, or be somewhere else."""
        event_id = id_of(stored.message.body)
        elsewhere = any(id_of(message.body) == event_id for message in self.broker.everywhere())
        if not elsewhere and not self.outcomes(event_id) & set(SETTLED):
            self.wrong.append(f"{event_id} was acknowledged before it was durable")


@lru_cache(10_000)
def id_of(body: bytes) -> str:
    """The id of an event."""
    return str(json.loads(body)["id"])


def replace_headers(message: Message, headers: dict[str, Any]) -> Message:
    """The message as the ERP published it, with these headers."""
    return Message(message.body, headers, {"content_type": "application/cloudevents+json"}, "workorders", "erp")


def _planned() -> dict[str, Any]:
    """A task that a planner made in Ditio, with fields that the ERP never sends."""
    from worker.sandbox.fields import defaults

    return {**defaults(), "name": "planlagt", "externalDim01": "planner", "estimatedHourQty": 12.0, "active": True}


def play(history: History) -> list[str]:
    """What is wrong after a history; nothing, if all is well."""

    async def played() -> list[str]:
        async with AsyncExitStack():
            world = World(history)
            try:
                await world.play()
            except Exception as error:
                world.wrong.append(f"{type(error).__name__}: {error}")
            return world.wrong

    return simulate(played())
