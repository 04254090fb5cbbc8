"""What came of the story: a table of the tasks in Ditio, one of the dead letters, and what is not as it must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from worker.core.field import REFERENCES
from worker.core.message import Message
from worker.demo.story import Story, Value
from worker.sandbox.state import State


def tasks_table(state: State) -> Table:
    """Each work order as it stands in Ditio."""
    table = Table(
        "project", "work order", "name", "active", "hours", "planned end", "under", "foreman", title="Ditio", title_justify="left"
    )
    numbers = {project["id"]: project["projectNumber"] for project in state.projects.values()}
    people = {user["identityId"]: user["name"] for user in state.users.values()}
    for task in sorted(state.tasks.values(), key=lambda task: (numbers[task["projectId"]], task["externalId"])):
        parent = state.tasks.get(task["parentActivityId"] or "")
        planned = (task["finishedDatePlanned"] or "")[:10]
        table.add_row(
            numbers[task["projectId"]], task["externalId"], task["name"] or "", "yes" if task["active"] else "no",
            f"{task['estimatedHourQty']:g}", planned, parent["externalId"] if parent else "", people.get(task["mainForemanId"] or "", ""),
        )  # fmt: skip
    return table


def letters_table(letters: Sequence[Message]) -> Table:
    """Each dead letter with its cause."""
    table = Table("work order", "reason", "field", "cause", title="Dead letters", title_justify="left", box=SIMPLE)
    for letter in letters:
        names = ("external-id", "failure-reason", "failure-field", "failure-detail")
        table.add_row(*(str(letter.headers.get(name, "")) for name in names))
    return table


def faults(story: Story, state: State, letters: Sequence[Message]) -> list[str]:
    """What is not as the story says; empty when all is well."""
    return [*_letter_faults(story, letters), *_task_faults(story, state)]


def _letter_faults(story: Story, letters: Sequence[Message]) -> Iterator[str]:
    reasons = Counter(str(letter.headers.get("failure-reason")) for letter in letters)
    if reasons != Counter(story.letters):
        yield f"dead letters: expected {dict(story.letters)}, found {dict(reasons)}"


def _task_faults(story: Story, state: State) -> Iterator[str]:
    numbers = {project["id"]: project["projectNumber"] for project in state.projects.values()}
    found = Counter((numbers[task["projectId"]], task["externalId"]) for task in state.tasks.values())
    for key in found.keys() - story.expected.keys():
        yield f"{' '.join(key)}: is in Ditio, and nobody sent it"
    for key, count in found.items():
        if count > 1:
            yield f"{' '.join(key)}: is there {count} times"
    for key, expected in story.expected.items():
        task = next((each for each in state.tasks.values() if (numbers[each["projectId"]], each["externalId"]) == key), None)
        if task is None:
            if expected["active"] is False:  # gone before it ever was: no task is as good as an inactive one
                continue
            yield f"{' '.join(key)}: is not in Ditio"
            continue
        for name, value in expected.items():
            if not _same(name, value, task, state):
                yield f"{' '.join(key)}: {name} should be {value!r}, and is {task.get(REFERENCES.get(name, name))!r}"


def _same(name: str, value: Value, task: Mapping[str, Any], state: State) -> bool:
    """Whether a field of a task holds what the ERP says; what is cleared may be empty or its default."""
    held = task.get(REFERENCES.get(name, name))
    if value is None:
        return not held
    match name:
        case "parent":
            return str(state.tasks.get(held or "", {}).get("externalId")) == value
        case "mainForeman":
            return bool(held == state.users.get(str(value), {}).get("identityId"))
        case "finishedDatePlanned":
            return bool(held == f"{value}T00:00:00Z")
    return bool(held == value)
