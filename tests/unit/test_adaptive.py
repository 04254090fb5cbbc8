"""The adaptive limit against the best fixed one: in simulated time, and once over HTTP. The full table is tests/bench/concurrency.py's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.bench.concurrency import in_memory, over_http
from tests.support.simulated import simulate


@pytest.mark.parametrize(
    ("api", "fixed"),
    [
        ({"capacity_concurrent": 3, "latency_s": 0.2}, (2, 4)),
        ({"capacity_concurrent": 10, "latency_s": 0.1}, (8, 16)),
        ({"capacity_per_s": 40, "latency_s": 0.1}, (2, 4, 8)),
        ({"capacity_per_s": 40, "latency_s": 0.1, "retry_after_s": 1}, (2, 4, 8)),
        ({"capacity_per_s": 20, "latency_s": 0.005}, (1, 2)),
    ],
    ids=str,
)
def test_after_half_a_minute_it_does_nine_tenths_of_the_best_fixed_limit_and_hardly_a_429(
    api: Mapping[str, float], fixed: tuple[int, ...]
) -> None:
    best = max(simulate(in_memory(api, limit, settle_s=2, measure_s=15)).per_s for limit in fixed)
    adaptive = simulate(in_memory(api, None, settle_s=30, measure_s=30))
    assert adaptive.per_s >= 0.9 * best
    assert adaptive.throttled <= 0.01


async def test_over_http_it_finds_how_many_requests_are_worked_on_at_once() -> None:
    api = {"capacity_concurrent": 4, "latency_s": 0.05}
    fixed = await over_http(api, 8, settle_s=0.5, measure_s=2)
    adaptive = await over_http(api, None, settle_s=3, measure_s=3)
    assert adaptive.per_s >= 0.9 * fixed.per_s
    assert 4 <= adaptive.limit <= 20
