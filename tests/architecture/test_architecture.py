"""The structure holds: and each rule of it is seen to catch what breaks it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.architecture.rules import LAYERS, TOP, faults_in, part_of, text_faults

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "worker").rglob("*.py"))
OWN = ("tests/architecture/rules.py", "tests/architecture/test_architecture.py")
"""These name what is forbidden."""


def tracked() -> list[str]:
    """Every file that is or would be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_imports_run_one_way_and_nothing_happens_at_import_and_files_stay_small() -> None:
    faults = [fault for name in SOURCES for fault in faults_in(name, (ROOT / name).read_text())]
    assert faults == []


def test_every_part_of_the_worker_has_its_place() -> None:
    parts = {part_of(name) for name in SOURCES} - {"__init__", "sandbox", "demo"}
    assert parts == LAYERS.keys()


def test_no_file_names_a_registry_a_path_of_a_machine_or_unfinished_work() -> None:
    faults = [
        fault
        for name in tracked()
        if name not in OWN and not name.endswith(".ico")
        for fault in text_faults(name, (ROOT / name).read_text("utf-8", "replace"))
    ]
    assert faults == []


def test_at_the_top_are_only_the_agreed_folders() -> None:
    assert {name.split("/")[0] for name in tracked() if "/" in name} <= TOP


@pytest.mark.parametrize(
    ("file", "source", "rule"),
    [
        ("worker/core/plan.py", "import asyncio", "the core uses asyncio"),
        ("worker/core/plan.py", "from os import path", "the core uses os"),
        ("worker/core/plan.py", "import pika", "core uses pika"),
        ("worker/core/plan.py", "from worker.ports import Key", "core imports ports, which stands above it"),
        ("worker/ports.py", "from worker.rabbit import Publisher", "ports imports rabbit, which stands above it"),
        ("worker/api/client.py", "from worker.ledger import Store", "the adapter api imports the adapter ledger"),
        ("worker/api/client.py", "import aiohttp", "aiohttp is used outside api/transport.py"),
        ("worker/ledger/sqlite.py", "import psycopg", "psycopg is used outside ledger/postgres*.py"),
        ("worker/metrics.py", "from worker import config", "the adapter metrics imports the adapter config"),
        ("worker/ledger/sqlite.py", "import httpx", "ledger uses httpx"),
        ("worker/process.py", "from worker.service import main", "process imports service, which stands above it"),
        ("worker/process.py", "def f():\n    from worker.cli import main", "process imports cli, which stands above it"),
        ("worker/sandbox/state.py", "from worker.core.field import FIELDS", "the sandbox imports core"),
        ("worker/service.py", "from worker.sandbox import serve", "service imports sandbox"),
        ("worker/log.py", "import os\nLEVEL = os.environ['LEVEL']", "os.environ['LEVEL'] while it is imported"),
        ("worker/log.py", "TEXT = open('x').read()", "open while it is imported"),
        ("worker/log.py", "x = 1\n" * 401, "401 lines: ask what it is really two of"),
        ("worker/log.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    ],
)
def test_each_rule_catches_what_breaks_it(file: str, source: str, rule: str) -> None:
    assert rule in {fault.rule for fault in faults_in(file, source)}


@pytest.mark.parametrize("text", ["# TODO: later", "index-url = https://pypi.org/simple", "see /work/shared"])
def test_forbidden_words_are_found(text: str) -> None:
    assert list(text_faults("docs/x.md", f"fine\n{text}\n"))
