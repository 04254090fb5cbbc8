"""What `check` says of an account, each fault by itself with its remedy; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from worker.account import Account, Noted
from worker.api import open_api
from worker.clock import WallClock
from worker.config import read
from worker.preflight import Line, Part, looked_at
from worker.sandbox import Server, environment
from worker.sandbox.fields import defaults
from worker.sandbox.sandbox import WRITES
from worker.wiring import api_access


async def looked(server: Server, **environ: str) -> dict[str, Line]:
    """The lines about an account, by what they check."""
    given: Mapping[str, str] = {**environment(server, server.sandbox.options), "LEDGER_URL": "sqlite:////nowhere/x.db", **environ}
    settings, noted = read(given), Noted()
    async with open_api(api_access(settings), WallClock(), noted) as client:
        account = Account(client, settings, noted)
        lines = await looked_at(
            (
                Part("token", account.token),
                Part("scope", account.scope, needs="token"),
                Part("projects", account.projects, needs="scope"),
                Part("company", account.company, needs="projects"),
                Part("tasks", account.tasks, needs="company"),
                Part("clock", account.clock),
            )
        )
    assert [name for name, _ in server.sandbox.counts if name in WRITES] == []
    return {line.check: line for line in lines}


def there_is(server: Server, external_id: str) -> str:
    """A task in the second project."""
    state = server.sandbox.state
    project = next(each for each in state.projects.values() if each["projectNumber"] == "P-2026-002")
    identity = {"id": state.new_id(), "companyId": project["companyId"], "projectId": project["id"], "externalId": external_id}
    state.put({**defaults(), **identity})
    return str(identity["id"])


def failed(lines: Mapping[str, Line]) -> list[str]:
    """The lines that say that something is wrong."""
    return [name for name, line in lines.items() if line.result == "FAILED"]


async def test_a_right_account_is_proved_step_by_step(ditio: Server) -> None:
    there_is(ditio, "WO-7")
    lines = await looked(ditio)
    assert {line.result for line in lines.values()} == {"ok"}
    assert lines["token"].detail.endswith("knows the client sandbox")
    assert lines["scope"].detail == "ditioapiv3 is granted"
    assert lines["projects"].detail == "3 can be read"
    assert lines["company"].detail == f"{ditio.sandbox.options.company_id} has 3 of them"
    assert lines["tasks"].detail == "1 in project P-2026-002; WO-7 found by its key"
    assert lines["clock"].detail.endswith(" s from Ditio's")


async def test_an_account_without_any_work_order_yet_says_so(ditio: Server) -> None:
    tasks = (await looked(ditio))["tasks"]
    assert (tasks.result, "none of them has a work order yet" in tasks.detail) == ("ok", True)


async def test_a_wrong_secret_fails_the_token_and_hides_nothing_else(ditio: Server) -> None:
    lines = await looked(ditio, DITIO_CLIENT_SECRET="wrong")
    assert failed(lines) == ["token"]
    assert "invalid_client" in lines["token"].detail
    assert "DITIO_CLIENT_SECRET" in lines["token"].detail
    assert lines["scope"] == Line("scope", "skipped", "not looked at: token must be right first")
    assert lines["clock"].result == "ok"


async def test_a_scope_that_is_not_granted_fails_the_scope_alone(ditio: Server) -> None:
    lines = await looked(ditio, DITIO_SCOPE="ditioapi")
    assert failed(lines) == ["scope"]
    assert 'not granted the scope "ditioapi": set DITIO_SCOPE' in lines["scope"].detail


async def test_an_identity_server_that_is_not_there_fails_the_token(ditio: Server) -> None:
    lines = await looked(ditio, DITIO_IDENTITY_BASE="http://127.0.0.1:1")
    assert failed(lines) == ["token"]
    assert "check DITIO_IDENTITY_BASE (http://127.0.0.1:1)" in lines["token"].detail
    assert lines["clock"].result == "skipped"


@pytest.mark.parametrize("base", ["http://127.0.0.1:1", "wrong path"])
async def test_an_api_that_is_not_there_fails_the_projects(ditio: Server, base: str) -> None:
    lines = await looked(ditio, DITIO_API_BASE=ditio.identity_url if base == "wrong path" else base)
    assert failed(lines) == ["projects"]
    assert "check DITIO_API_BASE" in lines["projects"].detail


async def test_a_client_that_the_api_refuses_fails_the_projects(ditio: Server) -> None:
    ditio.sandbox.faults.add({"operation": "project_list", "count": -1, "status": 403})
    lines = await looked(ditio)
    assert failed(lines) == ["projects"]
    assert "403" in lines["projects"].detail
    assert "that Ditio lets this client and scope read projects" in lines["projects"].detail


async def test_no_project_at_all_fails_the_projects(ditio: Server) -> None:
    ditio.sandbox.state.projects.clear()
    lines = await looked(ditio)
    assert failed(lines) == ["projects"]
    assert "no project" in lines["projects"].detail


async def test_another_company_fails_the_company_and_names_the_right_one(ditio: Server) -> None:
    lines = await looked(ditio, DITIO_COMPANY_ID="5e00000000000000000000ff")
    assert failed(lines) == ["company"]
    assert ditio.sandbox.options.company_id in lines["company"].detail
    assert "set DITIO_COMPANY_ID" in lines["company"].detail


async def test_tasks_that_are_refused_fail_the_tasks(ditio: Server) -> None:
    ditio.sandbox.faults.add({"operation": "task_list", "count": -1, "status": 403})
    lines = await looked(ditio)
    assert failed(lines) == ["tasks"]
    assert "403" in lines["tasks"].detail
    assert "access to work orders" in lines["tasks"].detail


async def test_a_look_up_by_key_that_does_not_show_what_the_list_shows_fails_the_tasks(ditio: Server) -> None:
    task_id = there_is(ditio, "WO-7")
    ditio.sandbox.faults.add({"operation": "task_find", "count": -1, "status": 404})
    lines = await looked(ditio)
    assert failed(lines) == ["tasks"]
    assert task_id in lines["tasks"].detail


@pytest.mark.parametrize("ahead", [-3630.0, 3630.0])
async def test_a_clock_that_is_off_fails(ditio: Server, ahead: float) -> None:
    ditio.sandbox.options = replace(ditio.sandbox.options, clock_ahead_s=ahead)
    lines = await looked(ditio)
    assert failed(lines) == ["clock"]
    assert ("clock is +36" if ahead < 0 else "clock is -36") in lines["clock"].detail
    assert "set the clock (NTP)" in lines["clock"].detail
