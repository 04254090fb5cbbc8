"""The switches: one for each behaviour that Ditio's documentation leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any


def _switch(default: Any, meaning: str, *allowed: str) -> Any:
    return field(default=default, metadata={"meaning": meaning, "allowed": allowed})


@dataclass(frozen=True)
class Options:
    """How this Ditio behaves where the documentation is silent."""

    company_id: str = _switch("5e0000000000000000000001", "the company that the client belongs to")
    client_id: str = _switch("sandbox", "what the identity server takes for a client")
    client_secret: str = _switch("sandbox-secret", "and its secret")
    scope: str = _switch("ditioapiv3", "and its scope")
    token_s: float = _switch(1800.0, "how long a token lives, in seconds")
    duplicate: str = _switch("400", "what a POST with an externalId that the project has gets", "400", "409", "allow")
    companies: str = _switch(
        "one",
        "whose projects the client sees: its company's, or those of several (a look-up may then show them all)",
        "one",
        "several",
    )
    no_match: str = _switch("404", "what a look-up by key without a match answers", "404", "null", "nothing", "array")
    single: str = _switch("object", "what a look-up of one task answers", "object", "array")
    key_case: str = _switch("exact", "whether look-ups by key tell capital letters from small ones", "exact", "ignore")
    create_answer: str = _switch("object", "what a POST answers", "object", "array", "nothing")
    update_answer: str = _switch("object", "what PUT and PATCH answer: 200 with the task, or 204", "object", "nothing")
    encoded_slash: str = _switch("accept", "what a percent-encoded / in a path does", "accept", "400", "404", "split")
    external_number: str = _switch(
        "either",
        "what by-external-project-number compares: the project's number, the task's own, or either",
        "project",
        "task",
        "either",
    )
    patch_empty: str = _switch("clear", 'what "" does to a text in a PATCH (for the parent it always clears)', "clear", "keep")
    other_settings: str = _switch(
        "stay",
        "what a PUT does to settings beyond the page's fields, such as textRequired: they stay, or it takes them and resets what it omits",
        "stay",
        "reset",
    )
    client_ids: str = _switch("keep", "what an id in a POST does: kept (an existing one gets 400), or ignored", "keep", "ignore")
    person_id: str = _switch(
        "any",
        "which id a foreman or leader takes; another is a 400, and `any` takes every text",
        "any",
        "identityId",
        "companyProfileId",
    )
    delete_blocked: str = _switch("400", "what deleting a task with children or hours gets", "400", "403", "409", "422")
    dates: str = _switch("zulu", "how dates are shown", "zulu", "plain", "millis", "offset")
    lag_s: float = _switch(0.0, "how long a new task is missing from look-ups by key and from listings, in seconds")
    latency_s: float = _switch(0.0, "how long every answer takes, in seconds")
    capacity_per_s: float = _switch(0.0, "how many requests it takes within a second, 0 for any number; the others get 429")
    retry_after_s: float = _switch(0.0, "what those 429 say in Retry-After, in whole seconds; 0 says nothing")
    capacity_concurrent: float = _switch(
        0.0, "how many requests it works on at once, each for latency_s, 0 for any number; the others queue"
    )
    clock_ahead_s: float = _switch(0.0, "how far this Ditio's clock, the Date header, is ahead, in seconds")

    def changed(self, given: Mapping[str, Any]) -> Options:
        """These options with others in place. Raises ValueError with a sentence."""
        return replace(self, **{name: _parsed(name, value) for name, value in given.items()})


TABLE = {each.name: each for each in fields(Options)}


def _parsed(name: str, value: Any) -> Any:
    if name not in TABLE:
        raise ValueError(f"unknown option {name}; there are: {', '.join(TABLE)}")
    allowed = TABLE[name].metadata["allowed"]
    if allowed and str(value) not in allowed:
        raise ValueError(f"{name}: expected {' or '.join(allowed)}, got {value}")
    try:
        return float(value) if isinstance(TABLE[name].default, float) else str(value)
    except ValueError:
        raise ValueError(f"{name}: expected a number, got {value}") from None


def described() -> list[str]:
    """A line for each option: its default, what it may be, what it means."""
    return [
        f"{each.name}={each.default:g}  {each.metadata['meaning']}"
        if isinstance(each.default, float)
        else f"{each.name}={each.default}  {each.metadata['meaning']}{_choices(each.metadata['allowed'])}"
        for each in TABLE.values()
    ]


def _choices(allowed: tuple[str, ...]) -> str:
    return f" ({' | '.join(allowed)})" if allowed else ""
