"""The dead letters that this process has written, as far as they are still there: for the gauges.

What letters are in the queue from before, and which of them an operator has taken out, is not known here; an empty queue is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import get_args

from worker.core.outcome import Reason


class Letters:
    """Counts by reason, and when the oldest was written (seconds since 1970)."""

    def __init__(self) -> None:
        self._written: dict[Reason, deque[float]] = {reason: deque() for reason in get_args(Reason)}

    def wrote(self, reason: Reason, at: float) -> None:
        """A letter of this reason was written."""
        self._written[reason].append(at)

    def emptied(self) -> None:
        """There are no letters in the queue."""
        for written in self._written.values():
            written.clear()

    def shown(self, now: float) -> Iterator[tuple[Reason, int, float]]:
        """For each reason how many there are, and the age of the oldest in seconds (0: none)."""
        return ((reason, len(written), now - written[0] if written else 0.0) for reason, written in self._written.items())
