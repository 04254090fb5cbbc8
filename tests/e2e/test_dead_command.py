"""`dead` and `trace` as processes: what they print, what they leave, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_commands import run
from tests.support.broker import Vhost
from tests.support.dead import bury, numbered
from tests.support.process import ROOT, WorkerProcess
from tests.support.publishing import event, publish_all
from tests.support.waiting import eventually
from worker.core.dead_letter import read
from worker.core.exported import line_of
from worker.core.message import Message
from worker.dead import opened
from worker.rabbit import Access
from worker.sandbox import Server
from worker.sandbox.sandbox import WRITES
from worker.topology import Topology

LATER = "2026-03-16T08:00:00Z"


@pytest.fixture
async def shell(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> WorkerProcess:
    """A worker that has run: WO-1 is applied, with an older event that died over it; WO-2 has two letters; and one is nobody's."""
    worker.start()
    await worker.ready()
    await publish_all(vhost.url, [event("updated", "WO-1", id="old", name="Gammel", unit="m3")])
    await eventually(lambda: vhost.depth("workorders.dead") == 1)
    newer = event("updated", "WO-1", id="new", name="Ny", unitId="66f1b2c3d4e5f6a7b8c9d0e2", time=LATER)
    bad = [event("updated", "WO-2", id="bad-1", price="abc"), event("updated", "WO-2", id="bad-2", price="<tolv>", time=LATER)]
    await publish_all(vhost.url, [newer, *bad])
    await eventually(lambda: vhost.depth("workorders.dead") == 3 and len(worker.lines()) == 4)
    await bury(vhost.url, [Message(b"\x00\xff nobody's", {}, {})])
    return worker


async def listed(shell: WorkerProcess, *words: str) -> list[dict[str, Any]]:
    """What `dead list --each` has as JSON."""
    status, out, err = await run(shell, "dead", "list", "--each", "--format", "json", *words)
    assert status in (0, 3), err
    found: list[dict[str, Any]] = json.loads(out)
    return found


async def test_letters_are_listed_in_groups_and_one_by_one_with_what_is_to_be_done(shell: WorkerProcess) -> None:
    # Groups
    status, out, err = await run(shell, "dead", "list")
    assert (status, err) == (0, "4 dead letters\n")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["count", "reason", "type", "source", "status", "field", "oldest", "newest", "who", "sample"]
    assert [row[:2] for row in rows[1:]] == [["2", "invalid-event"], ["1", "unresolved-unit"], ["1", "unknown"]]
    _, out, _ = await run(shell, "dead", "list", "--format", "json", "--reason", "invalid-event")
    (group,) = json.loads(out)
    assert {name: group[name] for name in ("reason", "type", "source", "status", "field", "count", "who")} == {
        "reason": "invalid-event", "type": "workorder.updated.v1", "source": "/erp/test", "status": None, "field": "data.price",
        "count": 2, "who": "ERP team",
    }  # fmt: skip
    assert group["oldest"] < group["newest"]
    # One by one
    each = await listed(shell)
    assert [(letter["event_id"], letter["standing"], letter["who"]) for letter in each] == [
        ("", "fix", "us"),
        ("old", "superseded", "Ditio administrator"),
        ("bad-1", "together", "ERP team"),
        ("bad-2", "together", "ERP team"),
    ]
    assert await listed(shell, "--id", each[1]["id"][:6]) == [each[1]]
    assert [letter["event_id"] for letter in await listed(shell, "--sort", "newest", "--limit", "1")] == ["bad-2"]
    assert await listed(shell, "--since", "1h", "--grep", "tolv") == [each[3]]
    # Nothing matches
    status, out, err = await run(shell, "dead", "list", "--project", "X")
    assert (status, out, err) == (3, "", "nothing matched: 4 dead letters in all\n")
    status, _, err = await run(shell, "dead", "list", "--most", "2")
    assert (status, "holds 4 messages, and at most 2 are looked at at once: --most 4 does" in err) == (1, True)
    status, _, err = await run(shell, "dead", "list", "--grep", "(")
    assert (status, "is no regular expression" in err) == (2, True)


async def test_a_letter_is_shown_with_cause_body_history_and_what_ditio_has(shell: WorkerProcess) -> None:
    letter = next(each for each in await listed(shell) if each["event_id"] == "old")
    # When
    status, out, err = await run(shell, "dead", "show", letter["id"][:8])
    # Then
    assert (status, err) == (0, "")
    for line in (
        "standing     superseded: safe to discard",
        'detail       the unit "m3" is not in WORKER_TABLES_FILE',
        '→     "unit": "m3"',
        '      "name": "Gammel",',
        "original-routing-key  workorder",
        "name                             Ny",
    ):
        assert line in out.splitlines()
    assert re.search(r"applied +workorder\.updated\.v1 +2026-03-16T08:00:00Z +task_update +name=\"Gammel\" +new", out)
    # As JSON, without asking Ditio
    _, out, _ = await run(shell, "dead", "show", letter["id"], "--format", "json", "--offline", DITIO_API_BASE="nonsense")
    told = json.loads(out)
    assert (told["id"], told["now"], told["now_unknown"]) == (letter["id"], [], "Ditio was not asked (--offline)")
    assert [line["outcome"] for line in told["history"]] == ["dead", "applied"]
    assert told["message"]["body"]["json"]["data"]["unit"] == "m3"
    # And nobody's, and none
    foreign = next(each for each in await listed(shell) if each["foreign"])
    _, out, _ = await run(shell, "dead", "show", foreign["id"])
    assert "\\x00\\xff nobody's" in out
    assert "the event names no work order" in out
    status, _, err = await run(shell, "dead", "show", "zzz")
    assert (status, err) == (3, "none of the 4 dead letters has an id that begins with zzz\n")


