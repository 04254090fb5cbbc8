"""The tables of Ditio's work-order page, as they are tested."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

VARIANTS: Mapping[str, Mapping[str, str]] = {
    "documented": {},
    "contrary": {
        "no_match": "array", "single": "array", "create_answer": "array", "update_answer": "nothing", "dates": "offset",
        "duplicate": "allow", "external_number": "task", "delete_blocked": "409", "person_id": "identityId",
        "other_settings": "reset", "lag_s": "0.05", "key_case": "ignore", "patch_empty": "keep", "encoded_slash": "404",
    },
    "other": {
        "no_match": "nothing", "update_answer": "nothing", "dates": "plain", "duplicate": "409", "external_number": "project",
        "delete_blocked": "422", "person_id": "companyProfileId", "client_ids": "ignore", "encoded_slash": "split",
    },
}  # fmt: skip
"""Switches of the sandbox: as it is by itself, and two ways in which much is different that the page leaves open."""

FIELDS: Mapping[str, tuple[type, Any, Any]] = {
    "name": (str, "Grunnarbeid æøå", "Grunnarbeid - fase 2"),
    "active": (bool, True, False),
    "externalProjectNumber": (str, "X-1", "X-2"),
    "externalProjectName": (str, "Bybanen", "E18"),
    "externalDim01": (str, "0120", "0130"),
    "workDescriptionShort": (str, "kort", "kortere"),
    "workDescription": (str, "lang\nover to linjer", "lengre"),
    "startDate": (datetime, "2026-03-15T00:00:00Z", "2026-03-16T00:00:00Z"),
    "finishedDatePlanned": (datetime, "2026-05-01T00:00:00Z", "2026-05-02T00:00:00Z"),
    "finishedDate": (datetime, "2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z"),
    "estimatedHourQty": (float, 500, 750.5),
    "fixedResourcePrice": (float, 12.5, 13.75),
    "unitId": (str, None, None),
    "costPrice": (float, 720.25, 730),
    "price": (float, 950.5, 960),
    "measureUnitQty": (bool, True, False),
    "parentActivityId": (str, None, None),
    "chapterId": (str, None, None),
    "mainForemanId": (str, None, None),
    "taskLeaderId": (str, None, None),
    "taskLocationLatitude": (float, 59.9139, 60.3913),
    "taskLocationLongitude": (float, 10.7522, 5.3221),
    "safeJobAnalysisApprovalRequired": (bool, True, False),
    "safeJobAnalysisUserPromptText": (str, "Husk SJA", "Husk SJA igjen"),
    "isParent": (bool, True, False),
}
"""The optional fields of the page: their type, a value, another one. What must exist in Ditio has no value here."""

LOOK_UPS = {
    "all in a project by id": "tasks/project/{project_id}",
    "all in a project by number": "tasks/by-project-number/{number}",
    "all in a project by external number": "tasks/by-external-project-number/{external_number}",
    "single by id": "tasks/{id}",
    "by number and task number": "tasks/by-project-number/{number}/by-task-number/{key}",
    "all matches for number and task number": "tasks/by-project-number/{number}/by-task-number/{key}/list",
    "by external number and external id": "tasks/by-external-project-number/{external_number}/by-external-id/{key}",
    "all with a production code": "tasks/by-production-code/{code}",
}

REQUIRED = ("companyId", "projectId", "externalId")

TEMPLATE: Mapping[str, Any] = {
    "textRequired": True, "safeJobAnalysisApprovalRequired": True, "safeJobAnalysisUserPromptText": "Mal", "unitId": "m3",
    "measureUnitQty": True, "summationType": 2, "costPrice": 720.0, "price": 950.0, "fixedResourcePrice": 12.0,
    "doubleRegistration": True, "massHaulDefaults": {"material": "stein"}, "unitQtyReportLevel": 1, "workOrderType": "fast",
    "externalDim02": "D2",
}  # fmt: skip
"""The settings that the page says a template hands down; Ditio does not document the JSON names of all of them."""

NEVER_INHERITED = (
    "name", "chapterId", "startDate", "finishedDatePlanned", "finishedDate", "parentActivityId", "estimatedHourQty",
)  # fmt: skip


def same(kind: type, shown: object, sent: object) -> bool:
    """Whether what is shown is what was sent, in the type of the page's table."""
    if kind is datetime:
        return moment(shown) == moment(sent)
    if kind is float:
        return isinstance(shown, int | float) and not isinstance(shown, bool) and shown == sent
    return type(shown) is kind and shown == sent


def moment(text: object) -> datetime:
    parsed = datetime.fromisoformat(str(text))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
