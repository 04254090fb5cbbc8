"""Tokens under load, in simulated time: one request to the identity server where one is needed."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.reconciling import Unobserved
from tests.support.simulated import SandboxWire, SimulatedClock, simulate
from worker.api import Access, open_api
from worker.core.errors import Outage, Refused
from worker.core.plan import Update
from worker.ports import Project
from worker.sandbox import Options, Sandbox
from worker.sandbox.seed import seed

UPDATE = Update("t-1", {"name": "x"})
PROJECT = Project("p-1", None, None)


def ditio(clock: SimulatedClock, **options: object) -> Sandbox:
    """A sandbox with a task."""
    sandbox = Sandbox(Options().changed({"latency_s": 0.05, **options}), clock.now)
    seed(sandbox)
    home = {"projectId": next(iter(sandbox.state.projects)), "companyId": sandbox.options.company_id}
    sandbox.state.put({"id": "t-1", "externalId": "WO-1", **home})
    return sandbox


def access(secret: str = "sandbox-secret") -> Access:
    """How a client is let in."""
    return Access("http://ditio/core", "http://ditio", "sandbox", lambda: secret, Options().company_id)


def test_sixty_four_requests_at_once_cost_one_token_at_the_start_and_one_when_it_was_revoked() -> None:
    async def run() -> None:
        clock = SimulatedClock()
        sandbox = ditio(clock)
        async with open_api(access(), clock, Unobserved(), wire=SandboxWire(sandbox)) as client:
            await asyncio.gather(*(client.send(UPDATE, PROJECT) for _ in range(64)))
            assert sandbox.counts["token", "200"] == 1
            for _ in range(10):
                await asyncio.gather(*(client.send(UPDATE, PROJECT) for _ in range(64)))
            # When it is revoked, and requests with it are refused before and after there is another
            sandbox.revoke()
            sandbox.faults.add({"operation": "task_update", "delay_s": 0.1, "count": 64})
            asked = []
            for _ in range(64):
                asked.append(asyncio.ensure_future(client.send(UPDATE, PROJECT)))
                await asyncio.sleep(0.002)
            await asyncio.gather(*asked)
            # Then
            assert sandbox.counts["task_update", "401"] > 32
            assert sandbox.counts["token", "200"] == 2

    simulate(run())


def test_tokens_that_expire_under_load_cost_one_request_each_and_are_renewed_before_their_end() -> None:
    async def run() -> None:
        # Given tokens of 20 s, renewed 1 to 3 s before
        clock = SimulatedClock()
        sandbox = ditio(clock, token_s=20, latency_s=0.5)
        async with open_api(access(), clock, Unobserved(), wire=SandboxWire(sandbox)) as client:

            async def lane() -> None:
                while True:
                    await client.send(UPDATE, PROJECT)

            lanes = [asyncio.ensure_future(lane()) for _ in range(32)]
            # When
            await asyncio.sleep(200)
            for each in lanes:
                each.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        # Then
        assert 200 // 19 <= sandbox.counts["token", "200"] <= 200 // 17 + 1
        assert sandbox.counts["task_update", "401"] == 0

    simulate(run())


def test_workers_that_start_together_do_not_renew_together() -> None:
    async def renewed_at(seed: int) -> float:
        clock = SimulatedClock(seed)
        sandbox = ditio(clock, token_s=1000, latency_s=0)
        async with open_api(access(), clock, Unobserved(), wire=SandboxWire(sandbox)) as client:
            while sandbox.counts["token", "200"] < 2:
                await client.send(UPDATE, PROJECT)
                await asyncio.sleep(1)
            return clock.monotonic()

    times = [simulate(renewed_at(seed)) for seed in range(5)]
    assert len(set(times)) > 3
    assert all(1000 - 92 <= each <= 1000 - 28 for each in times), times


def test_a_valid_token_that_gets_401_is_renewed_once_for_each_event_and_the_event_is_refused() -> None:
    async def run() -> None:
        clock = SimulatedClock()
        sandbox = ditio(clock)
        sandbox.faults.add({"operation": "task_update", "status": 401, "count": -1})
        async with open_api(access(), clock, Unobserved(), wire=SandboxWire(sandbox)) as client:
            for _ in range(5):
                with pytest.raises(Refused) as error:
                    await client.send(UPDATE, PROJECT)
                assert error.value.status == 401
        assert sandbox.counts["token", "200"] == 1 + 5

    simulate(run())


def test_a_refused_client_costs_one_request_for_all_who_wait() -> None:
    async def run() -> None:
        clock = SimulatedClock()
        sandbox = ditio(clock)
        async with open_api(access("wrong"), clock, Unobserved(), wire=SandboxWire(sandbox)) as client:
            ends = await asyncio.gather(*(client.send(UPDATE, PROJECT) for _ in range(64)), return_exceptions=True)
            assert {(isinstance(each, Outage), getattr(each, "cause", "")) for each in ends} == {(True, "credentials")}
            assert sandbox.counts["token", "400"] == 1

    simulate(run())
