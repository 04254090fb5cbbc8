"""Properties that the broker acts on harm nothing on their way through waiting and dead letters, on each version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Request, Server
from worker.sandbox.admin import administer


@pytest.fixture
async def process(any_vhost: Vhost, ditio: Server, tmp_path: Path) -> AsyncIterator[WorkerProcess]:
    """A worker on either version of RabbitMQ."""
    worker = WorkerProcess(settings(any_vhost.url, ditio, tmp_path), tmp_path)
    yield worker
    worker.kill()
    assert leaks(worker.log()) == []


def acting(message: Message, own_name: str) -> list[Message]:
    """The message in each form that broke others."""
    user: dict[str, object] = {"user_id": own_name}
    forms: list[tuple[dict[str, object], dict[str, object]]] = [
        ({}, {"expiration": "2000"}),
        ({"CC": ["elsewhere"], "BCC": ["secretly"]}, {}),
        ({}, user),
        ({"big": "x" * 100_000, "small": "kept"}, {}),
        ({"big-1": "x" * 42_000, "big-2": "y" * 42_000, "big-3": "z" * 42_000}, {"expiration": "3000", **user}),
        ({"x-mine": "kept", "nested": {"a": [1, None, True]}}, {"priority": 3, "reply_to": "nobody", "correlation_id": "c"}),
    ]
    return [Message(message.body, headers, {**message.properties, **properties}) for headers, properties in forms]


async def test_acting_properties_harm_nothing_through_waiting_and_dead_letters(
    process: WorkerProcess, any_vhost: Vhost, ditio: Server
) -> None:
    # Given a queue that would catch copies, and events that wait longer than they would live
    any_vhost.ask("PUT", f"queues/{any_vhost.name}/elsewhere", {"durable": True})
    any_vhost.ask("PUT", f"queues/{any_vhost.name}/secretly", {"durable": True})
    process.start(WORKER_WAIT_STEPS_S="1,2", WORKER_WAIT_MAX_S="5")
    await process.ready()
    never = acting(event("created", "WO-never", project="P-NEVER", name="x"), any_vhost.user)
    late = acting(event("created", "WO-late", project="P-LATE", name="x"), any_vhost.user)
    # When
    async with publisher(any_vhost.url) as to:
        for message in (*never, *late):
            await to.publish_to("workorders", "a", message)
    await eventually(lambda: process.metric("events_total", outcome="waiting") >= 12, what="all wait")
    administer(ditio.sandbox, Request("POST", "/_sandbox/projects", body=b'{"projectNumber": "P-LATE"}'))
    await eventually(lambda: process.metric("events_total", outcome="dead") >= 6, 40, what="those without a project are dead")
    await eventually(lambda: sum(process.metric("events_total", outcome=each) for each in ("applied", "unchanged")) >= 6, 40)
    # Then each is exactly once where it belongs, and outlives its expiration
    await asyncio.to_thread(process.stop)
    letters = any_vhost.messages("workorders.dead")
    assert len(letters) == 6
    assert any_vhost.messages("elsewhere") == []
    assert any_vhost.messages("secretly") == []
    assert [task["externalId"] for task in ditio.sandbox.state.tasks.values()] == ["WO-late"]
    assert any_vhost.messages("workorders.events") == []
    # And the letters keep what they were
    by_form = {_form(letter): letter for letter in letters}
    assert by_form["expiration"].headers["original-expiration"] == "2000"
    assert "expiration" not in by_form["expiration"].properties
    assert by_form["user"].headers["original-user-id"] == any_vhost.user
    assert by_form["copies"].headers["original-CC"] == "['elsewhere']"
    assert by_form["mine"].headers["x-mine"] == "kept"
    assert by_form["mine"].properties["reply_to"] == "nobody"
    assert "headers dropped for size" in str(by_form["large"].headers["failure-detail"])
    assert by_form["big"].headers["small"] == "kept"


def _form(letter: Message) -> str:
    headers = letter.headers
    if "dropped" in str(headers["failure-detail"]):
        return "large"
    names = {
        "original-CC": "copies",
        "big": "big",
        "x-mine": "mine",
        "original-expiration": "expiration",
        "original-user-id": "user",
    }
    return next(form for name, form in names.items() if name in headers)
