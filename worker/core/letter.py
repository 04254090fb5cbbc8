"""Dead letters and waiting messages: the message as it came, and in flat headers why it is there and how far it has travelled.

    letter(message)   for the dead letters: has a `letter-id`
    waiting(message)  for a wait queue: has `failing-rounds`, comes back by itself
    travel(message)   what either says about a message that comes (back)

Body and properties stay as they are, except what the broker would act on (`expiration`, `user_id`, `CC`, `BCC`), which is renamed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec

from worker.core.event import Event
from worker.core.frame import entry_size, properties_size, room
from worker.core.identity import Identity, identity, peek
from worker.core.message import Message
from worker.core.outcome import Failure, Reason

LONGEST_HEADER = 256
LONGEST_RESPONSE = 2_000
"""Bytes of an added header, and of `failure-response`; `external-id` is never cut."""

LARGEST_INTEGER = 2**63 - 1
REASONS: tuple[str, ...] = get_args(Reason)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

ACTED_ON = frozenset({"expiration", "user_id", "CC", "BCC"})
"""Properties and headers that the broker would act on again: it deletes, refuses or copies the letter."""

ORIGINAL = "original-"
ESSENTIAL = frozenset({"letter-id", "failure-reason", "failure-detail", "attempts", "waited-s", "first-seen-at", "external-id"})
"""Added headers that are never dropped for size."""

OWN = frozenset(
    {
        "letter-id failure-reason failure-detail failure-field failure-status failure-response failure-at attempts waited-s",
        "first-seen-at failing-rounds dropped-headers event-id event-type event-source project external-id replay-count replay-id",
        "replayed-by worker-version",
    }
)
