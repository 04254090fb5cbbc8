"""The commands in the documentation work: those that can run alone are run, of the others every option must exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from worker.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALONE = frozenset({"validate", "schema", "topology", "config"})
DIVIDED = frozenset({"dead"})
"""Commands whose subcommands tell of their options themselves."""

EXAMPLE = ROOT / "schemas" / "examples" / "valid" / "updated.json"


def commands() -> list[tuple[str, str]]:
    """Every command of the worker that stands in an indented block, by page."""
    pattern = re.compile(r"    (?:\w+=\S+ )*(ditio-worker .+?)(?:  +#.*)?$")
    lines = [(page.name, pattern.match(line)) for page in PAGES for line in page.read_text().splitlines()]
    return [(page, match[1]) for page, match in lines if match]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Runs the worker's command line without any setting."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-m", "worker", *words], capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60
    )


def test_the_documentation_has_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_command_of_the_documentation_works(page: str, command: str) -> None:
    _, name, *words = shlex.split(command)
    assert name in COMMANDS, page
    if name in ALONE:
        done = run(name, *(str(EXAMPLE) if word.endswith(".json") or word == "FILE" else word for word in words))
        assert done.returncode == 0 or name == "config", done.stderr
        assert done.stdout or name == "validate"
    help_text = run(name, *words[:1], "--help") if name in DIVIDED else run(name, "--help")
    assert help_text.returncode == 0
    assert [word for word in words if word.startswith("--") and word not in help_text.stdout] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_of_the_documentation_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_setting_is_described_by_the_command_that_the_readme_names_for_it() -> None:
    done = run("config", "--format", "json")
    assert done.returncode == 2, "required settings are missing"
    assert "DITIO_API_BASE" in done.stdout
    assert "DITIO_CLIENT_SECRET" in done.stderr


def test_make_offers_what_the_readme_says() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "check", "schemas"} <= set(targets)
