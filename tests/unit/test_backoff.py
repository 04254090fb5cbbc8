"""Waiting before a retry: bounded however many there were, and never in step."""

from __future__ import annotations

import pytest

from worker.core.backoff import full_jitter


@pytest.mark.parametrize("attempt", [1, 6, 100, 5_000, 1_000_000])
def test_the_wait_is_bounded_after_any_number_of_attempts(attempt: int) -> None:
    assert 0 <= full_jitter(attempt, base=1.0, cap=30.0, chance=0.999) < 30.0


def test_chance_spreads_the_waits_also_at_the_cap() -> None:
    assert [full_jitter(5_000, base=1.0, cap=30.0, chance=chance) for chance in (0.0, 0.5)] == [0.0, 15.0]
