"""What the worker counts, for Prometheus. Labels take values of closed sets only: the number of series is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from worker.core.event import EventType
from worker.core.outcome import Reason, WaitKind
from worker.ports import OperationName

OutcomeName: TypeAlias = Literal["applied", "unchanged", "superseded", "ignored", "waiting", "dead"]
PauseCause: TypeAlias = Literal["manual", "credentials", "circuit", "ledger", "broker", "clock", "mass-change", "environment"]
RetryCause: TypeAlias = Literal["connect", "timeout", "protocol", "server", "throttled", "unauthorized"]
LookupKind: TypeAlias = Literal["project", "task", "parent", "person"]
LookupResult: TypeAlias = Literal["hit", "miss", "absent"]
UnsettledState: TypeAlias = Literal["missing", "stale"]
CircuitState: TypeAlias = Literal["closed", "half-open", "open"]

Metric = TypeVar("Metric", bound=MetricWrapperBase)

PREFIX: Final = "ditio_worker_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format. OpenMetrics cannot have both a counter `dead_letters_total` and a gauge `dead_letters`."""

UNKNOWN: Final = "unknown"
EVENT_TYPES: Final = (*(kind.value for kind in EventType), UNKNOWN)
CIRCUIT_VALUES: Final[Mapping[CircuitState, int]] = {"closed": 0, "half-open": 1, "open": 2}

