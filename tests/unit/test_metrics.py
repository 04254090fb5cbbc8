"""Metrics: exactly the documented names, types and labels, and never more series than the closed sets allow."""

from __future__ import annotations

from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from worker.metrics import CONTENT_TYPE, Metrics
from worker.ports import OperationName

DOCUMENTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "events_total": ("counter", ("source", "type", "outcome")),
    "event_duration_seconds": ("histogram", ("type",)),
    "event_delay_seconds": ("histogram", ("type",)),
    "dead_letters_total": ("counter", ("reason",)),
    "dead_letters": ("gauge", ("reason",)),
    "oldest_dead_letter_age_seconds": ("gauge", ("reason",)),
    "waiting_events": ("gauge", ("kind",)),
    "work_orders_unsettled": ("gauge", ("state",)),
    "api_requests_total": ("counter", ("operation", "status")),
    "api_request_duration_seconds": ("histogram", ("operation",)),
    "api_retries_total": ("counter", ("cause",)),
    "lookups_total": ("counter", ("kind", "result")),
    "in_flight": ("gauge", ()),
    "concurrency_limit": ("gauge", ()),
    "lanes": ("gauge", ()),
    "held_bytes": ("gauge", ()),
    "circuit_state": ("gauge", ()),
    "paused": ("gauge", ("cause",)),
    "broker_connected": ("gauge", ()),
    "consumer_active": ("gauge", ()),
    "broker_reconnects_total": ("counter", ()),
    "late_acks_total": ("counter", ()),
    "last_event_timestamp_seconds": ("gauge", ("source",)),
    "coalesced_events_total": ("counter", ()),
    "stamp_ties_total": ("counter", ("source",)),
    "unknown_fields_total": ("counter", ("source",)),
    "ledger_commit_seconds": ("histogram", ()),
    "loop_lag_seconds": ("histogram", ()),
    "ledger_work_orders": ("gauge", ()),
    "build_info": ("gauge", ("version",)),
}

LABEL_VALUES = {
    "type": {
        "workorder.created.v1",
        "workorder.updated.v1",
        "workorder.replaced.v1",
        "workorder.deleted.v1",
        "unknown",
    },
    "outcome": {"applied", "unchanged", "superseded", "ignored", "waiting", "dead"},
    "reason": {
        *("invalid-event", "unsupported-type", "wrong-source", "unresolved-project", "unresolved-parent"),
        *("unresolved-person", "unresolved-unit", "unresolved-status", "ambiguous", "rejected", "failing", "poisonous"),
    },
    "operation": {
        *("token", "control", "project_list", "project_get", "task_get", "task_list", "task_find", "task_create"),
        *("task_update", "task_replace", "task_delete", "person_find"),
    },
    "result": {"hit", "miss", "absent"},
    "state": {"missing", "stale"},
}

CAUSES = {
    "paused": {"manual", "credentials", "circuit", "ledger", "broker", "clock", "mass-change", "environment"},
    "api_retries_total": {"connect", "timeout", "protocol", "server", "throttled", "unauthorized"},
}

KINDS = {
    "waiting_events": {"project", "parent", "person", "settling", "failing"},
    "lookups_total": {"project", "task", "parent", "person"},
}


def exposed(metrics: Metrics) -> dict[str, tuple[str, list[dict[str, str]]]]:
    """Each metric as a scraper sees it: its type, and the labels of its series (without `le`)."""
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = [{key: value for key, value in sample.labels.items() if key != "le"} for sample in family.samples]
        found[name.removeprefix("ditio_worker_")] = (family.type, labels)
    return found


def value(metrics: Metrics, series: str) -> float:
    """The value of a series given as the text format writes it."""
    lines = dict(line.rsplit(" ", 1) for line in metrics.render().decode().splitlines() if not line.startswith("#"))
    return float(lines[f"ditio_worker_{series}"])


def test_exactly_the_documented_metrics_are_there_from_the_start() -> None:
    # Given
    metrics = Metrics("1.2.3", sources=("visma", "sap"))

    # When
    found = exposed(metrics)

    # Then
    assert {name: kind for name, (kind, _) in found.items()} == {name: kind for name, (kind, _) in DOCUMENTED.items()}
    for name, (_, labels) in DOCUMENTED.items():
        series = found[name][1]
        assert series, name
        assert all(tuple(sorted(each)) == tuple(sorted(labels)) for each in series), name
    assert all(line.startswith(("#", "ditio_worker_")) for line in metrics.render().decode().splitlines())


def test_labels_take_exactly_the_documented_values() -> None:
    found = exposed(Metrics("1.2.3", sources=("visma", "sap")))

    for name, (_, labels) in DOCUMENTED.items():
        for label in labels:
            values = {each[label] for each in found[name][1]}
            expected = {
                "source": {"visma", "sap", "unknown"},
                "cause": CAUSES.get(name),
                "kind": KINDS.get(name),
                "status": {"200", "none"},
                "version": {"1.2.3"},
            }.get(label) or LABEL_VALUES[label]
            assert values == expected, (name, label)


