"""Dead letters and waiting messages: the message as it came, and in flat headers why it is there and how far it has travelled.

    letter(message, …)    for the dead letters
    waiting(message, …)   for a wait queue: it comes back by itself
    travel(message)       what either says about a message that comes (back)

Body and properties stay as they are, except what the broker would act on (`expiration`, `user_id`, `CC`, `BCC`), which is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import get_args

import msgspec

from worker.core.frame import entry_size, properties_size, room
from worker.core.identity import Identity
from worker.core.message import Message
from worker.core.outcome import Failure, Reason
from worker.core.wording import encodable

FRAME_MAX = 131_072
"""Bytes of a frame, as RabbitMQ offers by default; the properties of a message must fit in one."""

LONGEST_HEADER = 256
LONGEST_RESPONSE = 2_000
"""Bytes of an added header, and of `failure-response`; `external-id` is never cut."""

LARGEST_INTEGER = 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
REASONS: Mapping[str, Reason] = MappingProxyType({reason: reason for reason in get_args(Reason)})

ORIGINAL = "original-"
ACTED_ON = frozenset({"expiration", "user_id", "CC", "BCC"})
"""Properties and headers that the broker would act on again: it deletes, refuses or copies the letter."""

BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-opt-")

PERSISTENT: Mapping[str, object] = MappingProxyType({"delivery_mode": 2})

FAILURE_HEADERS = frozenset(
    {"failure-reason", "failure-detail", "failure-field", "failure-status", "failure-response", "failure-at"}
)
TRAVEL_HEADERS = frozenset({"attempts", "waited-s", "failing-rounds", "first-seen-at", "letter-id", "refused-to-create"})
IDENTITY_HEADERS = frozenset({"event-id", "event-type", "event-source", "project", "external-id", "worker-version"})
ADDED = FAILURE_HEADERS | TRAVEL_HEADERS | IDENTITY_HEADERS
"""What each round writes anew. Headers of a replay (`replay-count`, `replay-id`, `replayed-by`, `replayed-from`) are kept as they came."""

DROPPED = "dropped-headers"
"""Names the headers that gave way in any round, so that the last one can still say so."""

KEPT = frozenset(
    {DROPPED, "replay-count", "replay-id", "replayed-by", "replayed-from", "original-exchange", "original-routing-key"}
)
"""Headers of earlier rounds that are not dropped for size."""


class Facts(msgspec.Struct, frozen=True):
    """What is known of a message when it is put aside.

    `first_seen` and `now` in microseconds since 1970; `attempts` counts requests to Ditio, `waited_s` seconds of wait steps,
    `failing_rounds` the rounds in which the API failed on it, all of them over the whole journey. `letter_id` is unique.
    """

    identity: Identity
    first_seen: int
    now: int
    version: str
    attempts: int = 0
    waited_s: int = 0
    failing_rounds: int = 0
    letter_id: str = ""


class Travel(msgspec.Struct, frozen=True):
    """What the headers of a message say of its journey so far; nonsense counts as nothing.

    `rejected` is why Ditio refused to create the work order, if that was in doubt when it last waited. `repair` counts edits of a dead letter.
    """

    first_seen: int | None = None
    attempts: int = 0
    waited_s: int = 0
    failing_rounds: int = 0
    repair: int = 0
    rejected: Failure | None = None


def letter(message: Message, failure: Failure, facts: Facts) -> Message:
    """The message as a dead letter, with the failure in its headers."""
    return _put_aside(message, {**_told(failure, facts), "letter-id": facts.letter_id})


def waiting(message: Message, failure: Failure, facts: Facts, *, refused: bool = False) -> Message:
    """The message for a wait queue; the failure is what a dead letter would say now.

    `refused` notes that Ditio refused to create the work order: when the doubt is over it is not asked again.
    """
    added: dict[str, str | int] = {**_told(failure, facts), "failing-rounds": facts.failing_rounds}
    return _put_aside(message, added | {"refused-to-create": 1} if refused else added)


def travel(message: Message) -> Travel:
    """How far a message has come, by its headers. Raises nothing."""
    headers = message.headers
    refused = count_in(headers.get("refused-to-create")) > 0
    return Travel(
        first_seen=time_in(headers.get("first-seen-at")),
        attempts=count_in(headers.get("attempts")),
        waited_s=count_in(headers.get("waited-s")),
        failing_rounds=count_in(headers.get("failing-rounds")),
        repair=count_in(headers.get("repair-count")),
        rejected=_failure(headers) if refused else None,
    )


def rfc3339(microseconds: int) -> str:
    """A time (since 1970) as the headers have it: UTC, with microseconds."""
    return (EPOCH + microseconds * MICROSECOND).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _told(failure: Failure, facts: Facts) -> dict[str, str | int]:
    """The added headers; those that have nothing to say are left out."""
    told: dict[str, str | int | None] = {
        "failure-reason": failure.reason,
        "failure-detail": failure.detail,
        "failure-field": failure.field,
        "failure-status": failure.status,
        "failure-response": failure.response,
        "failure-at": rfc3339(facts.now),
        "attempts": facts.attempts,
        "waited-s": facts.waited_s,
        "first-seen-at": rfc3339(facts.first_seen),
        "event-id": facts.identity.id,
        "event-type": facts.identity.type,
        "event-source": facts.identity.source,
        "project": facts.identity.project,
        "external-id": facts.identity.external_id,
        "worker-version": facts.version,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _put_aside(message: Message, added: Mapping[str, str | int]) -> Message:
    properties = {name: value for name, value in message.properties.items() if name not in ACTED_ON}
    originals = {
        "original-exchange": message.exchange,
        "original-routing-key": message.routing_key,
        **{
            f"{ORIGINAL}{name.replace('_', '-')}": str(value)
            for name, value in (*message.properties.items(), *message.headers.items())
            if name in ACTED_ON
        },
    }
    came = {name: value for name, value in message.headers.items() if not _gives_way(name)}
    own: dict[str, object] = {name: _fitted(name, value) for name, value in {**originals, **added}.items()}
    # The first journey's exchange and routing key count: a message that comes back from a wait queue has others.
    own |= {name: came[name] for name in ("original-exchange", "original-routing-key") if name in came}
    headers = _within_a_frame({**properties, **PERSISTENT}, came, own)
    return Message(message.body, headers, {**properties, **PERSISTENT})


def _gives_way(name: str) -> bool:
    """Whether a header that came is renamed, written anew, or the broker's own account of earlier rounds."""
    return name in ACTED_ON or name in ADDED or name.startswith(BROKERS_OWN)


