"""The order of events: newer wins, per field."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  the text is in UTC, and says so itself

OrderBy: TypeAlias = Literal["time", "sequence"]


class Instant(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A point in time with all its digits: whole seconds since 1970 (UTC) and the fraction's digits, without trailing zeros.

    Fractions compare rightly as text because both are written from the same place on.
    """

    seconds: int
    fraction: str = ""

    def rfc3339(self) -> str:
        """The same as text, in UTC, with all its digits (what lies outside the years 1 to 9999: seconds since 1970)."""
        try:
            whole = (EPOCH + timedelta(seconds=self.seconds)).isoformat()
        except OverflowError:
            return f"@{self.seconds}"
        return f"{whole}.{self.fraction}Z" if self.fraction else f"{whole}Z"


class Sequence(msgspec.Struct, frozen=True, order=True, array_like=True):
    """A CloudEvents `sequence`: absent < digits (as integers of any size) < other text (by code point)."""

    rank: int = 0
    length: int = 0
    text: str = ""

    @classmethod
    def of(cls, text: str | None) -> Sequence:
        """The comparable form of the attribute as it was given (None: absent)."""
        if text is None:
            return ABSENT
        if text.isascii() and text.isdigit():
            digits = text.lstrip("0") or "0"
            return cls(1, len(digits), digits)
        return cls(2, 0, text)


ABSENT = Sequence()


class Stamp(msgspec.Struct, frozen=True, order=True, array_like=True):
    """The stamp of an event; the fields compare in this order.

    `lead` repeats the sequence when events are ordered by it (`WORKER_ORDER_BY=sequence`), else it is absent in all.
    `first_seen` is when a worker first received the event, in microseconds since 1970; `repair` counts the edits of a dead letter.
    """

    lead: Sequence
    time: Instant
    sequence: Sequence
    first_seen: int
    id: str
    repair: int = 0
