"""Planning: how the command ends, and what it says of an event in a file, with a rehearsal that answers as it is told."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from tests.unit.test_cli import DITIO
from worker import cli
from worker.cli import plan
from worker.cli.terminal import Terminal
from worker.core.identity import Identity
from worker.core.message import Message
from worker.core.outcome import Applied, Dead, Failure
from worker.core.rehearsed import Change, Rehearsed

IDENTITY = Identity("e-1", "workorder.updated.v1", "/erp", "P-1", "WO-1")
FAILURE = Failure("invalid-event", 'expected a number, got "s3cret-value"', "data.price")


class Scripted:
    """A rehearsal that finds `bad` in events that would fail."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    async def of(self, message: Message) -> Rehearsed:
        self.seen.append(message)
        if b"bad" in message.body:
            return Rehearsed("fail", Dead(FAILURE), IDENTITY)
        return Rehearsed("update", Applied(), IDENTITY, (Change("name", "a", "b"),), "t")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    rehearsal = Scripted()

    @asynccontextmanager
    async def opened(*_: object) -> AsyncIterator[Scripted]:
        yield rehearsal

    monkeypatch.setattr(plan, "opened", opened)
    return rehearsal


def run(*argv: str, stdin: bytes = b"", **environ: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command."""
    out, err = io.StringIO(), io.StringIO()
    status = cli.main(["plan", *argv], Terminal({**DITIO, **environ}, out, err, io.BytesIO(stdin)))
    return status, out.getvalue(), err.getvalue()


def test_a_plan_of_what_can_be_done_ends_with_0(scripted: Scripted) -> None:
    status, out, err = run("-", stdin=b'{"good": 1}')
    assert (status, err) == (0, "1 events: 0 would wait, 0 would fail, in whole or in part\n")
    assert out.splitlines()[1].split() == ["-", "1", "P-1", "WO-1", "update", "name", "a", "b"]
    assert scripted.seen == [Message(b'{"good": 1}', properties={"content_type": "application/cloudevents+json"})]


def test_an_event_that_would_fail_is_told_with_the_line_of_its_field_and_without_secrets(scripted: Scripted) -> None:
    status, out, _ = run("-", "--format", "csv", stdin=b'[{"good": 1},\n{"bad": {\n"price": "x"}}]')
    assert status == 1
    assert out.splitlines()[2] == (
        '-,3,e-1,workorder.updated.v1,P-1,WO-1,,fail,data.price,,,invalid-event,"expected a number, got ""***"""'
    )


def test_what_is_no_json_would_fail_as_validate_says_and_is_not_rehearsed(scripted: Scripted) -> None:
    status, out, _ = run("-", "--format", "jsonl", stdin=b'{"good": 1}\n{"goo')
    assert (status, len(scripted.seen)) == (1, 1)
    assert '"line": 2' in out.splitlines()[1]
    assert "no valid JSON: " in out.splitlines()[1]


def test_no_event_at_all_ends_with_3(scripted: Scripted) -> None:
    assert run("-", stdin=b"[]") == (3, "", "there is no event to plan\n")


@pytest.mark.parametrize(
    "wrong", [lambda: run("/nowhere/events.json"), lambda: run("-", DITIO_COMPANY_ID=""), lambda: run("-", "--format", "xml")]
)
def test_wrong_arguments_and_settings_end_with_2(
    wrong: Callable[[], tuple[int, str, str]], scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = wrong()
    assert (status, out) == (2, "")
    assert err or capsys.readouterr().err
