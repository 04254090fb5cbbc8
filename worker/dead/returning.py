"""Exported letters that come back, as they were or edited: what each would do is decided from what lies there, then done in one order.

    look ─► decide ─► publish what is new, confirmed ─► take out what it replaces

Interrupted anywhere, the next import of the same file finds what was published, and only takes out what it replaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias
from uuid import uuid4

import msgspec

from worker.core.dead_letter import DeadLetter, original
from worker.core.edited import Edit, differs, edited, made_from
from worker.core.errors import BadEvent
from worker.core.message import Message
from worker.dead.desk import Desk
from worker.ports import Publisher

Action: TypeAlias = Literal["unchanged", "replace", "restore", "finish", "missing", "invalid", "redacted", "twice"]
"""`finish`: what it was edited to is there already, and what it replaces must go. From `missing` on: it cannot be done."""

REFUSED: frozenset[Action] = frozenset({"missing", "invalid", "redacted", "twice"})
AT_ONCE = 200


class Returned(msgspec.Struct, frozen=True):
    """An exported letter: the line that it came from, its id, and what it holds now."""

    file: str
    line: int
    id: str
    message: Message
    redacted: bool = False


class Decided(msgspec.Struct, frozen=True):
    """What becomes of it. `message` is to be published (None: nothing is), `detail` says why not."""

    returned: Returned
    action: Action
    message: Message | None = None
    field: str = ""
    detail: str = ""


class There(msgspec.Struct, frozen=True):
    """What lies among the dead letters: by id, and what edited letters were made from."""

    letters: dict[str, Message]
    made: dict[str, list[Message]]


async def there(desk: Desk, ids: frozenset[str]) -> There:
    """Those of the letters that are there, and what was made from them. Raises BrokerError."""
    found = There({}, {})

    def visit(letter: DeadLetter, message: Message) -> None:
        if letter.id in ids:
            found.letters[letter.id] = message
        if (source := made_from(message)) in ids:
            found.made.setdefault(source, []).append(message)

    await desk.visit(visit)
    return found


def decide(
    returned: Sequence[Returned], found: There, decode: Callable[[Message], object], *, restore: bool, by: str, at: int
) -> list[Decided]:
    """What becomes of each. `decode` raises BadEvent; `restore`: what is no longer there is put back."""
    seen: set[str] = set()
    decided = []
    for each in returned:
        decided.append(_twice(each) if each.id in seen else _decide(each, found, decode, restore=restore, by=by, at=at))
        seen.add(each.id)
    return decided


def _twice(each: Returned) -> Decided:
    return Decided(each, "twice", detail="stands in the files more than once")


def _decide(each: Returned, found: There, decode: Callable[[Message], object], *, restore: bool, by: str, at: int) -> Decided:
    if each.redacted:
        return Decided(each, "redacted", detail="was exported with --redact: what was taken out cannot come back")
    before = found.letters.get(each.id)
    if any(not _other_event(made, each.message) for made in found.made.get(each.id, ())):
        return Decided(each, "finish" if before is not None else "unchanged")
    if before is None:
        return Decided(each, "restore", each.message) if restore else Decided(each, "missing", detail=MISSING)
    if not differs(each.message, before):
        return Decided(each, "unchanged")
    try:
        decode(original(each.message))
    except BadEvent as error:
        return Decided(each, "invalid", None, error.field, error.detail)
    return Decided(each, "replace", edited(each.message, before, Edit(by, at, uuid4().hex)))


MISSING = "is not among the dead letters (any more): --restore puts it back"


def _other_event(made: Message, wanted: Message) -> bool:
    """Whether an edited letter says something else than what is imported; its headers were written anew."""
    return differs(Message(made.body), Message(wanted.body))


async def carry_out(decided: Sequence[Decided], desk: Desk, publisher: Publisher, queue: str) -> None:
    """Publishes, and then takes out what was replaced. Raises BrokerError: the same import again completes it."""
    new = [each.message for each in decided if each.message is not None]
    for start in range(0, len(new), AT_ONCE):
        await asyncio.gather(*(publisher.publish(queue, message) for message in new[start : start + AT_ONCE]))
    if replaced := {each.returned.id for each in decided if each.action in ("replace", "finish")}:
        await desk.remove(replaced)
