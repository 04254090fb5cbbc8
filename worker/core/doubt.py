"""Doubt: a request that was given up may still take effect, until a time that the ledger keeps.

NONE   nothing is on its way: what was confirmed stands
OPEN   something may still arrive: nobody creates, and nothing is taken for unchanged
OVER   nothing can arrive any more: a fresh look-up says how things stand
"""

from __future__ import annotations

from enum import Enum

import msgspec


class Doubt(Enum):
    """How far what the ledger says of a task can be trusted."""

    NONE = "none"
    OPEN = "open"
    OVER = "over"


class Window(msgspec.Struct, frozen=True):
    """How long a request may be on its way: until it is given up, and how long it may take effect after that. In seconds."""

    timeout_s: float = 10
    settle_s: float = 30

    def raised(self, until: float, now: float) -> float:
        """When the doubt ends if a request starts, or was given up, now; a longer one is kept."""
        return max(until, now + self.timeout_s + self.settle_s)


def doubt(until: float, now: float) -> Doubt:
    """The state of a doubt that ends at `until` (0: there is none)."""
    if until == 0:
        return Doubt.NONE
    return Doubt.OPEN if now < until else Doubt.OVER
