"""What events would do, rehearsed against the local Ditio: then they are really handled, and it is what they do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.publishing import event
from tests.support.rehearsing import Stage, changes, stage
from worker.clock import WallClock
from worker.core.errors import Outage
from worker.core.message import Message
from worker.core.outcome import Applied, Dead, Superseded, Waiting
from worker.core.rehearsed import Rehearsed
from worker.ledger import LedgerRefused, open_known
from worker.sandbox import Server
from worker.sandbox.sandbox import WRITES

MORNING, NOON, EVENING = "2026-03-15T08:00:00Z", "2026-03-15T12:00:00Z", "2026-03-15T18:00:00Z"

Opened = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
async def on(ditio: Server, tmp_path: Path) -> AsyncIterator[Stage]:
    """A stage without further settings."""
    async with stage(ditio, tmp_path) as opened:
        yield opened


@pytest.fixture
def with_settings(ditio: Server, tmp_path: Path) -> Opened:
    """A stage with further settings."""
    return lambda **environ: stage(ditio, tmp_path, environ)


WRITTEN: Mapping[str, list[str]] = {
    "create": ["task_create"], "update": ["task_update"], "replace": ["task_replace"], "delete": ["task_delete"],
    "deactivate": ["task_update"], "unchanged": [],
}  # fmt: skip
"""The writes that each action is."""


async def as_rehearsed(on: Stage, external_id: str, message: Message) -> Rehearsed:
    """Rehearses an event, handles it, and asserts that the worker then did what the rehearsal said, and nothing else."""
    rehearsed, before = await on.one(message), dict(on.task(external_id))
    on.server.sandbox.counts.clear()
    await on.handle(message)
    after = on.task(external_id)
    written = sorted(name for name, _ in on.server.sandbox.counts if name in WRITES)
    assert written == WRITTEN[rehearsed.action] or (rehearsed.action == "unchanged" and before == after)
    told = {name: then for name, (_, then) in changes(rehearsed).items()}
    held = {name: now for name, (now, _) in changes(rehearsed).items() if before}
    changed = {name for name in after if before and before[name] != after[name]}
    assert {name: after[name] for name in told} == told
    assert {name: before[name] for name in held} == held
    assert not before or not after or changed == set(told)
    return rehearsed


# --- every kind of event, on every kind of task


SAID: Mapping[str, dict[str, Any]] = {
    "updated": {"name": "b", "price": 8, "startDate": "2026-04-01"},
    "unsaid": {"measureUnitQty": True},
    "cleared": {"workDescription": None, "estimatedHourQty": None, "chapterId": None},
    "cleared number": {"estimatedHourQty": None},
    "replaced": {"name": "b", "active": True},
    "replaced by the same": {"name": "a", "active": True, "price": 7, "workDescription": "lang", "estimatedHourQty": 5},
    "deleted": {},
}
HELD: dict[str, Any] = {"name": "a", "price": 7.0, "workDescription": "lang", "estimatedHourQty": 5.0}


@pytest.mark.parametrize("on_delete", ["deactivate", "delete"])
@pytest.mark.parametrize("what", SAID)
@pytest.mark.parametrize("task", ["unknown", "adopted", "known", "known and edited"])
async def test_what_is_rehearsed_is_what_happens(with_settings: Opened, task: str, what: str, on_delete: str) -> None:
    async with with_settings(WORKER_ON_DELETE=on_delete) as on:
        # Given
        if task == "adopted":
            on.there_is("WO-1", active=True, chapterId="1.2", **HELD)
        elif task != "unknown":
            await on.handle(event("created", "WO-1", time=MORNING, **HELD))
        if task == "known and edited":
            on.state.put({**on.task("WO-1"), "name": "edited", "chapterId": "1.2", "price": 8.0})
        # When, Then
        kind = what.split(maxsplit=1)[0] if what.startswith(("replaced", "deleted")) else "updated"
        await as_rehearsed(on, "WO-1", event(kind, "WO-1", time=NOON, **SAID[what]))


# --- what an event does by itself


async def test_an_unknown_work_order_is_created_with_the_fields_given(on: Stage) -> None:
    rehearsed = await as_rehearsed(on, "WO-1", event("created", "WO-1", name="Grunnarbeid", price=7, workDescription=None))
    assert (rehearsed.action, rehearsed.outcome, rehearsed.task_id) == ("create", Applied(), None)
    assert changes(rehearsed) == {"name": (None, "Grunnarbeid"), "price": (None, 7.0), "active": (None, True)}


async def test_a_task_that_is_there_already_is_adopted_and_only_what_differs_is_told(on: Stage) -> None:
    task_id = on.there_is("WO-1", name="Gammel", price=5.0, startDate="2026-03-15T00:00:00Z", active=True)
    rehearsed = await as_rehearsed(on, "WO-1", event("updated", "WO-1", name="Ny", price=5, startDate="2026-03-15"))
    assert (rehearsed.action, rehearsed.task_id) == ("update", task_id)
    assert changes(rehearsed) == {"name": ("Gammel", "Ny")}


async def test_a_known_task_is_compared_with_what_ditio_shows_now_not_with_what_was_confirmed(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", price=1, time=MORNING))
    on.state.put({**on.task("WO-1"), "name": "edited in Ditio"})
    rehearsed = await as_rehearsed(on, "WO-1", event("updated", "WO-1", name="b", price=1, time=NOON))
    assert (rehearsed.action, changes(rehearsed)) == ("update", {"name": ("edited in Ditio", "b")})


async def test_what_stands_already_is_unchanged_and_what_is_older_superseded_and_neither_asks_for_the_task(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", time=NOON))
    on.server.sandbox.counts.clear()
    same, older = await on.rehearse(
        event("updated", "WO-1", name="a", time=EVENING), event("updated", "WO-1", name="b", time=MORNING)
    )
    assert (same.action, older.action, older.outcome) == ("unchanged", "superseded", Superseded())
    assert on.requests("task_find", "task_get", "task_list") == 0


async def test_without_the_ledger_an_older_event_is_not_known_to_be_old(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", time=NOON))
    older = event("updated", "WO-1", name="b", time=MORNING)
    assert (await on.one(older, known=False)).action == "update"
    assert (await on.one(older)).action == "superseded"


async def test_a_duplicate_takes_the_place_of_its_original_among_events_of_the_same_time(on: Stage) -> None:
    # Given two events of one time: the one that came later stands
    first, second = event("updated", "WO-1", id="z", name="first"), event("updated", "WO-1", id="a", name="second")
    await on.handle(first, second)
    # Then the first one, coming again, is as old as it was
    assert (await on.one(first)).action == "superseded"
    assert (await on.one(second)).action == "unchanged"


async def test_a_cleared_field_that_has_no_default_is_a_replacement_and_shows_what_goes(on: Stage) -> None:
    on.there_is("WO-1", name="a", workDescription="lang", chapterId="1.2", active=True)
    rehearsed = await as_rehearsed(on, "WO-1", event("updated", "WO-1", workDescription=None))
    assert (rehearsed.action, changes(rehearsed)) == ("replace", {"workDescription": ("lang", None)})


async def test_a_cleared_number_and_a_cleared_parent_are_updates(on: Stage) -> None:
    parent = on.there_is("WO-9")
    on.there_is("WO-1", price=5.0, parentActivityId=parent, active=True)
    rehearsed = await as_rehearsed(on, "WO-1", event("updated", "WO-1", price=None, parent=None))
    assert (rehearsed.action, changes(rehearsed)) == ("update", {"price": (5.0, 0.0), "parentActivityId": (parent, None)})


async def test_a_replaced_event_resets_what_was_ever_sent_and_nothing_else(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", price=7, workDescription="lang", time=MORNING))
    on.state.put({**on.task("WO-1"), "chapterId": "Ditio's own"})
    rehearsed = await as_rehearsed(on, "WO-1", event("replaced", "WO-1", name="a", active=True, time=NOON))
    assert rehearsed.action == "replace"
    assert changes(rehearsed) == {"price": (7.0, 0.0), "workDescription": ("lang", None)}
    assert on.task("WO-1")["chapterId"] == "Ditio's own"


async def test_a_deletion_deactivates_and_the_second_time_changes_nothing(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", time=MORNING))
    rehearsed = await as_rehearsed(on, "WO-1", event("deleted", "WO-1", time=NOON))
    assert (rehearsed.action, changes(rehearsed)) == ("deactivate", {"active": (True, False)})
    assert (await on.one(event("deleted", "WO-1", time=EVENING))).action == "unchanged"


async def test_a_deletion_deletes_where_the_settings_say_so(with_settings: Opened) -> None:
    async with with_settings(WORKER_ON_DELETE="delete") as on:
        await on.handle(event("created", "WO-1", name="a", time=MORNING))
        task_id = on.task("WO-1")["id"]
        deleted, again, created = await on.rehearse(
            event("deleted", "WO-1", time=NOON),
            event("deleted", "WO-1", time=NOON, id="another"),
            event("created", "WO-1", name="b", time=EVENING),
        )
        assert (deleted.action, deleted.task_id, deleted.changes) == ("delete", None, ())
        assert (again.action, created.action) == ("unchanged", "create")
        assert task_id in on.state.tasks
        await as_rehearsed(on, "WO-1", event("deleted", "WO-1", time=NOON))
        assert on.task("WO-1") == {}


async def test_a_deletion_of_what_is_not_there_changes_nothing_and_is_looked_up_once(on: Stage) -> None:
    twice = await on.rehearse(event("deleted", "WO-1", time=MORNING), event("deleted", "WO-1", time=NOON))
    assert [each.action for each in twice] == ["unchanged", "unchanged"]
    assert on.requests("task_find") == 1


async def test_a_known_task_that_is_gone_from_ditio_would_be_created_again_from_all_that_was_sent(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", price=7, time=MORNING))
    on.state.remove(on.task("WO-1")["id"])
    rehearsed = await on.one(event("updated", "WO-1", name="b", time=NOON))
    assert (rehearsed.action, rehearsed.outcome) == ("create", Applied())
    assert changes(rehearsed) == {"name": (None, "b"), "price": (None, 7.0), "active": (None, True)}


async def test_derived_ids_are_those_that_would_be_sent(with_settings: Opened) -> None:
    async with with_settings(DITIO_CLIENT_IDS="true") as on:
        created = event("created", "WO-1", name="a")
        rehearsed = await as_rehearsed(on, "WO-1", created)
        assert (rehearsed.action, rehearsed.task_id) == ("create", on.task("WO-1")["id"])
        assert "id" not in changes(rehearsed)


# --- what waits or fails, and what of it is brought all the same


async def test_a_missing_parent_and_person_hold_back_only_themselves_and_are_named(on: Stage) -> None:
    no_parent, no_person = await on.rehearse(
        event("created", "WO-1", name="a", parent="WO-404"), event("created", "WO-2", name="b", mainForeman="404")
    )
    for rehearsed, kind, field in ((no_parent, "parent", "data.parent"), (no_person, "person", "data.mainForeman")):
        assert (rehearsed.action, set(changes(rehearsed))) == ("create", {"active", "name"})
        assert isinstance(rehearsed.outcome, Waiting)
        assert (rehearsed.outcome.kind, rehearsed.outcome.failure.field) == (kind, field)
        assert "404" in rehearsed.outcome.failure.detail


async def test_a_missing_project_holds_back_all(on: Stage) -> None:
    rehearsed = await on.one(event("created", "WO-1", name="a", project="P-404"))
    assert (rehearsed.action, rehearsed.changes) == ("wait", ())
    assert rehearsed.failure is not None
    assert rehearsed.failure.reason == "unresolved-project"


async def test_units_and_statuses_that_no_table_has_would_fail_and_the_rest_is_brought(
    with_settings: Opened, tmp_path: Path
) -> None:
    (tmp_path / "tables.toml").write_text('[unit]\nm3 = "64f000000000000000000001"\n[status]\nC = {active = false}\n')
    async with with_settings(WORKER_TABLES_FILE=str(tmp_path / "tables.toml")) as on:
        known, unit, status = await on.rehearse(
            event("created", "WO-1", unit="m3", status="C"),
            event("created", "WO-2", name="b", unit="m4"),
            event("created", "WO-3", name="c", status="X"),
        )
    assert changes(known) == {"unitId": (None, "64f000000000000000000001"), "active": (None, False)}
    for rehearsed, reason in ((unit, "unresolved-unit"), (status, "unresolved-status")):
        assert rehearsed.action == "create"
        assert isinstance(rehearsed.outcome, Dead)
        assert rehearsed.outcome.failure.reason == reason


async def test_twins_in_ditio_would_fail_and_are_named(on: Stage) -> None:
    ids = {on.there_is("WO-1"), on.there_is("WO-1")}
    rehearsed = await on.one(event("updated", "WO-1", name="a"))
    assert (rehearsed.action, rehearsed.changes) == ("fail", ())
    assert rehearsed.failure is not None
    assert rehearsed.failure.reason == "ambiguous"
    assert [each for each in ids if each not in rehearsed.failure.detail] == []


async def test_invalid_events_wrong_sources_and_foreign_projects_are_told_without_asking_ditio(with_settings: Opened) -> None:
    async with with_settings(WORKER_SOURCES="erp=/erp/*", WORKER_PROJECTS="P-2026-*") as on:
        bad, foreign, ignored = await on.rehearse(
            event("created", "WO-1", price="abc"),
            Message(event("created", "WO-1").body.replace(b"/erp/test", b"/crm/1")),
            event("created", "WO-1", project="Q-1"),
        )
        assert on.requests() == 0
    assert (bad.action, foreign.action, ignored.action) == ("fail", "fail", "ignored")
    assert bad.failure is not None
    assert (bad.failure.reason, bad.failure.field) == ("invalid-event", "data.price")
    assert (bad.identity.external_id, bad.identity.project) == ("WO-1", "P-2026-001")
    assert foreign.failure is not None
    assert foreign.failure.reason == "wrong-source"


async def test_an_open_doubt_of_the_worker_is_told_and_not_hurried(on: Stage) -> None:
    # Given a creation that was given up a moment ago, and may still arrive
    on.server.sandbox.faults.add({"operation": "task_create", "drop": "before"})
    await on.handle(event("created", "WO-1", name="a"))
    # Then
    rehearsed = await on.one(event("created", "WO-1", name="a"))
    assert rehearsed.action == "wait"
    assert isinstance(rehearsed.outcome, Waiting)
    assert rehearsed.outcome.kind == "settling"


async def test_ditio_out_of_order_is_nobodys_failure_and_ends_the_rehearsal(on: Stage) -> None:
    on.server.sandbox.faults.add({"operation": "*", "count": -1, "status": 403})
    with pytest.raises(Outage):
        await on.one(event("created", "WO-1", name="a"))


# --- events of one file build on each other


async def test_a_later_event_finds_what_an_earlier_one_would_have_left(on: Stage) -> None:
    messages = [
        event("created", "WO-1", name="a", price=1, time=MORNING),
        event("updated", "WO-1", name="b", time=NOON),
        event("updated", "WO-1", name="c", time="2026-03-15T10:00:00Z"),
        event("updated", "WO-1", name="b", time=EVENING),
        event("deleted", "WO-1", time="2026-03-15T20:00:00Z"),
        event("updated", "WO-1", name="d", time="2026-03-15T21:00:00Z"),
        event("updated", "WO-1", active=True, time="2026-03-15T22:00:00Z"),
    ]
    rehearsed = await on.rehearse(*messages)
    assert [each.action for each in rehearsed] == [
        "create", "update", "superseded", "unchanged", "deactivate", "update", "update"
    ]  # fmt: skip
    assert changes(rehearsed[1]) == {"name": ("a", "b")}
    # And so it comes, when they are really handled
    assert [type(each.outcome) for each in rehearsed] == [type(outcome) for outcome in await on.handle(*messages)]
    assert (on.task("WO-1")["name"], on.task("WO-1")["active"]) == ("d", True)


async def test_a_child_finds_the_parent_that_an_earlier_event_would_create_and_a_child_before_it_waits(on: Stage) -> None:
    early, parent, late = await on.rehearse(
        event("created", "WO-2", name="c", parent="WO-1"),
        event("created", "WO-1", name="p"),
        event("created", "WO-3", name="c", parent="WO-1"),
    )
    assert isinstance(early.outcome, Waiting)
    assert parent.action == "create"
    assert (late.outcome, changes(late)["parentActivityId"]) == (Applied(), (None, "new:P-2026-001/WO-1"))


async def test_keys_that_no_path_can_hold_are_found_in_a_listing_with_what_was_laid_over_it(on: Stage) -> None:
    on.there_is("..", name="a", active=True)
    first, second, new = await on.rehearse(
        event("updated", "..", name="b", time=MORNING),
        event("updated", "..", name="c", time=NOON),
        event("created", "a/b", name="d", time=NOON),
    )
    assert (changes(first), changes(second)) == ({"name": ("a", "b")}, {"name": ("b", "c")})
    assert new.action == "create"


async def test_one_work_order_is_the_same_whatever_its_project_is_named_by(on: Stage) -> None:
    external = event("updated", "WO-1", time=NOON, name="b")
    by_id = event("updated", "WO-1", time=EVENING, name="b", price=1)
    number = b'{"number": "P-2026-001"}'
    first, second, third = await on.rehearse(
        event("created", "WO-1", time=MORNING, name="a"),
        Message(external.body.replace(number, b'{"externalNumber": "4711"}')),
        Message(by_id.body.replace(number, f'{{"id": "{on.project_id}"}}'.encode())),
    )
    assert (first.action, second.action, third.action) == ("create", "update", "update")
    assert changes(second) == {"name": ("a", "b"), "externalProjectNumber": (None, "4711")}
    assert changes(third) == {"price": (None, 1.0)}


async def test_a_key_that_differs_in_capital_letters_is_another_work_order(on: Stage) -> None:
    on.server.sandbox.options = on.server.sandbox.options.changed({"key_case": "ignore"})
    on.there_is("wo-1", name="a")
    assert (await on.one(event("updated", "WO-1", name="b"))).action == "create"


# --- what it costs


async def test_5000_events_over_3_projects_cost_a_few_dozen_reads(on: Stage) -> None:
    # Given 1,000 tasks that are there, and a catalogue of 5,000 work orders of which some come twice
    for number in range(1000):
        on.there_is(f"WO-{number}", name="before", active=True)
    catalogue = [
        event("updated", f"WO-{number}", name="after", project=f"P-2026-00{number % 3 + 1}", mainForeman="1042")
        for number in range(4500)
    ]
    catalogue += [
        event("updated", f"WO-{number}", name="after", project=f"P-2026-00{number % 3 + 1}", time=NOON) for number in range(500)
    ]
    on.server.sandbox.counts.clear()
    # When
    rehearsed = await on.rehearse(*catalogue, known=False)
    # Then
    actions = [each.action for each in rehearsed]
    assert (actions.count("update"), actions.count("create"), actions.count("unchanged")) == (334, 4166, 500)
    assert on.requests("task_list") == 3
    assert on.requests() < 60


async def test_a_project_too_large_to_be_listed_is_looked_up_one_by_one(on: Stage) -> None:
    on.there_is("WO-15", name="before", active=True)
    on.server.sandbox.faults.add({"operation": "task_list", "count": -1, "status": 413})
    rehearsed = await on.rehearse(*(event("updated", f"WO-{number}", name="after") for number in range(20)))
    assert [each.action for each in rehearsed].count("create") == 19
    assert changes(rehearsed[15]) == {"name": ("before", "after")}
    assert on.requests("task_list") == 1


# --- the ledger


async def test_the_ledger_is_not_written_to(on: Stage) -> None:
    await on.handle(event("created", "WO-1", name="a", time=MORNING))
    path = Path(on.settings.ledger_url().place)
    before = {each.name: each.read_bytes() for each in path.parent.glob("ledger.db*") if not each.name.endswith("-shm")}
    await on.rehearse(event("updated", "WO-1", name="b", time=NOON), event("created", "WO-2", name="c", time=NOON))
    after = {each.name: each.read_bytes() for each in path.parent.glob("ledger.db*") if not each.name.endswith("-shm")}
    assert after == before


async def test_a_ledger_of_another_ditio_is_refused_and_one_that_is_not_there_is_none(on: Stage, tmp_path: Path) -> None:
    path, company = Path(on.settings.ledger_url().place), on.settings.ditio_company_id
    with pytest.raises(LedgerRefused, match="which say nothing about company another"):
        await open_known(path, api_base=on.server.url, company_id="another", clock=WallClock())
    assert await open_known(tmp_path / "none.db", api_base=on.server.url, company_id=company, clock=WallClock()) is None
    known = await open_known(path, api_base=on.server.url, company_id=company, clock=WallClock())
    assert known is not None
    await known.close()