def _within_a_frame(properties: Mapping[str, object], came: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """All headers; of those that came, the largest give way until the rest fits, and the detail names them."""
    kept, dropped = dict(came), str(came.get(DROPPED, ""))
    excess = properties_size(properties, {**kept, **own}) + 2 * LONGEST_HEADER - room(FRAME_MAX)
    for name in sorted(came, key=lambda name: (name in KEPT, -entry_size(name, came[name]))):
        if excess <= 0:
            break
        excess -= entry_size(name, kept.pop(name))
        dropped = f"{dropped}, {name}" if dropped else name
    if not dropped:
        return {**kept, **own}
    detail = f"headers dropped for size: {dropped}; {own.get('failure-detail', '')}"
    return {**kept, **own, DROPPED: _fitted(DROPPED, dropped), "failure-detail": _fitted("failure-detail", detail)}


def _fitted(name: str, value: str | int) -> str | int:
    """A value cut to what the header may have, between characters."""
    if isinstance(value, int) or name == "external-id":
        return value
    longest = LONGEST_RESPONSE if name == "failure-response" else LONGEST_HEADER
    return encodable(value).encode()[:longest].decode(errors="ignore")


def _failure(headers: Mapping[str, object]) -> Failure:
    reason = REASONS.get(str(headers.get("failure-reason")), "rejected")
    status = count_in(headers.get("failure-status")) or None
    texts = (headers.get(name) for name in ("failure-detail", "failure-field", "failure-response"))
    detail, field, response = (text if isinstance(text, str) else "" for text in texts)
    return Failure(reason, detail or "Ditio refused to create the work order", field, status, response)


def count_in(value: object) -> int:
    """The number that a header holds; nonsense counts as nothing."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_INTEGER else 0


def time_in(value: object) -> int | None:
    """The time (microseconds since 1970) that a header holds as `rfc3339` writes it; None for nonsense."""
    if not isinstance(value, str) or not TIME.fullmatch(value):
        return None
    try:
        return (datetime.fromisoformat(value) - EPOCH) // MICROSECOND
    except ValueError:
        return None
