"""What operators' commands make of what they see."""

from __future__ import annotations

import os
import socket

import msgspec
import pytest

from worker.cli.looking import LedgerSeen, PagesSeen, Seen, pages_url, state
from worker.cli.opening import ago
from worker.cli.waiting import groups, unknown_to_ledger
from worker.config import Settings
from worker.config.parsers import Address
from worker.ledger import Aside, Run, Unsettled

NOW = 1_800_000_000.0
HERE = os.getpid(), socket.gethostname()
ENDED = 2**22 + 1, socket.gethostname()
"""No process has such an id."""

READY, NOT_READY = PagesSeen(True, [], "closed", []), PagesSeen(False, ["broker: gone"], "closed", [])


def seen(pages: PagesSeen | None, *runs: Run) -> Seen:
    ledger = LedgerSeen("/l", 1, 0, 0, None, None, {}, Unsettled({}, {}), runs)
    return Seen(ledger, None, pages)


def fell(ago_s: float) -> Run:
    return Run(NOW - ago_s, None)


@pytest.mark.parametrize(
    ("what", "holder", "word", "says"),
    [
        (seen(READY, fell(5)), HERE, "running", "ready"),
        (seen(NOT_READY, fell(5)), HERE, "not ready", "broker: gone"),
        (seen(None, fell(5)), HERE, "running", "no worker answers at WORKER_HTTP_ADDRESS"),
        (seen(None, fell(5)), ENDED, "crashed", "did not end in order"),
        (seen(None, fell(5)), (os.getpid(), "another-host"), "crashed", "did not end in order"),
        (seen(None, Run(NOW - 300, NOW - 240)), ENDED, "stopped", "stopped 4 min ago"),
        (seen(None), None, "unknown", "the ledger tells of none"),
        (seen(None, fell(5), fell(60), fell(120)), ENDED, "crash-looping", "3 starts in the last 10 min"),
        (seen(NOT_READY, fell(5), fell(60), fell(120), fell(180)), HERE, "crash-looping", "broker: gone; 3 starts"),
        (seen(READY, fell(5), fell(60), fell(120)), HERE, "running", "ready"),
        (seen(None, fell(5), fell(60), fell(4000)), ENDED, "crashed", "did not end in order"),
    ],
)
def test_a_worker_is_told_by_its_pages_its_runs_and_its_process(
    what: Seen, holder: tuple[int, str] | None, word: str, says: str
) -> None:
    told, sentence = state(what, holder, NOW)
    assert told == word
    assert says in sentence


def aside(id: str, external_id: str, since: int, **changes: object) -> Aside:
    given = Aside("/erp", id, "t", "parent", "stale", "P-1", external_id, "unresolved-parent", "no WO-9", since, 10_000_000)
    return msgspec.structs.replace(given, **changes)


def test_what_waits_for_one_thing_is_one_group() -> None:
    rows = groups(
        [aside("1", "A", 1_000_000), aside("2", "A", 2_000_000), aside("3", "B", 3_000_000), aside("4", "C", 4, detail="no WO-8")]
    )
    assert [(row["events"], row["work_orders"], row["since"], row["detail"]) for row in rows] == [
        (3, 2, "1970-01-01T00:00:01Z", "no WO-9"),
        (1, 1, "1970-01-01T00:00:00Z", "no WO-8"),
    ]


def test_messages_that_the_ledger_does_not_know_of_are_told() -> None:
    asides = [aside("1", "A", 1), aside("2", "B", 1, back_at=1)]
    assert unknown_to_ledger(1, asides, now=5.0) == ""
    assert "hold 3 messages, and the ledger knows of 1" in unknown_to_ledger(3, asides, now=5.0)


@pytest.mark.parametrize(
    ("host", "url"),
    [("", "http://127.0.0.1:9108"), ("0.0.0.0", "http://127.0.0.1:9108"), ("::", "http://[::1]:9108"), ("h", "http://h:9108")],
)
def test_the_pages_are_asked_where_they_can_be_reached(host: str, url: str) -> None:
    assert pages_url(Settings.of({"worker_http_address": Address(host, 9108)})) == url


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")])
def test_how_long_ago_is_told_in_the_largest_unit(seconds: float, text: str) -> None:
    assert ago(seconds) == text