async def test_a_plan_says_what_a_replay_would_do_and_changes_nothing(shell: WorkerProcess, ditio: Server) -> None:
    writes = sum(count for (name, _), count in ditio.sandbox.counts.items() if name in WRITES)
    status, out, err = await run(shell, "dead", "plan", "--external-id", "WO-*", "--format", "json")
    assert (status, err) == (1, "3 letters: 0 would wait, 2 would die again, in whole or in part\n")
    assert [(each["id"], each["action"], each["detail"]) for each in json.loads(out)] == [
        ("old", "superseded", ""),
        ("bad-1", "fail", 'expected a number, got "abc"'),
        ("bad-2", "fail", 'expected a number, got "<tolv>"'),
    ]
    assert sum(count for (name, _), count in ditio.sandbox.counts.items() if name in WRITES) == writes
    assert len(await listed(shell)) == 4


async def test_superseded_letters_are_discarded_once_they_are_in_a_file_and_come_back_from_it(
    shell: WorkerProcess, vhost: Vhost
) -> None:
    before = await listed(shell)
    archive = shell.folder / "gone.jsonl"
    words = ("dead", "discard", "--superseded", "--reason", "newer came through", "--archive", str(archive))
    # When it is not agreed to
    status, out, err = await run(shell, *words, stdin=b"n\n")
    assert (status, "Discard 1 dead letters? [y/N]" in err, "unresolved-unit" in out) == (1, True, True)
    assert (await listed(shell), archive.exists()) == (before, False)
    # When it is
    status, _, err = await run(shell, *words, stdin=b"y\n")
    assert (status, f"1 letters were discarded, and are kept in {archive}" in err) == (0, True)
    (line,) = archive.read_text().splitlines()
    assert json.loads(line)["discarded"]["reason"] == "newer came through"
    assert [each["event_id"] for each in await listed(shell)] == ["", "bad-1", "bad-2"]
    status, _, err = await run(shell, *words, "--yes")
    assert (status, err) == (3, "nothing matched\n")
    # And back
    status, _, err = await run(shell, "dead", "import", str(archive))
    assert (status, "1 missing; nothing was imported" in err) == (1, True)
    status, _, _ = await run(shell, "dead", "import", "--restore", str(archive))
    assert status == 0
    assert await listed(shell) == before
    # Everything is not discarded by leaving the filters out, nor by a reason that is a filter elsewhere
    assert (await run(shell, "dead", "discard", "--yes"))[0] == 2
    assert (await run(shell, "dead", "discard", "--yes", "--project", "*", "--reason", "invalid-event"))[0] == 2
    assert vhost.depth("workorders.dead") == 4


async def test_an_archive_that_cannot_be_written_keeps_the_letters(shell: WorkerProcess, vhost: Vhost) -> None:
    status, _, err = await run(shell, "dead", "discard", "--all", "--yes", "--archive", str(shell.folder / "no" / "where"))
    assert (status, "nothing was discarded" in err) == (2, True)
    await eventually(lambda: vhost.depth("workorders.dead") == 4)


async def test_letters_are_exported_edited_and_imported(shell: WorkerProcess, vhost: Vhost) -> None:
    before = vhost.messages("workorders.dead")
    status, out, _ = await run(shell, "dead", "export")
    assert status == 0
    file = shell.folder / "letters.jsonl"
    # Unedited: nothing happens
    status, table, err = await run(shell, "dead", "import", "-", stdin=out.encode())
    assert (status, err) == (0, "4 letters: 4 unchanged; imported\n")
    assert [line.split()[3] for line in table.splitlines()[1:]] == ["unchanged"] * 4
    # An edit that is no valid event keeps all back
    file.write_text(out.replace('"<tolv>"', '"12"').replace('"abc"', "12.5"))
    status, table, err = await run(shell, "dead", "import", str(file))
    assert (status, err) == (1, "4 letters: 2 unchanged, 1 replace, 1 invalid; nothing was imported\n")
    assert 'expected a number, got "12"' in table
    assert sorted(each.body for each in vhost.messages("workorders.dead")) == sorted(each.body for each in before)
    # One that is
    file.write_text(out.replace('"<tolv>"', "12").replace('"abc"', "12.5"))
    status, _, err = await run(shell, "dead", "import", str(file))
    assert (status, err) == (0, "4 letters: 2 unchanged, 2 replace; imported\n")
    after = {each["event_id"]: each for each in await listed(shell)}
    assert len(after) == 4
    assert [after[name]["repair"] for name in ("old", "bad-1", "bad-2")] == [0, 1, 1]
    _, out, _ = await run(shell, "dead", "plan", "--external-id", "WO-2", "--format", "json")
    assert [each["action"] for each in json.loads(out)] == ["create", "update"]
    # The same import again finds it done
    status, _, err = await run(shell, "dead", "import", str(file))
    assert (status, err) == (0, "4 letters: 4 unchanged; imported\n")
    assert len(await listed(shell)) == 4