EVENT_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
DELAY_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400, 604_800)
REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
COMMIT_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
LAG_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics, in a registry of their own.

    `sources` are the labels of the configured sources (`("all",)`: every source is handled). Wherever a method takes a
    source it takes such a label; any other, and None, counts as `unknown`, or as `all` where all are handled.
    """

    def __init__(self, version: str, sources: Sequence[str] = ("all",)) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._registry = CollectorRegistry()
        # prometheus-client takes the gauge `dead_letters` for a clash with the counter `dead_letters_total`.
        self._beside = CollectorRegistry()
        self._sources = tuple(sources) if tuple(sources) == ("all",) else (*sources, UNKNOWN)
        self._declare_events()
        self._declare_letters()
        self._declare_api()
        self._declare_broker()
        self._declare_process(version)

    def render(self) -> bytes:
        """Everything in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry) + generate_latest(self._beside)

    # --- events

    def event_received(self, source: str | None, at: float) -> None:
        """An event was taken from the broker at `at` (seconds since 1970)."""
        self._last_event[self._source(source)].set(at)

    def event_settled(self, source: str | None, event_type: str, outcome: OutcomeName, seconds: float) -> None:
        """An event was acknowledged, `seconds` after it was taken. Each round of waiting counts."""
        kind = event_type if event_type in EVENT_TYPES else UNKNOWN
        self._events[self._source(source), kind, outcome].inc()
        self._event_seconds[kind].observe(seconds)

    def event_applied(self, event_type: str, delay: float) -> None:
        """An event was applied, `delay` seconds after it was published."""
        self._event_delay[event_type if event_type in EVENT_TYPES else UNKNOWN].observe(max(0.0, delay))

    def waiting(self, kind: WaitKind, change: int) -> None:
        """So many more (or fewer) events wait."""
        self._waiting[kind].inc(change)

    def waiting_now(self, kind: WaitKind, events: int) -> None:
        """This many events wait, as the ledger or the broker says."""
        self._waiting[kind].set(events)

    def work_orders_unsettled(self, state: UnsettledState, work_orders: int) -> None:
        """This many distinct work orders are missing or stale in Ditio now."""
        self._unsettled[state].set(work_orders)

    def coalesced(self, events: int) -> None:
        """So many events were spared a call of their own."""
        self._coalesced.inc(events)

    def stamp_tie(self, source: str | None) -> None:
        """Two events of a work order had the same time and sequence."""
        self._ties[self._source(source)].inc()

    def unknown_fields(self, source: str | None, fields: int) -> None:
        """An event held so many fields that the worker does not know."""
        self._unknown_fields[self._source(source)].inc(fields)

    # --- dead letters

    def letter_buried(self, reason: Reason) -> None:
        """An event became a dead letter."""
        self._buried[reason].inc()

    def letters(self, reason: Reason, letters: int, oldest_age: float) -> None:
        """This many letters of a reason are in the queue, the oldest since `oldest_age` seconds (0: none)."""
        self._letters[reason].set(letters)
        self._oldest[reason].set(oldest_age)

    # --- API

    def request(self, operation: OperationName, status: int | None, seconds: float) -> None:
        """A request was answered with an HTTP status, or (None) not answered."""
        self._request_child(operation, status).inc()
        self._request_seconds[operation].observe(seconds)

    def retry(self, cause: RetryCause) -> None:
        """A request is made again."""
        self._retries[cause].inc()

    def lookup(self, kind: LookupKind, result: LookupResult) -> None:
        """A look-up was answered from a cache (`hit`), by the API (`miss`), or there is nothing (`absent`)."""
        self._lookups[kind, result].inc()

    def circuit(self, state: CircuitState) -> None:
        """The circuit changed its state."""
        self._circuit.set(CIRCUIT_VALUES[state])

    # --- the process

    def in_flight(self, requests: int) -> None:
        """This many requests to the API are in flight."""
        self._in_flight.set(requests)

    def concurrency_limit(self, requests: int) -> None:
        """At most this many requests may be in flight now."""
        self._limit.set(requests)

    def lanes(self, lanes: int) -> None:
        """This many work orders have events in the process."""
        self._lanes.set(lanes)

    def held(self, size: int) -> None:
        """The bodies that are held have this many bytes."""
        self._held.set(size)

    def paused(self, cause: PauseCause, on: bool) -> None:
        """Consumption is paused for this cause, or no more."""
        self._paused[cause].set(on)

    def broker_connected(self, on: bool) -> None:
        """The connections to the broker are there, or not."""
        self._connected.set(on)

    def consumer_active(self, on: bool) -> None:
        """The broker delivers to the worker, or not."""
        self._consuming.set(on)

    def broker_reconnected(self) -> None:
        """A connection to the broker was made anew."""
        self._reconnects.inc()

    def late_ack(self) -> None:
        """An acknowledgement was dropped because its channel is gone."""
        self._late_acks.inc()

    def ledger_commit(self, seconds: float) -> None:
        """The ledger committed."""
        self._commit_seconds.observe(seconds)

    def ledger_work_orders(self, work_orders: int) -> None:
        """The ledger knows this many work orders."""
        self._work_orders.set(work_orders)

    def loop_lag(self, seconds: float) -> None:
        """The event loop came back so much later than it was asked to."""
        self._lag.observe(seconds)

    # --- declarations, in the order of the documentation

    def _declare_events(self) -> None:
        events = self._counter("events_total", "Events settled; waiting counts each round.", "source", "type", "outcome")
        self._events = {
            (source, kind, outcome): events.labels(source, kind, outcome)
            for source in self._sources
            for kind in EVENT_TYPES
            for outcome in get_args(OutcomeName)
        }
        self._event_seconds = _children(
            self._histogram("event_duration_seconds", "From taken to acknowledged.", EVENT_SECONDS, "type"), EVENT_TYPES
        )
        self._event_delay = _children(
            self._histogram("event_delay_seconds", "From published to applied.", DELAY_SECONDS, "type"), EVENT_TYPES
        )
        self._waiting = _children(self._gauge("waiting_events", "Events in the wait queues.", "kind"), get_args(WaitKind))
        self._unsettled = _children(
            self._gauge("work_orders_unsettled", "Work orders that are wrong in Ditio now.", "state"),
            get_args(UnsettledState),
        )
        self._last_event = _children(
            self._gauge("last_event_timestamp_seconds", "When the last event was received; 0: none yet.", "source"),
            self._sources,
        )
        self._coalesced = self._counter(
            "coalesced_events_total", "Events that needed no call of their own, being merged with others."
        )
        self._ties = _children(
            self._counter("stamp_ties_total", "Events with the time and sequence of another of the same work order.", "source"),
            self._sources,
        )
        self._unknown_fields = _children(
            self._counter("unknown_fields_total", "Fields of events that were let pass unknown.", "source"),
            self._sources,
        )

    def _declare_letters(self) -> None:
        reasons = get_args(Reason)
        self._buried = _children(self._counter("dead_letters_total", "Events that became dead letters.", "reason"), reasons)
        letters = Gauge(f"{PREFIX}dead_letters", "Dead letters in the queue.", ["reason"], registry=self._beside)
        self._letters = _children(letters, reasons)
        self._oldest = _children(
            self._gauge("oldest_dead_letter_age_seconds", "Age of the oldest dead letter; 0: none.", "reason"), reasons
        )

    def _declare_api(self) -> None:
        operations = get_args(OperationName)
        self._requests = self._counter("api_requests_total", "Requests to Ditio, by HTTP status or none.", "operation", "status")
        self._request_children = {
            (operation, status): self._requests.labels(operation, str(status or "none"))
            for operation in operations
            for status in (200, None)
        }
        self._request_seconds = _children(
            self._histogram("api_request_duration_seconds", "Duration of requests to Ditio.", REQUEST_SECONDS, "operation"),
            operations,
        )
        self._retries = _children(self._counter("api_retries_total", "Requests made again.", "cause"), get_args(RetryCause))
        lookups = self._counter("lookups_total", "Look-ups of ids.", "kind", "result")
        self._lookups = {
            (kind, result): lookups.labels(kind, result) for kind in get_args(LookupKind) for result in get_args(LookupResult)
        }
        self._circuit = self._gauge("circuit_state", "0 closed, 1 half-open, 2 open.")

    def _declare_broker(self) -> None:
        self._connected = self._gauge("broker_connected", "Whether the connections to the broker are there.")
        self._consuming = self._gauge("consumer_active", "Whether the broker delivers to this worker.")
        self._reconnects = self._counter("broker_reconnects_total", "Connections to the broker made anew.")
        self._late_acks = self._counter("late_acks_total", "Acknowledgements dropped because their channel was gone.")

    def _declare_process(self, version: str) -> None:
        self._in_flight = self._gauge("in_flight", "Requests to Ditio in flight.")
        self._limit = self._gauge("concurrency_limit", "The most requests to Ditio that may be in flight now.")
        self._lanes = self._gauge("lanes", "Work orders with events in the process.")
        self._held = self._gauge("held_bytes", "Bytes of the bodies that are held.")
        self._paused = _children(self._gauge("paused", "Whether consumption is paused.", "cause"), get_args(PauseCause))
        self._commit_seconds = self._histogram("ledger_commit_seconds", "Duration of the ledger's commits.", COMMIT_SECONDS)
        self._work_orders = self._gauge("ledger_work_orders", "Work orders that the ledger knows.")
        self._lag = self._histogram("loop_lag_seconds", "How late the event loop comes back.", LAG_SECONDS)
        self._gauge("build_info", "Always 1; the label says the version.", "version").labels(version).set(1)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, registry=self._registry, buckets=buckets)

    # --- labels

    def _source(self, source: str | None) -> str:
        return source if source in self._sources else self._sources[-1]

    def _request_child(self, operation: OperationName, status: int | None) -> Counter:
        code = status if status is not None and 100 <= status <= 599 else None
        child = self._request_children.get((operation, code))
        if child is None:
            child = self._request_children[operation, code] = self._requests.labels(operation, str(code))
        return child


def _children(metric: Metric, values: Iterable[str]) -> dict[str, Metric]:
    """The children of a metric with one label. Looking them up once is five times as fast as each time."""
    return {value: metric.labels(value) for value in values}
