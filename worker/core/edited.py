"""Edits of dead letters: what counts as one, and what an edited letter says of where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec

from worker.core.dead_letter import read
from worker.core.identity import peek
from worker.core.letter import BROKERS_OWN, LARGEST_INTEGER, LONGEST_HEADER, rfc3339
from worker.core.message import Message

EDITED_FROM, EDITED_BY, EDITED_AT, REPAIR = "edited-from", "edited-by", "edited-at", "repair-count"
"""Headers of an edited letter: the id of the letter that it was made from, by whom and when; and how many edits there were by then."""


class Edit(msgspec.Struct, frozen=True):
    """Who edits, when (microseconds since 1970), and the id that the edited letter gets."""

    by: str
    at: int
    letter_id: str


def differs(one: Message, other: Message) -> bool:
    """Whether two messages say different things: JSON that is only written in another way, and what the broker adds, do not count."""
    return (
        _said(one.body) != _said(other.body) or _kept(one.headers) != _kept(other.headers) or one.properties != other.properties
    )


def edited(message: Message, before: Message, edit: Edit) -> Message:
    """The message as the letter that takes the place of `before`: of a higher repair, so that it counts after what it was made from."""
    told = peek(message)
    identity = {
        "event-id": told.id,
        "event-type": told.type,
        "event-source": told.source,
        "project": told.project,
        "external-id": told.external_id,
    }
    letter = read(before)
    provenance: Mapping[str, object] = {
        "letter-id": edit.letter_id,
        REPAIR: min(letter.repair + 1, LARGEST_INTEGER),
        EDITED_FROM: letter.id,
        EDITED_BY: edit.by.encode()[:LONGEST_HEADER].decode(errors="ignore"),
        EDITED_AT: rfc3339(edit.at),
    }
    kept = {name: value for name, value in message.headers.items() if name not in identity and not name.startswith(BROKERS_OWN)}
    return Message(
        message.body, {**kept, **{name: each for name, each in identity.items() if each}, **provenance}, message.properties
    )


def made_from(message: Message) -> str:
    """The id of the letter that an edited one was made from; empty for others."""
    given = message.headers.get(EDITED_FROM)
    return given if isinstance(given, str) else ""


def _kept(headers: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in headers.items() if not str(name).startswith(BROKERS_OWN)}


def _said(body: bytes) -> object:
    """What a body says: the JSON with its numbers as they are written, or else the bytes."""
    try:
        return json.dumps(json.loads(body, parse_float=str, parse_int=str), sort_keys=True)
    except (ValueError, RecursionError):
        return body
