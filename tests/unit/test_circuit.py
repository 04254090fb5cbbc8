"""The circuit and the row of refused writes: what is an outage, what is an event's own fault, and what is not decided yet."""

from __future__ import annotations

from typing import get_args

import pytest

from worker.core.circuit import LONGEST_ROW, SHOWN, TRANSITIONS, UNDECIDED_S, Refusals, Sign, State, step


def row(*orders: str, status: int | None = 403, now: float = 10.0) -> Refusals:
    """Work orders refused one after the other."""
    refusals = Refusals()
    for order in orders:
        refusals = refusals.refused(order, status, now)
    return refusals


MANY = [f"WO-{number}" for number in range(LONGEST_ROW)]


def test_every_state_is_shown_and_every_sign_leads_to_a_state() -> None:
    assert TRANSITIONS.keys() == SHOWN.keys() == set(get_args(State))
    assert {step(state, sign) for state in get_args(State) for sign in get_args(Sign)} == set(get_args(State))


@pytest.mark.parametrize("state", get_args(State))
def test_from_every_state_a_sound_ditio_closes_the_circuit(state: State) -> None:
    for sign in ("control read succeeds", "write succeeds"):
        state = step(state, sign)
    assert state == "closed"


@pytest.mark.parametrize("state", get_args(State))
def test_no_answer_opens_the_circuit_whatever_it_was(state: State) -> None:
    assert SHOWN[step(state, "no answer")] == "open"


def test_a_read_does_not_close_a_circuit_that_writes_have_opened() -> None:
    assert step("refused", "control read succeeds") == "half-open"
    assert step("half-open", "write is refused") == "refused"


def test_ten_different_work_orders_in_a_row_are_an_outage_and_one_ten_times_is_not() -> None:
    assert row(*MANY).full
    assert not row(*MANY[1:]).full
    assert not row(*["WO-1"] * 50).full


def test_a_success_ends_the_row() -> None:
    assert not row(*MANY[1:]).succeeded(5.0).refused("WO-X", 403, 11.0).full


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [([403] * 10, "credentials"), ([403] * 9 + [500], "circuit"), ([401] * 10, "circuit"), ([None] * 10, "circuit")],
)
def test_only_403_throughout_means_the_client(statuses: list[int | None], cause: str) -> None:
    refusals = Refusals()
    for order, status in zip(MANY, statuses, strict=True):
        refusals = refusals.refused(order, status, 1.0)
    assert refusals.cause == cause


def test_the_first_refusal_and_a_work_order_alone_are_not_spared() -> None:
    assert not Refusals().spares("WO-1", final=True, now=0.0)
    assert not row("WO-1").spares("WO-1", final=True, now=11.0)


def test_the_second_work_order_is_spared_and_then_the_first_too() -> None:
    assert row("WO-1").spares("WO-2", final=True, now=11.0)
    assert row("WO-1", "WO-2").spares("WO-1", final=True, now=11.0)


def test_after_a_success_that_began_later_the_next_refusal_is_alone_again() -> None:
    assert not row("WO-1", now=10.0).succeeded(10.5).spares("WO-2", final=True, now=11.0)


def test_a_success_that_was_under_way_when_the_trouble_began_excuses_nobody() -> None:
    assert row("WO-1", now=10.0).succeeded(9.5).spares("WO-2", final=True, now=11.0)


def test_what_only_waits_is_spared_once_and_what_would_be_its_end_until_it_is_decided() -> None:
    two = row("WO-1", "WO-2", now=10.0)
    assert not two.spares("WO-2", final=False, now=11.0)
    assert two.spares("WO-2", final=True, now=9.0 + UNDECIDED_S)
    assert not two.spares("WO-2", final=True, now=11.0 + UNDECIDED_S)


def test_suspicion_outlasts_an_outage_and_the_row_does_not() -> None:
    after = row(*MANY, now=10.0).answered(20_000.0)
    assert not after.full
    assert after.spares("WO-1", final=True, now=20_001.0)
