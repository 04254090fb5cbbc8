"""When Ditio is believed to be out of order, as two tables in one: the circuit's states, and the row of refused writes that opens it.

An outage is what the control read shows too. Where that read succeeds and writes alone are refused, one refusal is its event's own
fault, and a row of them without a success in between is not. Between the two lies doubt, in which nothing is decided against an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

from worker.core.errors import PauseCause

State: TypeAlias = Literal["closed", "unanswered", "refused", "half-open"]
"""`unanswered`: opened, for the control read fails. `refused`: opened, for it succeeds and writes do not."""

Sign: TypeAlias = Literal["no answer", "row is full", "control read succeeds", "write succeeds", "write is refused"]
"""What the circuit hears. `control read succeeds` is the probe's: others that succeed meanwhile began before the circuit opened."""

Shown: TypeAlias = Literal["closed", "half-open", "open"]

TRANSITIONS: Mapping[State, Mapping[Sign, State]] = MappingProxyType(
    {
        "closed": {"no answer": "unanswered", "row is full": "refused"},
        "unanswered": {"control read succeeds": "closed"},
        "refused": {"no answer": "unanswered", "control read succeeds": "half-open"},
        "half-open": {"no answer": "unanswered", "write succeeds": "closed", "write is refused": "refused"},
    }
)
"""What is not in it changes nothing."""

SHOWN: Mapping[State, Shown] = MappingProxyType(
    {"closed": "closed", "unanswered": "open", "refused": "open", "half-open": "half-open"}
)
"""The states as the metric has them."""

LONGEST_ROW = 10
"""Writes of so many different work orders, refused in a row, are no event's fault."""

UNDECIDED_S = 3600.0
"""A shorter row that has lasted so long is its events' own fault after all."""

FORBIDDEN = 403


def step(state: State, sign: Sign) -> State:
    """The state after a sign."""
    return TRANSITIONS[state].get(sign, state)


class Refusals(msgspec.Struct, frozen=True):
    """The refused writes that nothing has excused yet. Times are seconds of one clock that only goes forward.

    `row` holds the work orders, with the last status of each, that were refused since any write last succeeded. `suspects` are those
    refused `since` then with no success of a write that began later: a success that was under way when the trouble began excuses none.
    """

    row: Mapping[str, int | None] = {}
    suspects: frozenset[str] = frozenset()
    since: float = 0.0

    def refused(self, work_order: str, status: int | None, now: float) -> Refusals:
        """One more. `status` is None where there was no answer."""
        since = self.since if self.suspects else now
        return Refusals({**self.row, work_order: status}, self.suspects | {work_order}, since)

    def succeeded(self, began: float) -> Refusals:
        """A write that began then has succeeded."""
        return Refusals() if began > self.since else Refusals({}, self.suspects, self.since)

    def answered(self, now: float) -> Refusals:
        """The control read succeeds again after an outage: the row begins anew, under suspicion."""
        return Refusals({}, self.suspects, now)

    @property
    def full(self) -> bool:
        """Whether it is no event's fault any more."""
        return len(self.row) >= LONGEST_ROW

    @property
    def cause(self) -> PauseCause:
        """Why consumption pauses when the row is full: without exception 403 means the client."""
        return "credentials" if set(self.row.values()) == {FORBIDDEN} else "circuit"

    def spares(self, work_order: str, *, final: bool, now: float) -> bool:
        """Whether a refusal that comes now is not to be held against its event; ask before it is added.

        One work order alone is at fault at once. Of several, a refusal is spared the first time; one that would be the event's end
        (`final`), as long as nothing is decided.
        """
        if not self.suspects - {work_order}:
            return False
        return work_order not in self.suspects or (final and now - self.since < UNDECIDED_S)
