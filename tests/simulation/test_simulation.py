"""Histories on a simulated clock, a few of them; `make simulate` plays as many as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.history import history
from tests.simulation.mutants import found_after
from tests.simulation.shrinking import story
from tests.simulation.world import play

ROOT = Path(__file__).parents[2]
SEEDS = 2_000


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_every_history_ends_as_the_newest_events_say_and_nothing_is_lost_or_doubled() -> None:
    ended = run("--seeds", str(SEEDS))
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_same_seed_is_the_same_history() -> None:
    assert history(7) == history(7)
    assert history(7) != history(8)


@pytest.mark.parametrize(
    "mutant", ["acknowledged_first", "floor_forgotten", "publish_unconfirmed", "due_work_forgotten", "ordered_by_arrival"]
)
def test_a_planted_mistake_is_found(mutant: str) -> None:
    name, seeds, wrong = found_after(mutant, 200)
    assert seeds, f"{name}: {wrong}"


def test_a_failing_history_is_told_in_words_with_the_command_that_plays_it_again() -> None:
    told = story(history(3), ["WO-1 is there 2 times"])
    assert "the ERP publishes" in told
    assert "WO-1 is there 2 times" in told
    assert told.endswith("again: python -m tests.simulation --seed 3")


def test_a_history_without_faults_violates_nothing() -> None:
    assert play(history(0)) == []
