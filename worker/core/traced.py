"""The answer of a trace in words, from what was found: received or not, how it ended last, whether letters lie there, what Ditio has."""

from __future__ import annotations

import msgspec

from worker.core.outcome import OutcomeName

UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))

ENDED: dict[OutcomeName, str] = {
    "applied": "was applied",
    "unchanged": "said nothing new",
    "superseded": "was superseded by newer ones",
    "ignored": "was ignored",
    "waiting": "waits",
    "dead": "is a dead letter",
}


class Traced(msgspec.Struct, frozen=True):
    """What is known of one work order. Ages in seconds; `last_in_project` is the age of the newest event of its project (None: not known).

    `outcome` is the last one of an event (empty: none was received), `letters` how many dead letters are about it (None: that cannot be
    told), `tasks` how many tasks Ditio has; `unasked` says why that is not known.
    """

    outcome: str = ""
    age: float = 0.0
    detail: str = ""
    last_in_project: float | None = None
    letters: int | None = 0
    tasks: int = 0
    unasked: str = ""


def answer(traced: Traced) -> str:
    """One sentence."""
    return "; ".join((_received(traced), *_letters(traced), _ditio(traced)))


def _received(traced: Traced) -> str:
    if traced.outcome:
        ended = next((words for name, words in ENDED.items() if name == traced.outcome), traced.outcome)
        why = f" ({traced.detail})" if traced.detail else ""
        return f"the last event, {ago(traced.age)}, {ended}{why}"
    if traced.letters:
        return "received, but never understood"
    seen = f"last event for this project {ago(traced.last_in_project)}" if traced.last_in_project is not None else None
    return f"never received; {seen or 'no event for this project is known either'}"


def _letters(traced: Traced) -> list[str]:
    if traced.letters is None:
        return ["whether dead letters are about it could not be told"]
    return [f"{_counted(traced.letters, 'dead letter')} about it"] if traced.letters else []


def _ditio(traced: Traced) -> str:
    if traced.unasked:
        return traced.unasked
    if traced.tasks == 0:
        return "Ditio has no such task"
    return "Ditio has the task" if traced.tasks == 1 else f"Ditio has {traced.tasks} such tasks"


def ago(seconds: float) -> str:
    """How long ago, in the largest unit of which there is one."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds >= size), (1, "second"))
    return f"{_counted(max(int(seconds // size), 0), unit)} ago"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
