"""Health: ready only when every condition is met, and in words why not; alive while the loop comes round."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from worker.health import Health, HealthServer, ListenError, beat, serve

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Hand:
    """The clock of `health`."""
    return Hand()


@pytest.fixture
def health(clock: Hand) -> Health:
    """The conditions of a worker that has just begun."""
    return Health(clock)


@pytest.fixture
async def server(health: Health) -> AsyncIterator[HealthServer]:
    """The pages, at a free port."""
    server = await serve(health, "127.0.0.1", 0, lambda: b"up 1\n", TEXT)
    yield server
    await server.close()


async def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of an answer."""
    async with aiohttp.ClientSession() as session, session.request(method, server.url + path) as answer:
        return answer.status, await answer.text()


def start(health: Health) -> None:
    """Meets every condition that a beginning worker lacks."""
    for condition in tuple(health.causes):
        health.ok(condition)


async def test_a_beginning_worker_says_what_it_still_lacks(server: HealthServer) -> None:
    status, body = await ask(server, "/readyz")

    assert status == 503
    assert body.splitlines() == [
        "broker: not connected yet",
        "ledger: not opened yet",
        "credentials: no token was asked for yet",
    ]


async def test_it_is_ready_when_every_condition_is_met_and_no_longer_when_one_fails(server: HealthServer, health: Health) -> None:
    start(health)
    assert await ask(server, "/readyz") == (200, "ready\n")

    health.fail("paused", "manual: month end,\nsee the plan")
    assert await ask(server, "/readyz") == (503, "paused: manual: month end, see the plan\n")

    health.ok("paused")
    assert health.ready


async def test_it_is_alive_while_the_loop_ticks_though_it_is_not_ready(server: HealthServer, health: Health, clock: Hand) -> None:
    assert await ask(server, "/livez") == (200, "alive\n")

    clock.seconds += 31
    assert await ask(server, "/livez") == (503, "the event loop has not come round for 31 s\n")

    health.tick()
    assert (await ask(server, "/livez"))[0] == 200


async def test_metrics_are_served_as_rendered(server: HealthServer) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
        assert await answer.text() == "up 1\n"
        assert answer.headers["Content-Type"] == TEXT


async def test_other_paths_and_methods_are_refused_and_head_has_no_body(server: HealthServer) -> None:
    assert (await ask(server, "/"))[0] == 404
    assert (await ask(server, "/metrics", "POST"))[0] == 405
    assert await ask(server, "/livez", "HEAD") == (200, "")


async def test_the_beat_ticks_and_observes_how_late_the_loop_is(health: Health, clock: Hand) -> None:
    # Given
    lags: asyncio.Queue[float] = asyncio.Queue()
    clock.seconds += 60
    task = asyncio.create_task(beat(health, lags.put_nowait, every=0.001))

    # When
    seen = [await asyncio.wait_for(lags.get(), 5) for _ in range(3)]

    # Then
    assert all(0 <= lag < 5 for lag in seen)
    assert health.silent_s == 0
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_taken_address_is_an_error_that_says_what_to_do(health: Health, server: HealthServer) -> None:
    with pytest.raises(ListenError, match=rf"WORKER_HTTP_ADDRESS 127\.0\.0\.1:{server.port} is taken.*another port"):
        await serve(health, "127.0.0.1", server.port, lambda: b"", TEXT)


async def test_an_address_of_another_machine_is_an_error_that_says_so(health: Health) -> None:
    with pytest.raises(ListenError, match="no address of this machine"):
        await serve(health, "192.0.2.1", 0, lambda: b"", TEXT)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6_hosts_are_written_in_brackets(health: Health) -> None:
    try:
        server = await serve(health, "::1", 0, lambda: b"", TEXT)
    except ListenError:
        pytest.skip("this machine has no IPv6 loopback address")

    assert server.url == f"http://[::1]:{server.port}"
    assert (await ask(server, "/livez"))[0] == 200
    await server.close()


async def test_closing_frees_the_port_though_a_connection_is_kept_open(health: Health) -> None:
    # Given
    server = await serve(health, "127.0.0.1", 0, lambda: b"", TEXT)
    async with aiohttp.ClientSession() as session:
        await (await session.get(f"{server.url}/livez")).read()

        # When
        await asyncio.wait_for(server.close(), 5)

    # Then
    again = await serve(health, "127.0.0.1", server.port, lambda: b"", TEXT)
    await again.close()
