"""Whether this machine's clock can be trusted: every answer of Ditio's tells, and none is acted upon while it cannot."""

from __future__ import annotations

from worker.core.errors import Outage
from worker.metrics import Metrics


class ApiObserver:
    """What the API client tells: metrics; and it ends every request with an outage while this machine's clock is not Ditio's."""

    def __init__(self, metrics: Metrics, max_skew_s: float) -> None:
        self.request = metrics.request
        self.retry = metrics.retry
        self._max_skew_s = max_skew_s
        self._ahead = 0.0

    def clock_ahead(self, seconds: float) -> None:
        """Ditio's clock is so far ahead of this machine's. Raises Outage when that is too far: whatever was asked, nothing follows from it."""
        self._ahead = seconds
        if (skew := self.skew()) is not None:
            raise skew

    def skew(self) -> Outage | None:
        """The outage that a clock so far off is: events would be taken for those of the future, or let pass though they are."""
        if abs(self._ahead) <= self._max_skew_s:
            return None
        return Outage(
            "clock",
            f"this machine's clock is {-self._ahead:+.0f} s from Ditio's (WORKER_MAX_SKEW_S={self._max_skew_s:g}): set it",
        )
