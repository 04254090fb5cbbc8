"""The fields of a task, transcribed anew from Ditio's work-order page: what they take, their defaults, how they are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from worker.sandbox.message import Refusal

TEXTS = frozenset(
    {
        "name", "externalProjectNumber", "externalProjectName", "externalDim01", "workDescriptionShort", "workDescription",
        "unitId", "parentActivityId", "chapterId", "mainForemanId", "taskLeaderId", "safeJobAnalysisUserPromptText",
    }
)  # fmt: skip
DATES = frozenset({"startDate", "finishedDatePlanned", "finishedDate"})
NUMBERS = frozenset(
    {"estimatedHourQty", "fixedResourcePrice", "costPrice", "price", "taskLocationLatitude", "taskLocationLongitude"}
)
FLAGS = frozenset({"active", "measureUnitQty", "safeJobAnalysisApprovalRequired", "isParent"})
FIELDS = TEXTS | DATES | NUMBERS | FLAGS
IDENTITY = ("companyId", "projectId", "externalId")

FROM_TEMPLATE = frozenset(
    {
        "textRequired", "safeJobAnalysisApprovalRequired", "safeJobAnalysisUserPromptText", "unitId", "measureUnitQty", "summationType",
        "costPrice", "price", "fixedResourcePrice", "doubleRegistration", "massHaulDefaults", "unitQtyReportLevel", "workOrderType",
        "externalDim02",
    }
)  # fmt: skip
"""The settings that a new task takes from the project's template where the request leaves them out."""


def defaults() -> dict[str, Any]:
    """A task of which nothing is given."""
    return {name: 0.0 if name in NUMBERS else False if name in FLAGS else None for name in sorted(FIELDS)}


def taken(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request that a task has, checked. Null stays null. Raises Refusal (400) naming the field."""
    return {name: _checked(name, value) for name, value in given.items() if name in FIELDS}


def _checked(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in FLAGS and not isinstance(value, bool):
        raise Refusal(400, f"Ugyldig verdi for {name}: true eller false forventet", name)
    if name in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Refusal(400, f"Ugyldig verdi for {name}: tall forventet", name)
        return float(value)
    if name in TEXTS and not isinstance(value, str):
        raise Refusal(400, f"Ugyldig verdi for {name}: tekst forventet", name)
    return _date(name, value) if name in DATES else value


def _date(name: str, value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Refusal(400, f"Ugyldig dato i {name}", name) from None
    utc = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return utc.isoformat().replace("+00:00", "Z")


def shown_date(value: str, form: str) -> str:
    """A stored date in one of the spellings of the option `dates`."""
    plain = value.removesuffix("Z")
    return {"zulu": value, "plain": plain, "millis": f"{plain}.000Z" if "." not in plain else value, "offset": f"{plain}+00:00"}[
        form
    ]
