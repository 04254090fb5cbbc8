"""Properties that the broker acts on harm nothing on their way through waiting and dead letters, on each version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pika
import pytest

from tests.support.broker import Vhost, private_broker
from tests.support.process import WorkerProcess, settings
from tests.support.publishing import event, publisher
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.demo.packages import rabbitmq, rabbitmq_of_suite
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


@pytest.mark.parametrize("suite", ["", "trixie"], ids=["own", "4.0"])
async def test_headers_of_200_kb_harm_nothing_where_a_broker_lets_them_in(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, suite: str, ditio: Server, tmp_path: Path
) -> None:
    if pytestconfig.getoption("--without-broker"):
        pytest.skip("left out by --without-broker")
    # Given a broker with larger frames than usual, and a publisher that uses them (pika itself does not)
    monkeypatch.setattr(pika.spec, "FRAME_MAX_SIZE", 1_048_576)
    sbin = rabbitmq_of_suite(suite, print) if suite else rabbitmq(print)
    with private_broker(sbin, "frame_max = 1048576\n") as broker, broker.vhost() as vhost:
        worker = WorkerProcess(settings(vhost.url, ditio, tmp_path, WORKER_WAIT_MAX_S="1"), tmp_path)
        try:
            worker.start()
            await worker.ready()
            for message in (event("created", "WO-1", name="x"), event("created", "WO-2", project="P-NEVER"), Message(b"{")):
                _publish_with_large_frames(vhost, message, {"huge": "x" * 200_000, "small": "kept"})
            # When
            await eventually(lambda: worker.metric("events_total", outcome="dead") == 2, 40, what="two are dead")
            await eventually(lambda: worker.metric("events_total", outcome="applied") == 1, what="one is applied")
            # Then
            letters = vhost.messages("workorders.dead")
            assert sorted(str(letter.headers["failure-reason"]) for letter in letters) == ["invalid-event", "unresolved-project"]
            for letter in letters:
                assert "huge" not in letter.headers
                assert letter.headers["small"] == "kept"
                assert "headers dropped for size: huge" in str(letter.headers["failure-detail"])
            assert worker.metric("broker_reconnects_total") == 0
        finally:
            worker.kill()
            assert leaks(worker.log()) == []


def _publish_with_large_frames(vhost: Vhost, message: Message, headers: dict[str, object]) -> None:
    parameters = pika.URLParameters(vhost.url)
    parameters.frame_max = 1_048_576
    with closing(pika.BlockingConnection(parameters)) as connection:
        properties = pika.BasicProperties(headers=headers, content_type="application/cloudevents+json", delivery_mode=2)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("workorders", "a", message.body, properties, mandatory=True)
