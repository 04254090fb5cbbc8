"""The parts of the API client that need no server: the gate, the single flight, paths, headers, proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.api import Access, safe_in_path
from worker.api.flight import SingleFlight
from worker.api.gate import Gate
from worker.api.patience import Patience
from worker.api.response import http_date, retry_after, said
from worker.api.segment import path
from worker.api.transport import Transport
from worker.core.errors import Outage

NOON = 1_773_576_000.0
"""Sun, 15 Mar 2026 12:00:00 GMT."""


class SteppingClock:
    """A clock that only sleeping moves; `meanwhile` happens during the next sleep."""

    def __init__(self) -> None:
        self.time = 0.0
        self.meanwhile: Callable[[], None] = lambda: None

    def now(self) -> float:
        return NOON + self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        happens, self.meanwhile = self.meanwhile, lambda: None
        happens()

    def chance(self) -> float:
        return 0.0


async def test_requests_start_no_faster_than_the_budget() -> None:
    clock = SteppingClock()
    gate = Gate(clock, Patience(clock), per_s=4)
    starts = []
    for _ in range(5):
        await gate.passed()
        starts.append(clock.time)
    assert starts == [0, 0.25, 0.5, 0.75, 1.0]


async def test_nobody_starts_while_ditio_asks_for_quiet_and_a_shorter_pause_does_not_end_a_longer_one() -> None:
    clock = SteppingClock()
    gate = Gate(clock, Patience(clock))
    gate.quiet(30)
    gate.quiet(5)
    await gate.passed()
    assert clock.time == 30


async def test_quiet_that_is_asked_for_while_a_request_waits_for_its_turn_holds_it() -> None:
    # Given a request that waits a second for its turn, and a 429 meanwhile
    clock = SteppingClock()
    gate = Gate(clock, Patience(clock), per_s=1)
    await gate.passed()
    clock.meanwhile = lambda: gate.quiet(20)
    # When
    await gate.passed()
    # Then
    assert clock.time == 21


async def test_a_pause_of_over_a_minute_gives_back() -> None:
    gate = Gate(clock := SteppingClock(), Patience(clock))
    gate.quiet(61)
    with pytest.raises(Outage) as error:
        await gate.passed()
    assert error.value.cause == "circuit"


async def test_who_asks_after_an_end_asks_anew() -> None:
    asked: list[int] = []

    async def ask() -> None:
        asked.append(len(asked))
        await asyncio.sleep(0)
        if len(asked) == 1:
            raise Outage("circuit", "down")

    flight = SingleFlight(ask)
    together = await asyncio.gather(flight(), flight(), flight(), return_exceptions=True)
    assert [str(each) for each in together] == ["down"] * 3
    await flight()
    assert asked == [0, 1]


@pytest.mark.parametrize(
    ("given_text", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Sun, 15 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 15 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("0\x1f", 0.0),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Sun, 99 Mar 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_holds_seconds_or_a_date(given_text: str | None, seconds: float | None) -> None:
    assert retry_after(given_text, NOON) == seconds


@given(
    st.text(max_size=60) | st.from_regex(r"[A-Z][a-z]{2}, -?\d+ [A-Z][a-z]{2} -?\d+ \d+:\d+:\d+ ([A-Z]+|[+-]\d+)", fullmatch=True)
)
def test_no_header_of_a_server_breaks_the_worker(text: str) -> None:
    retry_after(text, NOON)
    http_date(text)


@given(st.binary(max_size=200))
def test_no_error_page_breaks_the_worker(body: bytes) -> None:
    assert len(said(body, "secret")) <= 300


def test_only_dots_and_nothing_are_lost_in_a_path() -> None:
    lost = [key for key in ("", ".", "..", "...", "../x", "%2E", "a", " ", "/") if not safe_in_path(key)]
    assert lost == ["", ".", ".."]
    with pytest.raises(ValueError, match="no path can hold"):
        path("tasks", "..")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_key_is_one_segment_of_plain_characters(key: str) -> None:
    if safe_in_path(key):
        assert set(path(key)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%")


@pytest.mark.parametrize(
    ("host", "proxied"),
    [("core-api.ditio.dev", True), ("ditio.local", False), ("api.ditio.local", False), ("xditio.local", True)],
)
async def test_hosts_and_subdomains_of_no_proxy_are_reached_directly(host: str, proxied: bool) -> None:
    transport = Transport(None, "http://proxy:3128", (".ditio.local",), connect_s=1)
    try:
        assert (transport._proxy_for(host) is not None) == proxied
    finally:
        await transport.aclose()


def test_what_a_client_is_given_is_shown_without_secret_and_proxy_password() -> None:
    access = Access("https://api", "https://id", "client", lambda: "hush", "c-1", proxy="http://user:hush@proxy:3128")
    assert "hush" not in repr(access)
    assert "proxy" not in repr(access)
