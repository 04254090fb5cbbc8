"""The API client against the local Ditio over HTTP: every call and look-up, in the documented and the undocumented variants."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.reconciling import client
from tests.support.secret import keep_secret
from worker.api import Client
from worker.core.errors import Missing, Outage, Refused, UnknownOutcome
from worker.core.field import Value
from worker.core.plan import Create, Delete, Replace, Update
from worker.ports import Project
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed

NUMBER = "P-2026-001"
DAY = "2026-03-15T00:00:00Z"
KEYS = ("WO-100", "a/b?c#d", "%2F", "../x", "æøå", "🏗", "a b+c&d=e", "a;b@c:d", "100%", "...", 'O\'Neill "x"', "\\")


@asynccontextmanager
async def sandbox(**options: Any) -> AsyncIterator[Server]:
    """A seeded sandbox with a secret of its own."""
    server = await serve(Options(client_secret=keep_secret(secrets.token_hex(16))).changed(options))
    seed(server.sandbox)
    try:
        yield server
    finally:
        for token in server.sandbox.tokens:
            keep_secret(token)
        await server.close()


async def project_of(api: Client) -> Project:
    (project,) = await api.projects_by_number(NUMBER)
    return project


VARIANTS: list[dict[str, Any]] = [
    {},
    {"no_match": "null", "single": "array", "create_answer": "array"},
    {"no_match": "nothing", "update_answer": "nothing", "create_answer": "nothing"},
    {"no_match": "array", "key_case": "ignore", "dates": "offset", "other_settings": "reset"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())) or "documented")
async def test_a_task_is_made_found_changed_replaced_and_deleted_in_every_variant(options: dict[str, Any]) -> None:
    async with sandbox(**options) as server, client(server) as api:
        # Given a project, and nothing of that key in it
        project, stored = await project_of(api), server.sandbox.state.tasks
        assert not await api.tasks_by_number(NUMBER, "WO-1")
        assert not await api.tasks_of_project(project.id)
        # When it is made: what is given wins, the project's template fills the gaps
        values: dict[str, Value] = {"name": "Grunnarbeid", "estimatedHourQty": 500.0, "startDate": DAY, "externalDim01": "0120"}
        made = await api.send(Create("WO-1", values), project)
        (found,) = await api.tasks_by_number(NUMBER, "WO-1")
        task_id = str(found["id"])
        # Then every look-up shows it
        assert made.task == (None if options.get("create_answer") == "nothing" else found)
        assert await api.task_by_id(task_id) == found
        assert await api.task_by_number(NUMBER, "WO-1") == await api.task_by_external_number("4711", "WO-1") == found
        assert await api.tasks_of_project(project.id) == await api.tasks_of_project_number(NUMBER) == [found]
        assert await api.tasks_of_external_number("4711") == await api.tasks_by_production_code("0120") == [found]
        assert {"projectId": project.id, "externalId": "WO-1", "price": 950.0, "textRequired": True}.items() <= found.items()
        # When one field is changed, the others stay
        await api.send(Update(task_id, {"name": "Fase 2"}), project)
        assert (stored[task_id]["name"], stored[task_id]["estimatedHourQty"]) == ("Fase 2", 500.0)
        # When it is replaced, what is laid over it counts, what is left out is reset, and what nobody sent stays
        await api.send(Replace(task_id, {"name": "Fase 3", "startDate": None, "estimatedHourQty": None}), project)
        shown = {name: stored[task_id][name] for name in ("name", "startDate", "estimatedHourQty", "price", "textRequired")}
        assert shown == {"name": "Fase 3", "startDate": None, "estimatedHourQty": 0.0, "price": 950.0, "textRequired": True}
        assert stored[task_id]["externalId"] == "WO-1"
        # When it is deleted, twice
        for _ in range(2):
            await api.send(Delete(task_id), project)
        # Then nothing shows it any more
        assert not await api.tasks_by_number(NUMBER, "WO-1")
        assert await api.task_by_id(task_id) is None


@pytest.mark.parametrize("key", KEYS)
async def test_a_work_order_of_any_key_is_found_by_it_and_by_no_other(key: str) -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        for each in (key, f"{key}-"):
            await api.send(Create(each, {}), project)
        assert [task["externalId"] for task in await api.tasks_by_number(NUMBER, key)] == [key]


async def test_projects_and_people_are_found_by_what_names_them() -> None:
    async with sandbox() as server, client(server) as api:
        first = await project_of(api)
        listed = await api.projects()
        person = await api.person_by_number("1042")
        assert first == Project(first.id, NUMBER, "4711", server.sandbox.options.company_id)
        assert await api.project_by_id(first.id) == first
        assert [each.external_number for each in listed] == ["4711", "4712", "4713"]
        assert person is not None
        assert (person["employeeNumber"], bool(person["identityId"]), bool(person["companyProfileId"])) == ("1042", True, True)
        assert not await api.projects_by_number("P-9")
        assert await api.project_by_id("0" * 24) is None
        assert await api.person_by_number("9") is None


async def test_a_token_that_ends_or_is_withdrawn_is_renewed_unseen() -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        server.sandbox.revoke()
        await api.send(Create("WO-1", {}), project)
        assert [task["externalId"] for task in server.sandbox.state.tasks.values()] == ["WO-1"]
        assert server.sandbox.counts["token", "200"] == 2


@pytest.mark.parametrize("wrong", [{"client_id": "another"}, {"client_secret": lambda: "wrong"}, {"scope": "another"}])
async def test_a_client_that_is_not_let_in_is_an_outage_of_credentials(wrong: dict[str, Any]) -> None:
    async with sandbox() as server, client(server, **wrong) as api:
        with pytest.raises(Outage) as error:
            await api.control()
    assert error.value.cause == "credentials"


@pytest.mark.parametrize(("operation", "error"), [("task_create", Refused), ("*", Outage)])
async def test_403_is_the_events_fault_only_if_the_control_read_is_let_through(operation: str, error: type[Exception]) -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        server.sandbox.faults.add({"operation": operation, "status": 403, "count": -1})
        with pytest.raises(error) as raised:
            await api.send(Create("WO-1", {}), project)
    assert getattr(raised.value, "cause", "credentials") == "credentials"


@pytest.mark.parametrize(("drop", "tasks"), [("before", 0), ("after", 1)])
async def test_a_creation_that_was_dropped_is_of_unknown_outcome_and_not_repeated(drop: str, tasks: int) -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        server.sandbox.faults.add({"operation": "task_create", "drop": drop})
        with pytest.raises(UnknownOutcome) as error:
            await api.send(Create("WO-1", {}), project)
        assert (error.value.attempts, error.value.lingering) == (1, True)
        assert len(await api.tasks_by_number(NUMBER, "WO-1")) == tasks


async def test_a_creation_that_was_given_up_may_arrive_later() -> None:
    async with sandbox() as server, client(server, timeout_s=0.2) as api:
        # Given
        project = await project_of(api)
        server.sandbox.faults.add({"operation": "task_create", "late_s": 60})
        # When
        with pytest.raises(UnknownOutcome):
            await api.send(Create("WO-1", {}), project)
        # Then it is not there, until it arrives
        assert not await api.tasks_by_number(NUMBER, "WO-1")
        server.sandbox.clock, now = (lambda: now + 61), server.sandbox.clock()
        server.sandbox.settle_late()
        assert len(await api.tasks_by_number(NUMBER, "WO-1")) == 1


@pytest.mark.parametrize("fault", [{"drop": "before"}, {"drop": "after"}, {"status": 503}, {"status": 408}])
async def test_a_change_that_fails_for_a_moment_is_made_again_and_says_what_may_linger(fault: dict[str, Any]) -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        await api.send(Create("WO-1", {}), project)
        (task_id,) = server.sandbox.state.tasks
        for call in (Update(task_id, {"name": "x"}), Replace(task_id, {"name": "y"}), Delete(task_id)):
            operation = {"update": "task_update", "replace": "task_replace", "delete": "task_delete"}[type(call).__name__.lower()]
            server.sandbox.faults.add({"operation": operation, **fault})
            reply = await api.send(call, project)
            assert (reply.attempts, reply.lingering) == (3 if isinstance(call, Replace) else 2, True)
        assert not server.sandbox.state.tasks


async def test_a_creation_waits_out_a_429_and_is_made_once() -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        server.sandbox.faults.add({"operation": "task_create", "status": 429, "headers": {"Retry-After": "0"}, "count": 2})
        reply = await api.send(Create("WO-1", {}), project)
        assert (reply.attempts, reply.lingering) == (1, False)
        assert len(server.sandbox.state.tasks) == 1


@pytest.mark.parametrize(("options", "status"), [({"duplicate": "400"}, 400), ({"duplicate": "409"}, 409)])
async def test_a_second_creation_of_the_key_is_refused_with_its_status(options: dict[str, Any], status: int) -> None:
    async with sandbox(**options) as server, client(server) as api:
        project = await project_of(api)
        await api.send(Create("WO-1", {}), project)
        with pytest.raises(Refused, match="finnes allerede") as error:
            await api.send(Create("WO-1", {}), project)
        assert error.value.status == status


@pytest.mark.parametrize("status", ["400", "403", "409", "422"])
async def test_a_deletion_that_children_block_is_refused_in_each_form(status: str) -> None:
    async with sandbox(delete_blocked=status) as server, client(server) as api:
        project = await project_of(api)
        await api.send(Create("WO-1", {"isParent": True}), project)
        (parent,) = server.sandbox.state.tasks
        await api.send(Create("WO-2", {"parentActivityId": parent}), project)
        with pytest.raises(Refused) as error:
            await api.send(Delete(parent), project)
        assert (error.value.status, len(server.sandbox.state.tasks)) == (int(status), 2)


async def test_a_change_of_a_task_that_is_gone_is_missing_and_makes_none() -> None:
    async with sandbox() as server, client(server) as api:
        project = await project_of(api)
        for call in (Update("0" * 24, {"name": "x"}), Replace("0" * 24, {"name": "x"})):
            with pytest.raises(Missing):
                await api.send(call, project)
        assert not server.sandbox.state.tasks
