"""Broken events: each is a dead letter with its reason, field and a sentence, and the worker goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.broker import Vhost
from tests.support.process import WorkerProcess
from tests.support.publishing import TIME, event, publish_all
from tests.support.waiting import eventually
from worker.core.message import Message
from worker.sandbox import Server

STRUCTURED = {"content_type": "application/cloudevents+json"}
PROJECT = {"number": "P-2026-001"}


def valid(**changes: Any) -> dict[str, Any]:
    """A valid event, with attributes changed or (None) left out."""
    given = {
        "specversion": "1.0",
        "type": "workorder.updated.v1",
        "source": "/erp/test",
        "id": "e-1",
        "time": TIME,
        "data": {"project": PROJECT, "externalId": "WO-1", "name": "Graving"},
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def data(**fields: Any) -> dict[str, Any]:
    """A valid event with these fields in its data."""
    return valid(data={"project": PROJECT, "externalId": "WO-1", **fields})


RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no specversion": (valid(specversion=None), "invalid-event", "specversion"),
    "another specversion": (valid(specversion="0.3"), "invalid-event", "specversion"),
    "no id": (valid(id=None), "invalid-event", "id"),
    "empty id": (valid(id=""), "invalid-event", "id"),
    "no source": (valid(source=None), "invalid-event", "source"),
    "no type": (valid(type=None), "invalid-event", "type"),
    "unknown type": (valid(type="workorder.upserted.v1"), "unsupported-type", "type"),
    "reserved type": (valid(type="workorder.moved.v1"), "unsupported-type", "type"),
    "no time": (valid(time=None), "invalid-event", "time"),
    "time without offset": (valid(time="2026-03-15T08:00:00"), "invalid-event", "time"),
    "time that is none": (valid(time="yesterday"), "invalid-event", "time"),
    "time far ahead": (valid(time="2099-01-01T00:00:00Z"), "invalid-event", "time"),
    "no data": (valid(data=None), "invalid-event", "data"),
    "data that is no object": (valid(data=[1]), "invalid-event", "data"),
    "no project": (valid(data={"externalId": "WO-1"}), "invalid-event", "data.project"),
    "two projects": (data(project={"number": "1", "id": "2"}), "invalid-event", "data.project"),
    "unknown in project": (data(project={"nummer": "1"}), "invalid-event", "data.project.nummer"),
    "project number that is no text": (data(project={"number": 1}), "invalid-event", "data.project.number"),
    "no externalId": (valid(data={"project": PROJECT}), "invalid-event", "data.externalId"),
    "empty externalId": (data(externalId=""), "invalid-event", "data.externalId"),
    "long externalId": (data(externalId="x" * 201), "invalid-event", "data.externalId"),
    "control character in externalId": (data(externalId="WO\u0007"), "invalid-event", "data.externalId"),
    "blank at the end of externalId": (data(externalId="WO-1 "), "invalid-event", "data.externalId"),
    "number as text": (data(estimatedHourQty="abc"), "invalid-event", "data.estimatedHourQty"),
    "number that is a flag": (data(price=True), "invalid-event", "data.price"),
    "flag as text": (data(active="true"), "invalid-event", "data.active"),
    "text as number": (data(name=5), "invalid-event", "data.name"),
    "date that is none": (data(startDate="15.03.2026"), "invalid-event", "data.startDate"),
    "day that is not": (data(startDate="2026-02-30"), "invalid-event", "data.startDate"),
    "date-time without offset": (data(startDate="2026-10-25T02:30:00"), "invalid-event", "data.startDate"),
    "active cleared": (data(active=None), "invalid-event", "data.active"),
    "isParent cleared": (data(isParent=None), "invalid-event", "data.isParent"),
    "status cleared": (data(status=None), "invalid-event", "data.status"),
    "unknown field": (data(estimatedHoursQty=1), "invalid-event", "data.estimatedHoursQty"),
    "parent twice": (data(parent="WO-2", parentActivityId="abc"), "invalid-event", "data.parent"),
    "foreman twice": (data(mainForeman="1042", mainForemanId="abc"), "invalid-event", "data.mainForeman"),
    "replaced without active": (
        valid(type="workorder.replaced.v1", data={"project": PROJECT, "externalId": "WO-1"}),
        "invalid-event",
        "data.active",
    ),
    "deleted with more": (
        valid(type="workorder.deleted.v1", data={"project": PROJECT, "externalId": "WO-1", "name": "x"}),
        "invalid-event",
        "data.name",
    ),
    "leader twice": (data(taskLeader="1042", taskLeaderId="abc"), "invalid-event", "data.taskLeader"),
    "unit twice": (data(unit="m3", unitId="abc"), "invalid-event", "data.unit"),
    "a field that the status sets too": (data(status="C", active=True), "invalid-event", "data.active"),
    "sequence that is no text": (valid(sequence=[1]), "invalid-event", "sequence"),
    "a batch": (valid(specversion="1.0", data="x"), "invalid-event", "data"),
    "data in base64": (valid(data=None, data_base64="eA=="), "invalid-event", "data_base64"),
    "unit that is in no table": (data(unit="tonn"), "unresolved-unit", "data.unit"),
    "status that is in no table": (data(status="O"), "unresolved-status", "data.status"),
}

BODIES: dict[str, bytes] = {
    "empty": b"",
    "not UTF-8": b'{"specversion": "\xff\xfe"}',
    "over the size limit": b'{"data": "' + b"x" * 1_100_000 + b'"}',
    "all that the broker takes": b"[" + b"1," * 8_000_000 + b"1]",
    "nested": b"[" * 100_000 + b"]" * 100_000,
    "nested objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NaN": json.dumps(valid()).encode().replace(b'"Graving"', b"NaN"),
    "1e999": json.dumps(data(price=1)).encode().replace(b'"price": 1', b'"price": 1e999'),
    "duplicate keys": json.dumps(valid()).encode().replace(b'"name"', b'"name": "a", "name"'),
    "NUL": json.dumps(data(name="a\0b")).encode(),
    "NUL byte": b"\0" + json.dumps(valid()).encode(),
    "lone surrogate": json.dumps(valid()).encode().replace(b"Graving", b"\\ud800"),
    "an array": b"[1, 2]",
    "a number": b"42",
}

KEYS = ["../x", "a/b?c#d", "%2F", "æøå", "🏗️", "..", ".", "a b", "WO+1", "a;b", "C:\\x", "x/../y", "100%", "ÆØÅ-é"]


def sentence(letter: Message) -> str:
    """What a letter says to a person."""
    return str(letter.headers["failure-detail"])


async def letters_of(vhost: Vhost, worker: WorkerProcess, messages: list[Message]) -> list[Message]:
    """The dead letters of messages that all die."""
    (worker.folder / "tables.toml").write_text("[unit]\nm3 = '64f'\n[status]\nC = {active = false}\n")
    worker.start(WORKER_TABLES_FILE=str(worker.folder / "tables.toml"))
    await worker.ready()
    await publish_all(vhost.url, messages)
    await eventually(lambda: worker.metric("events_total", outcome="dead") >= len(messages), 60, what="all are dead")
    assert worker.running
    return vhost.messages("workorders.dead")


async def test_each_rule_of_the_events_that_is_broken_makes_a_letter_with_reason_field_and_sentence(
    worker: WorkerProcess, vhost: Vhost
) -> None:
    # Given each rule broken once; the event's id says which
    names = list(RULES)
    messages = [Message(json.dumps(RULES[name][0]).encode(), {"which": name}, STRUCTURED) for name in names]
    # When
    letters = {str(letter.headers["which"]): letter for letter in await letters_of(vhost, worker, messages)}
    # Then
    told = {name: (letter.headers["failure-reason"], letter.headers.get("failure-field", "")) for name, letter in letters.items()}
    assert told == {name: (reason, field) for name, (_, reason, field) in RULES.items()}
    for name, letter in letters.items():
        assert len(sentence(letter)) > 5, name
        assert letter.body == json.dumps(RULES[name][0]).encode()
    assert sentence(letters["number as text"]) == 'expected a number, got "abc"'
    assert "estimatedHourQty" in sentence(letters["unknown field"])
    assert "happens twice" in sentence(letters["date-time without offset"])


async def test_hostile_bodies_are_letters_and_memory_stays_bounded(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    messages = [Message(body, {"which": name}, STRUCTURED) for name, body in BODIES.items()]
    # When
    letters = {str(letter.headers["which"]): letter for letter in await letters_of(vhost, worker, messages)}
    # Then
    assert letters.keys() == BODIES.keys()
    for name, letter in letters.items():
        assert letter.headers["failure-reason"] == "invalid-event", name
        assert letter.body == BODIES[name], name
        assert len(sentence(letter)) > 5, name
    assert worker.memory() < 400 * 1_048_576
    # And what comes after is handled
    await publish_all(vhost.url, [event("created", "WO-2", name="etterpå")])
    await eventually(lambda: ditio.sandbox.state.tasks, what="the next event is applied")
    assert "Traceback" not in worker.log()


@pytest.mark.parametrize("encoded_slash", ["accept", "400", "404", "split"])
async def test_keys_that_mean_something_in_a_path_are_applied(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, encoded_slash: str
) -> None:
    # Given
    ditio.sandbox.options = ditio.sandbox.options.changed({"encoded_slash": encoded_slash})
    worker.start()
    await worker.ready()
    # When each is created, and then updated
    created = [event("created", key, id=f"c{place}", name="først") for place, key in enumerate(KEYS)]
    await publish_all(vhost.url, created)
    await eventually(lambda: worker.metric("events_total", outcome="applied") >= len(KEYS), 60, what="all are created")
    worker.stop()
    (worker.folder / "ledger.db").unlink()  # so that each must be found again by its key
    worker.start()
    await worker.ready()
    updated = [event("updated", key, id=f"u{place}", time="2026-03-16T08:00:00Z", name="så") for place, key in enumerate(KEYS)]
    await publish_all(vhost.url, updated)
    await eventually(lambda: worker.metric("events_total", outcome="applied") >= len(KEYS), 60, what="all are updated")
    # Then
    tasks = list(ditio.sandbox.state.tasks.values())
    assert sorted(task["externalId"] for task in tasks) == sorted(KEYS)
    assert {task["name"] for task in tasks} == {"så"}
    assert vhost.messages("workorders.dead") == []
