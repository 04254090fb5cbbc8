"""What a replay decides: which letters in which order and at what pace, what goes out, what a repair makes of it, what is a copy."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dead import ODD, dead, numbered
from tests.support.publishing import event
from worker.cli.replaying import Lines, duration, line
from worker.cli.terminal import Terminal
from worker.core.dead_letter import read
from worker.core.decode import Rules, decode
from worker.core.errors import BadEvent, Invalid
from worker.core.letter import Facts, letter, travel
from worker.core.message import Message
from worker.core.outcome import Failure
from worker.core.replay_left import Signs, Verdict, verdict
from worker.core.replay_order import RAMP_S, allowed, in_order, lasts
from worker.core.replay_repair import NoRepair, repair, repaired
from worker.core.replayed import Run, replayed, replayed_from
from worker.core.selection import Selection
from worker.dead.replay import Progress
from worker.dead.replay_choice import UNSURE, Asked, Choice, Chooser, Reading, without
from worker.dead.replay_following import Following

RUN = Run("run-1", "ole@laptop", 1_773_565_200_000_000)
RULES = Rules(now=1_800_000_000.0)
READING = Reading(partial(decode, rules=RULES))


def chosen_of(*letters: Message, asked: Asked = Asked()) -> Choice:
    """What a replay would take of these letters."""
    chooser = Chooser(asked, READING, RUN)
    for message in letters:
        chooser.visit(read(message), message)
    return chooser.choice()


def body_of(message: Message) -> Any:
    return json.loads(message.body)


# --- what goes out


def test_what_goes_out_is_the_event_as_it_was_with_the_headers_of_the_replay() -> None:
    # Given
    came = Message(
        b"{}", {"traceparent": "t", "x-tenant": "a", "CC": ["q"]}, {"priority": 3, "expiration": "5"}, "workorders", "a.b"
    )
    message = dead(came, 7, Failure("rejected", "no", "data.name", 400, "{}"))
    buried = msgspec.structs.replace(message, headers={**message.headers, "x-death": [{"n": 1}], "x-delivery-count": 3})
    # When
    sent = replayed(buried, RUN)
    # Then
    assert sent.body == b"{}"
    assert sent.properties == {"priority": 3, "delivery_mode": 2}
    assert sent.headers == {
        "traceparent": "t",
        "first-seen-at": message.headers["first-seen-at"],
        "original-exchange": "workorders",
        "original-routing-key": "a.b",
        "replay-count": 1,
        "replay-id": "run-1",
        "replayed-by": "ole@laptop",
        "replayed-from": f"{7:032x}",
    }


def test_the_counters_of_the_journey_start_anew_and_first_seen_stays() -> None:
    message = msgspec.structs.replace(numbered(4), headers={**numbered(4).headers, "waited-s": 604_800, "failing-rounds": 7})
    before, after = travel(message), travel(replayed(message, RUN))
    assert (after.attempts, after.waited_s, after.failing_rounds) == (0, 0, 0)
    assert after.first_seen == before.first_seen


def test_a_letter_that_comes_back_says_from_which_and_counts_on() -> None:
    # Given
    sent = replayed(numbered(1), RUN)
    sent = msgspec.structs.replace(sent, exchange="", routing_key="workorders.events")
    # When it dies again, and again goes out
    facts = Facts(read(numbered(1)).identity, 0, 1, "0.1.0", letter_id="b" * 32)
    again = letter(sent, Failure("rejected", "no"), facts)
    # Then
    told = read(again)
    assert (told.replays, told.replay_id, told.replayed_by, replayed_from(again)) == (1, "run-1", "ole@laptop", f"{1:032x}")
    assert (told.exchange, told.routing_key) == ("", "")
    third = replayed(again, Run("run-2", "kari", 0))
    assert (third.headers["replay-count"], third.headers["replay-id"], replayed_from(third)) == (2, "run-2", "b" * 32)


def test_what_nobodys_worker_wrote_goes_out_without_what_the_broker_would_act_on() -> None:
    foreign = Message(b"?", {"CC": ["everyone"], "BCC": ["x"], "n": None}, {"expiration": "1", "user_id": "root", "type": "t"})
    sent = replayed(foreign, RUN)
    assert sent.properties == {"type": "t"}
    assert set(sent.headers) == {"n", "replay-count", "replay-id", "replayed-by", "replayed-from"}


# --- order and pace


def test_letters_go_out_by_work_order_and_stamp_and_those_without_one_last() -> None:
    # Given
    late = dead(event("updated", "WO-1", id="late", time="2026-03-16T08:00:00Z", name="b"), 1)
    early = dead(event("updated", "WO-1", id="early", time="2026-03-15T08:00:00+02:00", name="a"), 2)
    broken = dead(event("updated", "WO-1", id="broken", price="abc"), 3)
    other = dead(event("updated", "WO-0", id="other", name="c"), 4)
    # When
    choice = chosen_of(broken, late, early, other)
    # Then
    assert [each.identity.id for each in choice.chosen] == ["other", "early", "late", "broken"]


@given(st.permutations(range(9)))
def test_the_order_does_not_depend_on_the_order_in_the_queue(places: list[int]) -> None:
    letters = [dead(event("updated", f"WO-{n % 3}", id=f"{n}", name="x"), n) for n in range(9)]
    once = in_order(chosen_of(*letters).chosen)
    assert in_order(chosen_of(*(letters[place] for place in places)).chosen) == once


def test_the_pace_rises_evenly_to_the_rate_and_stays_there() -> None:
    assert allowed(10, 0) == 1
    assert allowed(10, RAMP_S) == 1 + 10 * RAMP_S / 2
    assert allowed(10, RAMP_S + 60) - allowed(10, RAMP_S) == pytest.approx(600)
    steps = [allowed(10, at + 1) - allowed(10, at) for at in range(int(RAMP_S))]
    assert steps == sorted(steps)
    assert max(steps) <= 10
    assert allowed(0, 0) == float("inf")
    assert (lasts(20_000, 10), lasts(5, 0)) == (2000, 0)


# --- what is taken


def test_letters_that_were_replayed_often_are_left_and_named() -> None:
    often = msgspec.structs.replace(numbered(1), headers={**numbered(1).headers, "replay-count": 5})
    choice = chosen_of(often, numbered(2))
    assert [each.id for each in choice.chosen] == [f"{2:032x}"]
    assert [(each.id, each.why) for each in choice.left] == [(f"{1:032x}", "was replayed 5 times already (--max-replays)")]


def test_only_what_is_meant_is_taken_and_copies_of_one_letter_are_one() -> None:
    asked = Asked(Selection(external_ids=("WO-2", "WO-3")))
    choice = chosen_of(numbered(1), numbered(2), numbered(2), numbered(3), *ODD, asked=asked)
    assert [each.identity.external_id for each in choice.chosen] == ["WO-2", "WO-3"]
    assert choice.total == 8


def test_a_letter_that_has_come_back_as_another_is_a_copy_if_both_are_of_one_event() -> None:
    # Given
    back = dead(replayed(numbered(1), RUN), 9)
    claims = dead(Message(event("updated", "WO-5").body, {"replayed-from": f"{2:032x}"}), 8)
    # When
    choice = chosen_of(numbered(1), numbered(2), back, claims)
    # Then
    assert choice.copies == [f"{1:032x}"]
    assert {each.id for each in choice.chosen} == {f"{number:032x}" for number in (2, 8, 9)}


def test_of_two_letters_that_were_replayed_from_the_same_one_the_older_is_a_copy() -> None:
    # Given
    first, second = dead(replayed(numbered(1), RUN), 8), dead(replayed(numbered(1), Run("run-2", "x", 0)), 9)
    edited = msgspec.structs.replace(second, headers={**second.headers, "letter-id": "a" * 32, "repair-count": 1})
    # When
    choice = chosen_of(first, second, edited)
    # Then
    assert choice.copies == [f"{8:032x}"]
    assert {each.id for each in choice.chosen} == {f"{9:032x}", "a" * 32}


def test_what_may_have_been_sent_out_is_left() -> None:
    choice = without(chosen_of(numbered(1), numbered(2)), frozenset({f"{1:032x}"}))
    assert ([each.id for each in choice.chosen], [each.why for each in choice.left]) == ([f"{2:032x}"], [UNSURE])


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        (Signs(True, True, False, False, 0), "copy"),
        (Signs(False, True, True, False, 0), "copy"),
        (Signs(False, True, False, True, 0), "copy"),
        (Signs(False, False, False, False, 5), "letter"),
        (Signs(False, False, False, False, 4.9), "unsure"),
        (Signs(False, True, False, False, 99_999), "unsure"),
    ],
)
def test_a_letter_with_a_note_is_a_copy_by_any_sign_and_a_letter_only_where_nothing_can_hide(
    signs: Signs, expected: Verdict
) -> None:
    assert verdict(signs) == expected


# --- repairs


def made(message: Message, *texts: str) -> Message:
    return repaired(message, [repair(text) for text in texts], RUN)


def test_a_repair_is_laid_over_the_body_and_says_who_did_what() -> None:
    # Given
    message = dead(event("updated", "WO-1", unit="m³", price=1.10, ext={"a": [1]}), 3)
    # When
    sent = made(
        message,
        "time=-1h",
        "data.unit=m3",
        "data.price=null",
        "data.mainForeman=1042",
        "data.estimatedHourQty=7.5",
        "data.ext.a=2",
    )
    # Then
    body = body_of(sent)
    assert body["time"] == "2026-03-15T07:00:00Z"
    assert body["data"] == {
        "project": {"number": "P-2026-001"}, "externalId": "WO-1", "unit": "m3", "price": None, "ext": {"a": 2},
        "mainForeman": "1042", "estimatedHourQty": 7.5,
    }  # fmt: skip
    provenance = {name: sent.headers[name] for name in ("repair-count", "edited-from", "edited-by", "edited-at")}
    assert provenance == {
        "repair-count": 1, "edited-from": f"{3:032x}", "edited-by": "ole@laptop", "edited-at": "2026-03-15T09:00:00.000000Z",
    }  # fmt: skip
    assert str(sent.headers["edited-set"]).startswith("time=-1h; data.unit=m3; data.price=null")
    # And it survives into what goes out, where it counts after what it was made from
    assert travel(replayed(sent, RUN)).repair == 1


def test_a_repair_of_a_binary_event_goes_to_the_headers_and_the_data() -> None:
    # Given
    at = datetime(2026, 3, 15, 8, 0, 0, tzinfo=UTC)
    headers = {"cloudEvents_id": "e", "cloudEvents_time": at, "cloudEvents:source": "/erp", "cloudEvents:type": "workorder.updated.v1",
               "cloudEvents:specversion": "1.0", "cloudEvents:subject": "s"}  # fmt: skip
    message = dead(Message(b'{"project": {"number": "P"}, "externalId": "W"}', headers, {"content_type": "application/json"}))
    # When
    sent = made(message, "time=+2d", "data.name=ny", "subject=null")
    # Then
    attributes = {name: value for name, value in sent.headers.items() if name.startswith("cloudEvents")}
    assert attributes == {
        "cloudEvents_id": "e", "cloudEvents:time": "2026-03-17T08:00:00Z", "cloudEvents:source": "/erp",
        "cloudEvents:type": "workorder.updated.v1", "cloudEvents:specversion": "1.0",
    }  # fmt: skip
    assert body_of(sent) == {"project": {"number": "P"}, "externalId": "W", "name": "ny"}
    assert decode(replayed(sent, RUN), RULES).time.rfc3339() == "2026-03-17T08:00:00Z"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data.unit", "expected PATH=VALUE"),
        ("=x", "expected PATH=VALUE"),
        ("id=5", "id cannot be set"),
        ("data=5", "data cannot be set"),
        ("specversion=2", "specversion cannot be set"),
        ("unit.x=5", "begins with data."),
        ("time=tomorrow", "or a shift such as -1h"),
        ("time=2026-03-15T08:00:00", "no certain instant"),
        ("time=null", "or a shift"),
    ],
)
def test_what_is_no_repair_is_told(text: str, said: str) -> None:
    with pytest.raises(NoRepair) as caught:
        repair(text)
    assert said in str(caught.value)


def test_a_shift_keeps_all_digits_of_the_time() -> None:
    message = dead(event("updated", "WO-1", time="2026-03-15T00:30:00.1234567+01:00"))
    assert body_of(made(message, "time=-1h"))["time"] == "2026-03-14T22:30:00.1234567Z"


@pytest.mark.parametrize(
    "body", [b"\xff", b"[]", b'{"specversion": "1.0", "data": {"a": 1, "a": 2}}', b'{"specversion": "1.0", "data": 5}']
)
def test_what_cannot_be_repaired_is_left_and_named(body: bytes) -> None:
    choice = chosen_of(dead(Message(body)), numbered(2), asked=Asked(repairs=(repair("data.name=x"),)))
    assert [each.id for each in choice.chosen] == [f"{2:032x}"]
    assert choice.left[0].why.startswith("is still invalid: ")


def test_a_repair_does_not_decide_which_of_two_values_was_meant() -> None:
    body = event("updated", "WO-1", name="x").body.replace(b'"name": "x"', b'"name": "x", "name": "y"')
    choice = chosen_of(dead(Message(body)), asked=Asked(repairs=(repair("data.price=5"),)))
    assert [each.why for each in choice.left] == [
        "is still invalid: a name is given twice: which of the two is meant only its sender knows"
    ]


def test_what_a_repair_leaves_invalid_is_left_with_the_field() -> None:
    bad, good = dead(event("updated", "WO-1", price="abc"), 1), dead(event("updated", "WO-2", price="abc", unit=5), 2)
    choice = chosen_of(bad, good, asked=Asked(repairs=(repair("data.price=5"),)))
    assert [each.id for each in choice.chosen] == [f"{1:032x}"]
    assert [(each.id, each.field) for each in choice.left] == [(f"{2:032x}", "data.unit")]


@given(st.binary(max_size=60))
def test_whatever_a_letter_holds_a_repair_is_made_or_refused(body: bytes) -> None:
    try:
        sent = made(dead(Message(body)), "time=-1h", "data.unit=m3")
    except (Invalid, BadEvent):
        return
    assert body_of(sent)["data"]["unit"] == "m3"


# --- what became of them


def test_what_comes_back_counts_once_and_only_if_it_is_of_this_replay() -> None:
    # Given
    following = Following(RUN, None)
    following.sent(chosen_of(numbered(1), numbered(2)).chosen)
    back = dead(replayed(numbered(1), RUN), 9)
    # When
    for message in (back, back, numbered(2), dead(replayed(numbered(2), Run("earlier", "x", 0)), 8)):
        following.came(message)
    # Then
    assert (following.counts, following.failures, following.open) == ({"under way": 1, "dead": 1}, 1, 1)
    assert following.back[f"{1:032x}"].id == f"{9:032x}"


def test_progress_tells_rate_and_time_left() -> None:
    told = line(Progress(120, 20_000, {"applied": 100, "dead": 1, "under way": 19}), 10.0)
    assert told == "120 of 20000 letters replayed, 10.0/s, 33 min 8 s left: 100 applied, 19 under way, 1 dead"
    assert line(Progress(2, 2, {}), 0.5) == "2 of 2 letters replayed, 0.5/s: none yet"
    assert [duration(each) for each in (5, 60, 7_260)] == ["5 s", "1 min 0 s", "2 h 1 min"]


def test_plain_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("worker.cli.replaying.time.monotonic", lambda: now[0])
    err = StringIO()
    lines = Lines(Terminal({}, StringIO(), err), 0.0)
    for second in range(25):
        now[0] = float(second)
        lines.tell(Progress(second, 100, {}))
    assert [text.partition(" ")[0] for text in err.getvalue().splitlines()] == ["10", "20"]
