"""How an event can end: a closed set, and what each end means to the broker and to the operators."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

import msgspec

Reason: TypeAlias = Literal[
    "invalid-event",
    "unsupported-type",
    "wrong-source",
    "unresolved-project",
    "unresolved-parent",
    "unresolved-person",
    "unresolved-unit",
    "unresolved-status",
    "ambiguous",
    "rejected",
    "failing",
    "poisonous",
]
"""`failure-reason`, closed."""

WaitKind: TypeAlias = Literal["project", "parent", "person", "settling", "failing"]
"""What a waiting event waits for."""

UNRESOLVED: Mapping[str, Reason] = MappingProxyType(
    {
        "project": "unresolved-project",
        "parent": "unresolved-parent",
        "person": "unresolved-person",
        "unit": "unresolved-unit",
        "status": "unresolved-status",
    }
)


class Failure(msgspec.Struct, frozen=True):
    """Why an event could not be brought to Ditio: a reason of the closed set, a sentence, and where known the field, status and answer."""

    reason: Reason
    detail: str
    field: str = ""
    status: int | None = None
    response: str = ""


class Applied(msgspec.Struct, frozen=True, tag="applied"):
    """Ditio was changed."""


class Unchanged(msgspec.Struct, frozen=True, tag="unchanged"):
    """What the event says stands in Ditio already."""


class Superseded(msgspec.Struct, frozen=True, tag="superseded"):
    """Newer events have said everything that this one says."""


class Ignored(msgspec.Struct, frozen=True, tag="ignored"):
    """The event is for a project that this worker does not handle."""


class Waiting(msgspec.Struct, frozen=True, tag="waiting"):
    """Not now: the event goes to a wait queue. `failure` is what a letter would say if it never succeeds.

    `patient` waits grow step by step and end after `WORKER_WAIT_MAX_S`; the others (a doubt that is being waited out, and what is not
    `counted`, for it is not held against the event) take the first step each time.
    `refused`: Ditio refused to create the work order, and is not to be asked again when the doubt is over.
    """

    kind: WaitKind
    failure: Failure
    refused: bool = False
    counted: bool = True

    @property
    def patient(self) -> bool:
        """Whether the steps grow."""
        return self.counted and self.kind != "settling"


class Dead(msgspec.Struct, frozen=True, tag="dead"):
    """A person must look: the event goes to the dead letters."""

    failure: Failure


Outcome: TypeAlias = Applied | Unchanged | Superseded | Ignored | Waiting | Dead


OutcomeName: TypeAlias = Literal["applied", "unchanged", "superseded", "ignored", "waiting", "dead"]
"""An outcome as the metrics and the history have it."""

NAMES: Mapping[type[Outcome], OutcomeName] = MappingProxyType(
    {
        Applied: "applied",
        Unchanged: "unchanged",
        Superseded: "superseded",
        Ignored: "ignored",
        Waiting: "waiting",
        Dead: "dead",
    }
)


def name(outcome: Outcome) -> OutcomeName:
    """The outcome as the metric label and the history have it."""
    return NAMES[type(outcome)]
