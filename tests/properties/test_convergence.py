"""However the events of a work order arrive, Ditio ends with the same task: real client, sandbox over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.histories import histories, shuffled_with_duplicates
from tests.support.reconciling import client, reconciler
from worker.api import Client
from worker.core.event import Event, EventType, ProjectRef
from worker.core.field import FIELDS, empty
from worker.core.outcome import Applied, Superseded, Unchanged
from worker.core.plan import Policy
from worker.ports import Key
from worker.round import Job
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed


class Rig:
    """A sandbox and a client, in a loop of their own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.stack = AsyncExitStack()
        self.server: Server
        self.api: Client
        self.runs = 0

    async def open(self) -> None:
        self.server = await serve(Options())
        seed(self.server.sandbox)
        self.server.sandbox.state.templates.clear()
        self.stack.push_async_callback(self.server.close)
        self.api = await self.stack.enter_async_context(client(self.server))

    async def play(self, batches: Sequence[Sequence[Job]], policy: Policy) -> dict[str, Any] | None:
        """The task after these batches, of a work order that nobody knew before."""
        self.runs += 1
        external_id = f"WO-{self.runs}"
        reconciling, lookups, _ = reconciler(self.api, self.server, policy)
        project = await lookups.project(ProjectRef("number", "P-2026-001"))
        for batch in batches:
            for end in await reconciling.reconcile(project, Key(project.id, external_id), batch):
                assert isinstance(end.outcome, Applied | Unchanged | Superseded)
        found = self.server.sandbox.state.with_key(project.id, external_id)
        assert len(found) <= 1, "twins"
        return found[0] if found else None


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with asyncio.Runner() as runner:
        opened = Rig(runner)
        runner.run(opened.open())
        yield opened
        runner.run(opened.stack.aclose())


def played(history: Sequence[Event], on_delete: str) -> dict[str, Any] | None:
    """What the ERP holds after its events, told without merging: they are played in the order of their stamps. None: gone."""
    values: dict[str, Any] = {}
    exists = False
    for _, event in sorted((event.stamp(index), event) for index, event in enumerate(history)):
        exists = event.type is not EventType.DELETED
        if event.type in (EventType.REPLACED, EventType.DELETED):
            values = dict.fromkeys(values) | ({"active": True} if "active" in values else {})
        values |= event.values
        if not exists and on_delete == "deactivate":
            values["active"] = False
    return values if exists else None


def batches(jobs: list[Job], cuts: list[bool]) -> list[list[Job]]:
    """The jobs in their order, cut into batches."""
    made: list[list[Job]] = [[]]
    for job, cut in zip(jobs, cuts, strict=False):
        if cut and made[-1]:
            made.append([])
        made[-1].append(job)
    return [batch for batch in made if batch]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    history=histories(most=6),
    data=st.data(),
    on_delete=st.sampled_from(["deactivate", "delete"]),
    cuts=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_any_permutation_with_duplicates_in_any_batches_gives_the_task_that_the_erp_holds(
    rig: Rig, history: list[Event], data: st.DataObject, on_delete: Literal["deactivate", "delete"], cuts: list[bool]
) -> None:
    # Given
    policy = Policy(on_delete=on_delete)
    jobs = [Job(event, event.stamp(index)) for index, event in enumerate(history)]
    arrived = batches(data.draw(shuffled_with_duplicates(jobs)), cuts)
    # When
    task = rig.runner.run(rig.play(arrived, policy))
    # Then
    erp = played(history, on_delete)
    if erp is None:
        assert task is None or task["active"] is False
        return
    assert task is not None
    held = {name: task.get(name) for name in FIELDS}
    expected = {name: erp.get(name) for name in FIELDS} | {"active": erp.get("active", True)}
    assert {name: _canonical(name, value) for name, value in held.items()} == {
        name: _canonical(name, value) for name, value in expected.items()
    }


def _canonical(name: str, value: Any) -> Any:
    """Empty, null and the default are the same."""
    return None if empty(name, value) else value
