"""How many requests may be in flight at once: what the API bears, found out from its answers. Data in, data out.

    429                    ─► fewer, at once; then up to just below where it came, and further only after a long quiet time
    no answer in time      ─► fewer, at once
    answers slower         ─► fewer: what is sent only stands in Ditio's queue
    answers fast as ever   ─► more, as long as all that is allowed is used

"Fast as ever" is by the mean of each operation while little was in flight. Now and then the limit is halved for a moment to
measure that again, so that an API that has become slower for good is not taken for one that queues. The queue is estimated as
in TCP Vegas: of `value` requests in flight, value * (1 - fast / mean) only wait.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

FIRST = 2.0
LEAST = 0.01
FEWEST_SAMPLES = 4
GROWING_EVERY_S = 0.5
MEASURED_EVERY = 200
"""After so many windows the limit is halved for two: in the first the queue runs empty, in the second is measured."""

FIRST_CUT, CUT, DEEP_CUT = 0.5, 0.85, 0.7
"""What a 429 leaves of the limit: while it still doubles; later; and of one below 1, which has far to go."""

PATIENCE_S, LONGEST_PATIENCE_S = 60.0, 300.0
"""How long after a 429 the limit at which it came is tried again; each time in vain doubles it."""


class Window(msgspec.Struct):
    """What was answered since the last decision: `peak` were in flight at once at most, and by operation how many and how long (s)."""

    samples: int = 0
    peak: int = 0
    operations: dict[str, tuple[int, float]] = {}

    def add(self, operation: str, seconds: float, in_flight: int) -> None:
        """Notes an answer that took so long, begun when so many were in flight, itself included."""
        count, total = self.operations.get(operation, (0, 0.0))
        self.operations[operation] = count + 1, total + seconds
        self.samples += 1
        self.peak = max(self.peak, in_flight)

    @property
    def means(self) -> Mapping[str, float]:
        """Seconds of an answer, by operation."""
        return {operation: total / count for operation, (count, total) in self.operations.items()}


class Limit(msgspec.Struct, frozen=True):
    """The limit and what it is decided by. Times in seconds of one clock.

    `value` may have a fraction; below 1 it is the share of the time that a request is in flight. `fast` is how long each operation
    takes when nothing queues; `doubling` until the first sign of too much; `ceiling` is where the last 429 came, at `cut_at`.
    """

    most: int
    value: float = FIRST
    fast: Mapping[str, float] = {}
    doubling: bool = True
    ceiling: float = float("inf")
    cut_at: float = float("-inf")
    grown_at: float = float("-inf")
    patience_s: float = PATIENCE_S
    windows: int = 0

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return max(1, int(self.value / 2 if self.windows >= MEASURED_EVERY else self.value))

    @property
    def rest(self) -> float:
        """How long nothing may be in flight after a request, in multiples of its own time: 0 unless the limit is below 1."""
        return max(0.0, 1 / self.value - 1)

    @property
    def enough(self) -> int:
        """After so many answers it is decided anew."""
        return max(FEWEST_SAMPLES, 2 * self.allowed)


def first(most: int) -> Limit:
    """The limit to begin with."""
    return Limit(most, min(FIRST, float(most)))


def throttled(limit: Limit, began: float, now: float) -> Limit:
    """After a 429 to a request that began at `began`. Those that were on their way at the last cut say nothing new."""
    if began <= limit.cut_at:
        return limit
    patience_s = limit.patience_s
    if limit.value >= limit.ceiling:  # it was tried again: in vain, or it went well above for a while
        in_vain = limit.value < 1.5 * limit.ceiling
        patience_s = min(LONGEST_PATIENCE_S, 2 * patience_s) if in_vain else PATIENCE_S
    return msgspec.structs.replace(_cut(limit, now), ceiling=_used(limit.value), patience_s=patience_s)


def unanswered(limit: Limit, began: float, now: float) -> Limit:
    """After a request that began at `began` was given up for want of an answer."""
    return limit if began <= limit.cut_at else _cut(limit, now)


def answered(limit: Limit, window: Window, now: float) -> Limit:
    """After a window of answers."""
    windows = limit.windows + 1 if limit.windows <= MEASURED_EVERY else 0
    measured = windows == 0 or window.peak <= max(1, limit.allowed / 2)
    queue = limit.value * (1 - 1 / _slowness(limit.fast, window))
    limit = msgspec.structs.replace(limit, windows=windows, fast=_fast(limit.fast, window.means, measured=measured))
    if windows > MEASURED_EVERY or windows == 0:
        return limit
    if queue > 4 + limit.value / 2:
        return msgspec.structs.replace(limit, value=max(1.0, limit.value * 0.9), doubling=False)
    if queue > 2 + limit.value / 4:
        return msgspec.structs.replace(limit, doubling=False)
    return _grown(limit, now) if window.peak >= limit.allowed else limit


def _cut(limit: Limit, now: float) -> Limit:
    share = FIRST_CUT if limit.doubling else CUT if limit.value > 1 else DEEP_CUT
    value = max(LEAST, _used(limit.value) * share)
    return msgspec.structs.replace(limit, value=value, doubling=False, cut_at=now, grown_at=now)


def _grown(limit: Limit, now: float) -> Limit:
    if limit.doubling:
        return msgspec.structs.replace(limit, value=min(float(limit.most), limit.value * 2))
    if now - limit.grown_at < GROWING_EVERY_S:
        return limit
    careful = now - limit.cut_at < limit.patience_s
    value = limit.value + (max(1.0, limit.value / 20) if limit.value >= 1 else limit.value / (10 if careful else 4))
    if careful:
        value = min(value, _below(limit.ceiling))
    return msgspec.structs.replace(limit, value=min(float(limit.most), max(limit.value, value)), grown_at=now)


def _used(value: float) -> float:
    """What a limit comes to: whole requests, or a share of the time of one."""
    return float(int(value)) if value >= 1 else value


def _below(ceiling: float) -> float:
    return ceiling - max(1.0, ceiling / 20) if ceiling >= 2 else ceiling * 0.9


def _slowness(fast: Mapping[str, float], window: Window) -> float:
    """How many times as long as ever the answers took, at least 1."""
    known = [(count, total, fast[name]) for name, (count, total) in window.operations.items() if name in fast]
    took, ever = sum(total for _, total, _ in known), sum(count * each for count, _, each in known)
    return max(1.0, took / ever) if ever > 0 else 1.0


def _fast(fast: Mapping[str, float], means: Mapping[str, float], *, measured: bool) -> Mapping[str, float]:
    """What was measured with little in flight counts half; else only what is faster is believed, a little."""
    return {**fast, **{name: _blended(fast.get(name, mean), mean, measured=measured) for name, mean in means.items()}}


def _blended(ever: float, mean: float, *, measured: bool) -> float:
    if measured:
        return (ever + mean) / 2
    return ever + 0.2 * min(0.0, mean - ever)
