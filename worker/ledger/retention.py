"""Which events' first-seen must outlive their history.

First seen decides only between events of equal (time, sequence). So it is needed for as long as a cell or floor of the work
order has the event's time; sequences are not compared, which keeps a few rows more and none less.
"""

from __future__ import annotations

from datetime import datetime

from worker.core.record import Record
from worker.core.stamp import Instant, Stamp


def times(record: Record) -> frozenset[Instant]:
    """The time of every stamp that a record holds."""
    return frozenset(stamp.time for stamp in _stamps(record))


def needed(time: str, standing: frozenset[Instant]) -> bool:
    """Whether an event of this time (RFC 3339) could still meet its equal. A time that cannot be read is needed."""
    instant = _instant(time)
    return instant is None or instant in standing


def _stamps(record: Record) -> list[Stamp]:
    stamps = [cell.stamp for cell in record.cells.values()]
    if record.exists is not None:
        stamps.append(record.exists.stamp)
    if record.floor is not None:
        stamps.append(record.floor)
    return stamps


def _instant(text: str) -> Instant | None:
    """The instant with all its digits: `datetime` itself keeps six."""
    whole, point, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    try:
        moment = datetime.fromisoformat(whole + rest[digits:] if point else text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return Instant(int(moment.timestamp()), rest[:digits].rstrip("0"))
