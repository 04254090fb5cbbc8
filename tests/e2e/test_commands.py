"""The commands for ERP teams and operators, as processes, against a real broker and a local Ditio."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.support.broker import Vhost
from tests.support.process import ROOT, WorkerProcess
from tests.support.publishing import event
from tests.support.secret import leaks
from tests.support.waiting import eventually
from worker.sandbox import Server


async def run(worker: WorkerProcess, *words: str, stdin: bytes = b"", **more: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command with the worker's settings; no secret may be in them."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(worker.folder), "PYTHONPATH": str(ROOT), **worker._settings, **more}
    command = [sys.executable, "-m", "worker", *words]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, cwd=ROOT, input=stdin, capture_output=True, timeout=60
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert leaks(out + err) == []
    return done.returncode, out, err


async def test_published_files_reach_ditio_and_what_is_invalid_keeps_all_back(
    worker: WorkerProcess, vhost: Vhost, ditio: Server, tmp_path: Path
) -> None:
    # Given
    worker.start()
    await worker.ready()
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    bodies = [event("created", f"WO-{number}", name="x").body for number in range(3)]
    good.write_bytes(b"\n".join(bodies))
    bad.write_bytes(b"\n".join([*bodies, event("created", "WO-9", price="abc").body]))
    # When
    status, out, err = await run(worker, "publish", str(bad))
    assert (status, "nothing was published: 1 of 4" in err) == (1, True)
    assert "data.price" in out
    status, _, err = await run(worker, "publish", str(good))
    # Then
    assert (status, "3 of 3 events published" in err) == (0, True)
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 3)
    # And from standard input
    status, _, err = await run(worker, "publish", "-", stdin=event("created", "WO-4", name="y").body)
    assert status == 0, err
    await eventually(lambda: len(ditio.sandbox.state.tasks) == 4)


async def test_publishing_without_an_exchange_fails_and_names_each_event(worker: WorkerProcess, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(event("created", "WO-1", name="x").body)
    status, out, err = await run(worker, "publish", str(file), "--format", "json")
    assert status == 1
    assert json.loads(out)[0]["line"] == 1
    assert "no exchange" in out
    assert "0 of 1 events published" in err


async def test_publishing_without_a_broker_fails_with_a_sentence(worker: WorkerProcess, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(event("created", "WO-1", name="x").body)
    status, _, err = await run(worker, "publish", str(file), AMQP_URL="amqp://user:hush-hush@127.0.0.1:1/")
    assert status == 1
    assert "no connection to the broker: 127.0.0.1:1" in err
    assert "hush-hush" not in err


async def test_check_tells_line_by_line_what_is_right_and_what_to_do(worker: WorkerProcess, vhost: Vhost, ditio: Server) -> None:
    # Given
    management = str(vhost.broker.management.base_url)
    vhost.ask("PUT", f"users/{vhost.user}", {"password": vhost.password, "tags": "policymaker"})
    # When all is right
    status, out, _ = await run(worker, "check", "--format", "json", "--management", management)
    lines = {line["check"]: line for line in json.loads(out)}
    assert status == 0, out
    steps = ["settings", "broker", "topology", "policies", "token", "scope", "projects", "company", "tasks", "clock", "ledger"]
    assert list(lines) == steps
    assert {line["result"] for line in lines.values()} == {"ok"}
    assert "RabbitMQ 3." in lines["broker"]["detail"]
    assert lines["projects"]["detail"] == "3 can be read"
    assert lines["policies"]["detail"] == "none that would throw messages away"
    # When a policy would destroy messages, the secret is wrong, and a worker uses the ledger
    vhost.ask(
        "PUT", f"policies/{vhost.name}/careless", {"pattern": ".*", "definition": {"delivery-limit": 20}, "apply-to": "queues"}
    )
    worker.start()
    await worker.ready()
    status, out, _ = await run(worker, "check", "--management", management, DITIO_CLIENT_SECRET="wrong")
    # Then
    assert status == 1
    told = {line.split("  ")[0]: line for line in out.splitlines()}
    assert "delivery-limit=20 on workorders.events" in told["policies"]
    assert "invalid_client" in told["token"]
    assert told["scope"].split()[1] == "skipped"
    assert told["ledger"].split()[1] == "ok"
    assert worker.get("/readyz").startswith("200"), "the worker was disturbed"


async def test_wrong_settings_are_all_told_at_once_with_status_2(worker: WorkerProcess) -> None:
    status, _, err = await run(worker, "run", AMQP_URL="http://x", DITIO_TIMEOUT_S="soon", WORKER_WAIT_STEPS_S="5,1")
    assert status == 2
    assert [name for name in ("AMQP_URL", "DITIO_TIMEOUT_S", "WORKER_WAIT_STEPS_S") if name not in err] == []


async def test_a_mistake_in_the_tables_is_told_at_the_start(worker: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "tables.toml").write_text("[status]\nO = {activ = true}\n")
    status, _, err = await run(worker, "run", WORKER_TABLES_FILE=str(tmp_path / "tables.toml"))
    assert status == 2
    assert 'did you mean "active"' in err


async def test_config_shows_every_setting_and_no_secret(worker: WorkerProcess) -> None:
    status, out, _ = await run(worker, "config", "--format", "json")
    shown = {line["name"]: line["value"] for line in json.loads(out)}
    assert status == 0
    assert shown["DITIO_CLIENT_SECRET"] == "***"
    assert ":***@" in shown["AMQP_URL"]
