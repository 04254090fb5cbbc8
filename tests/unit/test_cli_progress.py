"""A bar for people with much to do, and nothing for anybody else."""

from __future__ import annotations

import io

import pytest

from tests.unit.test_cli import Screen
from worker.cli.progress import FROM, progress
from worker.cli.terminal import Terminal


def shown(err: io.StringIO, total: int) -> str:
    """What stands on standard error after everything was done."""
    with progress(Terminal({}, io.StringIO(), err), total, "rehearsing") as advance:
        for _ in range(total):
            advance()
    return err.getvalue()


def test_a_person_with_much_to_do_sees_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    told = shown(Screen(), FROM)
    assert "rehearsing" in told
    assert f"{FROM}/{FROM}" in told


@pytest.mark.parametrize(("err", "total"), [(io.StringIO(), FROM), (Screen(), FROM - 1)])
def test_a_pipe_and_a_short_task_see_nothing(err: io.StringIO, total: int) -> None:
    assert shown(err, total) == ""
