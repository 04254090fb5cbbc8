"""How long to wait before another attempt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.core.backoff import full_jitter

CHANCE = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 100_000), CHANCE, st.floats(0, 3600))
def test_a_wait_is_between_what_the_server_asks_for_and_that_much_more_however_often_it_was_tried(
    attempt: int, chance: float, at_least: float
) -> None:
    assert at_least <= full_jitter(attempt, base=0.25, cap=4, chance=chance, at_least=at_least) <= at_least + 4


def test_the_jitter_is_as_wide_as_ever_at_the_cap() -> None:
    waits = [full_jitter(attempt, base=1, cap=30, chance=chance) for attempt in (6, 50, 2000) for chance in (0.0, 0.5, 0.9)]
    assert waits == [0, 15, 27] * 3


def test_the_bound_doubles_until_it_is_at_the_cap() -> None:
    assert [full_jitter(attempt, base=1, cap=10, chance=0.5) for attempt in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]
