"""Times and dates of events (RFC 3339), exactly: no digit is lost, no day moves by a time zone.

2026-03-15                  that day
2026-03-15T00:00:00+01:00   midnight in its own offset: that day
2026-03-14T23:00:00Z        midnight in the date zone (Europe/Oslo): the 15th
2026-03-15T08:00:00+01:00   a moment: 2026-03-15T07:00:00Z
2026-03-15T08:00:00         an error, because a local time can happen twice or not at all
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from worker.core.errors import Invalid
from worker.core.stamp import Instant
from worker.core.wording import shown

DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DATE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:([Zz])|([+-])([0-9]{2}):([0-9]{2}))?"
)
SECONDS_PER_DAY = 86_400
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_DAY = EPOCH.toordinal()


class DateTime(msgspec.Struct, frozen=True):
    """An RFC 3339 date-time, taken apart. `second` counts from the midnight that begins `day`; `offset` in seconds, None if left out."""

    day: date
    second: int
    fraction: str
    offset: int | None

    @property
    def is_midnight(self) -> bool:
        """Whether it is midnight in its own offset (a leap second at the end of a day is the next midnight)."""
        return not self.fraction and self.second % SECONDS_PER_DAY == 0


def instant(text: str, field: str) -> Instant:
    """The instant of an RFC 3339 date-time with all digits of its fraction. Raises Invalid, naming `field`.

    A leap second counts as the second after it, as in POSIX time.
    """
    given = _taken_apart(text, field, "an RFC 3339 date-time such as 2026-03-15T08:00:00.123+01:00")
    if given.offset is None:
        raise Invalid(field, f"has no offset, so it is no certain instant: add Z or an offset such as +01:00, got {shown(text)}")
    return Instant(_seconds(given, given.offset), given.fraction)


def wire_date(text: str, zone: str, field: str) -> str:
    """A date or date-time as Ditio's JSON has it: `…T00:00:00Z` for a day, else the time in UTC with its fraction.

    `zone` is an IANA name; what is midnight there, or in the offset given, is a day. Raises Invalid, naming `field`.
    """
    if DAY.fullmatch(text):
        return f"{_day(text, field)}T00:00:00Z"
    given = _taken_apart(text, field, "a date such as 2026-03-15, or a date-time with its offset")
    if given.offset is None:
        raise Invalid(field, _why_an_offset(given, text, zone))
    try:
        if given.is_midnight:
            return f"{given.day + timedelta(days=given.second // SECONDS_PER_DAY)}T00:00:00Z"
        utc = EPOCH + timedelta(seconds=_seconds(given, given.offset))
        local = utc.astimezone(ZoneInfo(zone))
    except OverflowError:
        raise Invalid(field, f"is outside the years 1 to 9999: {shown(text)}") from None
    if not given.fraction and (local.hour, local.minute, local.second) == (0, 0, 0):
        return f"{local.date()}T00:00:00Z"
    fraction = f".{given.fraction}" if given.fraction else ""
    return f"{utc.replace(tzinfo=None).isoformat(timespec='seconds')}{fraction}Z"


def _taken_apart(text: str, field: str, expected: str) -> DateTime:
    found = DATE_TIME.fullmatch(text)
    if found is None:
        raise Invalid(field, f"expected {expected}, got {shown(text)}")
    day, hour, minute, second, fraction, zulu, sign, ahead_h, ahead_min = found.groups()
    whole = int(hour) * 3600 + int(minute) * 60 + int(second)
    offset = 0 if zulu else None
    if sign:
        offset = (int(ahead_h) * 3600 + int(ahead_min) * 60) * (-1 if sign == "-" else 1)
        if ahead_h > "23" or ahead_min > "59":
            raise Invalid(field, f"there is no such offset: {shown(text)}")
    leap = second == "60" and (whole - (offset or 0)) % SECONDS_PER_DAY == 0
    if hour > "23" or minute > "59" or (second > "59" and not leap):
        raise Invalid(field, f"there is no such time of day: {shown(text)}")
    return DateTime(_day(day, field), whole, (fraction or "").rstrip("0"), offset)


def _day(text: str, field: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Invalid(field, f"there is no such day: {shown(text)}") from None


def _seconds(given: DateTime, offset: int) -> int:
    return (given.day.toordinal() - EPOCH_DAY) * SECONDS_PER_DAY + given.second - offset


def _why_an_offset(given: DateTime, text: str, zone: str) -> str:
    """Why a local time alone will not do: at worst it happens twice, or never, in the zone where it was probably meant."""
    remedy = f"add the offset, or give the day alone ({given.day})"
    local = datetime.combine(given.day, datetime.min.time(), ZoneInfo(zone)) + timedelta(seconds=given.second)
    clock = local.strftime("%H:%M")
    first, second = local.utcoffset(), local.replace(fold=1).utcoffset()
    if first is None or second is None or first == second:
        return f"has no offset, so it is no certain moment (02:30 happens twice when the clocks go back): {remedy}, got {shown(text)}"
    if first > second:
        return f"has no offset, and {clock} on {given.day} happens twice in {zone}: {remedy}"
    return f"has no offset, and {clock} on {given.day} does not happen in {zone}, where the clocks go forward: {remedy}"
