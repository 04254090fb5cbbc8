"""Which events wait, and which work orders are therefore wrong in Ditio, as far as this process has seen them off."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from typing import Literal, TypeAlias

from worker.core.outcome import WaitKind

State: TypeAlias = Literal["missing", "stale"]

MOST_REMEMBERED = 100_000
"""Waiting events that are known one by one; those known longest are forgotten first."""


class Unsettled:
    """Counts by event, each time in constant time."""

    def __init__(self) -> None:
        self._events: OrderedDict[Hashable, tuple[WaitKind, State, Hashable]] = OrderedDict()
        self._kinds: Counter[WaitKind] = Counter()
        self._places: Counter[tuple[State, Hashable]] = Counter()
        self._states: Counter[State] = Counter()

    @property
    def kinds(self) -> Mapping[WaitKind, int]:
        """How many events wait for what."""
        return self._kinds

    @property
    def states(self) -> Mapping[State, int]:
        """How many distinct work orders are missing or stale."""
        return self._states

    def waits(self, event: Hashable, kind: WaitKind, state: State, work_order: Hashable) -> None:
        """An event of a work order waits (again)."""
        self.settled(event)
        self._events[event] = kind, state, work_order
        self._kinds[kind] += 1
        self._places[state, work_order] += 1
        if self._places[state, work_order] == 1:
            self._states[state] += 1
        if len(self._events) > MOST_REMEMBERED:
            self.settled(next(iter(self._events)))

    def settled(self, event: Hashable) -> None:
        """An event waits no more, if it did."""
        known = self._events.pop(event, None)
        if known is None:
            return
        kind, state, work_order = known
        self._kinds[kind] -= 1
        self._places[state, work_order] -= 1
        if not self._places[state, work_order]:
            del self._places[state, work_order]
            self._states[state] -= 1