def test_without_configured_sources_every_event_counts_as_all() -> None:
    metrics = Metrics("1")

    metrics.event_settled(None, "workorder.updated.v1", "applied", 0.1)
    metrics.event_settled("anything", "workorder.updated.v1", "applied", 0.1)

    assert value(metrics, 'events_total{outcome="applied",source="all",type="workorder.updated.v1"}') == 2
    assert {each["source"] for each in exposed(metrics)["events_total"][1]} == {"all"}


def test_ten_thousand_ids_and_errors_leave_the_number_of_series_unchanged() -> None:
    # Given: each status that exists was seen once
    metrics = Metrics("1", sources=("visma",))
    for operation in get_args(OperationName):
        for status in range(100, 600):
            metrics.request(operation, status, 0.1)
    before = len(metrics.render().splitlines())

    # When: hostile values arrive wherever an event or an answer decides on a label
    for number in range(10_000):
        odd = f"/erp/{number}"
        metrics.event_received(odd, 1.0)
        metrics.event_settled(odd, f"type.{number}", "dead", 0.1)
        metrics.event_applied(f"type.{number}", 1.0)
        metrics.stamp_tie(odd)
        metrics.unknown_fields(odd, 1)
        metrics.request("task_get", 600 + number, 0.1)
        metrics.request("task_get", -number, 0.1)

    # Then
    assert len(metrics.render().splitlines()) == before
    assert value(metrics, 'events_total{outcome="dead",source="unknown",type="unknown"}') == 10_000
    assert value(metrics, 'api_requests_total{operation="task_get",status="none"}') == 20_000


@pytest.mark.parametrize(
    ("act", "series", "expected"),
    [
        (lambda m: m.event_received("visma", 1.7e9), 'last_event_timestamp_seconds{source="visma"}', 1.7e9),
        (lambda m: m.event_settled("visma", "x", "waiting", 2), 'event_duration_seconds_sum{type="unknown"}', 2),
        (lambda m: m.event_applied("x", -5), 'event_delay_seconds_sum{type="unknown"}', 0),
        (lambda m: m.event_applied("x", 50), 'event_delay_seconds_bucket{le="60.0",type="unknown"}', 1),
        (lambda m: m.waiting("parent", 2), 'waiting_events{kind="parent"}', 2),
        (lambda m: m.waiting_now("settling", 7), 'waiting_events{kind="settling"}', 7),
        (lambda m: m.work_orders_unsettled("stale", 3), 'work_orders_unsettled{state="stale"}', 3),
        (lambda m: m.coalesced(9), "coalesced_events_total", 9),
        (lambda m: m.stamp_tie("visma"), 'stamp_ties_total{source="visma"}', 1),
        (lambda m: m.unknown_fields("visma", 2), 'unknown_fields_total{source="visma"}', 2),
        (lambda m: m.letter_buried("rejected"), 'dead_letters_total{reason="rejected"}', 1),
        (lambda m: m.letters("rejected", 4, 60), 'dead_letters{reason="rejected"}', 4),
        (lambda m: m.letters("rejected", 4, 60), 'oldest_dead_letter_age_seconds{reason="rejected"}', 60),
        (lambda m: m.request("task_create", 201, 0.2), 'api_requests_total{operation="task_create",status="201"}', 1),
        (lambda m: m.request("token", None, 3), 'api_request_duration_seconds_sum{operation="token"}', 3),
        (lambda m: m.retry("throttled"), 'api_retries_total{cause="throttled"}', 1),
        (lambda m: m.lookup("person", "absent"), 'lookups_total{kind="person",result="absent"}', 1),
        (lambda m: m.circuit("open"), "circuit_state", 2),
        (lambda m: m.circuit("half-open"), "circuit_state", 1),
        (lambda m: m.in_flight(5), "in_flight", 5),
        (lambda m: m.concurrency_limit(6), "concurrency_limit", 6),
        (lambda m: m.lanes(7), "lanes", 7),
        (lambda m: m.held(8), "held_bytes", 8),
        (lambda m: m.paused("mass-change", True), 'paused{cause="mass-change"}', 1),
        (lambda m: m.broker_connected(True), "broker_connected", 1),
        (lambda m: m.consumer_active(True), "consumer_active", 1),
        (lambda m: m.broker_reconnected(), "broker_reconnects_total", 1),
        (lambda m: m.late_ack(), "late_acks_total", 1),
        (lambda m: m.ledger_commit(0.25), "ledger_commit_seconds_sum", 0.25),
        (lambda m: m.ledger_work_orders(11), "ledger_work_orders", 11),
        (lambda m: m.loop_lag(0.5), "loop_lag_seconds_sum", 0.5),
        (lambda _: None, 'build_info{version="1"}', 1),
    ],
)
def test_each_method_moves_its_series(act, series: str, expected: float) -> None:  # type: ignore[no-untyped-def]  # lambdas
    metrics = Metrics("1", sources=("visma",))

    act(metrics)

    assert value(metrics, series) == expected


def test_two_of_them_share_nothing() -> None:
    one, other = Metrics("1"), Metrics("1")

    one.late_ack()

    assert value(other, "late_acks_total") == 0


def test_the_content_type_is_the_text_format_that_can_carry_both_dead_letter_metrics() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