async def test_a_trace_tells_what_happened_to_a_work_order_and_answers_in_words(shell: WorkerProcess, ditio: Server) -> None:
    status, out, err = await run(shell, "trace", "--external-id", "WO-1", "--project", "P-2026-001")
    assert (status, err) == (0, "")
    task_id = next(iter(ditio.sandbox.state.tasks))
    assert re.match(
        rf"P-2026-001 / WO-1, task {task_id}: the last event, .* ago, was applied; 1 dead letter about it; Ditio has the task",
        out,
    )
    _, document, _ = await run(shell, "trace", "--task", task_id, "--format", "json")
    (told,) = json.loads(document)
    assert [(line["event_id"], line["outcome"], line["calls"], line["before"]) for line in told["history"]] == [
        ("old", "dead", ["task_create"], {}),
        ("new", "applied", ["task_update"], {"name": "Gammel"}),
    ]
    # What was never received
    status, out, _ = await run(shell, "trace", "--external-id", "WO-9", "--project", "P-2026-001")
    assert status == 3
    assert re.fullmatch(
        r"P-2026-001 / WO-9: never received; last event for this project \d+ (second|minute)s? ago; Ditio has no such task\n", out
    )
    # What was received and not understood
    status, out, _ = await run(shell, "trace", "--external-id", "WO-2")
    assert (
        status,
        "P-2026-001 / WO-2: received, but never understood; 2 dead letters about it; Ditio has no such task" in out,
    ) == (0, True)


async def test_the_gauges_know_letters_of_before_a_restart_and_follow_what_is_discarded(shell: WorkerProcess) -> None:
    # Given
    assert shell.stop() == 0
    shell.start()
    await shell.ready()
    # Then
    await eventually(lambda: shell.metric("dead_letters", reason="invalid-event") == 2)
    assert shell.metric("dead_letters") == 3, "what no worker wrote has no reason"
    assert shell.metric("oldest_dead_letter_age_seconds", reason="invalid-event") > 0
    # When
    status, _, err = await run(shell, "dead", "discard", "--failure-reason", "invalid-event", "--yes", "--no-archive")
    assert status == 0, err
    # Then
    await eventually(lambda: shell.metric("dead_letters", reason="invalid-event") == 0)
    assert shell.metric("oldest_dead_letter_age_seconds", reason="invalid-event") == 0


KILLS = 4


@pytest.mark.parametrize(
    "command", [("list",), ("discard", "--grep", "Arbeid [0-9]*[02468] ", "--yes", "--no-archive"), ("import", "{file}")]
)
async def test_a_command_that_is_killed_or_interrupted_at_any_moment_loses_no_letter(
    any_vhost: Vhost, tmp_path: Path, command: Sequence[str]
) -> None:
    # Given letters, and an export of which half is edited
    count = 400
    await bury(any_vhost.url, [numbered(number) for number in range(count)])
    file = tmp_path / "letters.jsonl"
    lines = [line_of(read(each).id, each) for each in map(numbered, range(count))]
    file.write_bytes(b"\n".join(line.replace(b"Arbeid", b"Jobb") if place % 2 else line for place, line in enumerate(lines)))
    words = [word.format(file=file) for word in command]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "AMQP_URL": any_vhost.url}
    chance = random.Random(1)
    # When it is killed again and again, from before it connects to after it is done
    for number in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "dead", *words],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await asyncio.sleep(0.3 + chance.random() * 0.7)
        process.send_signal(signal.SIGINT if number % 2 else signal.SIGKILL)
        process.wait()
    # Then
    left = [read(each) for each in await everything(any_vhost)]
    if command[0] == "list":
        assert [each.id for each in left] == [read(numbered(number)).id for number in range(count)]
    elif command[0] == "discard":
        odd = {read(numbered(number)).id for number in range(1, count, 2)}
        assert odd <= {each.id for each in left}
        assert len({each.id for each in left}) == len(left)
    else:
        assert {each.identity.external_id for each in left} == {f"WO-{number}" for number in range(count)}
        status = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-m", "worker", "dead", *words], env=environment, cwd=ROOT, capture_output=True
        )
        assert status.returncode == 0, status.stderr
        after = await everything(any_vhost)
        assert len(after) == count
        assert sum(b"Jobb" in each.body for each in after) == count // 2


async def everything(vhost: Vhost) -> Sequence[Message]:
    """All letters, in their order."""
    async with opened(Access(lambda: (vhost.url,)), Topology(), "test", patience_s=60) as desk:
        return [each.message for each in (await desk.look()).seen if each.message]
