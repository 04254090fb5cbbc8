"""The command line: help, exit statuses, formats, and no secret in any output."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Never

import pytest

from worker import cli
from worker.cli.terminal import Terminal
from worker.core.errors import LedgerError
from worker.log import Mask

DITIO = {
    "DITIO_API_BASE": "https://core-api.ditio.dev/core",
    "DITIO_IDENTITY_BASE": "https://identity.ditio.dev",
    "DITIO_CLIENT_ID": "erp",
    "DITIO_CLIENT_SECRET": "s3cret-value",
    "DITIO_COMPANY_ID": "5f0000000000000000000001",
    "AMQP_URL": "amqp://worker:pa55word@broker:5672/%2F",
    "HOME": "/home/erp",
}

OWN = tuple(name for name in cli.COMMANDS if name not in ("sandbox", "demo"))


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(*argv: str, environ: Mapping[str, str] = DITIO, out: io.StringIO | None = None) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    out, err = out or io.StringIO(), io.StringIO()
    status = cli.main(argv, Terminal(environ, out, err))
    return status, out.getvalue(), err.getvalue()


class Broken(dict[str, str]):
    """An environment in which every command fails in a way of our choice."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def get(self, *_: object) -> Never:
        raise self.error


def test_help_lists_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0

    shown = capsys.readouterr().out
    assert all(f"    {name} " in shown for name in cli.COMMANDS)
    assert "130 interrupted" in shown


@pytest.mark.parametrize("name", OWN)
def test_help_of_each_command_has_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0

    shown = capsys.readouterr().out
    assert f"ditio-worker {name}" in shown.partition("example:")[2]


def test_help_loads_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys; from worker.cli import main; main(['--help']); "
        "heavy = {'pika', 'httpx', 'aiohttp', 'rich', 'prometheus_client', 'sqlite3'}; "
        "print(*heavy.intersection(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stderr.strip() == ""


def test_the_package_is_a_command_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-m", "worker", "--version"], capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert done.stdout.startswith("ditio-worker ")


@pytest.mark.parametrize("argv", [["no-such-command"], [], ["config", "--format", "xml"], ["validate"]])
def test_wrong_arguments_end_with_2_and_a_word_on_standard_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: ditio-worker" in captured.err


def test_wrong_settings_end_with_2_and_a_line_each() -> None:
    status, out, err = run("run", environ={"HOME": "/h", "WORKER_PREFETCH": "many"})

    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 6
    assert 'WORKER_PREFETCH: expected a whole number from 1 to 65,535, got "many"' in err.splitlines()


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (LedgerError("the disk is full"), 1, "the disk is full\n"),
        (LedgerError("cannot open amqp://worker:pa55word@broker/"), 1, "cannot open amqp://worker:***@broker/\n"),
    ],
)
def test_errors_decide_the_exit_status(error: BaseException, status: int, says: str) -> None:
    assert run("config", environ=Broken(error)) == (status, "", says)


def test_a_defect_shows_its_traceback_without_secrets() -> None:
    # Given
    environ = Broken(RuntimeError("token s3cret-value is odd"))
    terminal = Terminal(environ, io.StringIO(), err := io.StringIO(), mask=Mask(["s3cret-value"]))

    # When
    status = cli.main(["config"], terminal)

    # Then
    assert status == 1
    assert "RuntimeError: token *** is odd" in err.getvalue()
    assert "s3cret" not in err.getvalue()


def test_config_shows_what_is_in_force_without_secrets() -> None:
    status, out, err = run("config")

    assert (status, err) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert rows["AMQP_URL"].split() == ["amqp://worker:***@broker:5672/%2F", "environment"]
    assert rows["DITIO_CLIENT_SECRET"].split() == ["***", "environment"]
    assert rows["WORKER_PREFETCH"].split() == ["512", "default"]
    assert "s3cret" not in out
    assert "pa55word" not in out


def test_config_still_shows_when_something_is_wrong() -> None:
    status, out, err = run("config", environ={**DITIO, "DITIO_COMPANY_ID": "", "WORKER_PREFECH": "1"})

    assert status == 2
    assert "DITIO_COMPANY_ID" in out
    assert err.splitlines() == [
        "warning: WORKER_PREFECH is not a setting and has no effect; did you mean WORKER_PREFETCH?",
        "DITIO_COMPANY_ID: is required; set it",
    ]


def test_config_comes_as_json_too() -> None:
    _, array, _ = run("config", "--format", "json")
    _, lines, _ = run("config", "--format", "jsonl")

    rows = json.loads(array)
    assert rows == [json.loads(line) for line in lines.splitlines()]
    assert {"name": "WORKER_PREFETCH", "value": "512", "origin": "default"} in rows


def test_on_a_terminal_the_table_is_drawn_with_the_same_content() -> None:
    _, drawn, _ = run("config", out=Screen())

    assert "WORKER_PREFETCH" in drawn
    assert "\x1b[" in drawn or drawn != run("config")[1]


def test_terminal_codes_in_values_are_shown_not_obeyed() -> None:
    _, plain, _ = run("config", environ={**DITIO, "DITIO_CLIENT_ID": "a\x1b[31m\nb"})

    assert r"a\x1b[31m\nb" in plain
    assert "\x1b" not in plain


def test_programs_with_arguments_of_their_own_get_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []
    program = type(sys)("worker.sandbox")
    program.main = lambda argv: given.append(argv) or 7  # type: ignore[attr-defined, func-returns-value]  # a module by hand
    monkeypatch.setitem(sys.modules, "worker.sandbox", program)

    assert cli.main(["sandbox", "--port", "0", "--help"]) == 7
    assert given == [["--port", "0", "--help"]]


def test_a_file_that_cannot_be_read_is_a_wrong_argument() -> None:
    status, out, err = run("publish", "/nowhere/events.jsonl")

    assert (status, out, err) == (2, "", "cannot read /nowhere/events.jsonl: no such file or directory\n")


def test_a_reader_that_has_seen_enough_causes_no_traceback() -> None:
    # Given: a pipe that nobody reads
    reading, writing = os.pipe()
    os.close(reading)

    # When
    argv = [sys.executable, "-m", "worker", "config"]
    done = subprocess.run(argv, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, env=DITIO)
    os.close(writing)

    # Then
    assert (done.returncode, done.stderr) == (1, "")
