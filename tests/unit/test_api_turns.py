"""Turns, patience, and what a stop interrupts: in simulated time, against a Ditio in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.support.reconciling import Unobserved
from tests.support.simulated import SandboxWire, SimulatedClock, simulate
from worker.api import Access, Client, Patience, Received, open_api
from worker.api.limiter import Limiter
from worker.core.errors import Abandoned, UnknownOutcome
from worker.core.limit import Limit
from worker.core.plan import Create, Update
from worker.ports import Project
from worker.sandbox import Options, Sandbox
from worker.sandbox.seed import seed

UPDATE = Update("t-1", {"name": "x"})
COMPANY = Options().company_id


class Rig:
    """A client of a sandbox in memory; `went` notes when each request went out, but for tokens."""

    def __init__(self, **options: object) -> None:
        self.clock = SimulatedClock()
        self.sandbox = Sandbox(Options().changed(options), self.clock.now)
        seed(self.sandbox)
        self.project = Project(next(iter(self.sandbox.state.projects)), "P-2026-001", None)
        self.sandbox.state.put({"id": "t-1", "externalId": "WO-1", "projectId": self.project.id, "companyId": COMPANY})
        self.patience = Patience(self.clock)
        self.wire = SandboxWire(self.sandbox)
        self.went: list[float] = []

    async def send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, within_s: float) -> Received:
        if not url.endswith("token"):
            self.went.append(self.clock.monotonic())
        return await self.wire.send(method, url, headers, content, within_s)

    @asynccontextmanager
    async def client(self, **more: object) -> AsyncIterator[Client]:
        """An open client."""
        where = Access("http://ditio/core", "http://ditio", "sandbox", lambda: "sandbox-secret", COMPANY, **more)  # type: ignore[arg-type]
        async with open_api(where, self.clock, Unobserved(), wire=self, patience=self.patience) as client:
            yield client

    def fault(self, **fault: object) -> None:
        """Something goes wrong."""
        self.sandbox.faults.add(fault)


def test_however_low_the_limit_a_request_is_made_every_other_second() -> None:
    async def run() -> list[float]:
        turns, _ = limiter(0.01)
        began: list[float] = []

        async def exchange() -> Received:
            began.append(asyncio.get_running_loop().time())
            await asyncio.sleep(1)
            return Received(200, {}, b"")

        for _ in range(3):
            async with turns.turn():
                await turns.carry("task_get", exchange())
        return began

    assert simulate(run()) == [0, 3, 6]


def limiter(value: float) -> tuple[Limiter, Patience]:
    """A limiter that starts at a limit."""
    clock = SimulatedClock()
    patience = Patience(clock)
    return Limiter(Limit(64, value, doubling=False), clock, patience), patience


def test_turns_are_taken_in_the_order_of_asking_and_no_more_at_once_than_the_limit() -> None:
    async def run() -> None:
        turns, _ = limiter(3)
        order: list[int] = []
        most = now = 0

        async def take(number: int) -> None:
            nonlocal most, now
            async with turns.turn():
                order.append(number)
                now += 1
                most = max(most, now)
                await asyncio.sleep(1)
                now -= 1

        await asyncio.gather(*(take(number) for number in range(20)))
        assert order == list(range(20))
        assert most == 3

    simulate(run())


def test_whoever_stops_waiting_for_a_turn_leaves_it_to_the_next_also_at_the_moment_when_it_comes() -> None:
    async def run() -> None:
        turns, _ = limiter(1)

        async def take() -> str:
            async with turns.turn():
                return "taken"

        async with turns.turn():
            gone, late, next_one = (asyncio.ensure_future(take()) for _ in range(3))
            await asyncio.sleep(0)
            # When one leaves while it waits, and one when its turn has just come
            gone.cancel()
            await asyncio.sleep(0)
        late.cancel()
        # Then
        assert await asyncio.wait_for(next_one, 1) == "taken"
        assert await asyncio.wait_for(take(), 1) == "taken"
        assert gone.cancelled()
        assert late.cancelled()

    simulate(run())


def test_below_a_limit_of_one_there_is_a_rest_after_each_request() -> None:
    async def run() -> list[float]:
        turns, _ = limiter(0.25)
        began: list[float] = []

        async def exchange() -> Received:
            began.append(asyncio.get_running_loop().time())
            await asyncio.sleep(0.1)
            return Received(200, {}, b"")

        for _ in range(3):
            async with turns.turn():
                await turns.carry("task_get", exchange())
        return began

    assert simulate(run()) == pytest.approx([0, 0.4, 0.8])


@pytest.mark.parametrize(
    ("setting", "fault", "max_requests_per_s", "begun_s"),
    [
        ("a retry", {"operation": "task_update", "status": 503, "headers": {"Retry-After": "30"}, "count": -1}, None, 0.2),
        (
            "the next retry",
            {"operation": "task_update", "status": 503, "headers": {"Retry-After": "30"}, "count": -1},
            None,
            40.0,
        ),
        ("quiet", {"operation": "task_update", "status": 429, "headers": {"Retry-After": "30"}, "count": -1}, None, 0.2),
        ("the budget", {"operation": "*", "delay_s": 0.0, "count": -1}, 0.01, 0.2),
        ("a turn", {"operation": "task_update", "delay_s": 4.0, "count": -1}, None, 0.2),
        ("a token", {"operation": "token", "status": 503, "count": -1}, None, 0.2),
    ],
)
def test_no_wait_outlasts_the_end_of_patience(
    setting: str, fault: dict[str, object], max_requests_per_s: float | None, begun_s: float
) -> None:
    async def run() -> None:
        # Given ten requests of which at most two are on their way, the others wait
        rig = Rig()
        rig.fault(**fault)
        async with rig.client(max_requests_per_s=max_requests_per_s) as client:
            asked = [asyncio.ensure_future(client.send(UPDATE, rig.project)) for _ in range(10)]
            await asyncio.sleep(begun_s)
            # When
            rig.patience.end(25)
            ended = rig.clock.monotonic()
            waiting = [each for each in asked if not each.done()]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
            # Then
            assert rig.clock.monotonic() == ended, setting
            await asyncio.gather(*asked, return_exceptions=True)
            ends = {type(each.exception()) for each in asked if each.exception()}
            assert ends == {Abandoned}, setting
            assert rig.clock.monotonic() - ended < 5

    simulate(run())


def test_no_attempt_begins_that_could_outlast_what_is_left() -> None:
    async def run() -> None:
        rig = Rig()
        async with rig.client(timeout_s=10) as client:
            await client.control()
            committed: list[str] = []

            async def starting() -> None:
                committed.append("doubt")

            rig.patience.end(25)
            # When there is time for it
            await client.send(UPDATE, rig.project)
            # And when there is not
            await asyncio.sleep(15.1)
            before = len(rig.went)
            for call in (UPDATE, Create("WO-2", {})):
                with pytest.raises(Abandoned):
                    await client.send(call, rig.project, starting=starting)
            with pytest.raises(Abandoned):
                await client.control()
            assert len(rig.went) == before
            assert committed == []
            # And when patience is renewed
            rig.patience.renew()
            await client.send(UPDATE, rig.project)

    simulate(run())


def test_no_token_is_asked_for_that_could_come_too_late() -> None:
    async def run() -> None:
        rig = Rig()
        async with rig.client(timeout_s=10) as client:
            rig.patience.end(9)
            with pytest.raises(Abandoned):
                await client.send(UPDATE, rig.project)
            assert not rig.sandbox.counts

    simulate(run())


@pytest.mark.parametrize(("fault", "lingering"), [({"drop": "after"}, True), ({"status": 503}, True), ({"status": 429}, False)])
def test_an_end_says_whether_a_request_that_was_given_up_may_still_take_effect(fault: dict[str, object], lingering: bool) -> None:
    async def run() -> None:
        rig = Rig()
        rig.fault(operation="task_update", count=-1, **fault)
        async with rig.client() as client:
            asked = asyncio.ensure_future(client.send(UPDATE, rig.project))
            while not rig.went:
                await asyncio.sleep(0.001)
            rig.patience.end(25)
            with pytest.raises(Abandoned) as error:
                await asked
            assert error.value.lingering == lingering

    simulate(run())


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", [1, 20, 59])
def test_no_attempt_is_made_before_its_retry_after(status: int, after: int) -> None:
    async def run() -> None:
        rig = Rig()
        rig.fault(operation="task_update", status=status, headers={"Retry-After": str(after)}, count=2)
        async with rig.client() as client:
            await client.send(UPDATE, rig.project)
        gaps = [later - earlier for earlier, later in zip(rig.went, rig.went[1:], strict=False)]
        assert len(gaps) == 2
        assert all(after <= gap <= after * 1.1 + 4.1 for gap in gaps), gaps

    simulate(run())


def test_a_retry_after_that_is_too_long_to_hold_an_event_is_not_waited_for() -> None:
    async def run() -> None:
        rig = Rig()
        rig.fault(operation="task_update", status=503, headers={"Retry-After": "61"}, count=-1)
        async with rig.client() as client:
            with pytest.raises(UnknownOutcome):
                await client.send(UPDATE, rig.project)
        assert len(rig.went) == 1

    simulate(run())


def test_the_control_read_and_tokens_take_no_turn() -> None:
    async def run() -> None:
        # Given requests that hold every turn
        rig = Rig(latency_s=0.0)
        rig.fault(operation="task_update", delay_s=8, count=-1)
        async with rig.client() as client:
            asked = [asyncio.ensure_future(client.send(UPDATE, rig.project)) for _ in range(20)]
            await asyncio.sleep(0.1)
            assert client.in_flight == client.concurrency_limit == 2
            # When
            began = rig.clock.monotonic()
            await client.control()
            assert rig.clock.monotonic() == began
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            assert client.in_flight == 0

    simulate(run())


def test_429s_to_requests_that_were_on_their_way_together_make_one_pause() -> None:
    async def run() -> None:
        # Given 64 requests in flight, all of which get 429 without a word
        rig = Rig(latency_s=0.05)
        async with rig.client() as client:
            for _ in range(20):
                await asyncio.gather(*(client.send(UPDATE, rig.project) for _ in range(64)))
            assert client.concurrency_limit == 64
            rig.fault(operation="task_update", status=429, delay_s=0.05, count=64)
            chances = iter((0.2,))  # of a second for the first, and more for the others
            rig.clock.chance = lambda: next(chances, 0.9)  # type: ignore[method-assign]  # chance by a list
            began = rig.clock.monotonic()
            rig.went.clear()
            # When
            await asyncio.gather(*(client.send(UPDATE, rig.project) for _ in range(64)))
            # Then
            again = [at - began for at in rig.went[64:]]
            assert 0.2 <= again[0] < 0.5
            assert 32 <= client.concurrency_limit <= 34

    simulate(run())


def test_a_429_lowers_the_limit_and_timeouts_do() -> None:
    async def run() -> None:
        for fault in ({"status": 429}, {"delay_s": 99.0}):
            rig = Rig(latency_s=0.01)
            async with rig.client(timeout_s=1) as client:
                for _ in range(20):
                    await asyncio.gather(*(client.send(UPDATE, rig.project) for _ in range(64)))
                assert client.concurrency_limit == 64
                rig.fault(operation="task_update", **fault)
                await client.send(UPDATE, rig.project)
                assert client.concurrency_limit <= 54

    simulate(run())


def test_the_limit_never_passes_what_the_settings_allow() -> None:
    async def run() -> None:
        rig = Rig(latency_s=0.01)
        async with rig.client(max_in_flight=1) as client:
            assert client.concurrency_limit == 1
            for _ in range(3):
                await asyncio.gather(*(client.send(UPDATE, rig.project) for _ in range(8)))
                assert client.concurrency_limit == 1

    simulate(run())


def test_a_request_costs_little_but_the_wire() -> None:
    """Calls into Python are counted, not time: a machine that is busy must not fail it."""

    class Nothing:
        async def send(self, *_: object) -> Received:
            return Received(200, {}, b'{"access_token": "t", "id": "t-1"}')

    async def run() -> int:
        import sys

        clock = SimulatedClock()
        where = Access("http://ditio/core", "http://ditio", "sandbox", lambda: "x", COMPANY)
        async with open_api(where, clock, Unobserved(), wire=Nothing()) as client:
            await client.task_by_id("t-1")
            calls = 0

            def count(frame: object, event: str, argument: object) -> None:
                nonlocal calls
                calls += event == "call"

            sys.setprofile(count)
            try:
                for _ in range(100):
                    await client.task_by_id("t-1")
            finally:
                sys.setprofile(None)
            return calls // 100

    assert simulate(run()) < 100
