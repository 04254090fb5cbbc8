"""How sentences about an event quote what it said: short, on one line, and safe to encode."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_QUOTE = 60
"""Characters of a value that a sentence shows."""


def shown(value: object) -> str:
    """A value as a sentence quotes it: JSON for what is short, a word for what is not."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool | int | float):
        return short(json.dumps(value))
    if isinstance(value, str):
        cut = value[: LONGEST_QUOTE - 1] + "…" if len(value) > LONGEST_QUOTE else value
        return encodable(json.dumps(cut, ensure_ascii=False))
    return f"a value of the type {type(value).__name__}"


def short(text: str) -> str:
    """At most `LONGEST_QUOTE` characters, the last one an ellipsis where something was cut off."""
    return encodable(text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…")


def encodable(text: str) -> str:
    """The same text with lone surrogates written out, so that UTF-8 can carry it."""
    return text.encode(errors="backslashreplace").decode()


def meant(name: str, known: Iterable[str]) -> str:
    """What to add to a sentence about an unknown name: the known one that was probably meant, or nothing."""
    folded = {each.casefold(): each for each in known}
    close = get_close_matches(short(name).casefold(), folded, n=1)
    return f'; did you mean "{folded[close[0]]}"?' if close else ""
