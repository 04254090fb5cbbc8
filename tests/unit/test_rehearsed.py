"""What comes of an event's calls, as values; and how it is shown."""

from __future__ import annotations

import io
import json

import pytest

from worker.cli.planned import counted, entry, rows, show
from worker.cli.terminal import Terminal
from worker.core.event import EventType
from worker.core.identity import Identity
from worker.core.outcome import Applied, Dead, Failure, Ignored, Outcome, Superseded, Unchanged, Waiting
from worker.core.plan import Create, Delete, Replace, Update
from worker.core.rehearsed import Change, Rehearsed, Sent, rehearsed

IDENTITY = Identity("e-1", "workorder.updated.v1", "/erp", "P-1", "WO-1")
NAME = Change("name", "a", "b")
NO_PARENT = Waiting("parent", Failure("unresolved-parent", "there is no WO-9", "data.parent"))
BAD_UNIT = Dead(Failure("unresolved-unit", 'the unit "x" is in no table', "data.unit"))


def of(*sent: Sent, type: EventType = EventType.UPDATED, outcome: Outcome = Applied()) -> Rehearsed:
    """What comes of these calls."""
    return rehearsed(type, IDENTITY, outcome, sent, "t")


@pytest.mark.parametrize(
    ("sent", "action"),
    [
        (Sent(Create("WO-1", {})), "create"),
        (Sent(Update("t", {}), (NAME,)), "update"),
        (Sent(Replace("t", {}), (NAME,)), "replace"),
        (Sent(Delete("t")), "delete"),
        (Sent(Update("t", {})), "unchanged"),
    ],
)
def test_the_first_call_that_changes_something_names_the_action(sent: Sent, action: str) -> None:
    assert of(sent).action == action


@pytest.mark.parametrize(
    ("outcome", "action"),
    [(Unchanged(), "unchanged"), (Superseded(), "superseded"), (Ignored(), "ignored"), (NO_PARENT, "wait"), (BAD_UNIT, "fail")],
)
def test_without_a_call_the_end_names_it(outcome: Outcome, action: str) -> None:
    assert of(outcome=outcome).action == action


def test_the_update_of_a_deletion_deactivates() -> None:
    assert of(Sent(Update("t", {}), (Change("active", True, False),)), type=EventType.DELETED).action == "deactivate"


def test_a_field_that_two_calls_change_is_told_once_from_before_the_first_to_after_the_last() -> None:
    first, second = Sent(Create("WO-1", {}), (Change("price", None, 1.0),)), Sent(Update("t", {}), (Change("price", 1.0, 2.0),))
    assert of(first, second).changes == (Change("price", None, 2.0),)


def test_each_change_has_a_row_and_so_has_what_would_wait() -> None:
    event = Rehearsed("update", NO_PARENT, IDENTITY, (NAME, Change("price", 750.0, None), Change("active", False, True)), "t")
    told = [(row["action"], row["field"], row.get("now"), row.get("then"), row["detail"]) for row in rows(entry({}, event))]
    assert told == [
        ("update", "name", "a", "b", ""),
        ("update", "price", "750", "", ""),
        ("update", "active", "false", "true", ""),
        ("wait", "data.parent", None, None, "there is no WO-9"),
    ]


@pytest.mark.parametrize(
    ("event", "actions"),
    [
        (Rehearsed("unchanged", Unchanged(), IDENTITY), ["unchanged"]),
        (Rehearsed("delete", Applied(), IDENTITY), ["delete"]),
        (Rehearsed("unchanged", BAD_UNIT, IDENTITY), ["unchanged", "fail"]),
        (Rehearsed("fail", BAD_UNIT, IDENTITY), ["fail"]),
        (Rehearsed("wait", NO_PARENT, IDENTITY), ["wait"]),
    ],
)
def test_what_changes_nothing_has_one_row(event: Rehearsed, actions: list[str]) -> None:
    assert [row["action"] for row in rows(entry({}, event))] == actions


def test_the_summary_counts_every_action_and_what_of_it_would_wait_or_fail() -> None:
    events = [
        Rehearsed("update", Applied(), IDENTITY),
        Rehearsed("update", NO_PARENT, IDENTITY),
        Rehearsed("update", BAD_UNIT, IDENTITY),
        Rehearsed("fail", BAD_UNIT, IDENTITY),
    ]
    told = counted([entry({}, each) for each in events])
    assert [row["action"] for row in told][:2] == ["create", "update"]
    assert [row for row in told if row["events"]] == [
        {"action": "update", "events": 3, "waiting": 1, "failing": 1},
        {"action": "fail", "events": 1, "waiting": 0, "failing": 1},
    ]


def test_csv_quotes_what_it_must_and_json_keeps_the_types() -> None:
    event = Rehearsed("update", Applied(), IDENTITY, (Change("name", 'a "b", c', "d\ne"), Change("price", None, 0.1)), "t")
    table, objects = io.StringIO(), io.StringIO()
    show("csv", ("line",), [entry({"line": 3}, event)], Terminal({}, table, io.StringIO()))
    show("json", ("line",), [entry({"line": 3}, event)], Terminal({}, objects, io.StringIO()))
    assert table.getvalue() == (
        "line,id,type,project,external_id,task_id,action,field,now,then,reason,detail\n"
        '3,e-1,workorder.updated.v1,P-1,WO-1,t,update,name,"a ""b"", c","d\ne",,\n'
        "3,e-1,workorder.updated.v1,P-1,WO-1,t,update,price,,0.1,,\n"
    )
    assert json.loads(objects.getvalue()) == [
        {
            "line": 3, "id": "e-1", "type": "workorder.updated.v1", "project": "P-1", "external_id": "WO-1", "task_id": "t",
            "action": "update", "outcome": "applied",
            "changes": [{"field": "name", "now": 'a "b", c', "then": "d\ne"}, {"field": "price", "now": None, "then": 0.1}],
            "waits_for": None, "reason": "", "field": "", "detail": "",
        }
    ]  # fmt: skip
