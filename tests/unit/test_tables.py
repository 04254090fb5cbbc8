"""The tables of units and statuses: all that is wrong is told at once, in words, with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest

from worker.core.decode import Rules, decode
from worker.core.errors import Invalid
from worker.core.event import Event
from worker.core.field import FIELDS, Kind
from worker.core.message import Message
from worker.core.tables import TablesError, parse

FITTING = {Kind.TEXT: '"x"', Kind.NUMBER: "2.5", Kind.FLAG: "true", Kind.DATE: "2026-03-15", Kind.ID: '"5e00"'}
SENT = {Kind.TEXT: "x", Kind.NUMBER: 2.5, Kind.FLAG: True, Kind.DATE: "2026-03-15T00:00:00Z", Kind.ID: "5e00"}


@pytest.mark.parametrize("name", FIELDS)
def test_a_status_may_set_any_field_to_what_fits_it_and_to_nothing_else(name: str) -> None:
    kind = FIELDS[name]
    assert parse(f"[status]\nA = {{{name} = {FITTING[kind]}}}").status == {"A": {name: SENT[kind]}}
    for other in ("{}", "[]", "nan", "2026-03-15T08:00:00", "2026-03-15T08:00:00Z", "true", '""', '"event-time"', "1"):
        text = f"[status]\nA = {{{name} = {other}}}"
        fits = {Kind.TEXT: ('""', '"event-time"'), Kind.NUMBER: ("1",), Kind.FLAG: ("true",), Kind.ID: ('"event-time"',)}
        if other in fits.get(kind, ('"event-time"',)):
            assert parse(text)
        else:
            with pytest.raises(TablesError, match=rf"\[status\] A\.{name}: expected .+, got "):
                parse(text)


def test_all_problems_are_told_together_each_with_its_place() -> None:
    with pytest.raises(TablesError) as error:
        parse('statuses = 1\n[unit]\nm3 = ""\nt = " "\nkg = {}\n[status]\nA = {}\nB = {activ = true, price = "1"}\nC = "closed"')
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "[statuses]", "[unit] m3", "[unit] t", "[unit] kg", "[status] A", "[status] B.activ", "[status] B.price", "[status] C",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('unit = "m3"', '[unit]: expected a table, got "m3"'),
        ("[[status]]\nA = 1", "[status]: expected a table"),
        ('[unit]\nm3 = "a"\nm3 = "b"', "no valid TOML: "),
        ("x = " + "[" * 5_000, "no valid TOML: "),
    ],
)
def test_what_is_no_table_is_told(text: str, problem: str) -> None:
    with pytest.raises(TablesError) as error:
        parse(text)
    assert error.value.problems[0].startswith(problem)


def test_an_empty_file_has_no_codes() -> None:
    assert (parse("").unit, parse("").status) == ({}, {})


# --- what events make of them

TABLES = parse(
    '[unit]\nm3 = "u3"\n"m³" = "u3"\n[status]\nC = {active = false, finishedDate = "event-time", unitId = "u9"}\nP = {parentActivityId = "p"}'
)


def said(time: str = "2026-10-25T02:30:00+01:00", **data: object) -> Event:
    """The event with this data."""
    body = {
        "specversion": "1.0", "type": "workorder.updated.v1", "source": "/erp", "id": "e-1", "time": time,
        "data": {"project": {"number": "P-1"}, "externalId": "WO-1", **data},
    }  # fmt: skip
    return decode(Message(json.dumps(body).encode()), Rules(now=1_900_000_000, tables=TABLES))


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
        ("2026-10-25T00:00:00+02:00", "2026-10-25T00:00:00Z"),
        ("2026-03-29T23:00:00.000Z", "2026-03-29T23:00:00Z"),
        ("2026-03-29T22:00:00Z", "2026-03-30T00:00:00Z"),
        ("2026-03-15T08:00:00.123456789+01:00", "2026-03-15T07:00:00.123456789Z"),
    ],
)
def test_the_time_of_an_event_as_a_date_follows_the_rules_of_dates(time: str, day: str) -> None:
    assert said(time, status="C").values == {"active": False, "finishedDate": day, "unitId": "u9"}


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"status": "C", "active": True}, "data.active: given together with the status"),
        ({"status": "C", "finishedDate": None}, "data.finishedDate: given together with the status"),
        ({"status": "C", "unit": "m3"}, "data.unit: given together with the status"),
        ({"status": "C", "unit": "unknown"}, "data.unit: given together with the status"),
        ({"status": "P", "parent": "WO-2"}, "data.parent: given together with the status"),
        ({"unit": "m3", "unitId": "u3"}, "data.unit: given together with unitId"),
        ({"parent": None, "parentActivityId": None}, "data.parent: given together with parentActivityId"),
        ({"mainForeman": "1", "mainForemanId": None}, "data.mainForeman: given together with mainForemanId"),
        ({"taskLeader": "1", "taskLeaderId": "2"}, "data.taskLeader: given together with taskLeaderId"),
    ],
)
def test_one_field_said_twice_is_an_error_that_names_it(data: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Invalid) as error:
        said(**data)
    assert str(error.value).startswith(sentence)


def test_codes_are_exact_and_null_clears_the_unit() -> None:
    assert said(unit="m³").values == {"unitId": "u3"}
    assert said(unit=None).values == {"unitId": None}
    for given, meant in ((("unit", "M3"), '"m3"'), (("status", "c"), '"C"')):
        (withheld,) = said(**dict([given])).withheld
        assert (withheld.kind, withheld.wait) == (given[0], False)
        assert f"did you mean {meant}?" in withheld.detail
