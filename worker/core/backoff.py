"""How long to wait: data in, data out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

LARGEST_POWER = 60
"""Of two; far over any cap, and within a float's range however long an outage lasts."""


def next_wait(steps: Sequence[int], waited: int, limit: int) -> int | None:
    """The wait step (seconds, one of `steps`, which grow) after `waited` seconds of waiting, or None when the limit is reached.

    The time waited tells how many steps were taken: each step is taken once, the last one again and again. A step that would
    overshoot the limit gives way to the largest that does not, or to the smallest of all.
    """
    if waited >= limit:
        return None
    due = next((step for step, total in zip(steps, accumulate(steps), strict=True) if total > waited), steps[-1])
    fitting = [step for step in steps if step <= min(due, limit - waited)]
    return fitting[-1] if fitting else steps[0]


def full_jitter(attempt: int, *, base: float, cap: float, chance: float, at_least: float = 0.0) -> float:
    """Seconds before retry number `attempt` (1 is the first): anything up to a growing bound, also at the cap.

    `chance` is a random number in [0, 1). `at_least` (a server's Retry-After) is a lower bound, and the jitter comes on top.
    """
    return at_least + chance * min(cap, base * 2.0 ** min(attempt - 1, LARGEST_POWER))
