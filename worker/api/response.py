"""What an answer says beside what was asked for: why not, when again, what time it is. Servers write what they like."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from urllib.parse import quote_plus

LONGEST_TEXT = 2_000
"""Characters of an answer that an error keeps."""


def without(secret: str, body: bytes) -> bytes:
    """A server's error page may show the request that it failed on, with what was in its headers or form."""
    for form in {secret, quote_plus(secret), json.dumps(secret)[1:-1]} - {""}:
        body = body.replace(form.encode(), b"***")
    return body


def said(body: bytes, secret: str = "") -> str:
    """What an error's body says, in any of the shapes that Ditio documents; short, and without the secret."""
    body = without(secret, body)
    text = body[: LONGEST_TEXT * 4].decode("utf-8", "replace").strip()
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())[:300]
    if not isinstance(given, dict):
        return " ".join(text.split())[:300]
    message = given.get("message") or given.get("error_description") or given.get("error")
    if isinstance(message, dict):
        message = message.get("message")
    fields = given.get("errors")
    named = (
        [f"{each.get('field')}: {each.get('message')}" for each in fields if isinstance(each, dict)]
        if isinstance(fields, list)
        else []
    )
    return "; ".join(str(each) for each in (message, *named) if each)[:300]


def retry_after(given: str | None, now: float) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None for what is neither. `now` in seconds since 1970."""
    if given is None:
        return None
    if given.strip().isascii() and given.strip().isdigit():
        return float(given.strip())
    date = http_date(given)
    return None if date is None else max(0.0, date - now)


def http_date(given: str | None) -> float | None:
    """Seconds since 1970 of a date in a header."""
    try:
        return parsedate_to_datetime(given).timestamp() if given else None
    except (ValueError, OverflowError):
        return None


def error_code(body: bytes) -> str:
    """The `error` of an OAuth answer: a code, not a text; empty where there is none."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    code = given.get("error") if isinstance(given, dict) else None
    return code if isinstance(code, str) else ""
