"""How far a command has come with much to do: a bar on standard error, for people only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from worker.cli.terminal import Terminal

FROM = 500
"""From this many events on a person sees a bar."""


def progress(terminal: Terminal, total: int, doing: str) -> AbstractContextManager[Callable[[], None]]:
    """A bar on a terminal when there is much to do; what it gives is called after each event. `doing` is a verb in -ing."""
    if total < FROM or not terminal.err.isatty():
        return nullcontext(lambda: None)
    return _bar(terminal, total, doing)


@contextmanager
def _bar(terminal: Terminal, total: int, doing: str) -> Iterator[Callable[[], None]]:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and of use to people only
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(file=terminal.err), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
