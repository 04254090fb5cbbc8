"""The decision how many requests may be in flight: pure, by what was answered."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from worker.core.limit import (
    FIRST,
    LEAST,
    LONGEST_PATIENCE_S,
    MEASURED_EVERY,
    PATIENCE_S,
    Limit,
    Window,
    answered,
    throttled,
    unanswered,
)

FAST_S = 0.02


def window(seconds: float = FAST_S, peak: int = 1, count: int = 8, operation: str = "task_update") -> Window:
    """So many answers that took so long each."""
    seen = Window()
    for _ in range(count):
        seen.add(operation, seconds, peak)
    return seen


def at(value: float, most: int = 64, **more: float) -> Limit:
    """A limit that no longer doubles, and knows how fast answers come."""
    given_more = {"doubling": False, **more}
    return Limit(most, value, {"task_update": FAST_S}, **given_more)  # type: ignore[arg-type]  # numbers and a truth


def test_a_limit_that_is_used_doubles_while_answers_come_as_fast_as_ever() -> None:
    limit = Limit(64)
    values = []
    for round in range(7):
        limit = answered(limit, window(peak=limit.allowed), float(round))
        values.append(limit.value)
    assert values == [4, 8, 16, 32, 64, 64, 64]


def test_a_limit_that_nobody_uses_does_not_grow() -> None:
    assert answered(Limit(64), window(peak=1), 1.0).value == FIRST
    assert answered(at(10), window(peak=9), 9.0).value == 10


def test_answers_that_queue_end_the_doubling_and_a_long_queue_lowers_the_limit() -> None:
    # Given 20 in flight; of which 10 queue, or 15
    assert answered(Limit(64, 20.0, {"task_update": FAST_S}), window(FAST_S * 20 / 10, peak=20), 1.0) == msgspec.structs.replace(
        Limit(64, 20.0, {"task_update": FAST_S}), windows=1, doubling=False
    )
    assert answered(at(20), window(FAST_S * 20 / 5, peak=20), 1.0).value == 18


def test_after_the_doubling_it_grows_by_one_every_half_second() -> None:
    limit, values = at(8), []
    for step in range(1, 9):
        limit = answered(limit, window(peak=limit.allowed), step * 0.25)
        values.append(limit.value)
    assert values == [9, 9, 10, 10, 11, 11, 12, 12]


def test_a_429_halves_a_limit_that_doubles_and_lowers_another_by_a_little() -> None:
    assert throttled(Limit(64, 16.0), 1.0, 2.0).value == 8
    assert throttled(at(20), 1.0, 2.0).value == 17


def test_429s_to_requests_that_were_on_their_way_together_are_one() -> None:
    limit = throttled(at(20), 1.0, 2.0)
    assert throttled(limit, 1.5, 2.1) is limit
    assert throttled(limit, 2.05, 2.2).value < limit.value


def test_a_limit_stays_just_below_where_429_came_until_the_patience_is_over() -> None:
    # Given a 429 at 20
    limit = throttled(at(20), 1.0, 2.0)
    # When all that is allowed is used, with fast answers
    for step in range(100):
        limit = answered(msgspec.structs.replace(limit, windows=0), window(peak=limit.allowed), 2.0 + step * PATIENCE_S / 101)
    assert limit.value == 19
    # Then it is tried again, and each time in vain it takes longer
    limit = answered(limit, window(peak=19), 2.0 + PATIENCE_S + 1)
    assert limit.value == 20
    again = throttled(limit, 2.0 + PATIENCE_S + 2, 2.0 + PATIENCE_S + 3)
    assert (again.value, again.patience_s) == (17, 2 * PATIENCE_S)
    longest = msgspec.structs.replace(limit, patience_s=LONGEST_PATIENCE_S)
    assert throttled(longest, 999.0, 999.0).patience_s == LONGEST_PATIENCE_S


def test_a_429_at_a_single_request_in_flight_makes_it_rest() -> None:
    # Given
    limit = throttled(at(1), 1.0, 2.0)
    assert (limit.allowed, limit.value) == (1, 0.7)
    assert limit.rest > 0
    # When it goes on
    for step in range(3, 40):
        limit = throttled(limit, step, step + 0.5)
    # Then a request is in flight for a hundredth of the time, and no less
    assert limit.value == LEAST
    assert at(1).rest == 0


def test_no_answer_lowers_the_limit_once_and_is_no_ceiling() -> None:
    limit = unanswered(at(20), 1.0, 11.0)
    assert (limit.value, limit.ceiling) == (17, float("inf"))
    assert unanswered(limit, 10.0, 12.0) is limit


def test_now_and_then_the_limit_is_halved_to_measure_how_fast_answers_come() -> None:
    # Given an API that has become twice as slow for good
    limit = at(20, windows=MEASURED_EVERY - 1)
    # When
    limit = answered(limit, window(2 * FAST_S, peak=20), 1.0)
    assert (limit.value, limit.allowed) == (20, 10)
    limit = answered(limit, window(2 * FAST_S, peak=20), 2.0)
    assert limit.fast["task_update"] == FAST_S, "the queue only ran empty"
    limit = answered(limit, window(2 * FAST_S, peak=10), 3.0)
    # Then
    assert limit.allowed == 20
    assert limit.fast["task_update"] == 1.5 * FAST_S


def test_each_operation_is_compared_with_itself() -> None:
    # Given a listing that takes a second, always
    limit = msgspec.structs.replace(at(20), fast={"task_update": FAST_S, "task_list": 1.0})
    mixed = window(peak=20)
    mixed.add("task_list", 1.0, 20)
    assert answered(limit, mixed, 5.0).value == 21


STEPS = st.lists(
    st.tuples(st.sampled_from(["answered", "throttled", "unanswered"]), st.floats(0.0, 100.0), st.integers(1, 64)), max_size=60
)


@given(STEPS, st.integers(1, 64))
def test_whatever_happens_the_limit_stays_within_its_bounds(steps: list[tuple[str, float, int]], most: int) -> None:
    limit, now = Limit(most, min(FIRST, most)), 0.0
    for what, seconds, peak in steps:
        began, now = now, now + seconds
        match what:
            case "answered":
                limit = answered(limit, window(seconds, peak), now)
            case "throttled":
                limit = throttled(limit, began, now)
            case _:
                limit = unanswered(limit, began, now)
        assert LEAST <= limit.value <= most
        assert 1 <= limit.allowed <= most
        assert limit.rest >= 0
        assert limit.enough >= 4
