"""One work order against the local Ditio: doubt, duplicates, references, refusals. Time stands still unless a test moves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.ledger.conftest import StoppedClock
from tests.support.reconciling import client, reconciler
from worker.api import Client
from worker.core.client_id import client_id
from worker.core.doubt import Window
from worker.core.errors import Outage
from worker.core.event import Event, EventType, ProjectRef, Reference, Withheld
from worker.core.field import Value
from worker.core.outcome import Applied, Dead, Outcome, Superseded, Unchanged, Waiting
from worker.core.plan import Call, Create, Policy
from worker.core.stamp import Instant
from worker.ledger.memory import Contents
from worker.ports import Key, Project, Reply
from worker.reconcile import Conclusion
from worker.round import Job
from worker.sandbox import Options, Server, serve
from worker.sandbox.seed import seed

WINDOW = Window(timeout_s=10, settle_s=30)


class Watched:
    """A client that looks into the ledger at the moment of each write."""

    def __init__(self, api: Client, contents: Contents, key: Key) -> None:
        self._api = api
        self._contents = contents
        self._key = key
        self.doubts: list[tuple[type[Call], float]] = []

    async def send(self, call: Call, project: Project, *, starting: Callable[[], Awaitable[None]] | None = None) -> Reply:
        async def begun() -> None:
            assert starting is not None
            await starting()
            self.doubts.append((type(call), self._contents.orders[self._key].doubt_until))

        return await self._api.send(call, project, starting=begun if starting else None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._api, name)


class Rig:
    """Everything that reconciles one work order, on a clock that stands."""

    def __init__(
        self, server: Server, api: Client, clock: StoppedClock, policy: Policy, derive: Callable[[Key], str] | None = None
    ) -> None:
        self.server, self.clock = server, clock
        self.state = server.sandbox.state
        self.project_id = next(each for each in self.state.projects.values() if each["projectNumber"] == "P-2026-001")["id"]
        self.key = Key(self.project_id, "WO-1")
        contents = Contents()
        self.ditio = Watched(api, contents, self.key)
        self.reconciler, self.lookups, self.ledger = reconciler(
            self.ditio, server, policy, contents, window=WINDOW, clock=clock, derive=derive
        )

    async def run(self, *jobs: Job) -> list[Conclusion]:
        """One round, or one for each event where Ditio refuses them together."""
        project = await self.lookups.project(ProjectRef("number", "P-2026-001"))
        return list(await self.reconciler.reconcile(project, self.key, jobs))

    async def outcome(self, *jobs: Job) -> Outcome:
        """How the first of them ended."""
        return (await self.run(*jobs))[0].outcome

    def fault(self, **given: object) -> None:
        """Something that goes wrong, once unless said otherwise."""
        self.server.sandbox.faults.add(given)

    def task(self) -> dict[str, Any]:
        """The one task of the work order; empty when there is none."""
        found = self.state.with_key(self.project_id, "WO-1")
        assert len(found) <= 1, "twins"
        return found[0] if found else {}

    def requests(self, operation: str) -> int:
        """How many requests of an operation there were, whatever they got."""
        return sum(count for (name, _), count in self.server.sandbox.counts.items() if name == operation)


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture
def derive() -> Callable[[Key], str] | None:
    return None


@pytest.fixture
async def rig(policy: Policy, derive: Callable[[Key], str] | None) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        clock = StoppedClock()
        server = await serve(Options(), clock=clock.now)
        stack.push_async_callback(server.close)
        seed(server.sandbox)
        server.sandbox.state.templates.clear()
        api = await stack.enter_async_context(client(server, timeout_s=0.3))
        yield Rig(server, api, clock, policy, derive)


def job(
    second: int = 1, kind: EventType = EventType.UPDATED, *, redelivered: bool = False, rejected: Any = None,
    references: dict[str, Reference] | None = None, withheld: tuple[Withheld, ...] = (), **values: Value,
) -> Job:  # fmt: skip
    """An event of this second."""
    event = Event(
        kind, "/erp", f"e-{second}", Instant(1_700_000_000 + second), None, ProjectRef("number", "P-2026-001"), "WO-1",
        values, references or {}, withheld,
    )  # fmt: skip
    return Job(event, event.stamp(second), redelivered, False, rejected)


async def test_doubt_is_in_the_ledger_before_the_post_and_a_definite_answer_lifts_it(rig: Rig) -> None:
    assert await rig.outcome(job(name="a")) == Applied()
    assert rig.ditio.doubts == [(Create, rig.clock.at + 40)]
    assert (await rig.ledger.load(rig.key)).doubt_until == 0


async def test_an_exact_duplicate_is_unchanged_and_an_older_event_superseded_and_neither_costs_a_request(rig: Rig) -> None:
    await rig.run(job(5, name="a"))
    before = dict(rig.server.sandbox.counts)
    assert await rig.outcome(job(5, name="a")) == Unchanged()
    assert await rig.outcome(job(3, name="b")) == Superseded()
    assert rig.server.sandbox.counts == before
    assert rig.task()["name"] == "a"


async def test_an_older_event_still_says_the_fields_that_nobody_said_since(rig: Rig) -> None:
    await rig.run(job(5, name="a"))
    assert await rig.outcome(job(3, name="b", price=7.0)) == Applied()
    assert (rig.task()["name"], rig.task()["price"]) == ("a", 7.0)


async def test_a_task_that_is_there_is_adopted_and_only_what_differs_is_sent(rig: Rig) -> None:
    # Given
    rig.state.put(
        {
            **_defaults(),
            "id": "t" * 24,
            "companyId": "c",
            "projectId": rig.project_id,
            "externalId": "WO-1",
            "name": "a",
            "price": 5,
        }
    )
    # When
    assert await rig.outcome(job(name="a", price=6.0)) == Applied()
    # Then
    assert rig.requests("task_create") == 0
    patches = [line["body"] for line in rig.server.sandbox.log if line["operation"] == "task_update"]
    assert patches == [{"price": 6.0}]


@pytest.mark.parametrize("dates", ["zulu", "plain", "millis", "offset"])
async def test_adopting_a_task_that_holds_all_in_other_spellings_sends_nothing(rig: Rig, dates: str) -> None:
    rig.server.sandbox.options = rig.server.sandbox.options.changed({"dates": dates})
    values: dict[str, Any] = {"startDate": "2026-03-15T00:00:00Z", "price": 5.0, "workDescription": ""}
    await rig.run(job(1, **values))
    rig.ledger._contents.orders.clear()
    assert await rig.outcome(job(2, **values)) == Unchanged()
    assert rig.requests("task_update") == 0


async def test_a_post_of_unknown_outcome_is_never_repeated_before_the_doubt_is_over(rig: Rig) -> None:
    # Given a request that Ditio will carry out long after it was given up
    rig.fault(operation="task_create", late_s=20)
    first = await rig.outcome(job(name="a"))
    assert isinstance(first, Waiting)
    assert first.kind == "failing"
    # When it comes again while the doubt lasts
    again = await rig.outcome(job(name="a"))
    assert isinstance(again, Waiting)
    assert again.kind == "settling"
    assert rig.requests("task_create") == 1
    # And when the doubt is over, the task is found
    rig.clock.at += 41
    assert await rig.outcome(job(name="a")) in (Applied(), Unchanged())
    assert rig.task()["name"] == "a"
    assert (await rig.ledger.load(rig.key)).doubt_until == 0


async def test_when_the_doubt_is_over_and_nothing_came_of_the_request_the_task_is_created(rig: Rig) -> None:
    rig.fault(operation="task_create", drop="before")
    assert isinstance(await rig.outcome(job(name="a")), Waiting)
    rig.clock.at += 41
    assert await rig.outcome(job(name="a")) == Applied()
    assert rig.task()["name"] == "a"


async def test_a_late_patch_that_lands_on_a_newer_value_is_repaired_when_the_doubt_is_over(rig: Rig) -> None:
    # Given a PATCH that was given up three times, and lands at the end of it
    await rig.run(job(1, name="a"))
    rig.fault(operation="task_update", late_s=20, count=3)
    assert isinstance(await rig.outcome(job(2, name="gammelt")), Waiting)
    assert await rig.outcome(job(3, name="nytt")) == Applied()
    rig.clock.at += 25
    rig.server.sandbox.settle_late()
    assert rig.task()["name"] == "gammelt"
    # When nothing is known to be unchanged meanwhile
    assert await rig.outcome(job(3, name="nytt")) == Applied()
    rig.task()["name"] = "gammelt"
    # Then the end of the doubt is due work, which repairs it
    rig.clock.at += 41
    assert await rig.ledger.due(rig.clock.at, 10) == [rig.key]
    await rig.run()
    assert rig.task()["name"] == "nytt"
    assert await rig.ledger.due(rig.clock.at + 99, 10) == []


async def test_a_redelivered_event_raises_doubt_whatever_its_outcome(rig: Rig) -> None:
    await rig.run(job(1, name="a"))
    assert await rig.outcome(job(1, name="a", redelivered=True)) == Applied()
    assert (await rig.ledger.load(rig.key)).doubt_until == rig.clock.at + 40


async def test_a_redelivered_event_of_an_unknown_work_order_waits_before_it_creates(rig: Rig) -> None:
    ending = await rig.outcome(job(1, name="a", redelivered=True))
    assert isinstance(ending, Waiting)
    assert ending.kind == "settling"
    assert rig.requests("task_create") == 0
    rig.clock.at += 41
    assert await rig.outcome(job(1, name="a")) == Applied()


@pytest.mark.parametrize("rule", ["400", "409"])
async def test_a_refused_post_of_a_task_that_look_ups_hide_is_adopted_when_they_show_it(rig: Rig, rule: str) -> None:
    # Given a twin that somebody made, which the look-up does not show yet
    rig.server.sandbox.options = rig.server.sandbox.options.changed({"duplicate": rule})
    rig.state.put({**_defaults(), "id": "t" * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-1"})
    rig.state.seen_at["t" * 24] = rig.clock.at + 20
    # When
    ending = await rig.outcome(job(1, name="a"))
    assert isinstance(ending, Waiting)
    assert (ending.kind, ending.refused) == ("settling", True)
    rig.clock.at += 41
    # Then
    assert await rig.outcome(job(1, name="a", rejected=ending.failure)) == Applied()
    assert (rig.task()["id"], rig.task()["name"]) == ("t" * 24, "a")


async def test_a_refused_post_without_a_task_is_rejected_after_the_doubt_and_not_sent_again(rig: Rig) -> None:
    rig.state.projects[rig.project_id]["subProjectRequired"] = True
    ending = await rig.outcome(job(1, name="a"))
    assert isinstance(ending, Waiting)
    rig.clock.at += 41
    ending = await rig.outcome(job(1, name="a", rejected=ending.failure))
    assert isinstance(ending, Dead)
    assert (ending.failure.reason, ending.failure.status) == ("rejected", 400)
    assert "underprosjekt" in ending.failure.detail
    assert rig.requests("task_create") == 1


async def test_of_events_that_are_refused_together_only_the_culprit_dies(rig: Rig) -> None:
    # Given
    await rig.run(job(1, name="a"))
    # When: Ditio lets no task lie under itself
    ends = await rig.run(job(4, name="d"), job(3, parentActivityId=rig.task()["id"]), job(2, price=5.0))
    # Then
    assert [type(end.outcome) for end in ends] == [Applied, Dead, Applied]
    assert (rig.task()["name"], rig.task()["price"], rig.task()["parentActivityId"]) == ("d", 5.0, None)
    # And the refused value is not in the record
    record = (await rig.ledger.load(rig.key)).record
    assert "parentActivityId" not in record.cells
    assert "parentActivityId" in record.owned


async def test_events_that_waited_together_cost_one_call(rig: Rig) -> None:
    ends = await rig.run(*(job(second, name=f"n{second}") for second in (3, 1, 2)))
    assert [type(end.outcome) for end in ends] == [Applied, Superseded, Superseded]
    assert rig.requests("task_create") == 1
    assert rig.requests("task_update") == 0


async def test_a_parent_or_person_that_is_not_there_keeps_back_only_itself(rig: Rig) -> None:
    # Given
    references = {
        "parentActivityId": Reference("parent", "WO-9", "data.parent"),
        "mainForemanId": Reference("person", "1042", "data.mainForeman"),
    }
    # When
    ending = await rig.outcome(job(1, name="a", references=references))
    # Then
    assert isinstance(ending, Waiting)
    assert (ending.kind, ending.failure.field) == ("parent", "data.parent")
    assert (rig.task()["name"], rig.task()["mainForemanId"]) == ("a", rig.state.users["1042"]["identityId"])
    # And when something newer says the parent, it waits no more
    assert await rig.outcome(job(2, parentActivityId=None)) in (Applied(), Unchanged())
    assert not isinstance(await rig.outcome(job(1, name="a", references=references)), Waiting)


async def test_a_unit_that_is_in_no_table_is_a_letter_and_the_rest_is_applied(rig: Rig) -> None:
    withheld = (Withheld("unit", "unresolved-unit", "data.unit", "not in the table", wait=False, sets="unitId"),)
    ending = await rig.outcome(job(1, name="a", withheld=withheld))
    assert isinstance(ending, Dead)
    assert ending.failure.reason == "unresolved-unit"
    assert rig.task()["name"] == "a"


async def test_a_withheld_field_of_a_replaced_event_counts_as_reset_until_it_resolves(rig: Rig) -> None:
    # Given a work order under a parent
    parent = {**_defaults(), "id": "p" * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-2"}
    rig.state.put(parent)
    await rig.run(job(1, parentActivityId="p" * 24))
    # When it is replaced, now under one that is not there
    replaced = job(
        2, EventType.REPLACED, active=True, references={"parentActivityId": Reference("parent", "WO-3", "data.parent")}
    )
    assert isinstance(await rig.outcome(replaced), Waiting)
    assert rig.task()["parentActivityId"] is None
    # And when that appears
    rig.state.put({**parent, "id": "q" * 24, "externalId": "WO-3"})
    rig.clock.at += 2
    assert await rig.outcome(replaced) == Applied()
    assert rig.task()["parentActivityId"] == "q" * 24


async def test_a_refused_replacement_leaves_no_floor_behind_that_would_fail_the_next_event(rig: Rig) -> None:
    await rig.run(job(1, name="a", price=5.0))
    rig.fault(operation="task_replace", status=400)
    rig.fault(operation="task_update", status=400)
    ending = await rig.outcome(job(2, EventType.REPLACED, active=True))
    assert isinstance(ending, Dead)
    rig.server.sandbox.faults.clear()
    assert await rig.outcome(job(3, workDescription="x")) == Applied()
    assert rig.task()["name"] == "a"


async def test_twins_in_ditio_are_ambiguous_and_named(rig: Rig) -> None:
    for letter in "ab":
        rig.state.put({**_defaults(), "id": letter * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-1"})
    ending = await rig.outcome(job(1, name="a"))
    assert isinstance(ending, Dead)
    assert ending.failure.reason == "ambiguous"
    assert "a" * 24 in ending.failure.detail
    assert "b" * 24 in ending.failure.detail


async def test_a_task_that_somebody_deleted_is_created_again_from_the_record_after_the_doubt(rig: Rig) -> None:
    # Given
    await rig.run(job(1, name="a", price=5.0))
    rig.state.remove(rig.task()["id"])
    # When
    ending = await rig.outcome(job(2, price=6.0))
    assert isinstance(ending, Waiting)
    assert ending.kind == "settling"
    rig.clock.at += 41
    assert await rig.outcome(job(2, price=6.0)) == Applied()
    # Then
    assert (rig.task()["name"], rig.task()["price"]) == ("a", 6.0)


async def test_a_404_is_not_believed_while_the_control_read_fails(rig: Rig) -> None:
    await rig.run(job(1, name="a"))
    rig.fault(operation="*", status=404, count=-1)
    rig.clock.at += 10
    with pytest.raises(Outage) as error:
        await rig.run(job(2, name="b"))
    assert error.value.cause == "circuit"
    rig.server.sandbox.faults.clear()
    assert await rig.outcome(job(2, name="b")) == Applied()


async def test_when_ditio_is_down_the_event_is_given_back_and_not_counted(rig: Rig) -> None:
    rig.fault(operation="*", status=503, count=-1)
    with pytest.raises(Outage):
        await rig.run(job(1, name="a"))


async def test_a_deletion_deactivates_and_only_a_newer_active_brings_it_back(rig: Rig) -> None:
    await rig.run(job(1, name="a", active=True))
    assert await rig.outcome(job(3, EventType.DELETED)) == Applied()
    assert rig.task()["active"] is False
    assert await rig.outcome(job(2, active=True)) == Superseded()
    assert await rig.outcome(job(4, name="b")) == Applied()
    assert (rig.task()["name"], rig.task()["active"]) == ("b", False)
    assert await rig.outcome(job(5, active=True)) == Applied()
    assert rig.task()["active"] is True


async def test_a_task_that_came_up_while_its_work_order_was_gone_is_compared_when_that_is_there_again(rig: Rig) -> None:
    # Given a deletion, and a creation that arrives late with what the template gives
    rig.state.templates[rig.project_id] = {"price": 950.0}
    await rig.run(job(1, EventType.DELETED))
    rig.fault(operation="task_create", late_s=20)
    await rig.run(job(3, name="a", price=None))
    rig.clock.at += 41
    rig.server.sandbox.settle_late()
    # When it is first found without an event, as what must be gone
    await rig.run()
    assert (rig.task()["active"], rig.task()["price"]) == (False, 950.0)
    # And then the event comes again
    assert await rig.outcome(job(3, name="a", price=None)) == Applied()
    assert (rig.task()["name"], rig.task()["price"]) == ("a", 0.0)


async def test_a_task_that_was_adopted_but_not_brought_to_all_it_should_hold_is_compared_again(rig: Rig) -> None:
    # Given a task that somebody made again by hand, in the place of one that held a price
    await rig.run(job(1, name="a", price=5.0))
    rig.state.remove(rig.task()["id"])
    rig.state.put({**_defaults(), "id": "t" * 24, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-1"})
    # When it is found, and what the event says is refused
    rig.fault(operation="task_update", skip=1, status=422)
    ending = await rig.outcome(job(2, workDescription="x"))
    assert isinstance(ending, Dead)
    assert rig.task()["price"] == 0.0
    # Then a look-up is due at once, which repairs it
    assert await rig.ledger.due(rig.clock.at, 10) == [rig.key]
    await rig.run()
    assert (rig.task()["name"], rig.task()["price"]) == ("a", 5.0)
    assert await rig.ledger.next_due() is None


class TestDeleting:
    """WORKER_ON_DELETE=delete."""

    @pytest.fixture
    def policy(self) -> Policy:
        return Policy(on_delete="delete")

    async def test_a_deletion_deletes_and_a_newer_event_creates_again(self, rig: Rig) -> None:
        await rig.run(job(1, name="a"))
        assert await rig.outcome(job(3, EventType.DELETED)) == Applied()
        assert rig.task() == {}
        assert await rig.outcome(job(2, name="late")) == Superseded()
        assert rig.task() == {}
        assert await rig.outcome(job(4, price=5.0)) == Applied()
        assert (rig.task()["name"], rig.task()["price"], rig.task()["active"]) == (None, 5.0, True)

    async def test_a_blocked_deletion_deactivates(self, rig: Rig) -> None:
        await rig.run(job(1, name="a"))
        rig.state.hours[rig.task()["id"]] = 1
        (end,) = await rig.run(job(2, EventType.DELETED))
        assert end.outcome == Applied()
        assert end.calls == ("task_delete", "task_update")
        assert (await rig.ledger.history(rig.key))[-1].detail.startswith(
            "not deleted but deactivated: task_delete: Ditio answered 400"
        )
        assert rig.task()["active"] is False


class TestClientIds:
    """DITIO_CLIENT_IDS=true."""

    @pytest.fixture
    def derive(self) -> Callable[[Key], str]:
        return lambda key: client_id("c", key.project_id, key.external_id)

    async def test_a_new_task_has_the_derived_id(self, rig: Rig) -> None:
        assert await rig.outcome(job(name="a")) == Applied()
        assert rig.task()["id"] == client_id("c", rig.project_id, "WO-1")

    async def test_in_doubt_the_derived_id_is_looked_up_instead_of_waiting(self, rig: Rig) -> None:
        # Given a creation whose answer was lost, and that look-ups by key do not show
        rig.fault(operation="task_create", drop="after")
        assert isinstance(await rig.outcome(job(name="a")), Waiting)
        rig.state.seen_at[rig.task()["id"]] = rig.clock.at + 999
        # Then
        assert await rig.outcome(job(2, name="b")) == Applied()
        assert rig.task()["name"] == "b"
        assert rig.requests("task_create") == 1

    async def test_a_request_that_arrives_late_collides_with_the_second_one(self, rig: Rig) -> None:
        rig.server.sandbox.options = rig.server.sandbox.options.changed({"duplicate": "allow"})
        rig.fault(operation="task_create", late_s=20)
        assert isinstance(await rig.outcome(job(name="a")), Waiting)
        assert await rig.outcome(job(name="a")) == Applied()
        rig.clock.at += 25
        rig.server.sandbox.settle_late()
        assert rig.task()["name"] == "a", "one task, though this Ditio lets twins be"

    async def test_an_id_that_exists_is_adopted(self, rig: Rig) -> None:
        # Given a task with the derived id that look-ups by key do not show
        task_id = client_id("c", rig.project_id, "WO-1")
        rig.state.put({**_defaults(), "id": task_id, "companyId": "c", "projectId": rig.project_id, "externalId": "WO-1"})
        rig.state.seen_at[task_id] = rig.clock.at + 999
        # Then
        assert await rig.outcome(job(name="a")) == Applied()
        assert rig.task()["name"] == "a"


async def test_history_tells_what_was_done_and_what_stood_before(rig: Rig) -> None:
    await rig.run(job(1, name="a"))
    await rig.run(job(2, name="b"))
    first, second = await rig.ledger.history(rig.key)
    assert (first.outcome, first.id, first.calls) == ("applied", "e-1", ("task_create",))
    assert (second.calls, second.before) == (("task_update",), {"name": "a"})


def _defaults() -> dict[str, Any]:
    from worker.sandbox.fields import defaults

    return defaults()
