"""What each work order must be in the end: the newest event of each field, told without merging. Shares no code with the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

EMPTY = (None, "", 0.0, False)
Key = tuple[str, str]
Order = tuple[int, int, str]


def order(event: Any) -> Order:
    """How new an event is; those of the same time and sequence are equal."""
    sequence = event.sequence
    return event.time, 0 if sequence is None else int(sequence), ""


def expected(events: Iterable[Any]) -> Mapping[Key, Mapping[str, set[Any]]]:
    """For each work order and field the values that may stand: several where events are equally new. `exists` is a field too."""
    by_key: dict[Key, list[Any]] = {}
    for event in events:
        by_key.setdefault((event.project, event.external_id), []).append(event)
    return {key: _fields(of_key) for key, of_key in by_key.items()}


def _fields(events: list[Any]) -> dict[str, set[Any]]:
    owned = {name for event in events for name in event.data}
    if any(event.kind == "deleted" for event in events):
        owned.add("active")
    fields = {name: _newest([(order(event), _said(event, name)) for event in events if _says(event, name)]) for name in owned}
    fields["exists"] = _newest([(order(event), event.kind != "deleted") for event in events])
    return fields


def _says(event: Any, name: str) -> bool:
    return name in event.data or event.kind in ("replaced", "deleted")


def _said(event: Any, name: str) -> Any:
    if event.kind == "deleted":
        return False if name == "active" else None
    return event.data.get(name)


def _newest(said: list[tuple[Order, Any]]) -> set[Any]:
    newest = max(at for at, _ in said)
    return {value for at, value in said if at == newest}


def same(held: Any, value: Any) -> bool:
    """Whether Ditio holds it: empty, null and a default are one."""
    if value is None or value in EMPTY:
        return held in EMPTY
    return bool(held == value)
