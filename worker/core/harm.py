"""What a broken export does to many work orders at once: deactivations, deletions and clears.

Counted before they are done. Each has a name that stays the same however often it is tried, so that a repetition counts once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from worker.core.field import Value, empty
from worker.core.plan import Call, Create, Delete, Wanted
from worker.core.record import Record

WINDOW_S = 3600
"""Harms are counted over an hour."""


def harms(
    project_id: str, external_id: str, call: Call, merged: Record, want: Wanted, held: Mapping[str, Value]
) -> Sequence[str]:
    """The names of the harms that a call would do to a work order. `held` is what Ditio is known to hold before it.

    `active` that becomes false and is not known to be false already counts, and so does a value that is known to be there and is cleared.
    """
    stamps = {name: cell.stamp for name, cell in merged.standing().items()}
    gone = merged.exists.stamp if merged.exists else None
    named = [(what, gone if not want.exists else stamps.get(what)) for what in _harmed(call, want, held)]
    return [msgspec.json.encode((project_id, external_id, what, stamp)).decode() for what, stamp in named]


def admitted(spent: int, more: int, most: int) -> bool:
    """Whether so many more harms may be done after those of the last hour. One call alone never exceeds what may be done."""
    return spent + min(more, most) <= most


def _harmed(call: Call, want: Wanted, held: Mapping[str, Value]) -> Iterator[str]:
    match call:
        case Create():
            return
        case Delete():
            yield "exists"
        case _:
            if call.values.get("active") is False and held.get("active") is not False:
                yield "active"
            if want.exists:
                yield from (name for name in sorted(call.values) if want.values.get(name) is None and _there(name, held))


def _there(name: str, held: Mapping[str, Value]) -> bool:
    return name in held and not empty(name, held[name])
