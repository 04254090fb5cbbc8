"""Dates and times: no day moves by a time zone, no digit is lost."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.date import instant, wire_date
from worker.core.errors import Invalid
from worker.core.stamp import Instant, Sequence

OSLO = "Europe/Oslo"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026-03-15", "2026-03-15T00:00:00Z"),
        ("2026-09-14T00:00:00+02:00", "2026-09-14T00:00:00Z"),
        ("2026-09-13T22:00:00Z", "2026-09-14T00:00:00Z"),
        ("2026-03-14T23:00:00Z", "2026-03-15T00:00:00Z"),
        ("2026-03-15T00:00:00-05:00", "2026-03-15T00:00:00Z"),
        ("2026-03-15T08:00:00+01:00", "2026-03-15T07:00:00Z"),
        ("2026-03-15T08:00:00.1230+01:00", "2026-03-15T07:00:00.123Z"),
        ("2026-03-15T00:00:00.000Z", "2026-03-15T00:00:00Z"),
        # The clocks go forward on 29 March 2026 at 02:00 and back on 25 October at 03:00.
        ("2026-03-29T00:00:00+01:00", "2026-03-29T00:00:00Z"),
        ("2026-03-29T22:00:00Z", "2026-03-30T00:00:00Z"),
        ("2026-03-29T02:30:00+01:00", "2026-03-29T01:30:00Z"),
        ("2026-10-24T22:00:00Z", "2026-10-25T00:00:00Z"),
        ("2026-10-25T23:00:00Z", "2026-10-26T00:00:00Z"),
        ("2026-10-25T02:30:00+02:00", "2026-10-25T00:30:00Z"),
        ("2026-10-25T02:30:00+01:00", "2026-10-25T01:30:00Z"),
        # The last and the first instants on either side, which are no midnights in Oslo.
        ("2026-03-29T00:59:59Z", "2026-03-29T00:59:59Z"),
        ("2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"),
        ("2026-03-28T23:00:00Z", "2026-03-29T00:00:00Z"),
        ("2026-03-29T23:00:00Z", "2026-03-29T23:00:00Z"),
        ("2026-10-24T23:00:00Z", "2026-10-24T23:00:00Z"),
        ("2026-10-25T22:00:00Z", "2026-10-25T22:00:00Z"),
        ("2026-10-25T00:59:59.5Z", "2026-10-25T00:59:59.5Z"),
        ("2026-10-25T02:00:00+02:00", "2026-10-25T00:00:00Z"),
        ("2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:30:00+01:00", "2026-12-31T23:30:00Z"),
        ("2028-02-28T23:00:00Z", "2028-02-29T00:00:00Z"),
        ("2026-03-14t23:00:00z", "2026-03-15T00:00:00Z"),
        ("2026-03-15T00:00:00-00:00", "2026-03-15T00:00:00Z"),
        ("2026-03-14T23:00:00.001Z", "2026-03-14T23:00:00.001Z"),
        ("2026-03-15T23:59:60+00:00", "2026-03-16T00:00:00Z"),
    ],
)
def test_a_day_stays_that_day_and_a_moment_is_sent_in_utc(given: str, sent: str) -> None:
    assert wire_date(given, OSLO, "data.startDate") == sent


@pytest.mark.parametrize(
    ("zone", "given", "sent"),
    [
        ("UTC", "2026-03-14T23:00:00Z", "2026-03-14T23:00:00Z"),
        ("America/New_York", "2026-03-15T04:00:00Z", "2026-03-15T00:00:00Z"),
        ("Asia/Kathmandu", "2026-03-14T18:15:00Z", "2026-03-15T00:00:00Z"),
        # Midnight happens twice in Havana on 1 November 2026, and not at all in Santiago on 6 September 2026.
        ("America/Havana", "2026-11-01T04:00:00Z", "2026-11-01T00:00:00Z"),
        ("America/Havana", "2026-11-01T05:00:00Z", "2026-11-01T00:00:00Z"),
        ("America/Santiago", "2026-09-06T04:00:00Z", "2026-09-06T04:00:00Z"),
    ],
)
def test_midnight_in_the_date_zone_is_a_day_there(zone: str, given: str, sent: str) -> None:
    assert wire_date(given, zone, "data.startDate") == sent


@given(st.dates(), st.sampled_from(["+00:00", "+01:00", "+02:00", "-05:00", "+13:45"]))
def test_every_day_given_as_a_midnight_is_that_day(day: date, offset: str) -> None:
    assert wire_date(f"{day}T00:00:00{offset}", OSLO, "data.startDate") == wire_date(str(day), OSLO, "") == f"{day}T00:00:00Z"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("2026-10-25T02:30:00", "happens twice in Europe/Oslo"),
        ("2026-03-29T02:30:00", "does not happen in Europe/Oslo"),
        ("2026-03-15T08:00:00", "no certain moment"),
        ("2026-03-15T00:00:00", "no certain moment"),
        ("2026-10-25T03:00:00", "no certain moment"),
        ("2026-03-29T03:00:00", "no certain moment"),
        ("2026-10-25T02:00:00", "happens twice"),
        ("2026-03-29T02:00:00", "does not happen"),
        ("2026-03-15 08:00:00Z", "expected a date"),
        ("2026-03-15T08:00Z", "expected a date"),
        ("2026-03-15T08:00:00+0100", "expected a date"),
        ("2026-03-15T08:00:60Z", "no such time of day"),
        ("2027-02-29", "there is no such day"),
        ("15.03.2026", "expected a date such as"),
        ("2026-02-30", "there is no such day"),
        ("2026-13-01", "there is no such day"),
        ("2026-03-15T25:00:00Z", "no such time of day"),
        ("2026-03-15T08:00:00+25:00", "no such offset"),
        ("0001-01-01T00:30:00+02:00", "outside the years"),
        ("", "expected a date"),
    ],
)
def test_what_is_no_certain_date_is_an_error_that_says_why(given: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as error:
        wire_date(given, OSLO, "data.startDate")
    assert error.value.field == "data.startDate"


def test_an_instant_keeps_all_its_digits_and_compares_as_an_instant() -> None:
    early = instant("2026-03-15T08:00:00.1234567890123+01:00", "time")
    late = instant("2026-03-15T07:00:00.1234567890124Z", "time")
    assert early < late
    assert instant("2026-03-15T08:00:00+01:00", "time") == instant("2026-03-15T07:00:00.000Z", "time")
    assert early.rfc3339() == "2026-03-15T07:00:00.1234567890123Z"


@given(st.integers(-(10**10), 10**10), st.text("0123456789", max_size=12))
def test_an_instant_written_out_is_read_as_the_same(seconds: int, digits: str) -> None:
    given = Instant(seconds, digits.rstrip("0"))
    assert instant(given.rfc3339(), "time") == given


def test_sequences_compare_absent_then_digits_as_integers_then_text_by_code_point() -> None:
    in_order = [None, "0", "2", "010", "10000000000000000000000", "A", "a", "ø", "１"]
    sequences = [Sequence.of(each) for each in in_order]
    assert sequences == sorted(sequences)
    assert Sequence.of("007") == Sequence.of("7")
    assert len(set(sequences)) == len(in_order)
