"""In which order letters are replayed: work order by work order, each in the order of its events; and how fast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from worker.core.identity import Identity
from worker.core.stamp import Stamp

RAMP_S = 10.0
"""Seconds in which a replay comes up to its rate."""


class Chosen(msgspec.Struct, frozen=True, gc=False):
    """A letter that is to be replayed. `stamp` is None where its event cannot be decoded; `failed_at` in microseconds since 1970,
    `size` the bytes of the body."""

    id: str
    identity: Identity
    stamp: Stamp | None = None
    failed_at: int = 0
    size: int = 0


def in_order(chosen: Iterable[Chosen]) -> list[Chosen]:
    """The letters by work order and stamp; of a work order those that cannot be decoded come last, as they died."""
    return sorted(chosen, key=_place)


def _place(each: Chosen) -> tuple[Any, ...]:
    work_order = (each.identity.project, each.identity.external_id)
    return (*work_order, 1, each.failed_at, each.id) if each.stamp is None else (*work_order, 0, each.stamp, each.id)


def allowed(rate: float, elapsed: float) -> float:
    """How many letters may have gone out `elapsed` seconds after the start, at a rate per second that is reached evenly within RAMP_S
    (0: no limit); the first one at once."""
    if rate == 0:
        return math.inf
    ramped = min(elapsed, RAMP_S)
    return 1 + rate * (ramped * ramped / (2 * RAMP_S) + (elapsed - ramped))


def lasts(letters: int, rate: float) -> float:
    """How many seconds so many letters take at a rate per second, the ramp not counted (no limit: 0)."""
    return letters / rate if rate else 0.0
