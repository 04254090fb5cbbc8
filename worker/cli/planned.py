"""What a rehearsed event looks like: one object of JSON, or a row for each field that would change."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from worker.cli.terminal import Row, Terminal
from worker.core.field import Value
from worker.core.outcome import Waiting, name
from worker.core.rehearsed import Action, Rehearsed

FORMATS = ("table", "json", "jsonl", "csv")
TABLE = ("project", "external_id", "action", "field", "now", "then", "detail")
CSV = ("id", "type", "project", "external_id", "task_id", "action", "field", "now", "then", "reason", "detail")
COUNTED = ("action", "events", "waiting", "failing")

SHAPES = """"id": …, "type": …, "project": …, "external_id": …, "task_id": … or null, "action": …, "outcome": …,
  "changes": [{"field": …, "now": …, "then": …}, …], "waits_for": … or null, "reason": …, "field": …, "detail": …"""
"""What JSON has of each event, after the place that it came from."""


def entry(place: Row, rehearsed: Rehearsed) -> dict[str, Any]:
    """An event as JSON has it. `place` says where it came from."""
    identity, outcome, failure = rehearsed.identity, rehearsed.outcome, rehearsed.failure
    return {
        **place,
        "id": identity.id,
        "type": identity.type,
        "project": identity.project,
        "external_id": identity.external_id,
        "task_id": rehearsed.task_id,
        "action": rehearsed.action,
        "outcome": name(outcome),
        "changes": [{"field": each.field, "now": each.now, "then": each.then} for each in rehearsed.changes],
        "waits_for": outcome.kind if isinstance(outcome, Waiting) else None,
        "reason": failure.reason if failure else "",
        "field": failure.field if failure else "",
        "detail": failure.detail if failure else "",
    }


def rows(entry: dict[str, Any]) -> Iterator[Row]:
    """A row for each change, or for what has none; and one for what would wait or fail."""
    told = {**entry, "field": "", "reason": "", "detail": ""}
    for change in entry["changes"]:
        yield {**told, "field": change["field"], "now": _cell(change["now"]), "then": _cell(change["then"])}
    held_up = entry["outcome"] in ("waiting", "dead")
    if not entry["changes"] and entry["action"] not in ("wait", "fail"):
        yield told
    if held_up:
        yield {**entry, "action": "wait" if entry["outcome"] == "waiting" else "fail"}


def counted(entries: Sequence[dict[str, Any]]) -> list[Row]:
    """How many events each action has, and how many of them would also wait or fail."""
    return [
        {
            "action": action,
            "events": len(outcomes),
            "waiting": outcomes.count("waiting"),
            "failing": outcomes.count("dead"),
        }
        for action in get_args(Action)
        for outcomes in [[entry["outcome"] for entry in entries if entry["action"] == action]]
    ]


def show(form: str, place: Sequence[str], entries: Sequence[dict[str, Any]], terminal: Terminal) -> None:
    """Events in one of FORMATS. `place` names what says where they came from."""
    if form in ("json", "jsonl"):
        terminal.show(form, (), entries)
    else:
        show_rows(form, (*place, *(CSV if form == "csv" else TABLE)), [row for entry in entries for row in rows(entry)], terminal)


def show_rows(form: str, columns: Sequence[str], rows: Sequence[Row], terminal: Terminal) -> None:
    """Rows in one of FORMATS."""
    if form != "csv":
        terminal.show(form, columns, rows)
        return
    writer = csv.DictWriter(terminal.out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _cell(value: Value) -> str:
    """A value as a cell has it: texts as they are, nothing for what is empty, 750 for 750.0."""
    match value:
        case None:
            return ""
        case str():
            return value
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return json.dumps(value)
