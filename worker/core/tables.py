"""The tables of `WORKER_TABLES_FILE`: units and statuses of the ERP, and what they are in Ditio.

[unit]
m3 = "64f1a2b3c4d5e6f7a8b9c0d1"

[status]
C = {active = false, finishedDate = "event-time"}
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from datetime import date, datetime

import msgspec

from worker.core.date import wire_date
from worker.core.errors import Invalid, WorkerError
from worker.core.field import FIELDS, Kind, Value
from worker.core.wording import meant, shown

EVENT_TIME = "event-time"
"""What a status says for a date field to mean the time of the event."""


class Tables(msgspec.Struct, frozen=True):
    """`unit` maps the ERP's units to Ditio's unit ids, `status` the ERP's statuses to task fields and their wire values.

    A date field of a status may hold EVENT_TIME instead of a wire value.
    """

    unit: Mapping[str, str] = {}
    status: Mapping[str, Mapping[str, Value]] = {}


class TablesError(WorkerError):
    """The tables cannot be used. `problems` are sentences, one for each mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def parse(text: str) -> Tables:
    """The tables that a TOML text holds. Raises TablesError with all its problems."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TablesError((f"no valid TOML: {error}",)) from None
    problems = [
        f"[{name}]: unknown table{meant(name, ('unit', 'status'))}" for name in document if name not in ("unit", "status")
    ]
    unit = _units(_table(document, "unit", problems), problems)
    status = _statuses(_table(document, "status", problems), problems)
    if problems:
        raise TablesError(tuple(problems))
    return Tables(unit, status)


def _table(document: Mapping[str, object], name: str, problems: list[str]) -> Mapping[str, object]:
    table = document.get(name, {})
    if isinstance(table, dict):
        return table
    problems.append(f"[{name}]: expected a table, got {shown(table)}")
    return {}


def _units(table: Mapping[str, object], problems: list[str]) -> Mapping[str, str]:
    units = {name: given.strip() for name, given in table.items() if isinstance(given, str) and given.strip()}
    problems += [
        f"[unit] {name}: expected the id of a unit in Ditio, got {shown(given)}"
        for name, given in table.items()
        if name not in units
    ]
    return units


def _statuses(table: Mapping[str, object], problems: list[str]) -> Mapping[str, Mapping[str, Value]]:
    statuses: dict[str, Mapping[str, Value]] = {}
    for status, fields in table.items():
        if not isinstance(fields, dict) or not fields:
            problems.append(f"[status] {status}: expected fields and values such as {{active = false}}, got {shown(fields)}")
            continue
        statuses[status] = _fields(status, fields, problems)
    return statuses


def _fields(status: str, fields: Mapping[str, object], problems: list[str]) -> Mapping[str, Value]:
    values: dict[str, Value] = {}
    for name, given in fields.items():
        path = f"[status] {status}.{name}"
        if name not in FIELDS:
            problems.append(f"{path}: unknown field{meant(name, FIELDS)}")
            continue
        try:
            values[name] = _value(FIELDS[name], given, path)
        except Invalid as error:
            problems.append(str(error))
    return values


def _value(kind: Kind, given: object, path: str) -> Value:
    """The wire value of one field of a status. Raises Invalid."""
    match kind, given:
        case Kind.FLAG, bool():
            return given
        case Kind.NUMBER, int() | float() if not isinstance(given, bool) and math.isfinite(given):
            return float(given)
        case Kind.TEXT, str():
            return given
        case Kind.ID, str() if given:
            return given
        case Kind.DATE, str() if given == EVENT_TIME:
            return given
        case Kind.DATE, date() if not isinstance(given, datetime):
            return wire_date(given.isoformat(), "UTC", path)
    raise Invalid(path, f"expected {EXPECTED[kind]}, got {shown(given)}")


EXPECTED: Mapping[Kind, str] = {
    Kind.TEXT: "a text",
    Kind.NUMBER: "a number",
    Kind.FLAG: "true or false",
    Kind.DATE: f'"{EVENT_TIME}" or a day such as 2026-03-15 without quotes',
    Kind.ID: "an id",
}
