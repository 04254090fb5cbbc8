"""The fields of a task that events may set, as one table (source: Ditio's work-order page, required and optional fields)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias


class Kind(Enum):
    """What values a field takes, and so how it is cleared."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    DATE = "date"
    ID = "id"


Value: TypeAlias = str | float | bool | None
"""A field's value as Ditio's JSON has it; numbers are always floats, dates `YYYY-MM-DDTHH:MM:SSZ` (fraction kept), None is cleared."""

FIELDS: Mapping[str, Kind] = MappingProxyType(
    {
        "name": Kind.TEXT,
        "active": Kind.FLAG,
        "externalProjectNumber": Kind.TEXT,
        "externalProjectName": Kind.TEXT,
        "externalDim01": Kind.TEXT,
        "workDescriptionShort": Kind.TEXT,
        "workDescription": Kind.TEXT,
        "startDate": Kind.DATE,
        "finishedDatePlanned": Kind.DATE,
        "finishedDate": Kind.DATE,
        "estimatedHourQty": Kind.NUMBER,
        "fixedResourcePrice": Kind.NUMBER,
        "unitId": Kind.ID,
        "costPrice": Kind.NUMBER,
        "price": Kind.NUMBER,
        "measureUnitQty": Kind.FLAG,
        "parentActivityId": Kind.ID,
        "chapterId": Kind.TEXT,
        "mainForemanId": Kind.ID,
        "taskLeaderId": Kind.ID,
        "taskLocationLatitude": Kind.NUMBER,
        "taskLocationLongitude": Kind.NUMBER,
        "safeJobAnalysisApprovalRequired": Kind.FLAG,
        "safeJobAnalysisUserPromptText": Kind.TEXT,
        "isParent": Kind.FLAG,
    }
)

PARENT = "parentActivityId"
"""The field that holds the task under which a task lies."""

IS_PARENT = "isParent"
"""The field that says that tasks lie under a task."""

NEVER_NULL = frozenset({"active", "isParent", "status"})
"""What an event may not clear."""

DATES = frozenset(name for name, kind in FIELDS.items() if kind is Kind.DATE)

REFERENCES: Mapping[str, str] = MappingProxyType(
    {"parent": "parentActivityId", "mainForeman": "mainForemanId", "taskLeader": "taskLeaderId", "unit": "unitId"}
)
"""What the worker resolves, and the Ditio field that the answer goes to (`status` may set several and is not here)."""

REFERENCE_KINDS: Mapping[str, str] = MappingProxyType(
    {"parent": "parent", "mainForeman": "person", "taskLeader": "person", "unit": "unit", "status": "status"}
)
"""The kind of each reference, as `failure-reason` (`unresolved-…`) and the metric label `kind` have it."""

DEFAULTS: Mapping[Kind, Value] = MappingProxyType({Kind.NUMBER: 0.0, Kind.FLAG: False})
"""What Ditio documents as the value of an omitted field; other kinds are simply empty."""


def empty(name: str, value: Value) -> bool:
    """Whether a field that holds this value is as good as cleared."""
    return value is None or value == "" or ((kind := FIELDS[name]) in DEFAULTS and value == DEFAULTS[kind])
