"""What is to be done about a dead letter, and who can do it: rules about values, as tables and one comparison."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from worker.core.event import Event, said
from worker.core.outcome import Reason
from worker.core.record import Record
from worker.core.stamp import Stamp

Standing: TypeAlias = Literal["superseded", "together", "fix"]
"""`superseded`: newer events have said everything that it says; `together`: other letters are about its work order; `fix`: neither."""

ADVICE: Mapping[Standing, str] = MappingProxyType(
    {"superseded": "superseded: safe to discard", "together": "replay together", "fix": "must be fixed"}
)

ERP, DITIO, US = "ERP team", "Ditio administrator", "us"

WHO: Mapping[Reason, str] = MappingProxyType(
    {
        "invalid-event": ERP,
        "unsupported-type": ERP,
        "wrong-source": US,
        "unresolved-project": DITIO,
        "unresolved-parent": DITIO,
        "unresolved-person": DITIO,
        "unresolved-unit": DITIO,
        "unresolved-status": DITIO,
        "ambiguous": DITIO,
        "rejected": ERP,
        "failing": US,
        "poisonous": US,
    }
)
"""Who can fix the cause. What no worker wrote is ours to find out about."""


def who(reason: Reason | None) -> str:
    """Who can fix the cause of a letter."""
    return US if reason is None else WHO[reason]


def superseded(event: Event, stamp: Stamp, record: Record) -> bool:
    """Whether every cell that an event says has a newer one in the record, or is there itself: then it has nothing left to bring.

    A status that no table knows might set anything: the field that it `sets` has no name, never stands, and so is never superseded.
    """
    references = dict.fromkeys(event.references)
    spoken = said(event, stamp, references, "deactivate")
    standing = record.standing()
    fields = {*spoken.cells, *(each.sets for each in event.withheld)}
    return (
        record.exists is not None
        and record.exists.stamp >= stamp
        and (spoken.floor is None or (record.floor is not None and record.floor >= stamp))
        and all(name in standing and standing[name].stamp >= stamp for name in fields)
    )
