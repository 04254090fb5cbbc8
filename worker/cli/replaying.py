"""How far a replay has come: a bar with rate and time left for people, a line now and then where output is piped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worker.cli.terminal import Terminal

if TYPE_CHECKING:
    from worker.dead.replay import Progress
    from worker.dead.replay_following import End

EVERY_S = 10.0
"""Seconds between two plain lines."""


@contextmanager
def shown(terminal: Terminal, total: int) -> Iterator[Callable[[Progress], None]]:
    """What is called with each progress."""
    if not terminal.err.isatty():
        yield Lines(terminal, time.monotonic()).tell
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and of use to people only
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    told = TextColumn("{task.fields[told]}")
    columns = TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), told
    with Progress(*columns, console=Console(file=terminal.err), transient=True) as bar:
        task, began = bar.add_task("", total=total, told=""), time.monotonic()
        yield lambda progress: bar.update(
            task, completed=progress.sent, told=f"{_rate(progress, began):.1f}/s  {counted(progress.counts)}"
        )


class Lines:
    """Plain lines on standard error, EVERY_S apart."""

    def __init__(self, terminal: Terminal, began: float) -> None:
        self._terminal = terminal
        self._began = began
        self._next = began + EVERY_S

    def tell(self, progress: Progress) -> None:
        """Writes a line when it is time."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + EVERY_S
        self._terminal.complain(line(progress, _rate(progress, self._began)))


def line(progress: Progress, rate: float) -> str:
    """How far it has come in one line; `rate` in letters a second."""
    left = progress.total - progress.sent
    ending = f", {duration(left / rate)} left" if left and rate else ""
    return f"{progress.sent} of {progress.total} letters replayed, {rate:.1f}/s{ending}: {counted(progress.counts)}"


def counted(counts: Mapping[End, int]) -> str:
    """What became of the letters, the most frequent first."""
    return ", ".join(f"{count} {end}" for end, count in sorted(counts.items(), key=lambda each: -each[1])) or "none yet"


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes: `33 min 20 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _rate(progress: Progress, began: float) -> float:
    return progress.sent / max(time.monotonic() - began, 0.001)
